import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { Refusal } from "../../src/errors.ts";
import { UNBOUNDED } from "../../src/otlp/bounds.ts";
import { Redactor } from "../../src/otlp/rewrite/redaction.ts";
import { encodeResourceAttributes } from "../../src/otlp/rewrite/resource_attributes.ts";
import type { ContentEncoding } from "../../src/receiver/headers.ts";
import { type BodyForm, type PreparationSettings, prepare, type Prepared } from "../../src/receiver/preparation.ts";
import { INLINE, Preparer } from "../../src/receiver/preparer.ts";
import { makeBodies } from "../bench/bodies.ts";
import { waitWhile } from "../support/wait_while.ts";

const settings: PreparationSettings = { payloadEncoding: "gzip", bounds: UNBOUNDED };
const quiet = { threadless: assert.fail, crashed: assert.fail };
const coders: Readonly<Record<ContentEncoding, (bytes: Uint8Array) => Uint8Array>> = {
  identity: (bytes) => bytes,
  gzip: gzipSync,
  deflate: deflateSync,
  zstd: zstdCompressSync,
};
const form = (encoding: ContentEncoding = "identity", rest: Partial<BodyForm> = {}): BodyForm => ({
  signal: "traces",
  mediaType: "application/x-protobuf",
  encoding,
  bytesMax: 20 << 20,
  ...rest,
});
const bodyOf = (spans: number) => makeBodies("plain", spans, 1)[0]!.bytes;
const coded = (encoding: ContentEncoding, body: Uint8Array) => new Uint8Array(coders[encoding](body));
const small = bodyOf(10);
const large = bodyOf(2_000);
assert.ok(small.length < INLINE.inflatedBytes && large.length > 2 * INLINE.inflatedBytes);

/** What stands in a result, without the buffer that it stands in. */
function contentOf({ payload, ...found }: Prepared): unknown {
  return { ...found, content: Buffer.from(gunzipSync(payload)).toString("latin1") };
}

Deno.test("little work is done without a thread, and at once where nobody else waits", async () => {
  using preparer = new Preparer(settings, quiet);
  for (const encoding of Object.keys(coders) as ContentEncoding[]) {
    const prepared = await preparer.prepare(form(encoding), "a", coded(encoding, small));
    assert.equal(prepared.items, 10);
  }
  const fresh = new Preparer(settings, quiet);
  assert.ok(!(fresh.prepare(form("identity"), "a", coded("identity", small)) instanceof Promise));
  assert.equal(preparer.threaded, false);
});

Deno.test("a thread makes of a large body what the event loop would, in every coding, with redaction and attributes", async () => {
  const redactor = new Redactor({
    rules: [{ key: "http.*", action: "hash" }, { key: "service.*", action: "delete" }],
    salt: "salt",
    dryRun: false,
  });
  const resourceAttributes = encodeResourceAttributes({ tenant: "blue" });
  for (const each of [settings, { ...settings, redactor }]) {
    using preparer = new Preparer(each, quiet);
    for (const encoding of Object.keys(coders) as ContentEncoding[]) {
      for (const rest of [{}, { resourceAttributes }]) {
        const here = prepare(each, form(encoding, rest), new OwnedBytes(coded(encoding, large)));
        const body = coded(encoding, large);
        const there = preparer.prepare(form(encoding, rest), "a", body);
        assert.ok(there instanceof Promise);
        assert.deepEqual(contentOf(await there), contentOf(here));
        assert.equal(body.length, 0, "the body was handed over");
      }
    }
    assert.equal(preparer.threaded, true);
  }
});

Deno.test("what looks small and is not is begun anew in the thread: by its coding, hashes, or what is written into it", async () => {
  const redactor = new Redactor({ rules: [{ key: "*", action: "hash" }], salt: "salt", dryRun: false });
  const many = makeBodies("plain", 300, 1)[0]!.bytes;
  assert.ok(many.length < INLINE.inflatedBytes);
  const resources = new Uint8Array(2 * 1_000).map((_, index) => index % 2 === 0 ? 0x0a : 0);
  const attributes = encodeResourceAttributes({ tenant: "x".repeat(2_000) });
  const lying = coded("gzip", large);
  const behind = Buffer.concat([lying, gzipSync(new Uint8Array(0))]);
  const table: [string, PreparationSettings, BodyForm, Uint8Array<ArrayBuffer>][] = [
    ["deflate", settings, form("deflate"), coded("deflate", large)],
    ["zstd", settings, form("zstd"), coded("zstd", large)],
    ["a member that is not the last", settings, form("gzip"), new Uint8Array(behind)],
    ["many hashes", { ...settings, redactor }, form(), many.slice()],
    ["attributes", settings, form("identity", { resourceAttributes: attributes }), resources],
  ];
  for (const [name, each, of, body] of table) {
    using preparer = new Preparer(each, quiet);
    const here = prepare(each, of, new OwnedBytes(body.slice()));
    const there = preparer.prepare(of, "a", body);
    assert.ok(there instanceof Promise, name);
    assert.deepEqual(contentOf(await there), contentOf(here), name);
  }
});

