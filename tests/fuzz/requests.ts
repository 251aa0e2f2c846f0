/** Requests for fuzzing, from a seed: valid ones, damaged in body, framing and headers. */
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName, signalOf } from "../../src/signal.ts";
import { mutate } from "../support/bodies/mutate.ts";
import { encodeJson, encodeProtobuf, type Random, randomRequest } from "../support/bodies/requests.ts";

export interface FuzzRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signal: SignalName;
  readonly json: boolean;
  /** Its headers are those of an ordinary sender: only the body is damaged. */
  readonly ordinary: boolean;
}

interface Valid {
  readonly signal: SignalName;
  readonly protobuf: Uint8Array<ArrayBuffer>;
  readonly json: Uint8Array<ArrayBuffer>;
}

/** How often a body is large. */
const LARGE_CHANCE = 1 / 2_000;

function repeated(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const times = Math.ceil(length / bytes.length);
  return new Uint8Array(Buffer.concat(Array<Uint8Array>(times).fill(bytes)));
}

/** Makes one request after the other. */
export class FuzzSource {
  readonly #random: Random;
  readonly #valid: readonly Valid[];

  /** @param variety How many valid requests the damaged ones are made from. */
  constructor(random: Random, variety: number) {
    this.#random = random;
    const valid: Valid[] = [];
    while (valid.length < variety) {
      const signal = random.pick(SIGNAL_NAMES);
      const message = randomRequest(random, signal);
      const name = REQUEST_MESSAGE[signal];
      const protobuf = encodeProtobuf(name, message);
      // Many are all but empty, and those that are large take their time.
      if (protobuf.length < 100 || protobuf.length > 4_000) continue;
      valid.push({ signal, protobuf, json: new Uint8Array(Buffer.from(encodeJson(name, message, random))) });
    }
    this.#valid = valid;
  }

