/**
 * What OTLP/HTTP obliges a server to, as data: one row a demand, with a case for each signal and encoding that it is about. MUST,
 * SHOULD and MAY are those of the OTLP specification 1.11.0 (opentelemetry-proto, docs/specification.md); `ours` is what the relay
 * promises where the specification leaves the choice.
 */
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { decodeStatus, decodeSuccess, type MediaType } from "../../src/otlp/response.ts";
import { MESSAGES, REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { type SignalName, SIGNALS } from "../../src/signal.ts";
import { encodeProtobuf, type TestMessage, varint } from "../support/bodies/requests.ts";
import type { Answer, Exchange } from "./exchange.ts";

/** What a row needs beside the server. */
export type Need =
  /** The server asks for a token. */
  | "token"
  /** A token that may send traces only. */
  | "traces-token"
  /** A token whose sender may send no more for now. */
  | "spent-token"
  /** What stands behind the server does as it is told. */
  | "upstream";

/** How what stands behind the server answers. */
export type Upstream =
  | { readonly kind: "status"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: "partial_success"; readonly rejected: number; readonly message: string };

export interface Case {
  /** Signal and encoding, e.g. `traces JSON`. */
  readonly name: string;
  readonly signal: SignalName;
  readonly mediaType: MediaType;
  readonly exchange: Exchange;
}

export interface Row {
  /** Section of the specification, and the obligation. */
  readonly clause: string;
  readonly obligation: "MUST" | "SHOULD" | "MAY" | "ours";
  readonly request: string;
  /** In words, for the table. */
  readonly expected: string;
  readonly cases: readonly Case[];
  readonly needs?: Need;
  readonly upstream?: Upstream;
  /** What is wrong with the answer; undefined when it is as expected. */
  readonly check: (answer: Answer, one: Case) => string | undefined;
}

export interface RowSettings {
  /** The server's limit on a body, in bytes. */
  readonly bodyBytesMax: number;
  /** For {@link Need} `traces-token`. */
  readonly tracesToken?: string | undefined;
  /** For {@link Need} `spent-token`. */
  readonly spentToken?: string | undefined;
}

const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";
const ENCODINGS: readonly MediaType[] = [PROTOBUF, JSON_TYPE];

const traceId = Buffer.from("5b8efff798038103d269b633813fc60c", "hex");
const spanId = Buffer.from("eee19b7ec3c1b174", "hex");
const resource = { attributes: [{ key: "service.name", value: { stringValue: "conformance" } }] };

/** One item of each signal, as OTLP/JSON. */
const REQUESTS_JSON: Readonly<Record<SignalName, string>> = {
  traces: JSON.stringify({
    resourceSpans: [{
      resource,
      scopeSpans: [{
        spans: [{
          traceId: traceId.toString("hex"),
          spanId: spanId.toString("hex"),
          name: "a",
          kind: 2,
          startTimeUnixNano: "1700000000000000000",
          endTimeUnixNano: "1700000000000000001",
        }],
      }],
    }],
  }),
  metrics: JSON.stringify({
    resourceMetrics: [{
      resource,
      scopeMetrics: [{
        metrics: [{ name: "a", gauge: { dataPoints: [{ timeUnixNano: "1700000000000000000", asInt: "7" }] } }],
      }],
    }],
  }),
  logs: JSON.stringify({
    resourceLogs: [{
      resource,
      scopeLogs: [{ logRecords: [{ timeUnixNano: "1700000000000000000", body: { stringValue: "a" } }] }],
    }],
  }),
  profiles: JSON.stringify({
    resourceProfiles: [{
      resource,
      scopeProfiles: [{
        profiles: [{
          sampleType: { typeStrindex: 1, unitStrindex: 2 },
          samples: [{ stackIndex: 0, values: ["7"] }],
          timeUnixNano: "1700000000000000000",
          profileId: traceId.toString("hex"),
        }],
      }],
    }],
    dictionary: { stringTable: ["", "cpu", "nanoseconds"], stackTable: [{ locationIndices: [0] }] },
  }),
};

/** The same as protobuf. */
export const REQUESTS_PROTOBUF: Readonly<Record<SignalName, Uint8Array>> = {
  traces: encodeProtobuf(REQUEST_MESSAGE.traces, {
    resourceSpans: [{
      resource,
      scopeSpans: [{
        spans: [{
          traceId,
          spanId,
          name: "a",
          kind: 2n,
          startTimeUnixNano: 17n * 10n ** 17n,
          endTimeUnixNano: 18n * 10n ** 17n,
        }],
      }],
    }],
  } as TestMessage),
  metrics: encodeProtobuf(REQUEST_MESSAGE.metrics, {
    resourceMetrics: [{
      resource,
      scopeMetrics: [{
        metrics: [{ name: "a", gauge: { dataPoints: [{ timeUnixNano: 17n * 10n ** 17n, asInt: 7n }] } }],
      }],
    }],
  } as TestMessage),
  logs: encodeProtobuf(REQUEST_MESSAGE.logs, {
    resourceLogs: [{
      resource,
      scopeLogs: [{ logRecords: [{ timeUnixNano: 17n * 10n ** 17n, body: { stringValue: "a" } }] }],
    }],
  } as TestMessage),
  profiles: encodeProtobuf(REQUEST_MESSAGE.profiles, {
    resourceProfiles: [{
      resource,
      scopeProfiles: [{
        profiles: [{
          sampleType: { typeStrindex: 1n, unitStrindex: 2n },
          samples: [{ stackIndex: 0n, values: [7n] }],
          timeUnixNano: 17n * 10n ** 17n,
          profileId: traceId,
        }],
      }],
    }],
    dictionary: { stringTable: ["", "cpu", "nanoseconds"], stackTable: [{ locationIndices: [0n] }] },
  } as TestMessage),
};

/** A valid request. */
function bodyOf(signal: SignalName, mediaType: MediaType): Buffer {
  return Buffer.from(
    mediaType === JSON_TYPE ? REQUESTS_JSON[signal] : REQUESTS_PROTOBUF[signal],
  );
}

/** A valid request of exactly `bytes` bytes: the first resource's `schema_url` is as long as it takes. */
function bodyOfLength(signal: SignalName, mediaType: MediaType, bytes: number): Buffer {
  if (mediaType === JSON_TYPE) {
    const body = bodyOf(signal, mediaType);
    return Buffer.concat([body, Buffer.alloc(bytes - body.length, " ")]);
  }
  // Field 3 of ResourceSpans and the like is the schema's URL; an unknown field to everything else.
  for (let length = bytes; length > 0; length--) {
    const inner = Buffer.concat([Buffer.from([0x1a]), varint(BigInt(length)), Buffer.alloc(length, "x")]);
    const body = Buffer.concat([Buffer.from([0x0a]), varint(BigInt(inner.length)), inner]);
    if (body.length === bytes) return body;
  }
  throw new RangeError(`No request has ${bytes} bytes`);
}

interface Change {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** One case for each signal and encoding; undefined leaves it out. */
function each(change: (signal: SignalName, mediaType: MediaType) => Change | undefined): Case[] {
  return SIGNALS.flatMap(({ name, path }) =>
    ENCODINGS.flatMap((mediaType) => {
      const made = change(name, mediaType);
      return made === undefined ? [] : [{
        name: `${name} ${mediaType === JSON_TYPE ? "JSON" : "protobuf"}`,
        signal: name,
        mediaType,
        exchange: {
          method: made.method ?? "POST",
          path: made.path ?? path,
          headers: { "content-type": mediaType, ...made.headers },
          body: made.body ?? bodyOf(name, mediaType),
        },
      }];
    })
  );
}

/** One case for a signal, in JSON. */
function json(signal: SignalName, body: string): Case[] {
  return each((name, mediaType) =>
    name === signal && mediaType === JSON_TYPE ? { body: Buffer.from(body) } : undefined
  );
}

function spanJson(fields: string): string {
  return `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${traceId.toString("hex")}","spanId":"${
    spanId.toString("hex")
  }","name":"a"${fields === "" ? "" : `,${fields}`}}]}]}]}`;
}

function pointJson(fields: string): string {
  return `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{${fields}}]}}]}]}]}`;
}

function essence(answer: Answer): string {
  return (answer.headers["content-type"] ?? "none").split(";")[0]!.trim().toLowerCase();
}

function contentOf(answer: Answer): Buffer {
  return answer.headers["content-encoding"] === "gzip" ? gunzipSync(answer.body) : answer.body;
}

/** 200 with the response message of a full success, in the encoding of the request. */
function success(answer: Answer, one: Case): string | undefined {
  if (answer.status !== 200) return described(answer, one);
  if (essence(answer) !== one.mediaType) return `200 as ${essence(answer)}`;
  const body = contentOf(answer);
  if (one.mediaType === JSON_TYPE && !/^\s*\{/.test(body.toString())) return `200 with ${body.toString().slice(0, 40)}`;
  const partial = decodeSuccess(one.signal, one.mediaType, body);
  return partial === undefined ? undefined : `200 with partial_success: ${partial.rejected} ${partial.message}`;
}

/** The same to the letter: no field is set. */
function successUnset(answer: Answer, one: Case): string | undefined {
  const text = contentOf(answer).toString().trim();
  if (text !== (one.mediaType === JSON_TYPE ? "{}" : "")) return "200 with partial_success set, and empty";
  return success(answer, one);
}

/** A refusal: this status, a Status with a message in the encoding of the request, and these headers. */
function refusal(
  status: number,
  options: {
    readonly headers?: Readonly<Record<string, RegExp>>;
    /** Where the request names no encoding that is known. */
    readonly anyEncoding?: boolean;
  } = {},
) {
  return (answer: Answer, one: Case): string | undefined => {
    if (answer.status !== status) return described(answer, one);
    const type = essence(answer);
    if (options.anyEncoding === true ? type !== PROTOBUF && type !== JSON_TYPE : type !== one.mediaType) {
      return `${status} as ${type}`;
    }
    const message = decodeStatus(type, contentOf(answer));
    if (message === "") return `${status} without a message`;
    for (const [name, pattern] of Object.entries(options.headers ?? {})) {
      const value = answer.headers[name];
      if (value === undefined || !pattern.test(value)) return `${status}, ${name}: ${value ?? "none"}`;
    }
    return undefined;
  };
}

/** An answer in a few words, for the table: its status, and what is odd about its body. */
export function described(answer: Answer, { mediaType }: Case): string {
  const type = essence(answer);
  if (answer.body.length === 0) return `${answer.status}, empty`;
  return type === mediaType ? `${answer.status}` : `${answer.status} as ${type}`;
}

const RETRY_AFTER = { "retry-after": /^\d+$/ };

/** Every row, in the order of the specification. */
export function serverRows(settings: RowSettings): Row[] {
  const { bodyBytesMax, tracesToken, spentToken } = settings;
  const rows: Row[] = [];
  const add = (
    [obligation, clause]: readonly [Row["obligation"], string],
    request: string,
    expected: string,
    cases: readonly Case[],
    check: Row["check"],
    more: Pick<Row, "needs" | "upstream"> = {},
  ) => void rows.push({ obligation, clause, request, expected, cases, check, ...more });
  const ok = "200, the signal's response message in the request's encoding";
  const status = (code: number) => `${code}, Status with a message in the request's encoding`;

  // OTLP/HTTP Request, Binary and JSON Protobuf Encoding.
  add(
    ["MUST", "OTLP/HTTP Request: binary and JSON, Content-Type decides; without compression"],
    "valid",
    ok,
    each(() => ({})),
    success,
  );
  add(
    ["ours", "RFC 9110, 8.3.1: media types"],
    "Content-Type with parameters, in capitals",
    ok,
    each((_, mediaType) => ({ headers: { "content-type": `${mediaType.toUpperCase()}; charset=utf-8` } })),
    success,
  );
  add(
    ["SHOULD", "OTLP/HTTP Request: paths; an empty request succeeds"],
    "no items",
    ok,
    each((_, mediaType) => ({ body: Buffer.from(mediaType === JSON_TYPE ? "{}" : "") })),
    success,
  );
  add(
    ["MAY", "Empty Telemetry Envelopes: they are ignored or sent on"],
    "a resource without items",
    ok,
    each((signal, mediaType) => {
      const [field] = MESSAGES[REQUEST_MESSAGE[signal]];
      const json = JSON.stringify({ [field!.name]: [{ resource }] });
      return { body: mediaType === JSON_TYPE ? Buffer.from(json) : Buffer.from([0x0a, 0]) };
    }),
    success,
  );
  for (const coding of ["none", "gzip", "deflate", "zlib", "zstd"] as const) {
    const encode = {
      none: (body: Buffer) => body,
      gzip: gzipSync,
      deflate: deflateSync,
      zlib: deflateSync,
      zstd: zstdCompressSync,
    }[coding];
    add(
      coding === "gzip" ? ["MUST", "Protocol Details: servers support none and gzip"] : ["ours", "more codings"],
      `Content-Encoding: ${coding}`,
      ok,
      each((signal, mediaType) => ({
        headers: { "content-encoding": coding },
        body: encode(bodyOf(signal, mediaType)),
      })),
      success,
    );
  }
  add(
    ["ours", "RFC 1952, 2.2: a gzip file is a series of members"],
    "two gzip members, cut anywhere",
    ok,
    each((signal, mediaType) => {
      const body = bodyOf(signal, mediaType);
      return {
        headers: { "content-encoding": "gzip" },
        body: Buffer.concat([gzipSync(body.subarray(0, 7)), gzipSync(body.subarray(7))]),
      };
    }),
    success,
  );
  add(
    ["MUST", "Protobuf: unknown fields are no error"],
    "unknown top-level field 15",
    ok,
    each((signal, mediaType) =>
      mediaType === PROTOBUF
        ? { body: Buffer.concat([bodyOf(signal, mediaType), Buffer.from([0x7a, 0x01, 0x61])]) }
        : undefined
    ),
    success,
  );

  // JSON Protobuf Encoding.
  const jsonClause = (text: string) => ["MUST", `JSON Protobuf Encoding: ${text}`] as const;
  add(
    jsonClause("unknown fields are ignored"),
    "unknown fields at every level",
    ok,
    each((signal, mediaType) =>
      mediaType === JSON_TYPE
        ? {
          body: Buffer.from(bodyOf(signal, mediaType).toString().replaceAll("{", '{"unknownThing":[{"a":null},1e5],')),
        }
        : undefined
    ),
    success,
  );
  add(
    jsonClause("ids are hex, in either case"),
    "traceId in capitals",
    ok,
    json("traces", spanJson("").replace(traceId.toString("hex"), traceId.toString("hex").toUpperCase())),
    success,
  );
  const ids = `"traceId":"${traceId.toString("hex").toUpperCase()}","spanId":"${spanId.toString("hex")}"`;
  add(
    jsonClause("ids are hex in every message"),
    "a span's link, an exemplar, a log record, a profile's link",
    ok,
    [
      ...json("traces", spanJson(`"links":[{${ids}}]`)),
      ...json("metrics", pointJson(`"asInt":1,"exemplars":[{"asInt":1,${ids}}]`)),
      ...json("logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{${ids}}]}]}]}`),
      ...json("profiles", `{"dictionary":{"linkTable":[{${ids}}]}}`),
    ],
    success,
  );
  add(
    jsonClause("ids are hex, not base64"),
    "traceId in base64",
    status(400),
    json("traces", spanJson("").replace(traceId.toString("hex"), traceId.toString("base64"))),
    refusal(400),
  );
  add(jsonClause("enums are integers"), '"kind": 3', ok, json("traces", spanJson('"kind":3')), success);
  add(
    jsonClause("enums are integers; ProtoJSON has parsers take their names too"),
    '"kind": "SPAN_KIND_CLIENT"',
    ok,
    json("traces", spanJson('"kind":"SPAN_KIND_CLIENT"')),
    success,
  );
  add(
    jsonClause("enums are integers or names of theirs"),
    '"kind": "SPAN_KIND_X"',
    status(400),
    json("traces", spanJson('"kind":"SPAN_KIND_X"')),
    refusal(400),
  );
  add(
    jsonClause("64-bit integers are decimal strings, numbers are accepted too"),
    "times as strings and as numbers",
    ok,
    json("traces", spanJson('"startTimeUnixNano":"18446744073709551615","endTimeUnixNano":1700000000')),
    success,
  );
  add(
    jsonClause("names are lowerCamelCase; ProtoJSON has parsers take those of the .proto too"),
    '"start_time_unix_nano": "5"',
    ok,
    json("traces", spanJson('"start_time_unix_nano":"5"')),
    success,
  );
  for (const value of ['"NaN"', '"Infinity"', '"-Infinity"']) {
    add(
      jsonClause("NaN and the infinities are strings"),
      `"asDouble": ${value}`,
      ok,
      json("metrics", pointJson(`"asDouble":${value}`)),
      success,
    );
  }
  add(
    jsonClause("bytes other than ids are base64"),
    '"bytesValue": "AQID"',
    ok,
    json("logs", '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"AQID"}}]}]}]}'),
    success,
  );

  // OTLP/HTTP Response: Bad Data.
  const bad = ["MUST", "Bad Data: 400, not retryable"] as const;
  add(
    ["SHOULD", "Bad Data: Status.details has a BadRequest that describes it"],
    "a field of the wrong kind",
    `${status(400)}, details with a google.rpc.BadRequest`,
    each((signal, mediaType) => ({
      body: mediaType === JSON_TYPE
        ? Buffer.from(JSON.stringify({ [MESSAGES[REQUEST_MESSAGE[signal]][0]!.name]: 7 }))
        : Buffer.from([0x08, 0x01]),
    })),
    (answer, one) =>
      refusal(400)(answer, one) ??
        (/type\.googleapis\.com\/google\.rpc\.BadRequest/.test(contentOf(answer).toString("latin1"))
          ? undefined
          : "400 without details"),
  );
  add(
    bad,
    "body cut short",
    status(400),
    each((signal, mediaType) => {
      return { body: bodyOf(signal, mediaType).subarray(0, -1) };
    }),
    refusal(400),
  );
  add(
    bad,
    "a field of another wire type",
    status(400),
    each((_, mediaType) => mediaType === PROTOBUF ? { body: Buffer.from([0x08, 0x01]) } : undefined),
    refusal(400),
  );
  add(
    bad,
    "gzip that is none",
    status(400),
    each(() => ({ headers: { "content-encoding": "gzip" } })),
    refusal(400),
  );
  add(
    bad,
    "bytes behind the gzip member",
    status(400),
    each((signal, mediaType) => ({
      headers: { "content-encoding": "gzip" },
      body: Buffer.concat([gzipSync(bodyOf(signal, mediaType)), Buffer.from([0])]),
    })),
    refusal(400),
  );
  add(
    bad,
    "a span's traceId of 15 bytes",
    status(400),
    each((signal, mediaType) =>
      signal !== "traces" ? undefined : mediaType === PROTOBUF
        ? {
          body: encodeProtobuf(REQUEST_MESSAGE.traces, {
            resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: traceId.subarray(1) }] }] }],
          }),
        }
        : { body: Buffer.from(spanJson("").replace(traceId.toString("hex"), "00".repeat(15))) }
    ),
    refusal(400),
  );
  add(
    ["MUST", "OTLP/HTTP Request: a body over the limit is 413"],
    `${bodyBytesMax + 1} bytes`,
    status(413),
    each((signal, mediaType) => ({ body: bodyOfLength(signal, mediaType, bodyBytesMax + 1) })),
    refusal(413),
  );
  add(
    ["MUST", "OTLP/HTTP Request: the limit holds after decompression"],
    `gzip of ${bodyBytesMax + 1} bytes`,
    status(413),
    each((signal, mediaType) => ({
      headers: { "content-encoding": "gzip" },
      body: gzipSync(bodyOfLength(signal, mediaType, bodyBytesMax + 1)),
    })),
    refusal(413),
  );
  add(
    ["ours", "up to the limit everything is taken"],
    `gzip of ${bodyBytesMax} bytes`,
    ok,
    each((signal, mediaType) => ({
      headers: { "content-encoding": "gzip" },
      body: gzipSync(bodyOfLength(signal, mediaType, bodyBytesMax)),
    })),
    success,
  );

  // What HTTP itself has answers for.
  add(
    ["ours", "RFC 9110, 15.5.16: another type is 415"],
    "Content-Type: text/plain",
    "415, Status with a message",
    each(() => ({ headers: { "content-type": "text/plain" } })),
    refusal(415, { anyEncoding: true }),
  );
  add(
    ["ours", "RFC 9110, 15.5.16: another coding is 415"],
    "Content-Encoding: br",
    `${status(415)}, Accept-Encoding`,
    each(() => ({ headers: { "content-encoding": "br" } })),
    refusal(415, { headers: { "accept-encoding": /gzip/ } }),
  );
  add(
    ["MUST", "OTLP/HTTP Request: POST; RFC 9110, 15.5.6"],
    "PUT",
    `${status(405)}, Allow: POST`,
    each(() => ({ method: "PUT" })),
    refusal(405, { headers: { allow: /\bPOST\b/ } }),
  );
  add(
    ["MUST", "OTLP/HTTP Request: POST; RFC 9110, 15.5.6"],
    "GET",
    "405, Status with a message, Allow: POST",
    each(() => ({ method: "GET", body: new Uint8Array(0) })),
    refusal(405, { headers: { allow: /\bPOST\b/ }, anyEncoding: true }),
  );
  add(
    ["MUST", "Failures: every 4xx has a Status"],
    "POST /v1/nothing",
    status(404),
    each(() => ({ path: "/v1/nothing" })),
    refusal(404),
  );
  add(
    ["MUST", "RFC 9110, 15.5.2: 401 with WWW-Authenticate"],
    "an unknown token",
    `${status(401)}, WWW-Authenticate`,
    each(() => ({ headers: { authorization: "Bearer nobody" } })),
    refusal(401, { headers: { "www-authenticate": /^Bearer / } }),
    { needs: "token" },
  );
  add(
    ["ours", "RFC 9110, 15.5.4: not allowed is 403"],
    "a token for traces alone",
    status(403),
    each((signal) => signal === "traces" ? undefined : { headers: { authorization: `Bearer ${tracesToken}` } }),
    refusal(403),
    { needs: "traces-token" },
  );
  add(
    ["SHOULD", "OTLP/HTTP Throttling: more than this client is allowed is 429"],
    "a token whose sender has used up its rate",
    `${status(429)}, Retry-After`,
    each(() => ({ headers: { authorization: `Bearer ${spentToken}` } })),
    refusal(429, { headers: RETRY_AFTER }),
    { needs: "spent-token" },
  );
  add(
    ["SHOULD", "OTLP/HTTP Connection: it is kept alive; both encodings on one port"],
    "a second request",
    "200 over the same connection",
    each(() => ({})),
    (answer) => answer.status === 200 && answer.reusedConnection ? undefined : "another connection",
  );

  add(
    ["MUST", "Full Success: partial_success is unset"],
    "valid",
    "200, zero bytes in protobuf, {} in JSON",
    each(() => ({})),
    successUnset,
  );

  // Success, Partial Success, Throttling: what stands behind the server decides.
  for (
    const [code, headers] of [[429, { "retry-after": "7" }], [503, { "retry-after": "7" }], [502, {}], [
      504,
      {},
    ]] as const
  ) {
    add(
      ["SHOULD", "OTLP/HTTP Throttling: 429 or 503 with Retry-After"],
      `what is behind answers ${code}${"retry-after" in headers ? ", Retry-After: 7" : ""}`,
      `429 or 503, Status, Retry-After${"retry-after" in headers ? " of 5 s at most: stock SDKs wait no longer" : ""}`,
      each(() => ({})),
      (answer, one) =>
        refusal(answer.status === 429 ? 429 : 503, {
          headers: "retry-after" in headers ? { "retry-after": /^[1-5]$/ } : RETRY_AFTER,
        })(answer, one),
      { needs: "upstream", upstream: { kind: "status", status: code, headers } },
    );
  }
  for (const code of [401, 404, 500]) {
    add(
      ["ours", "no fault of ours is 500, which no sender retries"],
      `what is behind answers ${code}`,
      `503, Status, Retry-After`,
      each(() => ({})),
      refusal(503, { headers: RETRY_AFTER }),
      { needs: "upstream", upstream: { kind: "status", status: code } },
    );
  }
  const partial = (rejected: number, message: string) => (answer: Answer, one: Case) => {
    const { signal, mediaType } = one;
    if (answer.status !== 200) return described(answer, one);
    if (essence(answer) !== mediaType) return `200 as ${essence(answer)}`;
    const got = decodeSuccess(signal, mediaType, contentOf(answer));
    if (got?.rejected !== rejected || got.message !== message) return `200 with ${JSON.stringify(got)?.slice(0, 60)}`;
    return undefined;
  };
  add(
    ["MUST", "Partial Success: 200 with rejected items and a message"],
    "what is behind rejects 1 item",
    "200, partial_success in the request's encoding",
    each(() => ({})),
    partial(1, "one too many"),
    { needs: "upstream", upstream: { kind: "partial_success", rejected: 1, message: "one too many" } },
  );
  add(
    ["MAY", "Partial Success: a warning is 0 rejected and a message"],
    "what is behind warns",
    "200, partial_success with the message alone",
    each(() => ({})),
    partial(0, "mind the gap"),
    { needs: "upstream", upstream: { kind: "partial_success", rejected: 0, message: "mind the gap" } },
  );
  const long = "a long warning ".repeat(130);
  add(
    ["MAY", "OTLP/HTTP Response: gzip where the client accepts it"],
    "Accept-Encoding: gzip, an answer of about 2 KB",
    "the same, with Content-Encoding: gzip",
    each(() => ({ headers: { "accept-encoding": "gzip" } })),
    (answer, one) =>
      answer.headers["content-encoding"] !== "gzip"
        ? `${described(answer, one)}, not gzipped`
        : partial(0, long)(answer, one),
    { needs: "upstream", upstream: { kind: "partial_success", rejected: 0, message: long } },
  );
  add(
    ["MUST", "RFC 9110, 12.5.3: nothing that was not asked for"],
    "no Accept-Encoding, an answer of about 2 KB",
    "the same, not encoded",
    each(() => ({})),
    (answer, one) =>
      answer.headers["content-encoding"] !== undefined
        ? `Content-Encoding: ${answer.headers["content-encoding"]}`
        : partial(0, long)(answer, one),
    { needs: "upstream", upstream: { kind: "partial_success", rejected: 0, message: long } },
  );
  return rows;
}
