/**
 * Changes of an encoded request, noted in their order and then made at once: the new request is allocated when its length is known
 * to the byte, and not at all when it would be over the bound.
 * @module
 */

/** The request would be over the bound with its changes. */
export class RewrittenTooLargeError extends Error {
  override readonly name = "RewrittenTooLargeError";
  readonly bytesMax: number;

  constructor(bytesMax: number) {
    super(`Request has more than ${bytesMax} bytes with what is written into it`);
    this.bytesMax = bytesMax;
  }
}

/** Writes what takes the place of the bytes from `start` to `end`; as many bytes as were announced, with the mark that was given. */
export type Write = (target: Uint8Array<ArrayBuffer>, at: number, start: number, end: number, mark: 0 | 1) => void;

/** Edits are held in pieces of memory of so many bytes. */
const CHUNK_BYTES = 1 << 15;
/** What comes in an edit's place. */
const NOTHING = 0;
const WRITTEN = 1;
const WRITTEN_MARKED = 2;
const LENGTH = 3;
/** The most that an edit takes: its kind, and three varints of 32 bits. */
const EDIT_BYTES_MAX = 16;
/** So long is the varint of a length that is known later. */
const LATER_BYTES = 5;

/** The bytes of a number as a varint. */
export function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

/** Writes a number as a varint. @returns the byte behind it. */
export function putVarint(target: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80;
  target[at++] = rest;
  return at;
}

const EMPTY = new Uint8Array(0);

/**
 * What is to be changed of one request. Places are bytes from its start, and never go back. An instance is used for request after
 * request, which is safe because none of it awaits.
 */
export class Edits {
  #request: Uint8Array = EMPTY;
  #bytesMax = 0;
  /**
   * The edits, each as its kind and varints, which is 3 or 4 bytes of most, as there may be one for each few bytes of a request: how far
   * behind the end of the one before it begins, how long what is replaced is, and, unless nothing comes there, how long what is written,
   * or the length itself. None goes from one chunk into the next.
   */
  readonly #chunks: Uint8Array[] = [new Uint8Array(CHUNK_BYTES)];
  /** Where the edits of each chunk end. */
  readonly #ends: number[] = [0];
  /** The chunk under way, and where its edits end so far. */
  #chunk = this.#chunks[0]!;
  #at = 0;
  /** Where the last edit stands in its chunk, and where what it replaces starts and ends; -1 before the first. */
  #lastAt = 0;
  #lastStart = -1;
  #last = -1;
  /** Bytes that come in place of others, and bytes that go. */
  #added = 0;
  #removed = 0;

  /** Begins a request. @param bytesMax The most bytes that it may have afterwards. */
  begin(request: Uint8Array, bytesMax: number): void {
    this.#request = request;
    this.#bytesMax = bytesMax;
    this.#clear();
  }

  /** Lets go of the request, and of what many edits took. */
  end(): void {
    this.#request = EMPTY;
    this.#clear();
  }

