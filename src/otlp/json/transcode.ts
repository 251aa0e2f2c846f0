/**
 * OTLP/JSON to protobuf. Source: OTLP 1.11 "JSON Protobuf Encoding", which changes proto3's JSON mapping: ids are hex, unknown fields
 * are ignored. It has senders write enums as integers and names in lowerCamelCase alone; the names of enums and of the `.proto` are
 * taken all the same, as the pinned Collector does and ProtoJSON demands of parsers: ignoring them would lose data behind a 200.
 *
 * The text is read once, byte by byte, and each value is written as it is met: no string and no object is made of it. Fields keep
 * the order of the text, so that what is given twice is what protobuf makes of it, and the Collector: of a scalar and of a oneof
 * the later stands, lists are joined.
 * @module
 */
import { isUtf8 } from "node:buffer";
import { OwnedBytes } from "../../codec/owned_bytes.ts";
import { type RequestBounds, TooManyError, UNBOUNDED } from "../bounds.ts";
import { ItemCount } from "../item_count.ts";
import { Fault, JsonError } from "./error.ts";
import { readDouble, Words } from "./number.ts";
import { type FieldPlan, type MessagePlan, REQUEST_PLAN } from "./plan.ts";
import { JsonReader, kindOf } from "./reader.ts";
import { ProtobufWriter, TranscodedTooLargeError } from "./writer.ts";
import { bySignal, type SignalName, signalOf } from "../../signal.ts";
import type { Walk } from "../wire.ts";

export { JsonError, TranscodedTooLargeError };

/** How deep a JSON body may nest: this far, every engine's stack holds. */
export const JSON_NESTING_MAX = 500;

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const UINT32_MAX = 2 ** 32 - 1;

const QUOTE = 0x22;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;
const BRACE = 0x7b;
const BRACE_END = 0x7d;
const NULL = 0x6e;
const TRUE = 0x74;
const FALSE = 0x66;

/** One of each for the process: a body is read without awaiting. */
const reader = new JsonReader();
const writer = new ProtobufWriter(JSON_NESTING_MAX + 1);
const words = new Words();
const count = new ItemCount();
let bounds = UNBOUNDED;
let messagesLeft = 0;
/** Members of objects whose name is no field's. */
let ignored = 0;

const MERGEABLE = bySignal((signal) => signalOf(signal).mergeable);

/** A request that came as JSON; `Content` is how its protobuf is held. */
export interface Transcoded<Content = Uint8Array<ArrayBuffer>> extends Walk {
  /** The request. */
  readonly protobuf: Content;
  /** How many members of its objects no field has the name of: they are not in it. */
  readonly ignored: number;
}

/** One more message, or one more of a list of strings. */
function countMessage(): void {
  if (--messagesLeft < 0) throw new TooManyError("messages", bounds.messagesMax);
}

/** {@link lendTranscoded}, with the protobuf in a buffer of its own. */
export function transcodeJson(
  signal: SignalName,
  body: Uint8Array,
  bytesMax: number,
  requestBounds: RequestBounds = UNBOUNDED,
): Transcoded {
  const { protobuf, ...found } = lendTranscoded(signal, body, bytesMax, requestBounds);
  return { protobuf: protobuf.take(), ...found };
}

/**
 * Transcodes one OTLP/JSON export request. The protobuf is lent, and has to be given back before the next call.
 * @param bytesMax The most bytes that the protobuf may have. @param requestBounds What else it is held to.
 * @returns the request as protobuf, and what a walk over it would find: it refuses nothing that is written here.
 * @throws {JsonError} when it is not an export request; {TranscodedTooLargeError} when it is over `bytesMax`;
 *   {TooManyError} when it is over the other bounds.
 */
export function lendTranscoded(
  signal: SignalName,
  body: Uint8Array,
  bytesMax: number,
  requestBounds: RequestBounds = UNBOUNDED,
): Transcoded<OwnedBytes> {
  if (!isUtf8(body)) throw new JsonError("Malformed JSON: the body is not UTF-8");
  reader.begin(body);
  // JSON is nearly always longer than its protobuf; where it is not, the writer takes more.
  writer.begin(body.length, bytesMax);
  bounds = requestBounds;
  messagesLeft = bounds.messagesMax;
  ignored = 0;
  count.reset(bounds);
  let written = false;
  try {
    const first = reader.peek();
    if (first !== BRACE) {
      reader.skip();
      reader.finish();
      throw new JsonError(`Malformed JSON: ${kindOf(first)} at the top, an object wanted`);
    }
    writeMessage(REQUEST_PLAN[signal], 0);
    reader.finish();
    // Requests that may be merged have their resources and no field beside them.
    const protobuf = new OwnedBytes(writer.finish(), giveBack);
    written = true;
    return { protobuf, items: count.total(), mergeable: MERGEABLE[signal], ignored };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    // That the text is no JSON, further on, says more than that a value does not fit.
    reader.begin(body);
    reader.skip();
    reader.finish();
    const path = pathOf(error.path);
    throw new JsonError(`Malformed OTLP/JSON at ${path}: ${error.message}`, path);
  } finally {
    reader.end();
    if (!written) writer.end();
  }
}

