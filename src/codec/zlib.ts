/**
 * Raw deflate data (RFC 1951) inflated and made with zlib states that are used again and again.
 *
 * `inflateRawSync` and `deflateRawSync` make a state and an output buffer for each call, and their garbage cost the relay 28 us of
 * the 134 us of CPU that a small request took. Node and Deno keep the state behind `_handle`: where it is as expected it is reset
 * and used again; elsewhere the documented functions do the work.
 * @module
 */
import { codeOf } from "../errors.ts";
import { discard } from "./bytes.ts";
import { constants, createDeflateRaw, createInflateRaw, deflateRawSync, inflateRawSync } from "node:zlib";

/** What came of inflating. */
export type Inflated =
  /** `content` is a view, valid until the next call. `consumed`: how many bytes of the data the stream had. */
  | { readonly kind: "done"; readonly content: Uint8Array; readonly consumed: number }
  /** The content is over the bound. */
  | { readonly kind: "too_large" }
  | { readonly kind: "truncated" }
  | { readonly kind: "damaged" };

/** Memory that is kept between calls; a larger content gets memory of its own. */
const SCRATCH_BYTES = 1024 * 1024;

/** Inflates, bounded. Not to be shared between Workers; safe within one, because a call never awaits. */
export class Inflater {
  readonly #engine: Engine | undefined;

  /** @param reuse False to use `inflateRawSync` alone. */
  constructor(reuse = true) {
    const engine = reuse ? Engine.of(createInflateRaw()) : undefined;
    // What is not documented is tried before it is trusted: the stream of one NUL, and the same cut short.
    const known = new Uint8Array([0x63, 0x00, 0x00, 0xff]);
    const whole = engine?.run(known, 16);
    const works = typeof whole === "object" && whole.consumed === 3 && whole.output.length === 1 &&
      engine?.run(known.subarray(0, 1), 16) === "truncated";
    this.#engine = works ? engine : undefined;
  }

  /** Whether the zlib state is used again. */
  get reuses(): boolean {
    return this.#engine !== undefined;
  }

  /** Gives back what a large content has taken; the view that `inflate` returned last is of no use afterwards. */
  free(): void {
    this.#engine?.free();
  }

  /**
   * Inflates the deflate stream that `data` begins with; what follows the stream is not looked at.
   * @param bytesMax The most bytes that its content may have.
   */
  inflate(data: Uint8Array, bytesMax: number): Inflated {
    if (this.#engine === undefined) return inflateAnew(data, bytesMax);
    const result = this.#engine.run(data, bytesMax);
    return typeof result === "string"
      ? { kind: result }
      : { kind: "done", content: result.output, consumed: result.consumed };
  }
}

/** Makes deflate streams. Not to be shared between Workers. */
export class Deflater {
  #engine: Engine | undefined;
  readonly #level: number;
  /** Content that could not be compressed, as it was returned last. */
  #stored: Uint8Array | undefined;

  /** @param level zlib's, 1 to 9. `reuse`: false to use `deflateRawSync` alone. */
  constructor(level: number, reuse = true) {
    const engine = reuse ? Engine.of(createDeflateRaw({ level })) : undefined;
    const known = engine?.run(new Uint8Array(1), 64);
    const works = typeof known === "object" && known.consumed === 1 && known.output.length === 3;
    this.#engine = works ? engine : undefined;
    this.#level = level;
  }

  /** Whether the zlib state is used again. */
  get reuses(): boolean {
    return this.#engine !== undefined;
  }

