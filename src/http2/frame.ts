/**
 * The frames of HTTP/2 (RFC 9113, sections 4 and 6): written whole, read as they come. No more is held of one than its 9 bytes of head
 * and, but for DATA, a body of at most 16 KiB; the pieces of DATA are handed over as they arrive.
 * @module
 */
import { Buffer } from "node:buffer";

/** What a client begins with (RFC 9113, section 3.4). */
export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const FRAME_TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const FLAG = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** RFC 9113, section 7. */
export const ERROR_CODE = {
  none: 0,
  protocol: 1,
  internal: 2,
  flow: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  cancel: 8,
  compression: 9,
  calm: 11,
} as const;

/** RFC 9113, section 6.5.2. */
export const SETTING = {
  tableBytes: 1,
  push: 2,
  streamsMax: 3,
  streamWindow: 4,
  frameBytesMax: 5,
  headerListBytesMax: 6,
} as const;

/** What a frame's body may have where nobody has said otherwise, and we say nothing; in bytes. */
export const FRAME_BYTES_MAX = 16_384;

export const HEAD_BYTES = 9;

/** A fault of the peer that ends the connection, by its HTTP/2 error code. */
export class ConnectionFault extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** The head of a frame. */
export interface FrameHead {
  readonly type: number;
  readonly flags: number;
  /** The id of its stream; 0: the connection. */
  readonly id: number;
  /** The length of its body, in bytes. */
  readonly length: number;
}

/** Hears what arrives. An error that it throws ends the reading. */
export interface FrameSink {
  /** A whole frame that is not DATA. `body` may be a part of a larger buffer. */
  frame(head: FrameHead, body: Buffer): void;
  /** A frame of DATA begins; its whole length counts against the windows. */
  dataBegins(head: FrameHead): void;
  /** Some of its content. */
  dataPiece(head: FrameHead, piece: Buffer): void;
  /** All of it is there. @param padding What of its length was no content, in bytes. */
  dataEnds(head: FrameHead, padding: number): void;
}