  next(): FuzzRequest {
    const random = this.#random;
    const valid = random.pick(this.#valid);
    const other = random.pick(this.#valid);
    const json = random.chance(0.4);
    const original = json ? valid.json : valid.protobuf;
    let body = original;
    // Now and then one that goes to the thread: protobuf that is repeated is a request again.
    if (!json && random.chance(LARGE_CHANCE)) body = repeated(original, 300_000 + random.below(600_000));
    if (random.chance(0.7)) {
      body = json && random.chance(0.7)
        ? damageJson(random, original, other.json)
        : mutate(random, body, json ? other.json : other.protobuf);
    }
    const coding = random.pick(["", "", "gzip", "gzip", "gzip", "deflate", "zstd"]);
    body = encoded(random, coding, body, other.protobuf);
    const headers: [string, string][] = [["content-type", json ? "application/json" : "application/x-protobuf"]];
    if (coding !== "") headers.push(["content-encoding", coding]);
    const ordinary = random.chance(0.8);
    const { path } = signalOf(valid.signal);
    const request = { method: "POST", path, headers, body, signal: valid.signal, json, ordinary };
    return ordinary ? request : { ...request, ...oddities(random, headers, path) };
  }
}

/** The body in its coding; now and then the coding itself is damaged, doubled or followed by something. */
function encoded(
  random: Random,
  coding: string,
  body: Uint8Array<ArrayBuffer>,
  other: Uint8Array,
): Uint8Array<ArrayBuffer> {
  if (coding === "") return body;
  const encode = { gzip: gzipSync, deflate: deflateSync, zstd: zstdCompressSync }[coding]!;
  const whole = new Uint8Array(
    coding === "gzip" && random.chance(0.1)
      ? Buffer.concat([gzipSync(body.subarray(0, body.length >> 1)), gzipSync(body.subarray(body.length >> 1))])
      : encode(body),
  );
  return random.chance(0.25) ? mutate(random, whole, other) : whole;
}

const JSON_PIECES = [
  "null",
  "true",
  '""',
  '"x"',
  "0",
  "-1",
  "1e400",
  "18446744073709551616",
  "9007199254740993",
  '"9223372036854775808"',
  "1.5",
  "[]",
  "{}",
  "[[[[]]]]",
  '{"__proto__":{}}',
  '"\\ud800"',
  '"\\u0000"',
  '"NaN"',
  '"-Infinity"',
  "{",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "\u0007",
  "\u00ff",
] as const;

/** Damage that keeps a text a JSON text more often than bytes at random would. */
function damageJson(random: Random, body: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  let text = Buffer.from(body).toString("latin1");
  for (let faults = 1 + random.below(3); faults > 0; faults--) {
    const values = [
      ...text.matchAll(/(?<=[:[,]\s*)("(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|true|false|\{\}|\[\])(?=\s*[,\]}])/g),
    ];
    const names = [...text.matchAll(/"[A-Za-z]+"(?=\s*:)/g)];
    const found = random.chance(0.7) ? values : names;
    if (found.length === 0) break;
    const target = random.pick(found);
    const replacement = found === values ? random.pick(JSON_PIECES) : random.pick([
      '"kind"',
      '"traceId"',
      '"attributes"',
      '"__proto__"',
      '"constructor"',
      '"value"',
      '"resource_spans"',
      '"Name"',
      '""',
    ]);
    text = text.slice(0, target.index) + replacement + text.slice(target.index + target[0].length);
  }
  if (random.chance(0.1)) {
    const from = random.below(other.length);
    const at = random.below(text.length);
    text = text.slice(0, at) + Buffer.from(other.subarray(from, from + random.below(80))).toString("latin1") +
      text.slice(at);
  }
  return new Uint8Array(Buffer.from(text, "latin1"));
}

const TYPES = [
  "application/json; charset=utf-8",
  "APPLICATION/X-PROTOBUF",
  "application/x-protobuf;",
  "application/json;;;",
  "application/x-protobuf, application/json",
  "text/plain",
  "application/grpc",
  "",
  ";",
  "x".repeat(5_000),
];
const CODINGS = [
  "gzip, gzip",
  "GZIP",
  " gzip ",
  "x-gzip",
  "br",
  "none",
  "identity",
  "compress",
  "",
  ",",
  "gzip;q=1",
  "zstd",
];
const LENGTHS = ["0", "1", "-1", "+5", "5, 5", "0x10", "999999999999", "1e3", "", " 7", "NaN"];
const NAMES = [
  "authorization",
  "x-api-key",
  "origin",
  "traceparent",
  "tracestate",
  "baggage",
  "accept-encoding",
  "host",
  "range",
  "expect",
];

/** Headers, methods and paths that no ordinary sender has. */
function oddities(
  random: Random,
  headers: readonly (readonly [string, string])[],
  path: string,
): Pick<FuzzRequest, "method" | "path" | "headers"> {
  const odd = headers.filter(() => random.chance(0.7)).map(([name, value]): [string, string] => [name, value]);
  if (random.chance(0.3)) odd.push(["content-type", random.pick(TYPES)]);
  if (random.chance(0.3)) odd.push(["content-encoding", random.pick(CODINGS)]);
  if (random.chance(0.3)) odd.push(["content-length", random.pick(LENGTHS)]);
  for (let more = random.below(4); more > 0; more--) {
    odd.push([random.pick(NAMES), printable(random, random.pick([0, 1, 20, 300, 4_000]))]);
  }
  return {
    method: random.chance(0.8)
      ? "POST"
      : random.pick(["PUT", "PATCH", "DELETE", "OPTIONS", "X-ODD", "post", "GET", "HEAD"]),
    path: random.chance(0.8) ? path : random.pick([
      `${path}/`,
      `${path}?a=%00`,
      `/${path}`,
      `${path}%2f..`,
      "/v1/TRACES",
      "/",
      "/v1development/profiles",
      `/${printable(random, 50).replaceAll(/[^a-z0-9]/gi, "%")}`,
    ]),
    headers: odd,
  };
}

/** What may stand in a header's value: visible ASCII, spaces and what lies above. */
function printable(random: Random, length: number): string {
  return Array.from({ length }, () => {
    const code = random.chance(0.9) ? 0x20 + random.below(95) : 0x80 + random.below(128);
    return String.fromCharCode(code);
  }).join("").trim();
}
