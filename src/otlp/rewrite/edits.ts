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

/** Edits that are held in one piece of memory: 48 KiB of it. */
const CHUNK = 4_096;
const WORDS = 3;
const MARK = 1 << 30;

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
   * Three words an edit: where what is replaced starts and ends, and what comes there: so many bytes of {@link Write}'s, with the
   * mark in bit 30; or where negative, the varint of the number whose complement it is.
   */
  readonly #chunks: Int32Array[] = [new Int32Array(CHUNK * WORDS)];
  #count = 0;
  /** Where the last edit ended. */
  #last = -1;
  /** Bytes that come in place of others, and bytes that go. */
  #added = 0;
  #removed = 0;

  /** Begins a request. @param bytesMax The most bytes that it may have afterwards. */
  begin(request: Uint8Array, bytesMax: number): void {
    this.#request = request;
    this.#bytesMax = bytesMax;
    this.#count = this.#added = this.#removed = 0;
    this.#last = -1;
  }

  /** Lets go of the request, and of what many edits took. */
  end(): void {
    this.#request = EMPTY;
    this.#count = 0;
    this.#chunks.length = 1;
  }

  /** Takes bytes out. @returns by how many the request grows. */
  remove(start: number, end: number): number {
    // Neighbours are one: what takes out many takes one note.
    if (this.#last === start && this.#word(this.#count - 1, 2) === 0) {
      this.#set(this.#count - 1, 1, end);
      this.#last = end;
      this.#removed += end - start;
      return start - end;
    }
    return this.replace(start, end, 0);
  }

  /**
   * Puts `bytes` bytes of {@link Write}'s in place of what is there. @returns by how many the request grows.
   * @throws {RewrittenTooLargeError} when what was put in alone is over the bound.
   */
  replace(start: number, end: number, bytes: number, mark: 0 | 1 = 0): number {
    this.#add(start, end, mark === 0 ? bytes : bytes | MARK);
    this.#note(start, end, bytes);
    return bytes - (end - start);
  }

  /** Puts a length, as a varint, in place of what is there. @returns by how many the request grows. */
  replaceLength(start: number, end: number, length: number): number {
    this.#add(start, end, ~length);
    const bytes = varintBytes(length);
    this.#note(start, end, bytes);
    return bytes - (end - start);
  }

  /** Keeps the place of a length that is known later; {@link settle} says it. @returns its number. */
  reserve(start: number, end: number): number {
    this.#add(start, end, ~0);
    return this.#count - 1;
  }

  /** Says the length of a place that was kept. @returns by how many bytes the length itself grows. */
  settle(number: number, length: number): number {
    this.#set(number, 2, ~length);
    const start = this.#word(number, 0);
    const end = this.#word(number, 1);
    const bytes = varintBytes(length);
    this.#note(start, end, bytes);
    return bytes - (end - start);
  }

  /**
   * The request with every change, in a buffer of its own; undefined where there is none.
   * @throws {RewrittenTooLargeError} before anything is allocated or written.
   */
  joined(write: Write): Uint8Array<ArrayBuffer> | undefined {
    if (this.#count === 0) return undefined;
    const request = this.#request;
    const length = request.length + this.#added - this.#removed;
    if (length > this.#bytesMax) throw new RewrittenTooLargeError(this.#bytesMax);
    const target = new Uint8Array(length);
    let from = 0;
    let to = 0;
    for (let index = 0; index < this.#count; index++) {
      const chunk = this.#chunks[Math.floor(index / CHUNK)]!;
      const word = (index % CHUNK) * WORDS;
      const start = chunk[word]!;
      const end = chunk[word + 1]!;
      const value = chunk[word + 2]!;
      to = copy(request, from, start, target, to);
      if (value < 0) to = putVarint(target, to, ~value);
      else if (value > 0) {
        write(target, to, start, end, value < MARK ? 0 : 1);
        to += value & ~MARK;
      }
      from = end;
    }
    copy(request, from, request.length, target, to);
    return target;
  }

  #add(start: number, end: number, value: number): void {
    const word = (this.#count % CHUNK) * WORDS;
    const index = Math.floor(this.#count / CHUNK);
    const chunk = this.#chunks[index] ??= new Int32Array(CHUNK * WORDS);
    chunk[word] = start;
    chunk[word + 1] = end;
    chunk[word + 2] = value;
    this.#count++;
    this.#last = end;
  }

  #note(start: number, end: number, bytes: number): void {
    this.#removed += end - start;
    this.#added += bytes;
    // All of it will be in the request, whatever else goes.
    if (this.#added > this.#bytesMax) throw new RewrittenTooLargeError(this.#bytesMax);
  }

  #word(index: number, word: number): number {
    return this.#chunks[Math.floor(index / CHUNK)]![(index % CHUNK) * WORDS + word]!;
  }

  #set(index: number, word: number, value: number): void {
    this.#chunks[Math.floor(index / CHUNK)]![(index % CHUNK) * WORDS + word] = value;
  }
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
