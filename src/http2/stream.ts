/**
 * One stream of an HTTP/2 connection: a request and its answer. The connection owns it; who uses it sees {@link Http2Stream}.
 * @module
 */
import type { Field } from "./hpack_tables.ts";
import { ERROR_CODE } from "./frame.ts";

/** Why a stream ended before both of its sides had. */
export interface StreamCut {
  /** By the peer's RST_STREAM, its GOAWAY, the connection's end, something that the peer sent, or `reset` here. */
  readonly reason: "reset" | "goaway" | "closed" | "malformed" | "local";
  /** The error code of HTTP/2 (`ERROR_CODE`). */
  readonly code: number;
  /** The peer says that it has done nothing with it, so that a request may be repeated (RFC 9113, section 8.7). */
  readonly unprocessed: boolean;
  /** In words, for a log. */
  readonly message: string;
}

/**
 * What a stream tells its owner, in the order of the fields. All are called as the bytes arrive; what one throws ends the stream with
 * INTERNAL_ERROR.
 */
export interface StreamEvents {
  /** To a client: the header of the answer. 1xx answers are not told. */
  headers?(fields: readonly Field[]): void;
  /** A piece of the body, which is nobody else's. `Http2Stream.consumed` lets the peer send as much again. */
  data(piece: Uint8Array): void;
  /** Before `end`, where there are any. */
  trailers?(fields: readonly Field[]): void;
  /** The peer has sent all. */
  end(): void;
  /** It ended otherwise. Told once at most, not after both sides have ended, and nothing follows. */
  cut(cause: StreamCut): void;
}

/** A stream as its owner uses it. Each call is void once the stream is over. */
export interface Http2Stream {
  readonly id: number;
  /** Bytes given to `sendData` that are not on the socket yet. */
  readonly waitingBytes: number;
  /** Whether nothing that was given to `sendData` is held any more: nothing waits, and the system has taken what went to the socket. */
  readonly sent: boolean;
  /** Sends a header block of `encodeFields`. */
  sendHeaders(block: Uint8Array, end?: boolean): void;
  /** Sends a part of the body once windows and socket have room for it; `bytes` is not copied. */
  sendData(bytes: Uint8Array, end?: boolean): void;
  /** Sends trailers behind what waits, which ends our side. */
  sendTrailers(block: Uint8Array): void;
  /** So many bytes of what `data` handed over are done with. */
  consumed(bytes: number): void;
  /** Ends it with RST_STREAM, by default CANCEL; its owner is told `cut`. */
  reset(code?: number): void;
}

/** What a stream asks of its connection. */
export interface StreamHost {
  headersOf(stream: Stream, block: Uint8Array, end: boolean): void;
  waiting(stream: Stream): void;
  consumedOf(stream: Stream, bytes: number): void;
  resetOf(stream: Stream, code: number): void;
  hasSent(position: number): boolean;
}

/** What waits to be sent. */
interface Waiting {
  readonly bytes: Uint8Array;
  readonly end: boolean;
}

/** A stream as its connection uses it. */
export class Stream implements Http2Stream {
  readonly #host: StreamHost;
  readonly #queue: Waiting[] = [];
  #trailers: Uint8Array | undefined;
  #waitingBytes = 0;
  events: StreamEvents | undefined;
  /** Its peer has sent a final header. */
  headed = false;
  remoteEnded = false;
  localEnded = false;
  over = false;
  /** What may still be sent, in bytes. Below 0 where the peer has made its windows smaller. */
  sendWindow: number;
  /** What the peer may still send. */
  receiveWindow: number;
  /** Handed over, and not told to be consumed. */
  unconsumed = 0;
  /** Consumed, and not told to the peer. */
  unannounced = 0;
  /** When something of what waits was sent last, or began to wait; by `performance.now()`. */
  movedAt = 0;
  /** Where the last of its DATA ends among all that the connection has written, in bytes. */
  sentTo = 0;
  /** What `content-length` states of the body that arrives, and what has arrived of it. */
  statedBytes: number | undefined;
  receivedBytes = 0;

  constructor(host: StreamHost, readonly id: number, sendWindow: number, receiveWindow: number) {
    this.#host = host;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get sent(): boolean {
    return this.#waitingBytes === 0 && this.#host.hasSent(this.sentTo);
  }

  sendHeaders(block: Uint8Array, end = false): void {
    if (this.over || this.localEnded) return;
    this.#host.headersOf(this, block, end);
  }

  sendData(bytes: Uint8Array, end = false): void {
    if (this.over || this.localEnded || this.#ending) return;
    this.#queue.push({ bytes, end });
    this.#waitingBytes += bytes.length;
    this.#host.waiting(this);
  }

  sendTrailers(block: Uint8Array): void {
    if (this.over || this.localEnded || this.#ending) return;
    this.#trailers = block;
    this.#host.waiting(this);
  }

  consumed(bytes: number): void {
    if (!this.over) this.#host.consumedOf(this, bytes);
  }

  reset(code: number = ERROR_CODE.cancel): void {
    if (!this.over) this.#host.resetOf(this, code);
  }

  /** The next part of the body that waits, `bytesMax` of it at most; undefined where none does, or not so much as a byte may go. */
  nextData(bytesMax: number): { readonly bytes: Uint8Array; readonly end: boolean } | undefined {
    const first = this.#queue[0];
    if (first === undefined) return undefined;
    // A window may be below 0; what has no bytes needs none.
    const length = Math.min(first.bytes.length, Math.max(0, bytesMax));
    if (length === 0 && first.bytes.length > 0) return undefined;
    const whole = length === first.bytes.length;
    if (whole) this.#queue.shift();
    else this.#queue[0] = { bytes: first.bytes.subarray(length), end: first.end };
    this.#waitingBytes -= length;
    return { bytes: whole ? first.bytes : first.bytes.subarray(0, length), end: whole && first.end };
  }

  /** The trailers, once all before them has been sent. */
  nextTrailers(): Uint8Array | undefined {
    if (this.#queue.length > 0) return undefined;
    const trailers = this.#trailers;
    this.#trailers = undefined;
    return trailers;
  }

  /** Forgets what waits. */
  forget(): void {
    this.#queue.length = this.#waitingBytes = 0;
    this.#trailers = undefined;
  }

  /** The end of our side waits already. */
  get #ending(): boolean {
    return this.#trailers !== undefined || this.#queue.at(-1)?.end === true;
  }
}
