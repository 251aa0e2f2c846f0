import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { type DecodedMessage, type DecodedValue, decodeRequest } from "../../../src/otlp/decode.ts";
import { type RedactionRule, Redactor } from "../../../src/otlp/rewrite/redaction.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../src/signal.ts";
import { NESTING_MAX, Walker } from "../../../src/otlp/wire.ts";
import {
  encodeProtobuf,
  Random,
  randomRequest,
  type TestMessage,
  type TestValue,
  varint,
} from "../../support/bodies/requests.ts";

const SALT = "a salt for tests";
const NO_BOUNDS = { bytesMax: 1 << 29, hashesMax: Infinity };
const hashOf = (value: string | Uint8Array) => createHmac("sha256", SALT).update(value).digest("hex");

/** The keys of random requests are few words; these rules are for some of them. */
const RULES: readonly RedactionRule[] = [
  { key: "GET /*", action: "hash" },
  { key: "http.*", action: "delete" },
  { key: "http.request.method", action: "hash" },
  { key: "日?", action: "hash" },
  { key: "a", action: "delete" },
  { key: "😀", action: "hash" },
  { key: "", action: "hash" },
];
const redactor = () => new Redactor({ rules: RULES, salt: SALT, dryRun: false });

const text = (value: string) => new TextEncoder().encode(value);
const len = (number: number, ...parts: Uint8Array[]): Uint8Array => {
  const content = Buffer.concat(parts);
  return Buffer.concat([varint(BigInt(number * 8 + 2)), varint(BigInt(content.length)), content]);
};
const attribute = (number: number, key: string, value: string) =>
  len(number, len(1, text(key)), len(2, len(1, text(value))));

/** The rule for a key, said otherwise than the redactor has it: by regular expressions. */
function ruleFor(key: string, rules: readonly RedactionRule[]): number {
  const found = rules.map(({ key: glob, action }, index) => ({ glob, action, index })).filter(({ glob }) =>
    new RegExp(
      `^${glob.replace(/[.+^${}()|[\]\\/]/g, "\\$&").replaceAll("*", "[\\s\\S]*").replaceAll("?", "[\\s\\S]")}$`,
    ).test(key)
  );
  return (found.find(({ action }) => action === "delete") ?? found[0])?.index ?? -1;
}

type Rules = readonly RedactionRule[];

/** The model: the same on the objects of the tests' own requests, the string table of profiles by two readings of its own. */
function modelled(signal: SignalName, request: TestMessage, rules: Rules, hits: number[]): TestMessage {
  const name = REQUEST_MESSAGE[signal];
  const dictionary = request["dictionary"] as TestMessage | undefined;
  const table = signal === "profiles" ? (dictionary?.["stringTable"] ?? []) as string[] : undefined;
  const kept = new Set<number>();
  const gone = new Set<number>();
  note(name, request, rules, table, kept, gone, false);
  const strings = table?.map((string, index) => gone.has(index) && !kept.has(index) ? "" : string);
  return redacted(name, request, rules, { table, strings }, hits)!;
}

const indexOf = (message: TestMessage) => Number((message["keyStrindex"] ?? 0n) as bigint);

function ruleOf(name: MessageName, message: TestMessage, rules: Rules, table: readonly string[] | undefined): number {
  if (name !== "KeyValue" && name !== "KeyValueAndUnit") return -1;
  const key = message["key"] as string | undefined ?? "";
  const index = indexOf(message);
  if (name === "KeyValueAndUnit" && index === 0 && message["value"] === undefined) return -1;
  const named = table?.[index];
  const own = key === "" && named !== undefined ? -1 : ruleFor(key, rules);
  return own >= 0 || named === undefined ? own : ruleFor(named, rules);
}

/** Which strings of the table something that stays refers to, and which something that goes. */
function note(
  name: MessageName,
  message: TestMessage,
  rules: Rules,
  table: readonly string[] | undefined,
  kept: Set<number>,
  gone: Set<number>,
  within: boolean,
): void {
  const going = within || ruleOf(name, message, rules, table) >= 0;
  if (going && !within) kept.add(indexOf(message));
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    if (value === undefined) continue;
    if (field.name.endsWith("trindex")) (going ? gone : kept).add(Number(value as bigint));
    if (!isMessage(field.kind)) continue;
    for (const each of Array.isArray(value) ? value : [value]) {
      note(field.kind, each as TestMessage, rules, table, kept, gone, going);
    }
  }
}

