/**
 * The answers of OTLP/HTTP, in both encodings and both directions: `Export<Signal>ServiceResponse` for 200 and
 * `google.rpc.Status` for every 4xx and 5xx (OTLP 1.11, "OTLP/HTTP Response").
 * @module
 */
import { type SignalName, signalOf } from "../signal.ts";
import { protoName } from "./schema.ts";
import { messageField, readFields, readMessage, stringField, text, varintField } from "./small_message.ts";

/** The two encodings of OTLP/HTTP, as media types. */
export type MediaType = "application/x-protobuf" | "application/json";

/** What a receiver did not take of a request that it answered with 200. 0 with a message is a warning. */
export interface PartialSuccess {
  readonly rejected: number;
  readonly message: string;
}

/** What of a request is bad, for its `Status.details`: a `google.rpc.BadRequest.FieldViolation`. */
export interface FieldViolation {
  /** The path of the field, e.g. `resourceSpans[0].scopeSpans`; empty where the body as a whole is bad. */
  readonly field: string;
  readonly description: string;
}

/** A `google.rpc.Status`. */
export interface Status {
  readonly code: number;
  readonly message: string;
  /** OTLP: the details of a 400 "SHOULD contain a BadRequest that describes the bad data". */
  readonly violation?: FieldViolation | undefined;
}

const BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest";

/** Longest message that is sent or kept, in characters. */
const MESSAGE_CHARACTERS_MAX = 2_000;

const UTF8_ENCODER = new TextEncoder();
const UTF8_DECODER = new TextDecoder();

/** What nearly every request is answered: the same bytes each time, to be read only. */
const EMPTY_JSON = UTF8_ENCODER.encode("{}");
const EMPTY_PROTOBUF = new Uint8Array(0);

/**
 * A success. Without `partialSuccess` the message is empty: zero bytes in protobuf, `{}` in JSON; OTLP: the server "MUST NOT
 * set" it when all was accepted.
 */
export function encodeSuccess(
  signal: SignalName,
  mediaType: MediaType,
  partialSuccess?: PartialSuccess,
): Uint8Array<ArrayBuffer> {
  if (mediaType === "application/json") {
    if (partialSuccess === undefined) return EMPTY_JSON;
    const fields: Record<string, string> = {};
    // int64 in proto3 JSON is a decimal string; 0 is the default and is left out.
    if (partialSuccess.rejected > 0) fields[signalOf(signal).rejectedField] = String(partialSuccess.rejected);
    if (partialSuccess.message !== "") fields["errorMessage"] = bounded(partialSuccess.message);
    return UTF8_ENCODER.encode(JSON.stringify({ partialSuccess: fields }));
  }
  if (partialSuccess === undefined) return EMPTY_PROTOBUF;
  return new Uint8Array(messageField(1, [
    ...(partialSuccess.rejected > 0 ? varintField(1, partialSuccess.rejected) : []),
    ...stringField(2, bounded(partialSuccess.message)),
  ]));
}

/** An error body. OTLP: the response body of every 4xx and 5xx "MUST be a Protobuf-encoded Status", or its JSON. */
export function encodeStatus(mediaType: MediaType, status: Status): Uint8Array<ArrayBuffer> {
  const message = bounded(status.message);
  const { violation } = status;
  if (mediaType === "application/json") {
    const details = violation === undefined ? {} : {
      details: [{
        "@type": BAD_REQUEST,
        fieldViolations: [{
          ...(violation.field === "" ? {} : { field: bounded(violation.field) }),
          description: bounded(violation.description),
        }],
      }],
    };
    return UTF8_ENCODER.encode(JSON.stringify({ code: status.code, message, ...details }));
  }
  const details = violation === undefined ? [] : statusDetail(BAD_REQUEST, [
    ...messageField(1, [
      ...(violation.field === "" ? [] : stringField(1, bounded(violation.field))),
      ...stringField(2, bounded(violation.description)),
    ]),
  ]);
  return new Uint8Array([...varintField(1, status.code), ...stringField(2, message), ...details]);
}

/** One of the `details` of a Status: a `google.protobuf.Any`. */
export function statusDetail(type: string, message: readonly number[]): number[] {
  return messageField(3, [...stringField(1, type), ...messageField(2, message)]);
}

/**
 * Reads a 200's body. A body that cannot be read counts as a full success, as OTLP gives the status the last word.
 * @returns the partial success, or undefined when all was accepted.
 */
export function decodeSuccess(
  signal: SignalName,
  contentType: string | null,
  body: Uint8Array,
): PartialSuccess | undefined {
  if (isJson(contentType)) {
    const partial = jsonObject(memberOf(jsonObject(parseJson(body)), PARTIAL_SUCCESS));
    if (partial === undefined) return undefined;
    const rejected = Number(memberOf(partial, signalOf(signal).rejectedField) ?? 0);
    return partialOf(rejected, String(memberOf(partial, "errorMessage") ?? ""));
  }
  const partial = readFields(body).get(1);
  if (!(partial instanceof Uint8Array)) return undefined;
  const fields = readFields(partial);
  const rejected = fields.get(1);
  return partialOf(typeof rejected === "number" ? rejected : 0, text(fields.get(2)));
}

/** Whether an answer of 2xx says that the data was taken, and what it says beside; or why it does not say so. */
export type SuccessReading =
  | { readonly kind: "success"; readonly partialSuccess: PartialSuccess | undefined }
  | { readonly kind: "foreign"; readonly why: string };

