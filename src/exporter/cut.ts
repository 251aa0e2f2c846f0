/**
 * Cutting a request in two, for the search of what of it the Collector does not take: at its resources, then at the scopes of one
 * resource, then at the items of one scope, and metrics at their data points. Nothing is decoded into objects.
 * @module
 */
import { varint } from "../otlp/rewrite/fields.ts";
import { concatenate } from "../codec/bytes.ts";
import type { SignalName } from "../signal.ts";

/** Fields of a message that are cut between, at each depth. `one`: exactly one of them stands there, and is only gone into. */
interface Level {
  readonly fields: readonly number[];
  readonly one?: true;
}

const ITEMS: readonly Level[] = [{ fields: [1] }, { fields: [2] }, { fields: [2] }];

/** OTLP 1.11: ResourceX(1) > scope_x(2) > items(2), and in a metric the one kind of data that it has > data_points(1). */
const LEVELS: Readonly<Record<SignalName, readonly Level[]>> = {
  traces: ITEMS,
  logs: ITEMS,
  metrics: [...ITEMS, { fields: [5, 7, 9, 10, 11], one: true }, { fields: [1] }],
  // Its resources point into a shared dictionary: it is never cut.
  profiles: [],
};

/** What stands beside what is cut goes into both halves: a request of which so much does, in bytes, is not worth the cut. */
const REPEATED_BYTES_MAX = 16 * 1024;

/**
 * Two requests that hold together what `request` holds, cut at the outermost place where there is more than one; undefined where there is
 * no such place.
 * @param request Encoded, and found valid at the door.
 */
export function halves(signal: SignalName, request: Uint8Array): readonly [Uint8Array, Uint8Array] | undefined {
  return cut(request, LEVELS[signal], 0);
}

function cut(message: Uint8Array, levels: readonly Level[], depth: number): [Uint8Array, Uint8Array] | undefined {
  const level = levels[depth];
  if (level === undefined) return undefined;
  const children = count(message, level.fields);
  if (children === undefined || children === 0) return undefined;
  if (children > 1) return level.one ? undefined : split(message, level.fields, Math.ceil(children / 2));
  const reader = new Fields(message);
  while (reader.next() && !(reader.wireType === 2 && level.fields.includes(reader.field)));
  const inner = cut(message.subarray(reader.bodyStart, reader.end), levels, depth + 1);
  if (inner === undefined || message.length - (reader.end - reader.bodyStart) > REPEATED_BYTES_MAX) return undefined;
  const before = message.subarray(0, reader.bodyStart - reader.lengthBytes);
  const behind = message.subarray(reader.end);
  const [first, second] = inner;
  return [
    concatenate([before, Uint8Array.from(varint(first.length)), first, behind]),
    concatenate([before, Uint8Array.from(varint(second.length)), second, behind]),
  ];
}

/** How many of `fields` there are; undefined where the message cannot be read to its end. */
function count(message: Uint8Array, fields: readonly number[]): number | undefined {
  let children = 0;
  const reader = new Fields(message);
  while (reader.next()) if (reader.wireType === 2 && fields.includes(reader.field)) children++;
  return reader.whole ? children : undefined;
}

/** The first `middle` of `fields` in one half, the others in the other, and all else in both. */
function split(
  message: Uint8Array,
  fields: readonly number[],
  middle: number,
): [Uint8Array, Uint8Array] | undefined {
  const first = new Copy(message);
  const second = new Copy(message);
  let children = 0;
  let repeated = 0;
  const reader = new Fields(message);
  while (reader.next()) {
    if (reader.wireType === 2 && fields.includes(reader.field)) {
      (children++ < middle ? first : second).take(reader.start, reader.end);
    } else {
      repeated += reader.end - reader.start;
      if (repeated > REPEATED_BYTES_MAX) return undefined;
      first.take(reader.start, reader.end);
      second.take(reader.start, reader.end);
    }
  }
  return [first.bytes(), second.bytes()];
}

/** Ranges of a message in one buffer; neighbours are copied at once. */
class Copy {
  readonly #from: Uint8Array;
  #into: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;
  #start = 0;
  #end = 0;

  constructor(from: Uint8Array) {
    this.#from = from;
  }

  take(start: number, end: number): void {
    if (start !== this.#end) {
      this.#flush();
      this.#start = start;
    }
    this.#end = end;
  }

  /** A view of the message where the ranges follow each other. */
  bytes(): Uint8Array {
    if (this.#into === undefined) return this.#from.subarray(this.#start, this.#end);
    this.#flush();
    return this.#into.subarray(0, this.#length);
  }

  #flush(): void {
    if (this.#end === this.#start) return;
    this.#into ??= new Uint8Array(this.#from.length);
    this.#into.set(this.#from.subarray(this.#start, this.#end), this.#length);
    this.#length += this.#end - this.#start;
    this.#start = this.#end;
  }
}

/** The fields of one message, one after the other. Groups, which nothing in OTLP has, end it. */
class Fields {
  readonly #bytes: Uint8Array;
  #pos = 0;
  /** Where the field's tag begins, and its first byte behind. */
  start = 0;
  end = 0;
  field = 0;
  wireType = 0;
  /** Where the content of a length-delimited field begins, and how many bytes before it state its length. */
  bodyStart = 0;
  lengthBytes = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether all has been read. */
  get whole(): boolean {
    return this.#pos === this.#bytes.length;
  }

  next(): boolean {
    const bytes = this.#bytes;
    if (this.#pos >= bytes.length) return false;
    this.start = this.#pos;
    let pos = this.#pos;
    const tag = this.#varint(pos);
    pos += this.#read;
    this.field = Math.floor(tag / 8);
    this.wireType = tag % 8;
    if (this.wireType === 0) {
      this.#varint(pos);
      pos += this.#read;
    } else if (this.wireType === 1) pos += 8;
    else if (this.wireType === 5) pos += 4;
    else if (this.wireType === 2) {
      const length = this.#varint(pos);
      this.lengthBytes = this.#read;
      this.bodyStart = pos + this.#read;
      pos = this.bodyStart + length;
    } else return false;
    if (pos > bytes.length) return false;
    this.#pos = this.end = pos;
    return true;
  }

  #read = 0;

  #varint(pos: number): number {
    let value = 0;
    for (let index = 0; index < 10; index++) {
      const byte = this.#bytes[pos + index];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) {
        this.#read = index + 1;
        return value;
      }
    }
    // Past every end.
    this.#read = Infinity;
    return 0;
  }
}