interface Tables {
  readonly table: readonly string[] | undefined;
  readonly strings: string[] | undefined;
}

function redacted(
  name: MessageName,
  message: TestMessage,
  rules: Rules,
  tables: Tables,
  hits: number[],
): TestMessage | undefined {
  const rule = ruleOf(name, message, rules, tables.table);
  if (rule >= 0) {
    hits[rule]! += 1;
    if (rules[rule]!.action === "delete") return name === "KeyValue" ? undefined : {};
    const { key, keyStrindex, value } = message;
    return {
      ...(key === undefined || key === "" ? {} : { key }),
      ...(keyStrindex === undefined || keyStrindex === 0n ? {} : { keyStrindex }),
      value: { stringValue: hashOf(hashedBytes(value as TestMessage | undefined, tables.table)) },
    };
  }
  const copy: TestMessage = {};
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    if (value === undefined || field.name === "originalPayload") continue;
    const { kind } = field;
    if (field.name === "stringTable") copy[field.name] = tables.strings!;
    else if (!isMessage(kind)) copy[field.name] = value;
    else if (!field.repeated) copy[field.name] = redacted(kind, value as TestMessage, rules, tables, hits)!;
    else {
      copy[field.name] = (value as TestMessage[]).map((each) => redacted(kind, each, rules, tables, hits))
        .filter((each) => each !== undefined);
    }
  }
  return copy;
}

function hashedBytes(value: TestMessage | undefined, table: readonly string[] | undefined): Uint8Array {
  const [name, content] = Object.entries(value ?? {})[0] ?? [];
  if (name === undefined || content === undefined) return new Uint8Array(0);
  if (content instanceof Uint8Array) return content;
  if (name === "arrayValue") return encodeProtobuf("ArrayValue", content as TestMessage);
  if (name === "kvlistValue") return encodeProtobuf("KeyValueList", content as TestMessage);
  if (name === "stringValueStrindex") return text(table?.[Number(content as bigint)] ?? "");
  return text(String(content as TestValue));
}

Deno.test("any request is as its model says, byte for byte, and each rule's count too", () => {
  const random = new Random(4711);
  const walker = new Walker();
  const all = RULES.map(() => 0);
  let untouched = 0;
  for (let round = 0; round < 300; round++) {
    for (const signal of SIGNAL_NAMES) {
      const request = randomRequest(random, signal);
      const rules = RULES.filter(() => random.chance(0.6));
      const bytes = encodeProtobuf(REQUEST_MESSAGE[signal], request);
      const expectedHits = rules.map(() => 0);
      const expected = encodeProtobuf(REQUEST_MESSAGE[signal], modelled(signal, request, rules, expectedHits));
      const { request: redacted, hits } = new Redactor({ rules, salt: SALT, dryRun: false }).redact(
        signal,
        bytes,
        NO_BOUNDS,
      );
      const hit = expectedHits.some((count) => count > 0);
      assert.deepEqual(hits, hit ? expectedHits : undefined);
      assert.equal(Buffer.from(redacted ?? bytes).toString("hex"), Buffer.from(expected).toString("hex"));
      if (redacted === undefined) untouched++;
      else assert.deepEqual(walker.walk(signal, redacted), walker.walk(signal, bytes));
      for (const [index, count] of expectedHits.entries()) all[RULES.indexOf(rules[index]!)]! += count;
      const dry = new Redactor({ rules, salt: SALT, dryRun: true }).redact(signal, bytes, NO_BOUNDS);
      assert.deepEqual(dry.request, undefined);
      // A value that is deleted is not looked into; in a dry run it is not either.
      assert.deepEqual(dry.hits, hits);
    }
  }
  for (const [index, count] of all.entries()) assert.ok(count > 20, `${RULES[index]!.key}: ${count}`);
  assert.ok(untouched > 20, `${untouched}`);
});

/**
 * The same request otherwise on the wire: fields in another order, unknown ones and groups between them, tags and lengths longer
 * than they need be, keys said twice, values in pieces.
 */
