import assert from "node:assert/strict";
import { unreadableTarget, webAnswer, webInbound } from "../../src/receiver/web_request.ts";

Deno.test("a URL that cannot be read is refused, and nothing of it told", () => {
  const request = {
    get url(): string {
      throw new TypeError("Invalid URL: http://[/v1/traces?access_token=secret");
    },
  };
  const refusal = unreadableTarget(request);
  assert.equal(refusal?.code, "malformed");
  assert.ok(!`${refusal?.message} ${refusal?.cause}`.includes("secret"));
  assert.equal(unreadableTarget(new Request("http://relay/v1/traces")), undefined);
});

Deno.test("a peer has the address that its server knows; an answer of 204 has no body", async () => {
  const request = new Request("http://relay/v1/traces", { method: "POST", body: "a" });
  const info = { remoteAddr: { hostname: "192.0.2.7" } };
  assert.equal(webInbound(request, { info }).peer.address(), "192.0.2.7");
  assert.equal(webInbound(request, {}).peer.address(), undefined);
  const empty = webAnswer({ status: 204, headers: { vary: "Origin" }, body: new Uint8Array(0) });
  assert.deepEqual([empty.status, empty.body, empty.headers.get("vary")], [204, null, "Origin"]);
  const whole = webAnswer({ status: 200, headers: {}, body: new Uint8Array([0x61]) });
  assert.equal(await whole.text(), "a");
});

Deno.test("a body that is cancelled while it is read ends the reading", async () => {
  const cancelled = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  const inbound = webInbound(new Request("http://relay/", { method: "POST", body }), {});
  const reading = inbound.body.forEachPiece(() => {});
  inbound.body.cancel();
  await cancelled.promise;
  await reading;
});

/** A stream that fills its reader's buffers, as that of a request of `Deno.serve` does: so many bytes a read, their values rising. */
function filling(reads: readonly number[], seen: ArrayBufferLike[] = []): ReadableStream<Uint8Array<ArrayBuffer>> {
  const left = [...reads];
  let at = 0;
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: 64 * 1024,
    pull(controller) {
      const request = controller.byobRequest!;
      const view = request.view as Uint8Array<ArrayBuffer>;
      seen.push(view.buffer);
      const bytes = Math.min(left.shift() ?? 0, view.length);
      if (bytes === 0) controller.close();
      for (let index = 0; index < bytes; index++) view[index] = at++ % 251;
      request.respond(bytes);
    },
  });
}

Deno.test("a body that its host fills buffers with is read through one buffer, which is given back", async () => {
  const seen: ArrayBufferLike[] = [];
  const reads = [3, 16 * 1024, 100, 64 * 1024, 7, 20 * 1024];
  const body = filling(reads, seen);
  const inbound = webInbound(new Request("http://relay/", { method: "POST", body }), {});
  const whole: number[] = [];
  const rooms: number[] = [];
  await inbound.body.forEachPiece((piece, lent) => {
    assert.equal(lent, true);
    whole.push(...piece);
    rooms.push(piece.buffer.byteLength / 1024);
  });
  assert.deepEqual(whole, Array.from({ length: reads.reduce((sum, each) => sum + each) }, (_, index) => index % 251));
  assert.deepEqual(rooms, [16, 16, 64, 64, 64, 64], "a large one once so much has come at once");
  assert.ok(seen.every(({ byteLength }) => byteLength === 0), "each was handed on or given back");
});

Deno.test("the buffer of a body is given back where its reader throws, and where it is cancelled", async () => {
  const full = new Error("no room");
  let piece: Uint8Array | undefined;
  const refused = webInbound(new Request("http://relay/", { method: "POST", body: filling([10, 10]) }), {});
  await assert.rejects(
    async () =>
      await refused.body.forEachPiece((each) => {
        piece = each;
        throw full;
      }),
    full,
  );
  assert.equal(piece?.length, 0, "given back");

  const cancelled = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    type: "bytes",
    pull: () => new Promise<void>(() => {}),
    cancel: () => cancelled.resolve(),
  });
  const inbound = webInbound(new Request("http://relay/", { method: "POST", body }), {});
  const reading = inbound.body.forEachPiece(() => {});
  inbound.body.cancel();
  await cancelled.promise;
  await reading;
});
