import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { transcodeJson } from "../../../src/otlp/json/transcode.ts";
import { encodeResourceAttributes, withResourceAttributes } from "../../../src/otlp/rewrite/resource_attributes.ts";
import { type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";
import { Walker } from "../../../src/otlp/wire.ts";
import {
  encodeProtobuf,
  Random,
  randomRequest,
  type TestMessage,
  type TestValue,
  varint,
} from "../../support/bodies/requests.ts";

const ours = encodeResourceAttributes({ "tenant.id": "acme", paid: true, seats: 12, share: 0.5, below: -1 });
/** The same, as a test message has them. */
const written: TestMessage[] = [
  { key: "tenant.id", value: { stringValue: "acme" } },
  { key: "paid", value: { boolValue: true } },
  { key: "seats", value: { intValue: 12n } },
  { key: "share", value: { doubleValue: 0.5 } },
  { key: "below", value: { intValue: -1n } },
];

const len = (number: number, ...parts: Uint8Array[]): Uint8Array => {
  const content = Buffer.concat(parts);
  return Buffer.concat([varint(BigInt(number * 8 + 2)), varint(BigInt(content.length)), content]);
};
const text = (value: string) => new TextEncoder().encode(value);
const attribute = (key: string, value: string) => len(1, len(1, text(key)), len(2, len(1, text(value))));

Deno.test("each resource of any request has them, and all else is as it was", () => {
  const random = new Random(66);
  const walker = new Walker();
  let resources = 0;
  for (let round = 0; round < 150; round++) {
    for (const signal of SIGNAL_NAMES) {
      const request = randomRequest(random, signal);
      const listName = MESSAGES[REQUEST_MESSAGE[signal]].map(({ name }) => name).find((name) =>
        name in request && Array.isArray(request[name])
      );
      const list = (listName === undefined ? [] : request[listName]) as TestMessage[];
      const before = encodeProtobuf(REQUEST_MESSAGE[signal], request);
      const expected = {
        ...request,
        ...(listName === undefined ? {} : {
          [listName]: list.map((entry): TestValue => {
            const resource = (entry["resource"] ?? {}) as TestMessage;
            const kept = (resource["attributes"] ?? []) as TestMessage[];
            return { ...entry, resource: { ...resource, attributes: [...kept, ...written] } };
          }),
        }),
      };
      const after = withResourceAttributes(before, ours, 1 << 29);
      resources += list.length;
      assert.deepEqual(
        normal(REQUEST_MESSAGE[signal], after),
        normal(REQUEST_MESSAGE[signal], encodeProtobuf(REQUEST_MESSAGE[signal], expected)),
      );
      assert.deepEqual(walker.walk(signal, after), walker.walk(signal, before));
    }
  }
  assert.ok(resources > 300);
});

/** The order of a resource's own fields is free; compared as sorted bytes of the whole. */
function normal(_name: MessageName, bytes: Uint8Array): number[] {
  return [...bytes].sort((a, b) => a - b);
}

Deno.test("what the sender says under the same keys is gone, however it is put", () => {
  const other = attribute("service.name", "shop");
  const expected = len(1, len(1, other, ours.encoded));
  const table: [string, Uint8Array][] = [
    ["plainly", len(1, len(1, attribute("tenant.id", "evil"), other, attribute("tenant.id", "evil")))],
    [
      "behind another key, of which the last counts",
      len(1, len(1, len(1, len(1, text("x")), len(1, text("tenant.id"))), other)),
    ],
    ["without a value", len(1, len(1, len(1, len(1, text("tenant.id"))), other))],
    ["with the value first", len(1, len(1, len(1, len(2, len(1, text("evil"))), len(1, text("tenant.id"))), other))],
  ];
  for (const [name, request] of table) {
    assert.deepEqual([...withResourceAttributes(request, ours, 1 << 29)], [...expected], name);
  }
  const twice = len(1, len(1, attribute("tenant.id", "evil")), len(1, attribute("paid", "no"), other));
  assert.deepEqual(
    [...withResourceAttributes(twice, ours, 1 << 29)],
    [...len(1, len(1), len(1, other, ours.encoded))],
    "two resources",
  );
  const none = len(1, len(2, len(2, len(5, text("span")))));
  assert.deepEqual(
    [...withResourceAttributes(none, ours, 1 << 29)],
    [...len(1, len(1, ours.encoded), len(2, len(2, len(5, text("span")))))],
    "no resource",
  );
  const fromJson = transcodeJson(
    "traces",
    text('{"resourceSpans":[{"resource":{"attributes":[{"key":"tenant.id","value":{"stringValue":"evil"}}]}}]}'),
    1_000,
  ).protobuf;
  assert.ok(!Buffer.from(withResourceAttributes(fromJson, ours, 1 << 29)).includes("evil"));
});

Deno.test("a key that a profiles request names by its place in the string table is found there", () => {
  const varint = (number: number, value: number) => Uint8Array.of(number << 3, value);
  const evil = len(2, len(1, text("evil")));
  const byPlace = (place: number) => len(1, len(1, len(1, varint(3, place), evil)));
  const table = (...strings: string[]) => len(2, ...strings.map((one) => len(5, text(one))));
  const rest = Buffer.concat([table("", "paid"), table("host.name", "tenant.id")]);
  for (const [place, taken] of [[1, true], [3, true], [0, false], [2, false], [4, false]] as const) {
    for (const request of [[byPlace(place), rest], [rest, byPlace(place)]].map((pieces) => Buffer.concat(pieces))) {
      new Walker().walk("profiles", request);
      const after = Buffer.from(withResourceAttributes(request, ours, 1 << 29));
      new Walker().walk("profiles", after);
      assert.equal(after.includes("evil"), !taken, `place ${place}`);
      assert.ok(after.includes("acme"));
      assert.ok(after.includes(rest), "the dictionary is as it was");
    }
  }
});

Deno.test("fields that nobody knows stay, groups among them, and keys of other places", () => {
  const unknown = Buffer.concat([
    Uint8Array.of(0xb8, 0x3e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
    // A group in a group, and one whose first field ends it, as the Collector has it.
    Uint8Array.of(0xbb, 0x3e, 0xb3, 0x3e, 0xb4, 0x3e, 0xbc, 0x3e, 0xbb, 0x3e, 0xb8, 0x3e, 1),
    Uint8Array.of(0xb9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8),
  ]);
  const span = len(2, len(2, len(9, len(1, text("tenant.id")))));
  const request = Buffer.concat([len(1, unknown, len(1, unknown), span, unknown), unknown]);
  const expected = Buffer.concat([len(1, unknown, len(1, unknown, ours.encoded), span, unknown), unknown]);
  new Walker().walk("traces", request);
  assert.deepEqual([...withResourceAttributes(request, ours, 1 << 29)], [...expected]);
});

Deno.test("no spelling hides a key: long tags and lengths, bits that are dropped, fields behind a group", () => {
  const evil = Buffer.concat([len(1, text("tenant.id")), len(2, len(1, text("evil")))]);
  const spelled = (tag: number[], content: Uint8Array, length = [content.length]) =>
    Buffer.concat([Uint8Array.from(tag), Uint8Array.from(length), content]);
  const inResource = (...parts: Uint8Array[]) => len(1, len(1, ...parts));
  const key = text("tenant.id");
  const value = len(2, len(1, text("evil")));
  // Field 1 with bits above 2^32, which the Collector drops.
  const high = [0x8a, 0x80, 0x80, 0x80, 0x80, 0x01];
  const long = (length: number) => [length | 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
  const hidden: Uint8Array[] = [
    inResource(spelled([0x8a, 0x00], evil)),
    inResource(spelled(high, evil)),
    inResource(spelled([0x0a], evil, long(evil.length))),
    inResource(spelled([0x0a], evil, [...long(evil.length).slice(0, 9), 0x02])),
    inResource(len(1, spelled(high, key), value)),
    inResource(len(1, spelled([0x0a], key, long(key.length)), value)),
    inResource(Uint8Array.of(0xbb, 0x3e, 0xb8, 0x3e, 1), len(1, evil), Uint8Array.of(0xb8, 0x3e, 1)),
    len(1, spelled(high, len(1, evil))),
    spelled(high, len(1, len(1, evil))),
    spelled([0x8a, 0x80, 0x00], len(1, len(1, evil))),
  ];
  for (const [index, request] of hidden.entries()) {
    new Walker().walk("traces", request);
    const after = withResourceAttributes(request, ours, 1 << 29);
    new Walker().walk("traces", after);
    assert.ok(!Buffer.from(after).includes("evil"), `${index}`);
    assert.ok(Buffer.from(after).includes("acme"), `${index}`);
  }
});