/** Answers of 2xx that real receivers of OTLP give (`docs/answers.md` has the table). Others are about something else. */
const SUCCESS_STATUSES: ReadonlySet<number> = new Set([200, 201, 202, 204]);
const PROTOBUF_TYPES: ReadonlySet<string> = new Set(["application/x-protobuf", "application/protobuf"]);

/**
 * Judges an answer of 2xx. OTLP: a success is 200 with an `Export<Signal>ServiceResponse` in the request's encoding. Receivers in use
 * also answer 204 (Loki), 201 and 200 without a type or a body (Fluent Bit, Prometheus), 202, and the message as JSON: each says that
 * a receiver of OTLP has the data. A page of HTML, or a message of another kind, does not: whoever sent it has not read the request.
 * @param whole Whether `body` is all of the answer, in no coding any more.
 * @param early Whether the answer came before all of the request had been sent: what has not all of a message cannot have read it.
 */
export function readSuccess(
  signal: SignalName,
  { status, contentType, body, whole, early = false }: {
    readonly status: number;
    readonly contentType: string | null;
    readonly body: Uint8Array;
    readonly whole: boolean;
    readonly early?: boolean;
  },
): SuccessReading {
  if (!SUCCESS_STATUSES.has(status)) return foreign(`answered ${status}, which is no success of OTLP`);
  if (early) return foreign(`answered ${status} before it had the whole request, and so has not read it`);
  if (status === 204) return { kind: "success", partialSuccess: undefined };
  const type = essenceOf(contentType);
  const known = type === "" || PROTOBUF_TYPES.has(type) || isJson(contentType);
  if (!known) return foreign(`answered ${status} with ${type.slice(0, 80)}, which is no answer of OTLP`);
  const readable = whole && (isJson(contentType) ? isJsonSuccess(body) : isProtobufSuccess(body));
  if (!readable) return foreign(`answered ${status} with a body that is no Export response of OTLP`);
  return { kind: "success", partialSuccess: decodeSuccess(signal, contentType, body) };
}

function foreign(why: string): SuccessReading {
  return { kind: "foreign", why };
}

function essenceOf(contentType: string | null): string {
  return (contentType ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

const PARTIAL_SUCCESS = "partialSuccess";

/** Empty, or an object of nothing but `partialSuccess`: any API may answer with an object. */
function isJsonSuccess(body: Uint8Array): boolean {
  if (body.length === 0) return true;
  const message = jsonObject(parseJson(body));
  if (message === undefined) return false;
  return Object.entries(message).every(([name, value]) =>
    (name === PARTIAL_SUCCESS || name === protoName(PARTIAL_SUCCESS)) &&
    (value === null || jsonObject(value) !== undefined)
  );
}

/** A message to its last byte, field 1 of which is a message, too. Fields of later versions may stand beside it. */
function isProtobufSuccess(body: Uint8Array): boolean {
  const { fields, whole } = readMessage(body);
  if (!whole) return false;
  const partial = fields.get(1);
  return partial === undefined || (partial instanceof Uint8Array && readMessage(partial).whole);
}

/** Reads an error's body: a Status in either encoding, or whatever words a proxy sent. Never throws; bounded. */
export function decodeStatus(contentType: string | null, body: Uint8Array): string {
  if (isJson(contentType)) {
    const message = jsonObject(parseJson(body))?.["message"];
    if (typeof message === "string") return bounded(message);
  } else if (PROTOBUF_TYPES.has(essenceOf(contentType))) {
    return bounded(text(readFields(body).get(2)));
  }
  return bounded(UTF8_DECODER.decode(body.subarray(0, MESSAGE_CHARACTERS_MAX)).trim());
}

function partialOf(rejected: number, message: string): PartialSuccess | undefined {
  const count = Number.isSafeInteger(rejected) && rejected > 0 ? rejected : 0;
  return count === 0 && message === "" ? undefined : { rejected: count, message: bounded(message) };
}

function isJson(contentType: string | null): boolean {
  return essenceOf(contentType) === "application/json";
}

function bounded(message: string): string {
  return message.length > MESSAGE_CHARACTERS_MAX ? `${message.slice(0, MESSAGE_CHARACTERS_MAX - 1)}…` : message;
}

/** Most values of an answer as JSON that are made into objects: a body of 4 MiB that is nothing but brackets took 190 MiB and 0.3 s. */
const JSON_VALUES_MAX = 10_000;

/** Undefined for what is no JSON, or of too many values. */
function parseJson(body: Uint8Array): unknown {
  if (countValues(body, JSON_VALUES_MAX + 1) > JSON_VALUES_MAX) return undefined;
  try {
    return JSON.parse(UTF8_DECODER.decode(body));
  } catch {
    return undefined;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;

/** As many values as a text can have, which begin, but for the first, behind a comma, or with a list or an object; `most` at most. */
function countValues(body: Uint8Array, most: number): number {
  let count = 1;
  let quoted = false;
  for (let index = 0; index < body.length && count < most; index++) {
    const byte = body[index];
    if (byte === QUOTE) quoted = !quoted;
    else if (quoted && byte === BACKSLASH) index++;
    else if (!quoted && (byte === COMMA || byte === BRACKET || byte === BRACE)) count++;
  }
  return count;
}

function jsonObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Record<string, unknown>;
}

/** ProtoJSON: parsers take the lowerCamelCase name of a field and that of the `.proto`. */
function memberOf(message: Readonly<Record<string, unknown>> | undefined, name: string): unknown {
  return message?.[name] ?? message?.[protoName(name)];
}
