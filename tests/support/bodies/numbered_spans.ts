/**
 * Requests of spans that can be told apart and checked: each has a number of its own in its name, and a checksum over all its
 * fields in an attribute. Written as protobuf or JSON, gzipped or plain, by the tests' own encoders.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { encodeJson, encodeProtobuf, type Random, type TestMessage } from "./requests.ts";

/** A word that marks a request which the far end refuses for good. */
export const POISON = "poison-for-the-far-end";
/** Words that mark a request on which the far end fails until it is mended: by 503, or by cutting the connection. */
export const FAILS = "the-far-end-fails-on-this";
export const CUTS = "the-far-end-cuts-on-this";

/** What is wrong with a request. `empties`: it has resources with nothing in them beside its spans, which the far end refuses. */
export type Poison = "refused" | "fails" | "cuts" | "empties";
const WORDS = { refused: POISON, fails: FAILS, cuts: CUTS } as const;

const FORMS = ["protobuf, gzip", "protobuf", "JSON, gzip", "JSON"] as const;
export type Form = typeof FORMS[number];

export interface NumberedRequest {
  /** Ids of its spans. */
  readonly ids: readonly string[];
  readonly poison: Poison | undefined;
  readonly form: Form;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
}

/** A span as it arrived. */
export interface ArrivedSpan {
  readonly id: string;
  /** Whether every field is as it was sent. */
  readonly intact: boolean;
}

const FILLERS = ["", "GET /users/:id", "naïve 日本 😀", '\u0000\n"\\'];
const EPOCH_NS = 1_700_000_000_000_000_000n;

/** One request of `spans` spans; span `i` has the id `<prefix>-<i>`. */
export function numberedRequest(random: Random, prefix: string, spans: number, poison?: Poison): NumberedRequest {
  const ids = Array.from({ length: spans }, (_, index) => `${prefix}-${index}`);
  const request: TestMessage = {
    resourceSpans: [
      ...(poison === "empties" ? Array.from({ length: 1 + random.below(20) }, () => ({})) : []),
      {
        resource: {
          attributes: [text("service.name", poison === undefined || poison === "empties" ? "numbered" : WORDS[poison])],
        },
        scopeSpans: [{ scope: { name: "oracle" }, spans: ids.map((id) => span(random, id)) }],
      },
    ],
  };
  const form = random.pick(FORMS);
  const json = form.startsWith("JSON");
  const plain = json
    ? new TextEncoder().encode(encodeJson("TracesRequest", request, random))
    : encodeProtobuf("TracesRequest", request);
  const gzip = form.endsWith("gzip");
  return {
    ids,
    poison,
    form,
    body: gzip ? new Uint8Array(gzipSync(plain)) : plain,
    headers: {
      "content-type": json ? "application/json" : "application/x-protobuf",
      ...(gzip ? { "content-encoding": "gzip" } : {}),
    },
  };
}

function span(random: Random, id: string): TestMessage {
  const start = EPOCH_NS + random.bits64() % 1_000_000_000_000n;
  const fields = {
    traceId: random.bytes(16),
    spanId: random.bytes(8),
    name: id,
    kind: BigInt(1 + random.below(5)),
    startTimeUnixNano: start,
    endTimeUnixNano: start + BigInt(random.below(1_000_000_000)),
  };
  const filler = random.pick(FILLERS) + Buffer.from(random.bytes(random.below(120))).toString("base64");
  const sum = sumOf([
    Buffer.from(fields.traceId).toString("hex"),
    Buffer.from(fields.spanId).toString("hex"),
    id,
    String(fields.kind),
    String(fields.startTimeUnixNano),
    String(fields.endTimeUnixNano),
    filler,
  ]);
  return { ...fields, attributes: [text("filler", filler), text("sum", sum)] };
}

function text(key: string, value: string): TestMessage {
  return { key, value: { stringValue: value } };
}

function sumOf(fields: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(fields)).digest("hex").slice(0, 16);
}

/** A message in the shape of OTLP/JSON, from whatever decoder. */
interface Fields {
  readonly [name: string]: unknown;
}

/** Every span of a traces request in the shape of OTLP/JSON. */
export function arrivedSpans(request: unknown): ArrivedSpan[] {
  return messages(request, "resourceSpans").flatMap((resource) =>
    messages(resource, "scopeSpans").flatMap((scope) => messages(scope, "spans").map(arrivedSpan))
  );
}

function arrivedSpan(span: Fields): ArrivedSpan {
  const attributes = new Map(
    messages(span, "attributes").map(({ key, value }) => [key, (value as Fields | undefined)?.["stringValue"]]),
  );
  const id = String(span["name"]);
  const sum = sumOf([
    String(span["traceId"]),
    String(span["spanId"]),
    id,
    String(span["kind"]),
    String(span["startTimeUnixNano"]),
    String(span["endTimeUnixNano"]),
    String(attributes.get("filler")),
  ]);
  return { id, intact: attributes.get("sum") === sum };
}

function messages(message: unknown, name: string): readonly Fields[] {
  const list = (message as Fields | null)?.[name];
  return Array.isArray(list) ? list as Fields[] : [];
}
