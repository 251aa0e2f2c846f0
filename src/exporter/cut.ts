/**
 * Cutting a request in two, for the search of what of it the Collector does not take: at its resources, then at the scopes of one
 * resource, then at the items of one scope, and metrics at their data points. Nothing is decoded into objects.
 * @module
 */
import { type FieldCursor, fieldCursor, LEN, readField, varint } from "../otlp/rewrite/fields.ts";
import { concatenate } from "../codec/bytes.ts";
import type { SignalName } from "../signal.ts";

/** Fields of a message that are cut between, at each depth. `one`: exactly one of them stands there, and the cut is made within it. */
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
  const only = fieldCursor();
  let children = 0;
  eachField(message, (field) => {
    if (isChild(field, level) && children++ === 0) Object.assign(only, field);
  });
  if (children === 0) return undefined;
  if (children > 1) return level.one ? undefined : split(message, level, Math.ceil(children / 2));
  const inner = cut(message.subarray(only.contentStart, only.end), levels, depth + 1);
  if (inner === undefined || message.length - (only.end - only.contentStart) > REPEATED_BYTES_MAX) return undefined;
  const before = message.subarray(0, only.tagEnd);
  const behind = message.subarray(only.end);
  const [first, second] = inner;
  return [
    concatenate([before, Uint8Array.from(varint(first.length)), first, behind]),
    concatenate([before, Uint8Array.from(varint(second.length)), second, behind]),
  ];
}

/** Calls `each` for the fields of a message in order. */
function eachField(message: Uint8Array, each: (field: FieldCursor) => void): void {
  const field = fieldCursor();
  for (let at = 0; at < message.length; at = field.end) {
    readField(message, at, field);
    each(field);
  }
}

function isChild({ wireType, number }: FieldCursor, { fields }: Level): boolean {
  return wireType === LEN && fields.includes(number);
}

/** The first `middle` of the children in one half, the others in the other, and all else in both. */
function split(message: Uint8Array, level: Level, middle: number): [Uint8Array, Uint8Array] | undefined {
  const first = new Copy(message);
  const second = new Copy(message);
  let children = 0;
  let repeated = 0;
  eachField(message, (field) => {
    const { start, end } = field;
    if (isChild(field, level)) return (children++ < middle ? first : second).take(start, end);
    repeated += end - start;
    // It is too much: what of it has been noted is of no use.
    if (repeated > REPEATED_BYTES_MAX) return;
    first.take(start, end);
    second.take(start, end);
  });
  return repeated > REPEATED_BYTES_MAX ? undefined : [first.bytes(), second.bytes()];
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
