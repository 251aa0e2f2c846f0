/** One bad request among 1,000 good ones in the same batches: the good ones arrive, and nothing is lost behind a 200. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gunzipSync, gzipSync } from "node:zlib";
import { decodeRequest } from "../../src/otlp/decode.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { type FarEnd, startEmbeddedFarEnd, startRealFarEnd, type Trouble } from "../support/far_end/far_end.ts";
import { post } from "../support/bodies/numbered_senders.ts";
import { arrivedSpans, type NumberedRequest, numberedRequest } from "../support/bodies/numbered_spans.ts";
import { countRows, readBooks, readDeadLetters } from "../support/relay/queue_file.ts";
import { Random } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { drained } from "./crash_oracle.ts";

const GOOD = 1_000;
const SENDERS = 8;

interface Sent {
  readonly relay: RestartableRelay;
  readonly farEnd: FarEnd;
  /** Ids of the good requests, all of which were answered 200. */
  readonly good: readonly string[];
  /** The status of the odd one. */
  readonly status: number | undefined;
}

/**
 * Queues the good requests and the odd one among them while the far end refuses everything, lets it take them, and hands over
 * when the queue is empty.
 */
async function among(
  kind: FarEnd["name"],
  odd: NumberedRequest,
  then: Trouble | undefined,
  check: (sent: Sent) => void,
): Promise<void> {
  await using certs = await testCertificates();
  await using farEnd = kind === "real" ? await startRealFarEnd(certs) : await startEmbeddedFarEnd(certs, certs.dir);
  await farEnd.trouble({ kind: "status", status: 503 });
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  const random = new Random(71);
  const requests = Array.from({ length: GOOD }, (_, number) => numberedRequest(random, `good${number}`, 3));
  let next = 0;
  let status: number | undefined;
  await Promise.all(Array.from({ length: SENDERS }, async () => {
    using client = Deno.createHttpClient({});
    while (next < requests.length) {
      const request = requests[next++]!;
      if (next === GOOD / 2) status = await post(relay.url, odd, client);
      assert.equal(await post(relay.url, request, client), 200);
    }
  }));
  await farEnd.trouble(then);
  await drained(relay, 60_000);
  await relay.stop();
  const there = farEnd.receipts.flatMap(({ spans }) => spans);
  assert(there.every(({ intact }) => intact));
  const ids = new Set(there.map(({ id }) => id));
  const good = requests.flatMap(({ ids }) => ids);
  assert.deepEqual(good.filter((id) => !ids.has(id)), [], "good spans that are lost");
  const books = readBooks(relay.queuePath);
  assert.equal(books.accepted, books.delivered + books.rejected + books.dead + books.expired + books.queued);
  assert.equal(books.delivered, ids.size);
  assert.deepEqual(countRows(relay.queuePath), { queued: 0, records: 0, dead: books.dead });
  check({ relay, farEnd, good, status });
}

function arrivedIds({ farEnd }: Sent): Set<string> {
  return new Set(farEnd.receipts.flatMap(({ spans }) => spans.map(({ id }) => id)));
}

for (const kind of ["embedded", "real"] as const) {
  Deno.test(`${kind} Collector: the one request that it refuses is the one dead letter`, async () => {
    const poison = numberedRequest(new Random(72), "poison", 4, "refused");
    await among(kind, poison, undefined, (sent) => {
      assert.equal(sent.status, 200);
      assert.equal(arrivedIds(sent).size, GOOD * 3);
      const letters = readDeadLetters(sent.relay.queuePath);
      assert.equal(letters.length, 1);
      const [letter] = letters;
      assert.deepEqual([letter!.items, letter!.status, letter!.sender], [4, 400, "anonymous"]);
      assert.deepEqual(
        arrivedSpans(decodeRequest("traces", letter!.request)),
        poison.ids.map((id) => ({ id, intact: true })),
      );
      // In batches: it did not take a request for each to find it.
      assert(sent.farEnd.receipts.length < GOOD / 4, `${sent.farEnd.receipts.length} requests`);
    });
  });
}

/** A request of good spans, framed as `frame` says. */
function framed(prefix: string, frame: (first: Uint8Array, second: Uint8Array) => Uint8Array[]): NumberedRequest {
  const random = new Random(73);
  const plain = (name: string): NumberedRequest => {
    for (;;) {
      const request = numberedRequest(random, name, 3);
      if (request.form === "protobuf") return request;
    }
  };
  const [first, second] = [plain(`${prefix}-a`), plain(`${prefix}-b`)];
  return {
    ...first,
    ids: [...first.ids, ...second.ids],
    body: new Uint8Array(Buffer.concat(frame(first.body, second.body))),
    headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
  };
}

/** A gzip header with a file name, before the member's own deflate data. */
function named(member: Uint8Array, nameBytes: number): Uint8Array {
  const header = Buffer.from(member.subarray(0, 10));
  header[3] = 0x08;
  return Buffer.concat([header, Buffer.alloc(nameBytes, "n"), Buffer.from([0]), member.subarray(10)]);
}

const zero = new Uint8Array(1);

/** Framings that zlib and Go read differently; whether they are taken, whole, or refused. */
const FRAMINGS: readonly [string, (first: Uint8Array, second: Uint8Array) => Uint8Array[], 200 | 400][] = [
  ["A + 0x00 + B", (first, second) => [gzipSync(first), zero, gzipSync(second)], 400],
  ["two members", (first, second) => [gzipSync(first), gzipSync(second)], 200],
  ["a file name of 100 bytes", (first, second) => [named(gzipSync(Buffer.concat([first, second])), 100)], 200],
  // Longer than Go's reader takes: it would refuse the whole batch.
  ["a file name of 600 bytes", (first, second) => [named(gzipSync(Buffer.concat([first, second])), 600)], 400],
];

for (const [name, frame, expected] of FRAMINGS) {
  Deno.test(`real Collector: ${name} among them is ${expected === 200 ? "taken whole" : "refused at the door"}`, async () => {
    const odd = framed("odd", frame);
    // What the test is about: zlib is content with each.
    assert.doesNotThrow(() => gunzipSync(odd.body));
    await among("real", odd, undefined, (sent) => {
      assert.equal(sent.status, expected);
      const there = arrivedIds(sent);
      assert.deepEqual(odd.ids.map((id) => there.has(id)), odd.ids.map(() => expected === 200));
      assert.equal(readBooks(sent.relay.queuePath).dead, 0);
    });
  });
}

Deno.test("a Collector that reads the first gzip member alone: every request goes by itself, none is lost", async () => {
  const odd = framed("odd", (first, second) => [gzipSync(first), gzipSync(second)]);
  await among("embedded", odd, { kind: "first_member_only" }, (sent) => {
    const there = arrivedIds(sent);
    assert.equal(sent.status, 200);
    assert(odd.ids.every((id) => there.has(id)));
    assert.equal(there.size, GOOD * 3 + odd.ids.length);
    assert(sent.relay.lines.some((line) => /reads only the first gzip member/.test(line)), sent.relay.lines.join("\n"));
  });
});
