import assert from "node:assert/strict";
import { ANSWER_BYTES_MAX, readAnswer, retryAfterMs } from "../../src/otlp/http_answer.ts";

Deno.test("an answer is read to its end", async () => {
  assert.equal((await readAnswer(new Response(null))).length, 0);
  assert.equal((await readAnswer(new Response(""))).length, 0);
  const chunks = ["one", "", "two"];
  const response = new Response(
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    }),
  );
  assert.equal(new TextDecoder().decode(await readAnswer(response)), "onetwo");
});

Deno.test("an endless answer is cut at its bound and cancelled", async () => {
  const cancelled = Promise.withResolvers<void>();
  const chunk = new Uint8Array(100_000);
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(chunk),
    cancel: () => cancelled.resolve(),
  });
  assert.equal((await readAnswer(new Response(endless))).length, ANSWER_BYTES_MAX);
  await cancelled.promise;
});

Deno.test("Retry-After is seconds or an HTTP-date, at most an hour from now", () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5);
  const table: [string | null, number | undefined][] = [
    [null, undefined],
    ["0", 0],
    ["7", 7_000],
    [" 7 ", 7_000],
    ["1.5", 1_500],
    ["3600", 3_600_000],
    ["3601", 3_600_000],
    ["9".repeat(400), 3_600_000],
    ["Fri, 02 Jan 2026 03:04:15 GMT", 10_000],
    ["Fri, 02 Jan 2026 03:04:05 GMT", 0],
    ["Fri, 02 Jan 2026 03:04:00 GMT", 0],
    ["Sat, 02 Jan 2027 03:04:00 GMT", 3_600_000],
    ["", undefined],
    ["-5", undefined],
    ["soon", undefined],
    ["7 s", undefined],
    ["Friday", undefined],
  ];
  for (const [header, ms] of table) assert.equal(retryAfterMs(header, now), ms, String(header));
});
