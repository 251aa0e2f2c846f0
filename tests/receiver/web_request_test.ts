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
