/**
 * A bounded walk over an encoded export request: it validates as the Collector's decoder does, counts the items, and finds
 * the boundaries of the resources. Nothing is decoded into objects.
 *
 * What is refused follows the pinned Collector (pdata 1.66), so that no merged batch is refused for a body let in here, and no
 * body that the Collector takes is refused: wrong wire types of known fields, lengths that overrun, ids of other lengths than 0,
 * 8 or 16 bytes, field numbers below 1, varints over 64 bits, unbalanced groups. Invalid UTF-8 passes, as it does there.
 * @module
 */
import { type RequestBounds, TooManyError, UNBOUNDED } from "./bounds.ts";
import { ItemCount, roleOf } from "./item_count.ts";
import { type Field, isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "./schema.ts";
import { bySignal, type SignalName, signalOf } from "../signal.ts";

/**
 * How deep messages may nest. The Collector has no bound of its own and would exhaust its stack; 10,000 is the bound of Go's
 * and C++'s protobuf libraries.
 */
export const NESTING_MAX = 10_000;

/** A body that is not a valid export request: what is wrong, where, and in which field. */
export class WireError extends Error {
  override readonly name = "WireError";
  /** Where in the body the fault is, in bytes from its start. */
  readonly offset: number;
  /** The path of the field, e.g. `resourceSpans.scopeSpans`; empty at the top. */
  readonly path: string;

  constructor(message: string, offset: number, path = "") {
    super(message);
    this.offset = offset;
    this.path = path;
  }
}

/** What a walk found. */
export interface Walk {
  /** Spans, data points, log records or profiles. */
  readonly items: number;
  /**
   * True when the signal may be merged and field 1, under a tag of one byte, is the only top-level field: then encoded requests
   * may be concatenated and cut at resources.
   */
  readonly mergeable: boolean;
}

/** The tag of every request's field 1: length-delimited. */
const RESOURCE_TAG = 0x0a;

const VARINT = 1;
const I64 = 2;
const I32 = 3;
const PACKED_I64 = 4;
const PACKED_VARINT = 5;
/** Operations from here on have a length. */
const LEN = 6;
/** One of a list of strings. */
const LISTED_LEN = 7;
const ID16 = 8;
const ID8 = 9;
/** Operations from here on are messages: the index of the message plus this. */
const MESSAGE = 16;

/** Known fields up to this number are looked up by index; 1000 (the deprecated scopes) is the one above it. */
const FIELD_DENSE_MAX = 16;
const SLOT_1000 = FIELD_DENSE_MAX + 1;
const SLOTS = FIELD_DENSE_MAX + 2;

const MESSAGE_NAMES = Object.keys(MESSAGES) as MessageName[];
const OPERATIONS = new Uint8Array(MESSAGE_NAMES.length * SLOTS);
/** What entering a message means for the count of items; 0 for most. */
const ROLES = new Uint8Array(MESSAGE_NAMES.length);
function operationOf(field: Field): number {
  if (isMessage(field.kind)) return MESSAGE + MESSAGE_NAMES.indexOf(field.kind);
  switch (field.kind) {
    case "bool":
    case "enum":
    case "uint32":
    case "sint32":
      return VARINT;
    case "int32":
    case "int64":
    case "uint64":
      return field.repeated ? PACKED_VARINT : VARINT;
    case "fixed64":
    case "sfixed64":
    case "double":
      return field.repeated ? PACKED_I64 : I64;
    case "fixed32":
      return I32;
    case "traceId":
    case "profileId":
      return ID16;
    case "spanId":
      return ID8;
    case "string":
    case "bytes":
      return field.repeated ? LISTED_LEN : LEN;
  }
}

for (const [index, name] of MESSAGE_NAMES.entries()) {
  for (const field of MESSAGES[name]) {
    const slot = field.number === 1000 ? SLOT_1000 : field.number;
    OPERATIONS[index * SLOTS + slot] = operationOf(field);
  }
  ROLES[index] = roleOf(name);
}

const REQUEST_INDEX = bySignal((signal) => MESSAGE_NAMES.indexOf(REQUEST_MESSAGE[signal]));
const MERGEABLE = bySignal((signal) => signalOf(signal).mergeable);

const KEY_VALUE = MESSAGE_NAMES.indexOf("KeyValue");

/**
 * Whether a KeyValue is what most of them are: a key and a string, short and with nothing beside them. Such a one is whole, and
 * seeing it at once takes a third off the walk.
 */
function isStringAttribute(bytes: Uint8Array, start: number, end: number): boolean {
  const keyBytes = bytes[start + 1]!;
  const value = start + 2 + keyBytes;
  const valueBytes = end - value - 2;
  return bytes[start] === 0x0a && keyBytes < 0x80 && valueBytes >= 2 && valueBytes < 0x80 && bytes[value] === 0x12 &&
    bytes[value + 1] === valueBytes && bytes[value + 2] === 0x0a && bytes[value + 3] === valueBytes - 2;
}

const WIRE_TYPES = ["varint", "64-bit", "length-delimited", "group start", "group end", "32-bit", "6", "7"] as const;

/**
 * Walks one request. It keeps its own stack (no recursion, so that nesting cannot exhaust ours) and allocates nothing per
 * field; an instance is reused from request to request, which is safe because a walk never awaits.
 */
export class Walker {
  #bytes: Uint8Array = new Uint8Array(0);
  #pos = 0;
  #depth = 0;
  readonly #ends = new Int32Array(NESTING_MAX + 1);
  readonly #messages = new Uint8Array(NESTING_MAX + 1);
  /** The slot of the field, in the message above, that each message stands in. */
  readonly #slots = new Uint8Array(NESTING_MAX + 1);
  readonly #count = new ItemCount();

  /**
   * Validates and counts one encoded export request.
   * @throws {WireError} when it is not one; {TooManyError} when it holds more than the bounds allow.
   */
  walk(signal: SignalName, body: Uint8Array, bounds: RequestBounds = UNBOUNDED): Walk {
    this.#bytes = body;
    this.#pos = 0;
    this.#depth = 0;
    try {
      return this.#walk(REQUEST_INDEX[signal], MERGEABLE[signal], bounds);
    } finally {
      this.#bytes = EMPTY;
    }
  }

  #walk(request: number, signalMergeable: boolean, bounds: RequestBounds): Walk {
    const bytes = this.#bytes;
    const ends = this.#ends;
    const messages = this.#messages;
    const slots = this.#slots;
    const count = this.#count;
    let mergeable = signalMergeable;
    count.reset(bounds);
    let messagesLeft = Math.min(bounds.messagesMax, 0x7fff_ffff) | 0;
    // In registers, and in the instance only where another method reads or moves them: that is a tenth of the walk's time.
    let pos = 0;
    let depth = 0;
    let end = bytes.length;
    let message = request;
    ends[0] = end;
    messages[0] = message;
    for (;;) {
      while (pos >= end) {
        if (depth === 0) return { items: count.total(), mergeable };
        this.#depth = --depth;
        end = ends[depth]!;
        message = messages[depth]!;
      }
      const start = pos;
      let tag = bytes[pos]!;
      let field: number;
      if (tag < 0x80) {
        pos++;
        field = tag >> 3;
      } else {
        this.#pos = pos;
        tag = this.#tag(end);
        pos = this.#pos;
        // The Collector keeps the low 32 bits of the field number; so do we, to refuse and to take what it does.
        field = Math.floor(tag / 8) | 0;
      }
      const wireType = tag & 7;
      if (field <= 0) throw this.#fault(`field number ${field} is not positive`, start);
      if (depth === 0 && bytes[start] !== RESOURCE_TAG) mergeable = false;
      const slot = field <= FIELD_DENSE_MAX ? field : field === 1000 ? SLOT_1000 : 0;
      const operation = OPERATIONS[message * SLOTS + slot]!;
      if (operation >= LEN) {
        if (wireType !== 2) throw this.#wrongType(field, wireType, start);
        let length = pos < end ? bytes[pos]! : 0x80;
        if (length < 0x80) pos++;
        else {
          this.#pos = pos;
          length = this.#length(end);
          pos = this.#pos;
        }
        const bodyEnd = pos + length;
        if (bodyEnd > end) {
          throw this.#fault(`length ${length} overruns its message by ${bodyEnd - end} bytes`, start, field);
        }
        if (operation < MESSAGE) {
          if (operation >= ID16) {
            if (length !== 0 && length !== (operation === ID16 ? 16 : 8)) {
              throw this.#fault(`an id of ${length} bytes, ${operation === ID16 ? 16 : 8} wanted`, start, field);
            }
          } else if (operation === LISTED_LEN && --messagesLeft < 0) {
            throw new TooManyError("messages", bounds.messagesMax);
          }
          pos = bodyEnd;
          continue;
        }
        if (--messagesLeft < 0) throw new TooManyError("messages", bounds.messagesMax);
        const entered = operation - MESSAGE;
        if (entered === KEY_VALUE && depth < NESTING_MAX - 1 && isStringAttribute(bytes, pos, bodyEnd)) {
          // It holds a message, its value.
          if (--messagesLeft < 0) throw new TooManyError("messages", bounds.messagesMax);
          pos = bodyEnd;
          continue;
        }
        message = entered;
        const role = ROLES[message]!;
        if (role !== 0) count.enter(role, slot === SLOT_1000);
        if (depth === NESTING_MAX) throw this.#fault(`nested deeper than ${NESTING_MAX} messages`, start, field);
        this.#depth = ++depth;
        end = bodyEnd;
        ends[depth] = end;
        messages[depth] = message;
        slots[depth] = slot;
        continue;
      }
      this.#pos = pos;
      this.#scalar(operation, wireType, start, end, field);
      pos = this.#pos;
    }
  }

  /** Takes a field that is neither a message nor bytes, from behind its tag. */
  #scalar(operation: number, wireType: number, start: number, end: number, field: number): void {
    switch (operation) {
      case VARINT:
        if (wireType !== 0) throw this.#wrongType(field, wireType, start);
        return this.#skipVarint(end, field);
      case I64:
        if (wireType !== 1) throw this.#wrongType(field, wireType, start);
        return this.#skip(8, end, field);
      case I32:
        if (wireType !== 5) throw this.#wrongType(field, wireType, start);
        return this.#skip(4, end, field);
      case PACKED_I64: {
        if (wireType === 1) return this.#skip(8, end, field);
        if (wireType !== 2) throw this.#wrongType(field, wireType, start);
        const length = this.#length(end);
        if (length % 8 !== 0) throw this.#fault(`packed length ${length} is not a multiple of 8`, start, field);
        return this.#skip(length, end, field);
      }
      case PACKED_VARINT: {
        if (wireType === 0) return this.#skipVarint(end, field);
        if (wireType !== 2) throw this.#wrongType(field, wireType, start);
        const length = this.#length(end);
        const packedEnd = this.#pos + length;
        if (packedEnd > end) throw this.#fault(`packed length ${length} overruns its message`, start, field);
        while (this.#pos < packedEnd) this.#skipVarint(packedEnd, field);
        return;
      }
      default:
        return this.#skipUnknown(wireType, end, field);
    }
  }

  /** A tag of more than one byte; bits above 2^35 do not reach the field number. */
  #tag(end: number): number {
    const start = this.#pos;
    let value = 0;
    for (let index = 0; index < 10; index++) {
      if (this.#pos >= end) throw this.#fault("ends inside a tag", start);
      const byte = this.#bytes[this.#pos++]!;
      if (index < 5) value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw this.#fault("a tag of more than 64 bits", start);
  }

  /** A length; one of more than 2^53 is inexact here, and far over any bound. */
  #length(end: number): number {
    const start = this.#pos;
    const first = this.#bytes[start]!;
    const second = start + 1 < end ? this.#bytes[start + 1]! : 0x80;
    // What is not of one byte is nearly always of two.
    if (first >= 0x80 && second < 0x80) {
      this.#pos += 2;
      return (first & 0x7f) | (second << 7);
    }
    let value = 0;
    for (let index = 0; index < 10; index++) {
      if (this.#pos >= end) throw this.#fault("ends inside a length", start);
      const byte = this.#bytes[this.#pos++]!;
      value += lengthBits(byte, index);
      if (byte < 0x80) return value;
    }
    throw this.#fault("a length of more than 64 bits", start);
  }

  #skipVarint(end: number, field: number): void {
    const start = this.#pos;
    for (let index = 0; index < 10; index++) {
      if (this.#pos >= end) throw this.#fault("ends inside a varint", start, field);
      if (this.#bytes[this.#pos++]! < 0x80) return;
    }
    throw this.#fault("a varint of more than 64 bits", start, field);
  }

  #skip(length: number, end: number, field: number): void {
    if (this.#pos + length > end) throw this.#fault(`ends before the ${length} bytes of the value`, this.#pos, field);
    this.#pos += length;
  }

  /**
   * An unknown field, as the Collector skips it: a group's first field that is no group itself ends the skipping, and what
   * follows is read as fields of the message.
   */
  #skipUnknown(firstType: number, end: number, field: number): void {
    let wireType = firstType;
    let depth = 0;
    while (this.#pos < end) {
      switch (wireType) {
        case 0:
          return this.#skipVarint(end, field);
        case 1:
          return this.#skip(8, end, field);
        case 2:
          return this.#skip(this.#length(end), end, field);
        case 5:
          return this.#skip(4, end, field);
        case 3:
          depth++;
          break;
        case 4:
          if (depth === 0) throw this.#fault("a group ends that was not begun", this.#pos, field);
          depth--;
          break;
        default:
          throw this.#fault(`wire type ${wireType} does not exist`, this.#pos, field);
      }
      if (depth === 0) return;
      const tag = this.#tag(end);
      if ((Math.floor(tag / 8) | 0) <= 0) throw this.#fault("a field number that is not positive", this.#pos, field);
      wireType = tag % 8;
    }
    throw this.#fault("ends inside an unknown field", this.#pos, field);
  }

  #wrongType(field: number, wireType: number, offset: number): WireError {
    return this.#fault(`wire type ${WIRE_TYPES[wireType]} is wrong for it`, offset, field);
  }

  /** The error, with the path of messages that leads to it. Only faults pay for finding the path. */
  #fault(what: string, offset: number, field?: number): WireError {
    const path: string[] = [];
    for (let depth = 0; depth < Math.min(this.#depth, PATH_SHOWN_MAX); depth++) {
      const slot = this.#slots[depth + 1]!;
      path.push(fieldName(this.#messages[depth]!, slot === SLOT_1000 ? 1000 : slot));
    }
    if (this.#depth > PATH_SHOWN_MAX) path.push("…");
    if (field !== undefined) path.push(fieldName(this.#messages[this.#depth]!, field));
    const where = path.length === 0 ? "" : ` in ${path.join(".")}`;
    return new WireError(`Malformed protobuf at byte ${offset}${where}: ${what}`, offset, path.join("."));
  }
}

const EMPTY = new Uint8Array(0);
const PATH_SHOWN_MAX = 12;

function fieldName(message: number, number: number): string {
  const field = MESSAGES[MESSAGE_NAMES[message]!].find((candidate) => candidate.number === number);
  return field?.name ?? `field ${number}`;
}

/** What byte `index` of a length adds. The tenth byte has one bit: the sign of Go's int, which makes the length negative. */
function lengthBits(byte: number, index: number): number {
  return (index === 9 ? byte & 1 : byte & 0x7f) * 2 ** (7 * index);
}