Deno.test("a refusal is the same from the thread", async () => {
  using preparer = new Preparer({ ...settings, bounds: { resourcesMax: 1_000, messagesMax: 1e9 } }, quiet);
  const bad = large.slice();
  bad[bad.length - 1] = 0xff;
  const table: [BodyForm, Uint8Array<ArrayBuffer>, string, RegExp][] = [
    [
      form(),
      new Uint8Array(1 << 20).map((_, index) => index % 2 === 0 ? 0x0a : 0),
      "too_large",
      /^Body holds more than 1000 resources \(receiver\.http\.max_request_resources\); send smaller batches$/,
    ],
    [
      form("gzip", { bytesMax: 300_000 }),
      coded("gzip", large),
      "too_large",
      /^Body after inflating is over the limit of 300000 bytes/,
    ],
    [form("gzip"), coded("gzip", large).subarray(0, -9), "malformed", /^Gzip body/],
    [
      form("identity", { mediaType: "application/json" }),
      new Uint8Array(Buffer.from(`{"resourceSpans":[${"{},".repeat(200_000)}]}`)),
      "malformed",
      /^Malformed JSON|more than/,
    ],
  ];
  for (const [of, body, code, message] of table) {
    const promise = preparer.prepare(of, "a", new Uint8Array(body));
    assert.ok(promise instanceof Promise);
    await assert.rejects(promise, (error) => {
      assert.ok(error instanceof Refusal, String(error));
      assert.match(error.message, message);
      assert.ok(error.code === code || message.test(error.message));
      return true;
    });
  }
});

Deno.test("senders have their turns: one with many large bodies is waited for by itself", async () => {
  using preparer = new Preparer(settings, quiet);
  const done: string[] = [];
  const send = async (sender: string) => {
    await preparer.prepare(form(), sender, large.slice());
    done.push(sender);
  };
  const all = [...Array.from({ length: 6 }, () => send("many")), send("one"), send("other"), send("one")];
  await Promise.all(all);
  // The first is begun at once, and its sender's second came before the others did.
  assert.deepEqual(done.slice(0, 6), ["many", "many", "one", "other", "many", "one"]);
});

Deno.test("a thread without work ends, and a new one starts with the next large body", async () => {
  using preparer = new Preparer(settings, quiet, { idleMs: 1 });
  for (let round = 0; round < 2; round++) {
    const { items } = await preparer.prepare(form(), "a", large.slice());
    assert.equal(items, 2_000);
    await waitWhile(() => preparer.threaded);
  }
});

Deno.test("where no thread can be started large bodies are prepared all the same, and it is told once", async () => {
  const told: string[] = [];
  const events = { threadless: (cause: string) => told.push(cause), crashed: assert.fail };
  using preparer = new Preparer(settings, events, { threadUrl: new URL("./no_such_thread.ts", import.meta.url) });
  const both = [preparer.prepare(form(), "a", large.slice()), preparer.prepare(form(), "b", large.slice())];
  for (const { items } of await Promise.all(both)) assert.equal(items, 2_000);
  assert.equal(told.length, 1);
  const bad = large.slice();
  bad[bad.length - 1] = 0xff;
  assert.ok(!(preparer.prepare(form(), "a", large.slice()) instanceof Promise));
});

Deno.test("a thread that ends by an error costs the body that it was at, and no other", async () => {
  const told: string[] = [];
  const threadUrl = new URL("../support/threads/ending_thread.ts", import.meta.url);
  using preparer = new Preparer(settings, { threadless: assert.fail, crashed: (cause) => told.push(cause) }, {
    threadUrl,
  });
  for (let round = 1; round <= 2; round++) {
    await assert.rejects(async () => await preparer.prepare(form(), "a", large.slice()), /this thread ends/);
    assert.equal(told.length, round);
  }
});

Deno.test("what still waits at the end is its sender's to send again", async () => {
  const preparer = new Preparer(settings, quiet);
  const waiting = ["a", "a", "b"].map((sender) => preparer.prepare(form(), sender, large.slice()) as Promise<Prepared>);
  const refused = waiting.map((each) => assert.rejects(each, (error) => (error as Refusal).code === "shutting_down"));
  preparer[Symbol.dispose]();
  await Promise.all(refused);
});