const giveBack = (): void => writer.end();

/** Longest path that is shown whole; of a longer one the two ends are. */
const PATH_SHOWN_MAX = 16;

function pathOf(inwardsOut: readonly string[]): string {
  const path = inwardsOut.toReversed();
  if (path.length > PATH_SHOWN_MAX) path.splice(PATH_SHOWN_MAX / 2, path.length - PATH_SHOWN_MAX, "…");
  return path.join(".") || "the top";
}

/** Takes an object, whose brace is next, and writes its fields. */
function writeMessage(message: MessagePlan, depth: number): void {
  if (depth > JSON_NESTING_MAX) throw new Fault(`nested deeper than ${JSON_NESTING_MAX} levels`);
  if (message.role !== 0) count.enter(message.role, false);
  if (!reader.open(BRACE_END)) return;
  let before: FieldPlan | undefined;
  do {
    const expected = before === undefined ? message.first : before.next;
    const field = reader.name(message, expected);
    if (field === undefined) {
      ignored++;
      reader.skip();
      continue;
    }
    if (field !== expected) {
      if (before === undefined) message.first = field;
      else before.next = field;
    }
    before = field;
    // proto3 JSON: null is the default value, which is the same as absent.
    const first = reader.peek();
    if (first === NULL) reader.null();
    else if (field.repeated) writeList(field, first, depth);
    else writeField(field, first, depth);
  } while (reader.more(BRACE_END));
}

function writeField(field: FieldPlan, first: number, depth: number): void {
  try {
    if (field.message === undefined) {
      writer.tag(field.tag);
      writeScalar(field, first);
    } else {
      if (first !== BRACE) throw reader.otherKind("an object");
      countMessage();
      writer.open(field);
      writeMessage(field.message, depth + 1);
      writer.close(field);
    }
  } catch (error) {
    if (error instanceof Fault) error.path.push(field.name);
    throw error;
  }
}

function writeList(field: FieldPlan, opening: number, depth: number): void {
  let index = -1;
  try {
    if (opening !== BRACKET) throw reader.otherKind("an array");
    if (!reader.open(BRACKET_END)) return;
    if (field.packed) writer.open(field);
    do {
      index++;
      const first = reader.peek();
      if (field.message !== undefined) {
        // Two messages, two levels deeper; where that is too much, the long way says so.
        if (
          field.message.attribute && messagesLeft >= 2 && depth + 2 <= JSON_NESTING_MAX &&
          writer.attribute(field, reader)
        ) {
          messagesLeft -= 2;
          continue;
        }
        if (first !== BRACE) throw reader.otherKind("an object");
        countMessage();
        writer.open(field);
        writeMessage(field.message, depth + 1);
        writer.close(field);
      } else {
        if (field.packed) writer.room();
        else {
          countMessage();
          writer.tag(field.tag);
        }
        writeScalar(field, first);
      }
    } while (reader.more(BRACKET_END));
    if (field.packed) writer.close(field);
  } catch (error) {
    if (error instanceof Fault) error.path.push(index < 0 ? field.name : `${field.name}[${index}]`);
    throw error;
  }
}

/** Takes a value and writes it, with its length where it has one, and without its tag. `first`: its first byte, which is next. */
function writeScalar({ kind, enumNames }: FieldPlan, first: number): void {
  switch (kind!) {
    case "string":
      if (first !== QUOTE) throw reader.otherKind("a string");
      writer.string(reader);
      return;
    case "fixed64":
    case "sfixed64":
      words.read64(reader, kind === "sfixed64");
      writer.fixed64(words.low, words.high);
      return;
    case "int64":
    case "uint64":
      words.read64(reader, kind === "int64");
      writer.varint64(words.low, words.high);
      return;
    case "spanId":
      writer.id(reader, 8);
      return;
    case "traceId":
    case "profileId":
      writer.id(reader, 16);
      return;
    case "enum":
      if (first === QUOTE) {
        const number = enumNames?.get(reader.string());
        if (number === undefined) throw new Fault("a string that is none of the enum's names");
        writer.varint(number);
        return;
      }
      writer.signedVarint(words.read32(reader, INT32_MIN, INT32_MAX));
      return;
    case "int32":
      writer.signedVarint(words.read32(reader, INT32_MIN, INT32_MAX));
      return;
    case "uint32":
      writer.varint(words.read32(reader, 0, UINT32_MAX));
      return;
    case "sint32": {
      const value = words.read32(reader, INT32_MIN, INT32_MAX);
      writer.varint(((value << 1) ^ (value >> 31)) >>> 0);
      return;
    }
    case "fixed32":
      writer.fixed32(words.read32(reader, 0, UINT32_MAX));
      return;
    case "bool":
      if (first !== TRUE && first !== FALSE) throw reader.otherKind("true or false");
      writer.varint(reader.boolean() ? 1 : 0);
      return;
    case "double":
      writer.double(readDouble(reader));
      return;
    case "bytes":
      if (first !== QUOTE) throw reader.otherKind("a base64 string");
      writer.base64(reader);
      return;
  }
}