  #clear(): void {
    this.#chunks.length = this.#ends.length = 1;
    this.#chunk = this.#chunks[0]!;
    this.#at =
      this.#lastAt =
      this.#added =
      this.#removed =
        0;
    this.#last = this.#lastStart = -1;
  }

  /** Takes bytes out. @returns by how many the request grows. */
  remove(start: number, end: number): number {
    // Neighbours are one: what takes out many takes one note.
    if (this.#last === start && this.#chunk[this.#lastAt] === NOTHING) {
      let at = this.#lastAt + 1;
      while (this.#chunk[at++]! >= 0x80);
      this.#at = putVarint(this.#chunk, at, end - this.#lastStart);
      this.#last = end;
    } else this.#add(start, end, NOTHING, 0);
    this.#removed += end - start;
    return start - end;
  }

  /**
   * Puts `bytes` bytes of {@link Write}'s in place of what is there. @returns by how many the request grows.
   * @throws {RewrittenTooLargeError} when what was put in alone is over the bound.
   */
  replace(start: number, end: number, bytes: number, mark: 0 | 1 = 0): number {
    if (bytes === 0) return this.remove(start, end);
    this.#add(start, end, mark === 0 ? WRITTEN : WRITTEN_MARKED, bytes);
    this.#note(end - start, bytes);
    return bytes - (end - start);
  }

  /** Puts a length, as a varint, in place of what is there. @returns by how many the request grows. */
  replaceLength(start: number, end: number, length: number): number {
    this.#add(start, end, LENGTH, length);
    const bytes = varintBytes(length);
    this.#note(end - start, bytes);
    return bytes - (end - start);
  }

  /** Keeps the place of a length that is known later; {@link settle} says it. @returns its number. */
  reserve(start: number, end: number): number {
    this.#add(start, end, LENGTH, 0);
    const number = (this.#chunks.length - 1) * CHUNK_BYTES + this.#lastAt;
    this.#at = putLater(this.#chunk, this.#at - 1, 0);
    return number;
  }

  /** Says the length of a place that was kept. @returns by how many bytes the length itself grows. */
  settle(number: number, length: number): number {
    const chunk = this.#chunks[Math.floor(number / CHUNK_BYTES)]!;
    const reading = this.#reading;
    reading.readHead(chunk, number % CHUNK_BYTES);
    putLater(chunk, reading.at, length);
    const bytes = varintBytes(length);
    this.#note(reading.replaced, bytes);
    return bytes - reading.replaced;
  }

  readonly #reading = new Reading();

  /**
   * The request with every change, in a buffer of its own; undefined where there is none.
   * @throws {RewrittenTooLargeError} before anything is allocated or written.
   */
  joined(write: Write): Uint8Array<ArrayBuffer> | undefined {
    if (this.#last < 0) return undefined;
    const request = this.#request;
    const length = request.length + this.#added - this.#removed;
    if (length > this.#bytesMax) throw new RewrittenTooLargeError(this.#bytesMax);
    this.#ends[this.#chunks.length - 1] = this.#at;
    const target = new Uint8Array(length);
    const edit = this.#reading;
    let from = 0;
    let to = 0;
    for (let index = 0; index < this.#chunks.length; index++) {
      const chunk = this.#chunks[index]!;
      const chunkEnd = this.#ends[index]!;
      for (let at = 0; at < chunkEnd; at = edit.at) {
        edit.readHead(chunk, at);
        const start = from + edit.distance;
        const end = start + edit.replaced;
        to = copy(request, from, start, target, to);
        if (edit.kind !== NOTHING) {
          const value = edit.readVarint(chunk);
          if (edit.kind === LENGTH) to = putVarint(target, to, value);
          else {
            write(target, to, start, end, edit.kind === WRITTEN ? 0 : 1);
            to += value;
          }
        }
        from = end;
      }
    }
    copy(request, from, request.length, target, to);
    return target;
  }

  #add(start: number, end: number, kind: number, value: number): void {
    if (this.#at > CHUNK_BYTES - EDIT_BYTES_MAX) this.#beginChunk();
    const chunk = this.#chunk;
    this.#lastAt = this.#at;
    this.#lastStart = start;
    let at = this.#at;
    chunk[at++] = kind;
    at = putVarint(chunk, at, start - Math.max(0, this.#last));
    at = putVarint(chunk, at, end - start);
    this.#at = kind === NOTHING ? at : putVarint(chunk, at, value);
    this.#last = end;
  }

  #beginChunk(): void {
    this.#ends[this.#chunks.length - 1] = this.#at;
    this.#chunk = new Uint8Array(CHUNK_BYTES);
    this.#chunks.push(this.#chunk);
    this.#at = 0;
  }

  #note(replaced: number, bytes: number): void {
    this.#removed += replaced;
    this.#added += bytes;
    // All of it will be in the request, whatever else goes.
    if (this.#added > this.#bytesMax) throw new RewrittenTooLargeError(this.#bytesMax);
  }
}

/** Reads edits. */
class Reading {
  at = 0;
  kind = NOTHING;
  distance = 0;
  replaced = 0;

  /** Reads what each edit has. */
  readHead(chunk: Uint8Array, at: number): void {
    this.kind = chunk[at]!;
    this.at = at + 1;
    this.distance = this.readVarint(chunk);
    this.replaced = this.readVarint(chunk);
  }

  readVarint(chunk: Uint8Array): number {
    let at = this.at;
    let byte = chunk[at++]!;
    let value = byte & 0x7f;
    for (let shift = 7; byte >= 0x80; shift += 7) {
      byte = chunk[at++]!;
      value |= (byte & 0x7f) << shift;
    }
    this.at = at;
    return value >>> 0;
  }
}

/** Writes a number as a varint of {@link LATER_BYTES}, so that another fits there. @returns the byte behind it. */
function putLater(target: Uint8Array, start: number, value: number): number {
  let rest = value;
  for (let at = start; at < start + LATER_BYTES - 1; at++, rest >>>= 7) target[at] = (rest & 0x7f) | 0x80;
  target[start + LATER_BYTES - 1] = rest;
  return start + LATER_BYTES;
}

/** From so many bytes on a copy is worth the call. */
const COPY_BYTES_MIN = 64;

/** Copies a stretch. @returns the byte behind it. */
function copy(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  if (end - start >= COPY_BYTES_MIN) {
    target.set(source.subarray(start, end), at);
    return at + end - start;
  }
  let to = at;
  for (let from = start; from < end; from++) target[to++] = source[from]!;
  return to;
}