function disguised(name: MessageName, bytes: Uint8Array, random: Random, depth = 0): Uint8Array {
  const known = new Map(MESSAGES[name].map((field) => [field.number, field]));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = plainVarint(bytes, at);
    const number = tag.value >> 3;
    const field = known.get(number)!;
    let end: number;
    let content: Uint8Array | undefined;
    if ((tag.value & 7) === 2) {
      const length = plainVarint(bytes, tag.end);
      end = length.end + length.value;
      content = bytes.subarray(length.end, end);
    } else end = (tag.value & 7) === 0 ? plainVarint(bytes, tag.end).end : tag.end + ((tag.value & 7) === 1 ? 8 : 4);
    if (content === undefined) {
      pieces.push(Buffer.concat([longVarint(tag.value, random), bytes.subarray(tag.end, end)]));
    } else {
      const inner = isMessage(field.kind) ? disguised(field.kind, content, random, depth + 1) : content;
      const whole = [longVarint(tag.value, random), longVarint(inner.length, random), inner];
      // Of a string the last counts; a message that is not in a list is merged, and only where it is whole is it the same.
      if (field.kind === "string" && !field.repeated && random.chance(0.3)) {
        pieces.push(len(number, text("http.decoy")));
      }
      if (field.kind === "AnyValue" && name === "KeyValue" && random.chance(0.3)) {
        pieces.push(len(number, len(1, text("decoy"))), len(number));
      }
      pieces.push(Buffer.concat(whole));
    }
    if (random.chance(0.2)) pieces.push(random.pick(UNKNOWN));
    at = end;
  }
  if (random.chance(0.2)) pieces.unshift(random.pick(UNKNOWN));
  return Buffer.concat(pieces);
}

