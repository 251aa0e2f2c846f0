import assert from "node:assert/strict";
import { halves } from "../../src/exporter/cut.ts";
import type { SignalName } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";
import { decodeRequest } from "../../src/otlp/decode.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";
import { namesIn, requestOf } from "../support/relay/exporting.ts";

const walker = new Walker();

/** Every unit that a request can be cut into. */
function leaves(signal: SignalName, request: Uint8Array): Uint8Array[] {
  const parts = halves(signal, request);
  return parts === undefined ? [request] : parts.flatMap((part) => leaves(signal, part));
}

for (const signal of ["traces", "logs", "metrics"] as const) {
  Deno.test(`${signal}: at resources first, then at scopes, then at items; each cut is a request, and nothing is lost`, () => {
    const request = requestOf(signal, ["a", "b", "c"], ["d"], ["e", "f"]);
    assert.deepEqual(halves(signal, request)!.map((half) => namesIn(signal, half)), [["a", "b", "c", "d"], ["e", "f"]]);
    const cut = leaves(signal, request);
    assert.deepEqual(cut.map((leaf) => namesIn(signal, leaf)), [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]);
    assert.equal(cut.reduce((sum, leaf) => sum + walker.walk(signal, leaf).items, 0), 6);
  });
}

Deno.test("what stands beside the items goes with each of them", () => {
  const request = encodeProtobuf("TracesRequest", {
    resourceSpans: [{
      resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] },
      schemaUrl: "https://resource.example",
      scopeSpans: [{
        scope: { name: "scope" },
        spans: [{ name: "a" }, { name: "b" }],
        schemaUrl: "https://scope.example",
      }, { scope: { name: "other" }, spans: [{ name: "c" }] }],
    }],
  });
  const cut = leaves("traces", request).map((leaf) => JSON.stringify(decodeRequest("traces", leaf)));
  assert.equal(cut.length, 3);
  for (const [index, name] of ["a", "b", "c"].entries()) {
    assert.match(cut[index]!, new RegExp(`"name":"${name}"`));
    assert.match(cut[index]!, /shop.*|https:\/\/resource\.example/);
    assert.match(cut[index]!, index < 2 ? /https:\/\/scope\.example/ : /"other"/);
  }
});

Deno.test("a metric is cut at its data points, and stays what it is", () => {
  const points = [1n, 2n, 3n].map((asInt) => ({ asInt }));
  const request = encodeProtobuf("MetricsRequest", {
    resourceMetrics: [{
      scopeMetrics: [{ metrics: [{ name: "m", unit: "s", sum: { dataPoints: points, isMonotonic: true } }] }],
    }],
  });
  const cut = leaves("metrics", request);
  assert.equal(cut.length, 3);
  for (const leaf of cut) {
    assert.equal(walker.walk("metrics", leaf).items, 1);
    assert.match(JSON.stringify(decodeRequest("metrics", leaf)), /"unit":"s".*"isMonotonic":true/);
  }
});

Deno.test("what cannot be cut is left whole: nothing in it, one item, profiles, groups, a header that is larger than it is worth", () => {
  assert.equal(halves("traces", new Uint8Array(0)), undefined);
  assert.equal(halves("traces", requestOf("traces", ["a"])), undefined);
  assert.equal(halves("profiles", requestOf("profiles", ["a", "b"])), undefined);
  // A group where a resource would be.
  assert.equal(halves("traces", new Uint8Array([0x0a, 0x02, 0x0b, 0x0c])), undefined);
  const large = encodeProtobuf("TracesRequest", {
    resourceSpans: [{
      resource: { attributes: [{ key: "k", value: { stringValue: "x".repeat(20_000) } }] },
      scopeSpans: [{ spans: [{ name: "a" }, { name: "b" }] }],
    }],
  });
  assert.equal(halves("traces", large), undefined);
});

Deno.test("ten million empty resources are cut without a view for each", () => {
  const request = new Uint8Array(20 << 20);
  for (let index = 0; index < request.length; index += 2) request[index] = 0x0a;
  const [first, second] = halves("traces", request)!;
  assert.deepEqual([first.length, second.length], [10 << 20, 10 << 20]);
  assert.equal(first.buffer, request.buffer);
});

Deno.test("a request in odd spellings that the walk takes is cut as it was walked", () => {
  const a = [0x12, 2, 0x12, 0];
  const b = [0x12, 4, 0x12, 2, 0x2a, 0];
  const odd: Readonly<Record<string, readonly number[]>> = {
    // The last byte's bits are beyond 64 and count for nothing.
    "a length of ten bytes": [0x0a, a.length | 0x80, ...Array(8).fill(0x80), 0x02, ...a],
    "a length in two bytes": [0x0a, a.length | 0x80, 0x00, ...a],
  };
  for (const [said, first] of Object.entries(odd)) {
    const request = Uint8Array.from([...first, 0x0a, b.length, ...b]);
    assert.deepEqual(walker.walk("logs", request), { items: 2, mergeable: true }, said);
    assert.deepEqual(halves("logs", request)?.map((half) => [...half]), [first, [0x0a, b.length, ...b]], said);
  }
  // An unknown group without content stands beside what is cut, and goes with each.
  const group = [0xfb, 0x7f, 0xfc, 0x7f];
  const resource = (...content: readonly number[]) => [0x0a, group.length + content.length, ...group, ...content];
  const request = Uint8Array.from(resource(...a, ...b));
  assert.deepEqual(walker.walk("logs", request), { items: 2, mergeable: true });
  assert.deepEqual(halves("logs", request)?.map((half) => [...half]), [resource(...a), resource(...b)]);
});