/** Cuts what arrives into frames. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #headBytes = Buffer.alloc(HEAD_BYTES);
  #headLength = 0;
  #head: FrameHead | undefined;
  /** The body of a frame that is not DATA and has not arrived in one piece. */
  #body: Buffer | undefined;
  #bodyLength = 0;
  /** How much content of DATA is still to come; undefined until the length of the padding is known. */
  #contentLeft: number | undefined;
  #paddingLeft = 0;
  #padding = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Whether a frame that is not DATA has begun and is not whole. */
  get within(): boolean {
    return this.#headLength > 0 || (this.#head !== undefined && this.#head.type !== FRAME_TYPE.data);
  }

  /** @throws {ConnectionFault} at a frame that is too long, and what the sink throws. */
  read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length || this.#complete()) {
      if (this.#head === undefined) at = this.#readHead(chunk, at);
      else if (this.#head.type === FRAME_TYPE.data) at = this.#readData(this.#head, chunk, at);
      else at = this.#readBody(this.#head, chunk, at);
    }
  }

  /** Whether the frame that has begun needs no more bytes. */
  #complete(): boolean {
    const head = this.#head;
    if (head === undefined) return false;
    if (head.type !== FRAME_TYPE.data) return head.length === this.#bodyLength;
    return this.#contentLeft === 0 && this.#paddingLeft === 0;
  }

  #readHead(chunk: Buffer, from: number): number {
    const taken = Math.min(HEAD_BYTES - this.#headLength, chunk.length - from);
    const whole = taken === HEAD_BYTES;
    if (!whole) chunk.copy(this.#headBytes, this.#headLength, from, from + taken);
    this.#headLength += taken;
    if (this.#headLength < HEAD_BYTES) return from + taken;
    this.#headLength = 0;
    const bytes = whole ? chunk : this.#headBytes;
    const at = whole ? from : 0;
    const length = bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!;
    if (length > FRAME_BYTES_MAX) throw new ConnectionFault(ERROR_CODE.frameSize, "A frame is too large");
    const id = (bytes[at + 5]! & 0x7f) << 24 | bytes[at + 6]! << 16 | bytes[at + 7]! << 8 | bytes[at + 8]!;
    const head = { type: bytes[at + 3]!, flags: bytes[at + 4]!, id, length };
    this.#head = head;
    this.#bodyLength = 0;
    if (head.type === FRAME_TYPE.data) {
      const padded = (head.flags & FLAG.padded) !== 0;
      if (padded && length === 0) throw new ConnectionFault(ERROR_CODE.frameSize, "A padded frame has no length of it");
      this.#contentLeft = padded ? undefined : length;
      this.#paddingLeft = this.#padding = 0;
      this.#sink.dataBegins(head);
    }
    return from + taken;
  }

  #readBody(head: FrameHead, chunk: Buffer, from: number): number {
    if (this.#bodyLength === 0 && chunk.length - from >= head.length) {
      this.#head = undefined;
      this.#sink.frame(head, chunk.subarray(from, from + head.length));
      return from + head.length;
    }
    this.#body ??= Buffer.allocUnsafe(head.length);
    const taken = Math.min(head.length - this.#bodyLength, chunk.length - from);
    chunk.copy(this.#body, this.#bodyLength, from, from + taken);
    this.#bodyLength += taken;
    if (this.#bodyLength === head.length) {
      const body = this.#body;
      this.#body = this.#head = undefined;
      this.#sink.frame(head, body);
    }
    return from + taken;
  }

  #readData(head: FrameHead, chunk: Buffer, from: number): number {
    if (this.#contentLeft === undefined) {
      this.#paddingLeft = chunk[from]!;
      this.#padding = this.#paddingLeft + 1;
      this.#contentLeft = head.length - this.#padding;
      if (this.#contentLeft < 0) throw new ConnectionFault(ERROR_CODE.protocol, "The padding is longer than its frame");
      return from + 1;
    }
    const taken = Math.min(this.#contentLeft, chunk.length - from);
    this.#contentLeft -= taken;
    const skipped = Math.min(this.#paddingLeft, chunk.length - from - taken);
    this.#paddingLeft -= skipped;
    if (taken > 0) this.#sink.dataPiece(head, chunk.subarray(from, from + taken));
    if (this.#contentLeft === 0 && this.#paddingLeft === 0) {
      this.#head = undefined;
      this.#sink.dataEnds(head, this.#padding);
    }
    return from + taken + skipped;
  }
}

/** Writes a frame's head into `bytes` at `at`, in front of where its body goes. */
export function writeHead(bytes: Buffer, at: number, { type, flags, id, length }: FrameHead): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  bytes[at + 5] = id >>> 24;
  bytes[at + 6] = id >>> 16;
  bytes[at + 7] = id >>> 8;
  bytes[at + 8] = id;
}

/** A whole frame; the body is copied. */
export function frame(type: number, flags: number, id: number, body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + body.length);
  writeHead(bytes, 0, { type, flags, id, length: body.length });
  bytes.set(body, HEAD_BYTES);
  return bytes;
}

/** A whole frame whose body is numbers of 4 bytes each: WINDOW_UPDATE, RST_STREAM, GOAWAY. */
export function numbersFrame(type: number, id: number, ...numbers: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + 4 * numbers.length);
  writeHead(bytes, 0, { type, flags: 0, id, length: 4 * numbers.length });
  numbers.forEach((number, index) => bytes.writeUInt32BE(number, HEAD_BYTES + 4 * index));
  return bytes;
}

/** The frame of SETTINGS that says these. */
export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + 6 * settings.length);
  writeHead(bytes, 0, { type: FRAME_TYPE.settings, flags: 0, id: 0, length: 6 * settings.length });
  settings.forEach(([id, value], index) => {
    bytes.writeUInt16BE(id, HEAD_BYTES + 6 * index);
    bytes.writeUInt32BE(value, HEAD_BYTES + 6 * index + 2);
  });
  return bytes;
}