const UNKNOWN = [
  Uint8Array.of(0xb8, 0x3e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
  Uint8Array.of(0xbb, 0x3e, 0xb3, 0x3e, 0xb4, 0x3e, 0xbc, 0x3e, 0xb8, 0x3e, 1),
  Uint8Array.of(0xbb, 0x3e, 0xb8, 0x3e, 1),
  Uint8Array.of(0xb9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8),
  len(999, text("unknown")),
];

function plainVarint(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0;
  for (let at = start;; at++) {
    value += (bytes[at]! & 0x7f) * 2 ** (7 * (at - start));
    if (bytes[at]! < 0x80) return { value, end: at + 1 };
  }
}

function longVarint(value: number, random: Random): Uint8Array {
  const short = varint(BigInt(value));
  if (random.chance(0.7)) return short;
  const more = 1 + random.below(8 - short.length);
  return Uint8Array.from([...short.map((byte) => byte | 0x80), ...Array<number>(more - 1).fill(0x80), 0]);
}

/** What is left of a hashed attribute, told as the model tells it. Checks that it is a hash. */
function withoutHashes(value: DecodedValue): DecodedValue {
  if (typeof value !== "object") return value;
  if (value instanceof Array) return value.map((each) => withoutHashes(each));
  const object = value as DecodedMessage;
  const copy = Object.fromEntries(Object.entries(object).map(([key, each]) => [key, withoutHashes(each)]));
  const held = object["value"] as DecodedMessage | undefined;
  if (typeof held === "object" && /^[0-9a-f]{64}$/.test(String(held["stringValue"]))) {
    return { key: copy["key"] ?? "", value: "hashed" };
  }
  return copy;
}

/** As JSON, a list that is empty and one that is absent being the same. */
const comparable = (value: DecodedValue) =>
  JSON.stringify(value, (_, each) => Array.isArray(each) && each.length === 0 ? undefined : each);

Deno.test("however a request is put on the wire, its decoder sees what the model says", () => {
  const random = new Random(1848);
  const walker = new Walker();
  let changed = 0;
  for (let round = 0; round < 250; round++) {
    for (const signal of SIGNAL_NAMES) {
      const plain = randomRequest(random, signal);
      const bytes = disguised(REQUEST_MESSAGE[signal], encodeProtobuf(REQUEST_MESSAGE[signal], plain), random);
      const before = walker.walk(signal, bytes);
      const { request } = redactor().redact(signal, bytes, NO_BOUNDS);
      if (request === undefined) continue;
      changed++;
      assert.deepEqual(walker.walk(signal, request), before);
      const expected = modelled(signal, plain, RULES, RULES.map(() => 0));
      assert.equal(
        comparable(withoutHashes(decodeRequest(signal, request))),
        comparable(withoutHashes(decodeRequest(signal, encodeProtobuf(REQUEST_MESSAGE[signal], expected)))),
      );
      // Once more: there is nothing left but the hashed ones, whose keys stay.
      const again = redactor().redact(signal, request, NO_BOUNDS);
      assert.ok((again.hits ?? []).every((count, index) => count === 0 || RULES[index]!.action === "hash"));
    }
  }
  assert.ok(changed > 150, `${changed}`);
});

const PLACES: readonly [SignalName, string, (secret: Uint8Array) => Uint8Array][] = [
  ["traces", "resource", (kv) => len(1, len(1, len(1, kv)))],
  ["traces", "scope", (kv) => len(1, len(2, len(1, len(3, kv))))],
  ["traces", "span", (kv) => len(1, len(2, len(2, len(9, kv))))],
  ["traces", "event", (kv) => len(1, len(2, len(2, len(11, len(3, kv)))))],
  ["traces", "link", (kv) => len(1, len(2, len(2, len(13, len(4, kv)))))],
  ["traces", "deprecated scopes", (kv) => len(1, len(1000, len(2, len(9, kv))))],
  ["metrics", "resource", (kv) => len(1, len(1, len(1, kv)))],
  ["metrics", "scope", (kv) => len(1, len(2, len(1, len(3, kv))))],
  ["metrics", "metadata", (kv) => len(1, len(2, len(2, len(12, kv))))],
  ["metrics", "gauge", (kv) => len(1, len(2, len(2, len(5, len(1, len(7, kv))))))],
  ["metrics", "sum", (kv) => len(1, len(2, len(2, len(7, len(1, len(7, kv))))))],
  ["metrics", "exemplar", (kv) => len(1, len(2, len(2, len(7, len(1, len(5, len(7, kv)))))))],
  ["metrics", "histogram", (kv) => len(1, len(2, len(2, len(9, len(1, len(9, kv))))))],
  ["metrics", "histogram exemplar", (kv) => len(1, len(2, len(2, len(9, len(1, len(8, len(7, kv)))))))],
  ["metrics", "exponential histogram", (kv) => len(1, len(2, len(2, len(10, len(1, len(1, kv))))))],
  ["metrics", "exponential exemplar", (kv) => len(1, len(2, len(2, len(10, len(1, len(11, len(7, kv)))))))],
  ["metrics", "summary", (kv) => len(1, len(2, len(2, len(11, len(1, len(7, kv))))))],
  ["logs", "resource", (kv) => len(1, len(1, len(1, kv)))],
  ["logs", "scope", (kv) => len(1, len(2, len(1, len(3, kv))))],
  ["logs", "log record", (kv) => len(1, len(2, len(2, len(6, kv))))],
  ["logs", "map in a body", (kv) => len(1, len(2, len(2, len(5, len(6, len(1, kv))))))],
  [
    "logs",
    "map in a list in a map of an attribute",
    (kv) => {
      const list = len(5, len(1, len(6, len(1, kv))));
      const map = len(6, len(1, len(1, text("y")), len(2, list)));
      return len(1, len(2, len(2, len(6, len(1, text("x")), len(2, map)))));
    },
  ],
];

Deno.test("a secret is found in every place that attributes have", () => {
  const secret = Buffer.concat([len(1, text("password")), len(2, len(1, text("hunter2")))]);
  for (const [signal, place, put] of PLACES) {
    const request = put(secret);
    new Walker().walk(signal, request);
    for (const action of ["delete", "hash"] as const) {
      const { request: redacted, hits } = new Redactor({ rules: [{ key: "pass*", action }], salt: SALT, dryRun: false })
        .redact(signal, request, NO_BOUNDS);
      assert.deepEqual(hits, [1], `${signal} ${place}`);
      assert.ok(!Buffer.from(redacted!).includes("hunter2"), `${signal} ${place}`);
      assert.equal(Buffer.from(redacted!).includes("password"), action === "hash", `${signal} ${place}`);
      assert.equal(Buffer.from(redacted!).includes(hashOf("hunter2")), action === "hash", `${signal} ${place}`);
      new Walker().walk(signal, redacted!);
    }
  }
});

Deno.test("no spelling hides an attribute, and nothing else of a hashed one stays", () => {
  const key = text("password");
  const value = len(2, len(1, text("hunter2")));
  const evil = Buffer.concat([len(1, key), value]);
  const high = [0x8a, 0x80, 0x80, 0x80, 0x80, 0x01];
  const spelled = (tag: number[], content: Uint8Array, length = [content.length]) =>
    Buffer.concat([Uint8Array.from(tag), Uint8Array.from(length), content]);
  const long = (length: number) => [length | 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
  const inResource = (...parts: Uint8Array[]) => len(1, len(1, ...parts));
  const hidden = [
    inResource(spelled([0x8a, 0x00], evil)),
    inResource(spelled(high, evil)),
    inResource(spelled([0x0a], evil, long(evil.length))),
    inResource(spelled([0x0a], evil, [...long(evil.length).slice(0, 9), 0x02])),
    inResource(len(1, spelled(high, key), value)),
    inResource(len(1, value, len(1, key))),
    inResource(len(1, len(1, text("x")), value, len(1, key))),
    inResource(len(1, len(1, key), len(2, len(1, text("hunter2 once"))), value, len(2))),
    inResource(len(1, len(1, key), value, len(2, Uint8Array.of(0x10, 1)))),
    inResource(len(1, evil, len(999, text("hunter2")))),
    inResource(Uint8Array.of(0xbb, 0x3e, 0xb8, 0x3e, 1), len(1, evil), Uint8Array.of(0xb8, 0x3e, 1)),
    Buffer.concat([len(1, len(1)), len(1, len(1, len(1, evil)), len(1))]),
    spelled(high, len(1, len(1, evil))),
  ];
  for (const [index, request] of hidden.entries()) {
    new Walker().walk("traces", request);
    for (const action of ["delete", "hash"] as const) {
      const { request: redacted } = new Redactor({ rules: [{ key: "password", action }], salt: SALT, dryRun: false })
        .redact("traces", request, NO_BOUNDS);
      new Walker().walk("traces", redacted!);
      assert.ok(!Buffer.from(redacted!).includes("hunter2"), `${action} ${index}`);
    }
  }
});

Deno.test("profiles: attributes and strings that are called by their place, and the payload that cannot be read", () => {
  const index = (number: number, value: number) => Uint8Array.of(number * 8, value);
  const strings = ["", "user.email", "a@b.example", "thread.name", "main", "secret"].map((string) =>
    len(5, text(string))
  );
  const table = (...entries: Uint8Array[]) => len(2, ...strings, ...entries.map((entry) => len(6, entry)));
  const named = (key: number, value: number) => Buffer.concat([index(1, key), len(2, index(8, value))]);
  const profile = len(2, len(2, len(10, text("pprof: a@b.example")), len(11, Uint8Array.of(1, 2))));
  const entries = [new Uint8Array(0), named(1, 2), named(3, 4), named(1, 4)];
  const resource = len(1, len(1, index(3, 1), len(2, index(8, 5))));
  const request = Buffer.concat([len(1, resource, profile), table(...entries)]);
  new Walker().walk("profiles", request);
  for (const action of ["delete", "hash"] as const) {
    const { request: after, hits } = new Redactor({ rules: [{ key: "user.*", action }], salt: SALT, dryRun: false })
      .redact("profiles", request, NO_BOUNDS);
    assert.deepEqual(hits, [3]);
    assert.deepEqual(new Walker().walk("profiles", after!), new Walker().walk("profiles", request));
    const { resourceProfiles: [entry], dictionary } = decodeRequest("profiles", after!) as unknown as {
      resourceProfiles: [{ resource: { attributes?: object[] }; scopeProfiles: [{ profiles: [object] }] }];
      dictionary: { stringTable: string[]; attributeTable: object[] };
    };
    const hashed = (value: string) => ({ value: { stringValue: hashOf(value) } });
    const emptied = action === "delete" ? {} : undefined;
    // "main" is a thread's name too, which no rule is for.
    assert.deepEqual(dictionary.stringTable, ["", "user.email", "", "thread.name", "main", ""]);
    assert.deepEqual(dictionary.attributeTable, [
      {},
      emptied ?? { keyStrindex: 1, ...hashed("a@b.example") },
      { keyStrindex: 3, value: { stringValueStrindex: 4 } },
      emptied ?? { keyStrindex: 1, ...hashed("main") },
    ]);
    assert.deepEqual(
      entry.resource.attributes,
      action === "delete" ? undefined : [{ keyStrindex: 1, ...hashed("secret") }],
    );
    assert.deepEqual(entry.scopeProfiles[0].profiles[0], { attributeIndices: [1, 2] });
  }
  assert.equal(
    new Redactor({ rules: [{ key: "user.*", action: "delete" }], salt: SALT, dryRun: true }).redact(
      "profiles",
      request,
      NO_BOUNDS,
    ).request,
    undefined,
  );
});

Deno.test("what is hashed of each kind of value", () => {
  const double = Buffer.alloc(9);
  double[0] = 0x21;
  double.writeDoubleLE(1.5, 1);
  const table: [string, Uint8Array, string | Uint8Array][] = [
    ["text", len(2, len(1, text("42"))), "42"],
    ["int", len(2, Uint8Array.of(0x18, 42)), "42"],
    ["negative int", len(2, Uint8Array.of(0x18), varint(2n ** 64n - 7n)), "-7"],
    ["bool", len(2, Uint8Array.of(0x10, 1)), "true"],
    ["double", len(2, double), "1.5"],
    ["bytes", len(2, len(7, Uint8Array.of(0, 255))), Uint8Array.of(0, 255)],
    ["list", len(2, len(5, len(1, len(1, text("x"))))), len(1, len(1, text("x")))],
    ["empty", len(2), ""],
    ["none", new Uint8Array(0), ""],
    ["the last of a oneof", len(2, len(1, text("first")), Uint8Array.of(0x18, 1)), "1"],
    ["the last of two", Buffer.concat([len(2, len(1, text("first"))), len(2, len(1, text("second")))]), "second"],
  ];
  for (const [name, value, hashed] of table) {
    const request = len(1, len(1, len(1, len(1, text("user.id")), value), attribute(1, "service.name", "shop")));
    new Walker().walk("logs", request);
    assert.deepEqual(
      Buffer.from(
        new Redactor({ rules: [{ key: "user.id", action: "hash" }], salt: SALT, dryRun: false }).redact(
          "logs",
          request,
          NO_BOUNDS,
        ).request!,
      ),
      Buffer.from(len(1, len(1, attribute(1, "user.id", hashOf(hashed)), attribute(1, "service.name", "shop")))),
      name,
    );
  }
});

Deno.test("the deepest nesting that a walk lets in is read to its end", () => {
  // Request, resource spans, resource, attribute and its value, then maps in maps, three messages each.
  let inner: Uint8Array = attribute(1, "password", "hunter2");
  const parts: Uint8Array[] = [inner];
  let length = inner.length;
  for (let depth = 0; depth < Math.floor((NESTING_MAX - 8) / 3); depth++) {
    const kvlist = Buffer.concat([Uint8Array.of(0x32), varint(BigInt(length))]);
    const any = Buffer.concat([Uint8Array.of(0x12), varint(BigInt(kvlist.length + length))]);
    const key = Buffer.concat([Uint8Array.of(0x0a), varint(BigInt(any.length + kvlist.length + length))]);
    parts.unshift(key, any, kvlist);
    length += key.length + any.length + kvlist.length;
  }
  inner = Buffer.concat(parts);
  const request = len(1, len(1, inner));
  new Walker().walk("traces", request);
  const { request: redacted, hits } = new Redactor({
    rules: [{ key: "password", action: "delete" }],
    salt: undefined,
    dryRun: false,
  })
    .redact("traces", request, NO_BOUNDS);
  assert.deepEqual(hits, [1]);
  assert.ok(!Buffer.from(redacted!).includes("hunter2"));
  new Walker().walk("traces", redacted!);
});

Deno.test("a key is remembered by its bytes; many and long ones are no more than looked at", () => {
  const one = new Redactor({ rules: [{ key: "k1*9", action: "delete" }], salt: undefined, dryRun: false });
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < 10_000; index++) {
      const { hits } = one.redact("traces", len(1, len(1, attribute(1, `k${index}`, "v"))), NO_BOUNDS);
      assert.equal(hits !== undefined, /^k1.*9$/.test(`k${index}`), `k${index}`);
    }
  }
  assert.deepEqual(
    one.redact("traces", len(1, len(1, attribute(1, `k1${"x".repeat(10_000)}9`, "v"))), NO_BOUNDS).hits,
    [1],
  );
});

Deno.test("a rule that hashes needs a salt", () => {
  assert.throws(
    () => new Redactor({ rules: [{ key: "a", action: "hash" }], salt: "", dryRun: false }),
    /Cannot hash without a salt/,
  );
  assert.throws(
    () => new Redactor({ rules: [{ key: "a", action: "hash" }], salt: undefined, dryRun: true }),
    /Cannot hash without a salt/,
  );
});