  /** Gives back what a large stream has taken; the view that `deflate` returned last is of no use afterwards. */
  free(): void {
    this.#engine?.free();
    if (this.#stored !== undefined) discard(this.#stored);
    this.#stored = undefined;
  }

  /** One whole deflate stream of `content`, hardly longer than it in any case: a view, valid until the next call. */
  deflate(content: Uint8Array): Uint8Array {
    this.free();
    const blocks = Math.max(1, Math.ceil(content.length / STORED_BYTES_MAX));
    const storedBytes = content.length + STORED_HEADER_BYTES * blocks;
    // At its fastest level zlib grows what it cannot compress by a twentieth. There is room for more: a state that is reset before
    // the stream has ended writes what was left of it before the next one.
    const result = this.#engine?.run(content, content.length + (content.length >> 3) + 1024);
    if (typeof result === "string") this.#engine = Engine.of(createDeflateRaw({ level: this.#level }));
    const output = typeof result === "object" ? result.output : deflateRawSync(content, { level: this.#level });
    if (output.length <= storedBytes) return output;
    this.free();
    return this.#stored = stored(content, storedBytes);
  }
}

/** The most content of a block that is not compressed (RFC 1951, 3.2.4), and the bytes before it. */
const STORED_BYTES_MAX = 0xffff;
const STORED_HEADER_BYTES = 5;

/** A deflate stream of blocks that are not compressed. */
function stored(content: Uint8Array, storedBytes: number): Uint8Array {
  const output = new Uint8Array(storedBytes);
  const view = new DataView(output.buffer);
  let at = 0;
  let from = 0;
  do {
    const length = Math.min(STORED_BYTES_MAX, content.length - from);
    output[at] = from + length === content.length ? 1 : 0;
    view.setUint16(at + 1, length, true);
    view.setUint16(at + 3, ~length & 0xffff, true);
    output.set(content.subarray(from, from + length), at + STORED_HEADER_BYTES);
    at += STORED_HEADER_BYTES + length;
    from += length;
  } while (from < content.length);
  return output;
}

/** The part of zlib's own object that is used (Node and Deno alike). */
interface Handle {
  onerror: (message: string, errno: number) => void;
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
  reset(): void;
}

/** One zlib state. */
class Engine {
  readonly #handle: Handle;
  /** Two words in which zlib says how much room and how much input are left. */
  readonly #left: Uint32Array;
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  /** An output larger than the scratch memory. */
  #grown: Uint8Array | undefined;
  #errno = 0;

  private constructor(handle: Handle, left: Uint32Array) {
    this.#handle = handle;
    this.#left = left;
    handle.onerror = (_message, errno) => this.#errno = errno;
  }

  /** The state behind one of zlib's streams, where it is as expected. */
  static of(stream: object): Engine | undefined {
    const handle: unknown = "_handle" in stream ? stream._handle : undefined;
    const left: unknown = "_writeState" in stream ? stream._writeState : undefined;
    const fits = typeof handle === "object" && handle !== null && "writeSync" in handle && "reset" in handle &&
      left instanceof Uint32Array && left.length === 2;
    return fits ? new Engine(handle as Handle, left) : undefined;
  }

  /** Gives back the memory of an output that was large. What `run` returned last is of no use afterwards. */
  free(): void {
    if (this.#grown === undefined) return;
    discard(this.#grown);
    this.#grown = undefined;
  }

  run(
    data: Uint8Array,
    outputBytesMax: number,
  ): { output: Uint8Array; consumed: number } | "too_large" | "truncated" | "damaged" {
    let output = this.#scratch;
    let produced = 0;
    let consumed = 0;
    this.#errno = 0;
    this.free();
    try {
      for (;;) {
        const room = output.length - produced;
        const input = data.length - consumed;
        this.#handle.writeSync(constants.Z_FINISH, data, consumed, input, output, produced, room);
        // With Z_FINISH a lack of input is an error: the stream ends too early.
        if (this.#errno !== 0) return this.#errno === constants.Z_BUF_ERROR ? "truncated" : "damaged";
        const [roomLeft = 0, inputLeft = 0] = this.#left;
        const progress = room - roomLeft + input - inputLeft;
        consumed = data.length - inputLeft;
        produced = output.length - roomLeft;
        if (produced > outputBytesMax) return "too_large";
        // Room left over, or nothing more to say: the stream has ended.
        if (roomLeft > 0) return { output: output.subarray(0, produced), consumed };
        // Never the whole of the scratch memory: a buffer that is filled exactly passes for one of the content's own.
        if (progress === 0) return { output: output.slice(), consumed };
        // To the bound at the second step: memory is taken as it is written, and copying takes as much again. One byte over the
        // bound is room enough to see that it is passed.
        const most = Math.max(outputBytesMax, output.length) + 1;
        const grown = new Uint8Array(output === this.#scratch ? Math.min(output.length * 4, most) : most);
        grown.set(output);
        this.free();
        output = this.#grown = grown;
      }
    } finally {
      this.#handle.reset();
    }
  }
}

/** What zlib answers when asked for `info`: the content, and the engine that says how much it read. */
interface InflateInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

function inflateAnew(data: Uint8Array, bytesMax: number): Inflated {
  try {
    // A bound of 0 is not taken by zlib; what was found is compared again.
    const options = { maxOutputLength: Math.max(1, bytesMax), info: true };
    const info = inflateRawSync(data, options) as unknown as InflateInfo;
    if (info.buffer.length > bytesMax) return { kind: "too_large" };
    return { kind: "done", content: info.buffer, consumed: info.engine.bytesWritten };
  } catch (error) {
    const code = codeOf(error);
    if (code === "ERR_BUFFER_TOO_LARGE") return { kind: "too_large" };
    return { kind: code === "Z_BUF_ERROR" ? "truncated" : "damaged" };
  }
}
