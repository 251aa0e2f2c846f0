/** SIGTERM: what is under way is answered, what can be sent in the grace time is, the rest is on disk and goes after the start. */
import assert from "node:assert/strict";
import { testCertificates } from "../support/files/certificates.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { readBooks } from "../support/relay/queue_file.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { drained } from "./crash_oracle.ts";

const GRACE_MS = 3_000;
/** Beyond the grace time: to start no more, to close the file, and for a machine that is busy. */
const ENDING_MS = 5_000;

function arrived(farEnd: FarEnd): Set<string> {
  return new Set(farEnd.receipts.flatMap(({ spans }) => spans.filter(({ intact }) => intact).map(({ id }) => id)));
}

interface Stopped {
  readonly written: ReadonlySet<string>;
  readonly queued: number;
}

/** Stops the relay under load, which must end in time with 0, having lost nothing that it answered. */
async function stopUnderLoad(relay: RestartableRelay, farEnd: FarEnd, requests: number): Promise<Stopped> {
  const senders = new NumberedSenders({ seed: 61, url: () => relay.url, spansMax: 10, poisoned: 0 });
  try {
    await senders.answered(requests);
    const started = performance.now();
    const { code, signal } = await relay.stop();
    const tookMs = performance.now() - started;
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
    assert(tookMs < GRACE_MS + ENDING_MS, `it took ${Math.round(tookMs)} ms`);
  } finally {
    await senders.stop();
  }
  const { accepted, delivered, queued } = readBooks(relay.queuePath);
  assert.equal(accepted, delivered + queued);
  // Each request was answered before the end, or not taken: with 503, or by a connection that was not there.
  assert.equal(accepted, senders.written.size);
  const there = arrived(farEnd);
  assert(delivered <= there.size && [...there].every((id) => senders.spans.has(id)));
  return { written: senders.written, queued };
}

const settings = { shutdown: { grace: `${GRACE_MS}ms` } };

Deno.test("SIGTERM while the Collector takes: it ends with an empty queue", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url, settings });
  const { written, queued } = await stopUnderLoad(relay, farEnd, 200);
  assert.equal(queued, 0);
  assert.deepEqual(arrived(farEnd), new Set(written));
});

for (const state of ["refuses", "is gone", "is frozen"] as const) {
  Deno.test(`SIGTERM while the Collector ${state}: it ends in time, and the next start delivers the rest`, async () => {
    await using certs = await testCertificates();
    await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
    await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url, settings });
    if (state === "refuses") await farEnd.trouble({ kind: "status", status: 503 });
    else if (state === "is gone") await farEnd.crash();
    else farEnd.freeze();
    let stopped: Stopped;
    try {
      stopped = await stopUnderLoad(relay, farEnd, 200);
    } finally {
      if (state === "is frozen") farEnd.thaw();
    }
    const { written, queued } = stopped;
    assert.equal(queued, written.size);

    if (state === "is gone") await farEnd.revive();
    await farEnd.trouble(undefined);
    await relay.start();
    await drained(relay, 20_000);
    assert.deepEqual(arrived(farEnd), new Set(written));
  });
}
