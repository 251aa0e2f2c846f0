import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Refusal } from "../../src/errors.ts";
import { type BodyLimits, readBody as readInbound } from "../../src/receiver/body.ts";
import { Deadlines } from "../../src/receiver/deadlines.ts";
import { webInbound } from "../../src/receiver/web_request.ts";

const limits: BodyLimits = { bodyBytesMax: 1_000, deadlines: new Deadlines(60_000) };
const room = () => {};

const readBody = async (
  request: Request,
  stated: number | undefined,
  limits: BodyLimits,
  arrived: (bytes: number) => void,
) => await readInbound(webInbound(request, {}).body, stated, limits, arrived);

function request(body: BodyInit | null): Request {
  return new Request("http://localhost/v1/traces", { method: "POST", body });
}

function chunked(...chunks: (Uint8Array<ArrayBuffer> | string)[]): Request {
  return request(
    new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new Uint8Array(Buffer.from(chunk as string)));
        controller.close();
      },
    }),
  );
}

const refusal = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

Deno.test("a body is read whole, in one piece or in chunks, in a buffer of its own", async () => {
  const chunks = ["abc", "", "d", "e".repeat(500)];
  const whole = Buffer.from(chunks.join(""));
  for (const stated of [undefined, whole.length]) {
    const body = await readBody(chunked(...chunks), stated, limits, room);
    assert.ok(whole.equals(body));
    assert.equal(body.byteLength, body.buffer.byteLength);
  }
  for (const stated of [undefined, 0]) {
    assert.equal((await readBody(request(null), stated, limits, room)).length, 0);
  }
  // A chunk that is a view into more does not bring the rest along.
  const view = new Uint8Array(5_000).subarray(10, 20);
  const body = await readBody(
    request(
      new ReadableStream({
        start(controller) {
          controller.enqueue(view);
          controller.close();
        },
      }),
    ),
    undefined,
    limits,
    room,
  );
  assert.equal(body.buffer.byteLength, 10);
});

Deno.test("a chunked body is held for as it comes, and cut off one byte over the limit", async () => {
  const grown: number[] = [];
  await readBody(chunked("a".repeat(400), "b".repeat(600)), undefined, limits, (bytes) => grown.push(bytes));
  assert.deepEqual(grown, [400, 600]);

  let pulled = 0;
  const cancelled = Promise.withResolvers<void>();
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(new Uint8Array(100));
    },
    cancel: () => cancelled.resolve(),
  });
  let held = 0;
  await assert.rejects(
    readBody(request(endless), undefined, limits, (bytes) => held += bytes),
    refusal("too_large", /^Body is over the limit of 1000 bytes/),
  );
  await cancelled.promise;
  assert.equal(held, 1_000);
  assert.ok(pulled <= 13, `${pulled} chunks were asked for`);
});

Deno.test("no room ends the reading", async () => {
  const cancelled = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(10)),
    cancel: () => cancelled.resolve(),
  });
  const full = new Refusal("overloaded", "no room");
  await assert.rejects(
    readBody(request(body), undefined, limits, () => {
      throw full;
    }),
    full,
  );
  await cancelled.promise;
});

Deno.test("a body that does not arrive in time is the sender's to retry", async () => {
  for (const stated of [undefined, 100, 300_000]) {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(10)),
      // Never ends.
      pull: () => new Promise(() => {}),
    });
    await assert.rejects(
      readBody(request(body), stated, { ...limits, deadlines: new Deadlines(5) }, room),
      (error) => {
        assert.ok(refusal("body_timeout", /^Body did not arrive within 5 ms; retry$/)(error));
        assert.equal((error as Refusal).status, 503);
        return true;
      },
    );
  }
});

Deno.test("a body that breaks off is the sender's to retry, and its cause kept for the log alone", async () => {
  for (const stated of [undefined, 100, 300_000]) {
    const reset = new TypeError("connection reset by 10.0.0.7");
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(10)),
      pull: (controller) => controller.error(reset),
    });
    await assert.rejects(readBody(request(body), stated, limits, room), (error) => {
      assert.ok(refusal("body_incomplete", /^Body ended before it was complete; send it again$/)(error));
      assert.equal((error as Refusal).cause, reset);
      return true;
    });
  }
});

Deno.test("a body whose length is not the stated one is refused", async () => {
  for (const stated of [4, 6]) {
    await assert.rejects(
      readBody(chunked("abcde"), stated, limits, room),
      refusal("malformed", new RegExp(`^Body has 5 bytes, its Content-Length says ${stated}; make them agree$`)),
    );
  }
  for (const bytes of [299_999, 300_001]) {
    await assert.rejects(
      readBody(chunked("x".repeat(bytes)), 300_000, limits, room),
      refusal("malformed", new RegExp(`^Body has ${bytes} bytes, its Content-Length says 300000; make them agree$`)),
    );
  }
});

Deno.test("a large body of a stated length is read into a buffer of its own", async () => {
  const text = "0123456789".repeat(30_000);
  const body = await readBody(chunked(text), text.length, limits, room);
  assert.equal(new TextDecoder().decode(body), text);
  assert.equal(body.buffer.byteLength, text.length);
});

Deno.test("a body that was given up, and ends all the same, leaves the empty buffer to the next ones", async () => {
  const empty = () => readBody(chunked(), undefined, limits, room);
  const soon = { ...limits, deadlines: new Deadlines(60_000) };
  let end = () => {};
  const body = {
    forEachPiece(take: (piece: Uint8Array) => void) {
      take(new Uint8Array(10));
      return new Promise<void>((resolve) => end = resolve);
    },
    cancel: () => end(),
  };
  const read = (async () => await readInbound(body, undefined, soon, room))();
  soon.deadlines.pass();
  await assert.rejects(read, refusal("shutting_down", /retry$/));
  for (let count = 0; count < 2; count++) assert.equal(new Uint8Array(await empty()).length, 0);
});

Deno.test("a piece that is lent is copied, even where it is all of the body", async () => {
  for (const stated of [undefined, 3]) {
    const lent = Uint8Array.of(1, 2, 3);
    const body = await readInbound(
      {
        forEachPiece(take) {
          take(lent, true);
          lent.fill(0);
          return undefined;
        },
        cancel() {},
      },
      stated,
      limits,
      room,
    );
    assert.deepEqual([...body], [1, 2, 3]);
  }
});
