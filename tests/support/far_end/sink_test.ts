import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { type Sink, startSink } from "./sink.ts";

const log = (body: unknown) => ({ resourceLogs: [{ scopeLogs: [{ logRecords: [{ body }] }] }] });

async function post(sink: Sink, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) {
  const response = await fetch(`${sink.url}/v1/logs`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  const answer = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, retryAfter: response.headers.get("retry-after"), answer };
}

const text = (answer: Uint8Array) => new TextDecoder().decode(answer);

Deno.test("the sink reads gzip and plain bodies, and keeps apart 1 and 1.0", async () => {
  await using sink = startSink();
  await post(sink, JSON.stringify(log({ intValue: "1" })));
  await post(sink, new Uint8Array(gzipSync(JSON.stringify(log({ doubleValue: 1 })))), { "content-encoding": "gzip" });
  await post(sink, JSON.stringify(log({ doubleValue: "NaN" })));
  assert.deepEqual(sink.logRecords().map((record) => record.body), [1n, 1, NaN]);
  sink.clear();
  assert.deepEqual([sink.logRecords().length, sink.requests.length], [0, 0]);
});

Deno.test("the sink answers what it was told, in order, then as always; what it refuses it does not hold", async () => {
  await using sink = startSink();
  sink.answerNext(2, { status: 429, retryAfter: "3", message: "slow down" });
  sink.answerNext(1, { status: 200, partialSuccess: { rejected: 4, message: "old" } });
  const body = JSON.stringify(log({ stringValue: "x" }));
  const [first, second, third, fourth] = [
    await post(sink, body),
    await post(sink, body),
    await post(sink, body),
    await post(sink, body),
  ];
  assert.deepEqual([first.status, first.retryAfter, text(first.answer)], [429, "3", '{"message":"slow down"}']);
  assert.equal(second.status, 429);
  assert.deepEqual([third.status, text(third.answer)], [
    200,
    '{"partialSuccess":{"rejectedLogRecords":"4","errorMessage":"old"}}',
  ]);
  assert.deepEqual([fourth.status, text(fourth.answer)], [200, "{}"]);
  assert.equal(sink.logRecords().length, 2);
  sink.answerAlways({ status: 503 });
  assert.equal((await post(sink, body)).status, 503);
  sink.answerAlways();
  assert.equal((await post(sink, body)).status, 200);
  assert.deepEqual(sink.requests.map((request) => request.answered.status), [429, 429, 200, 200, 503, 200]);
});

Deno.test("the sink keeps the bytes of protobuf and answers in protobuf", async () => {
  await using sink = startSink();
  const headers = { "content-type": "application/x-protobuf" };
  sink.answerNext(1, { status: 200, partialSuccess: { rejected: 300, message: "old" } });
  const partial = await post(sink, Uint8Array.of(0x0a, 0), headers);
  // ExportLogsServiceResponse { 1: partial_success { 1: rejected_log_records 300, 2: error_message "old" } }
  assert.deepEqual(partial.answer, Uint8Array.of(0x0a, 8, 0x08, 0xac, 0x02, 0x12, 3, 0x6f, 0x6c, 0x64));
  sink.answerNext(1, { status: 500, message: "no" });
  // google.rpc.Status { 2: message "no" }
  assert.deepEqual((await post(sink, Uint8Array.of(), headers)).answer, Uint8Array.of(0x12, 2, 0x6e, 0x6f));
  assert.deepEqual((await post(sink, Uint8Array.of(), headers)).answer, Uint8Array.of());
  assert.deepEqual(sink.requests[0]?.body, Uint8Array.of(0x0a, 0));
});

Deno.test("the sink shows a body it cannot decode as a 400", async () => {
  await using sink = startSink();
  assert.equal((await post(sink, "{")).status, 400);
  assert.equal((await post(sink, JSON.stringify(log({ intValue: "1.5" })))).status, 400);
  assert.equal((await post(sink, JSON.stringify(log({ newValue: 1 })))).status, 400);
  assert.deepEqual([sink.logRecords().length, sink.requests.length], [0, 3]);
});

Deno.test("waiting for the sink ends with the request that fits, and fails loudly after the deadline", async () => {
  await using sink = startSink();
  const arrived = sink.waitFor((sink) => sink.logRecords().length === 2);
  await post(sink, JSON.stringify(log({ stringValue: "a" })));
  await post(sink, JSON.stringify(log({ stringValue: "b" })));
  await arrived;
  await assert.rejects(
    sink.waitFor((sink) => sink.logRecords().length === 3, 1),
    /holds 0 spans, .* 2 log records of 2/,
  );
  await assert.rejects(
    sink.waitFor(() => {
      throw new RangeError("the predicate's own fault");
    }),
    RangeError,
  );
});
