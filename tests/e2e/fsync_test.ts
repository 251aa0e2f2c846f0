/** fsync is shown: in the system calls of the relay, every 200 comes after a sync of the WAL that covers its record. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { testCertificates } from "../support/files/certificates.ts";
import { makeMutant } from "../support/bodies/mutant.ts";
import { post } from "../support/bodies/numbered_senders.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { type Call, parseTrace, straceCommand } from "../support/tools/strace.ts";

const SENDERS = 8;
const REQUESTS = 15;

/** Posts marked requests, several at once, and traces what the relay does. */
async function trace(root?: string): Promise<{ markers: string[]; calls: Call[] }> {
  await using certs = await testCertificates();
  const file = join(certs.dir, "trace");
  await using relay = await RestartableRelay.start({
    certs,
    // Nobody there: it is about what comes before.
    collectorUrl: "https://localhost:9",
    // Payloads lie in the WAL as they are, so that a marker can be found there.
    settings: { exporter: { compression: "none" } },
    under: straceCommand(file),
    ...(root === undefined ? {} : { root }),
  });
  const markers: string[] = [];
  await Promise.all(Array.from({ length: SENDERS }, async (_, sender) => {
    using client = Deno.createHttpClient({});
    for (let number = 0; number < REQUESTS; number++) {
      const name = `marker-${sender}-${number}-end`;
      const span = { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", name };
      const body = new TextEncoder().encode(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }));
      assert.equal(await post(relay.url, { body, headers: { "content-type": "application/json" } }, client), 200);
      markers.push(name);
    }
  }));
  await relay.stop();
  return { markers, calls: parseTrace(await readFile(file, "latin1")) };
}

/** What stood between a request and its 200. */
interface Proof {
  /** Syncs of the WAL, begun after the record was written and ended before the answer began. */
  readonly syncs: number;
  readonly marker: string;
}

function proofs({ markers, calls }: { markers: readonly string[]; calls: readonly Call[] }): Proof[] {
  const wal = calls.filter(({ target }) => target.endsWith("/queue.db-wal"));
  const writes = wal.filter(({ name }) => name.startsWith("pwrite"));
  const syncs = wal.filter(({ name, result }) => /^f(data)?sync$/.test(name) && result === 0);
  return markers.map((marker) => {
    const asked = calls.find(({ name, text }) => /^(read|recv)/.test(name) && text.includes(marker));
    assert(asked !== undefined && asked.target.startsWith("socket:"), `${marker} was read from no socket`);
    const answer = calls.find(({ name, target, text, began }) =>
      /^(write|send)/.test(name) && target === asked.target && began > asked.ended && text.includes("HTTP/1.1 200")
    );
    assert(answer !== undefined, `${marker} was not answered on its own connection`);
    const written = writes.find(({ text }) => text.includes(marker));
    assert(written !== undefined && written.result > 0, `${marker} is in no frame of the WAL`);
    assert(written.ended < answer.began, `${marker} was answered before it was written`);
    const between = syncs.filter(({ began, ended }) => began > written.ended && ended < answer.began);
    return { marker, syncs: between.length };
  });
}

Deno.test("every 200 comes after an fsync of the WAL that covers its record", async () => {
  const found = proofs(await trace());
  assert.equal(found.length, SENDERS * REQUESTS);
  assert.deepEqual(found.filter(({ syncs }) => syncs === 0), []);
});

Deno.test("the same test finds that there is none when SQLite is told not to sync", async () => {
  await using mutant = await makeMutant(
    "src/queue/sqlite/file/schema.ts",
    "PRAGMA synchronous = FULL;\n",
    "PRAGMA synchronous = OFF;\n",
  );
  assert.deepEqual([...new Set(proofs(await trace(mutant.root)).map(({ syncs }) => syncs))], [0]);
});
