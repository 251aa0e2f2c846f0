/**
 * HTTP/2 (RFC 9113) for unary gRPC in plain TypeScript on a `node:net` or `node:tls` socket, both sides: the candidate that the soak
 * compares with `node:http2`. No native code but the socket's runs here, so that a fault is an exception and not the end of the process.
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { type Field, HpackDecoder, HpackError } from "./hpack.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME = {
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
const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
const CODE = {
  none: 0,
  protocol: 1,
  flow: 3,
  closed: 5,
  frameSize: 6,
  refused: 7,
  cancel: 8,
  compression: 9,
  calm: 11,
} as const;
const HEAD_BYTES = 9;
const FRAME_BYTES_MAX = 16_384;
const HEADER_BYTES_MAX = 16_384;
const WINDOW_BYTES = 1_048_576;
const STREAMS_MAX = 100;
/** Control frames and resets that ask for work and bring none, between two requests. */
const IDLE_FRAMES_MAX = 1_000;

/** A fault of the peer that ends the connection, by its HTTP/2 error code. */
class ConnectionFault extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** One call, on either side. The message arrives in parts. */
export class Call {
  fields: readonly Field[] = [];
  trailers: readonly Field[] = [];
  readonly parts: Buffer[] = [];
  bytes = 0;
  /** The peer has sent all. */
  remoteEnded = false;
  localEnded = false;
  /** What may still be sent. */
  window: number;
  /** What waits for the window, with the frame of trailers that follows it. */
  waiting: Buffer | undefined;
  trailer: Buffer | undefined;

  constructor(readonly id: number, window: number) {
    this.window = window;
  }
}

/** What the connection tells its owner. None may throw. */
export interface Owner {
  /** The peer has sent all of its side of a call. */
  whole(call: Call): void;
  /** A call ends before that: by the peer's reset, its GOAWAY, or the connection's end. */
  cut(call: Call): void;
  /** More bytes of a message than this end the call. */
  readonly bodyBytesMax: number;
  ended(): void;
}

export class Framing {
  readonly calls = new Map<number, Call>();
  goneAway = false;
  #pending: Buffer | undefined;
  #prefaceLeft: number;
  #decoder = new HpackDecoder();
  #block: { id: number; end: boolean; parts: Buffer[]; bytes: number } | undefined;
  #window = 65_535;
  #streamWindow = 65_535;
  #consumed = 0;
  #lastId = 0;
  #nextId = 1;
  #idleFrames = 0;
  #over = false;

  constructor(readonly socket: Socket, readonly side: "server" | "client", readonly owner: Owner) {
    this.#prefaceLeft = side === "server" ? PREFACE.length : 0;
    if (side === "client") socket.write(PREFACE);
    const settings = Buffer.alloc(18);
    settings.writeUInt16BE(3, 0);
    settings.writeUInt32BE(STREAMS_MAX, 2);
    settings.writeUInt16BE(4, 6);
    settings.writeUInt32BE(WINDOW_BYTES, 8);
    settings.writeUInt16BE(6, 12);
    settings.writeUInt32BE(HEADER_BYTES_MAX, 14);
    this.#send(FRAME.settings, 0, 0, settings);
    this.#send(FRAME.window, 0, 0, uint32(WINDOW_BYTES - 65_535));
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", () => {});
    socket.on("end", () => this.end());
    socket.on("close", () => this.end());
  }

  /** Sends a call's header block and message; `undefined` when the connection takes no more calls. */
  request(block: Buffer, message: Buffer): Call | undefined {
    if (this.#over || this.goneAway) return undefined;
    const call = new Call(this.#nextId, this.#streamWindow);
    this.#nextId += 2;
    this.calls.set(call.id, call);
    this.socket.cork();
    this.#send(FRAME.headers, FLAG.endHeaders, call.id, block);
    call.waiting = message;
    this.#flush(call);
    this.socket.uncork();
    return call;
  }

  /** Answers a call: a header block, a message and trailers, in one write when the windows allow it. */
  respond(call: Call, block: Buffer, message: Buffer, trailers: Buffer): void {
    if (this.#over || this.calls.get(call.id) !== call) return;
    this.socket.cork();
    this.#send(FRAME.headers, FLAG.endHeaders, call.id, block);
    call.waiting = message;
    call.trailer = trailers;
    this.#flush(call);
    this.socket.uncork();
  }

  reset(call: Call, code: number = CODE.cancel): void {
    if (!this.calls.delete(call.id)) return;
    this.#send(FRAME.reset, 0, call.id, uint32(code));
    this.owner.cut(call);
  }

  /** Says GOAWAY and takes no more calls; the last that ends closes the connection. */
  close(): void {
    if (this.goneAway || this.#over) return;
    this.goneAway = true;
    this.#goaway(CODE.none);
    if (this.calls.size === 0) this.socket.end();
  }

  /** The connection is over: every call that is open is cut. Harmless when it has ended already. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.goneAway = true;
    this.socket.destroy();
    for (const call of this.calls.values()) this.owner.cut(call);
    this.calls.clear();
    this.owner.ended();
  }

  #goaway(code: number): void {
    this.#send(FRAME.goaway, 0, 0, Buffer.concat([uint32(this.#lastId), uint32(code)]));
  }

  #send(type: number, flags: number, id: number, body: Buffer): void {
    if (this.#over) return;
    const frame = Buffer.allocUnsafe(HEAD_BYTES + body.length);
    frame.writeUIntBE(body.length, 0, 3);
    frame[3] = type;
    frame[4] = flags;
    frame.writeUInt32BE(id, 5);
    body.copy(frame, HEAD_BYTES);
    this.socket.write(frame);
  }

  #flush(call: Call): void {
    while (call.waiting !== undefined) {
      const rest = call.waiting;
      const bytes = Math.min(rest.length, this.#window, call.window, FRAME_BYTES_MAX);
      if (bytes <= 0 && rest.length > 0) return;
      const last = bytes === rest.length;
      this.#window -= bytes;
      call.window -= bytes;
      call.waiting = last ? undefined : rest.subarray(bytes);
      this.#send(FRAME.data, last && call.trailer === undefined ? FLAG.endStream : 0, call.id, rest.subarray(0, bytes));
    }
    if (call.trailer !== undefined) this.#send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, call.id, call.trailer);
    call.localEnded = true;
    this.#finish(call);
  }

  #finish(call: Call): void {
    if (!call.localEnded || !call.remoteEnded) return;
    this.calls.delete(call.id);
    if (this.goneAway && this.calls.size === 0) this.socket.end();
  }

  #receive(chunk: Buffer): void {
    if (this.#over) return;
    let bytes = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = undefined;
    try {
      if (this.#prefaceLeft > 0) {
        const length = Math.min(this.#prefaceLeft, bytes.length);
        const from = PREFACE.length - this.#prefaceLeft;
        if (bytes.compare(PREFACE, from, from + length, 0, length) !== 0) return this.end();
        this.#prefaceLeft -= length;
        bytes = bytes.subarray(length);
      }
      this.socket.cork();
      while (bytes.length >= HEAD_BYTES && !this.#over) {
        const length = bytes.readUIntBE(0, 3);
        if (length > FRAME_BYTES_MAX) throw new ConnectionFault(CODE.frameSize, "A frame is too large");
        if (bytes.length < HEAD_BYTES + length) break;
        this.#frame(
          bytes[3]!,
          bytes[4]!,
          bytes.readUInt32BE(5) & 0x7fffffff,
          bytes.subarray(HEAD_BYTES, HEAD_BYTES + length),
        );
        bytes = bytes.subarray(HEAD_BYTES + length);
      }
      if (bytes.length > 0) this.#pending = bytes;
      if (this.#consumed > WINDOW_BYTES / 2) {
        this.#send(FRAME.window, 0, 0, uint32(this.#consumed));
        this.#consumed = 0;
      }
    } catch (error) {
      const code = error instanceof ConnectionFault
        ? error.code
        : error instanceof HpackError
        ? CODE.compression
        : undefined;
      if (code === undefined) throw error;
      this.#goaway(code);
      this.socket.uncork();
      this.socket.end();
      this.end();
      return;
    }
    this.socket.uncork();
  }

  #frame(type: number, flags: number, id: number, body: Buffer): void {
    if (this.#block !== undefined && (type !== FRAME.continuation || id !== this.#block.id)) {
      throw new ConnectionFault(CODE.protocol, "A header block is interrupted");
    }
    switch (type) {
      case FRAME.data:
        return this.#data(flags, id, body);
      case FRAME.headers: {
        let block = unpadded(flags, body);
        if (flags & FLAG.priority) block = block.subarray(5);
        this.#block = { id, end: (flags & FLAG.endStream) !== 0, parts: [block], bytes: block.length };
        if (flags & FLAG.endHeaders) this.#headers();
        return;
      }
      case FRAME.continuation:
        if (this.#block === undefined) throw new ConnectionFault(CODE.protocol, "A CONTINUATION follows nothing");
        this.#block.parts.push(body);
        this.#block.bytes += body.length;
        this.#idle();
        if (this.#block.bytes > HEADER_BYTES_MAX) throw new ConnectionFault(CODE.calm, "The headers are too large");
        if (flags & FLAG.endHeaders) this.#headers();
        return;
      case FRAME.reset: {
        exactly(body, 4);
        this.#idle();
        const call = this.calls.get(id);
        if (call !== undefined) {
          this.calls.delete(id);
          this.owner.cut(call);
        }
        return;
      }
      case FRAME.settings:
        return this.#settings(flags, body);
      case FRAME.ping:
        exactly(body, 8);
        this.#idle();
        if (!(flags & FLAG.ack)) this.#send(FRAME.ping, FLAG.ack, 0, body);
        return;
      case FRAME.goaway:
        return this.#goneAway(body);
      case FRAME.window:
        return this.#windowUpdate(id, body);
      case FRAME.push:
        throw new ConnectionFault(CODE.protocol, "Nobody asked for a push");
      default: // PRIORITY, and what a later RFC adds (RFC 9113, section 4.1).
        return this.#idle();
    }
  }

  #idle(): void {
    if (++this.#idleFrames > IDLE_FRAMES_MAX) throw new ConnectionFault(CODE.calm, "Too many frames without a request");
  }

  #data(flags: number, id: number, body: Buffer): void {
    this.#consumed += body.length;
    const call = this.calls.get(id);
    if (call === undefined || call.remoteEnded) {
      if (id === 0 || id > Math.max(this.#lastId, this.#nextId)) {
        throw new ConnectionFault(CODE.protocol, "DATA for no stream");
      }
      return; // Was on its way when the call ended.
    }
    const part = unpadded(flags, body);
    call.bytes += part.length;
    if (call.bytes > this.owner.bodyBytesMax) return this.reset(call, CODE.calm);
    if (part.length > 0) call.parts.push(part);
    else if (!(flags & FLAG.endStream)) this.#idle();
    if (flags & FLAG.endStream) return this.#remoteEnd(call);
    if (body.length > 0) this.#send(FRAME.window, 0, id, uint32(body.length));
  }

  #remoteEnd(call: Call): void {
    call.remoteEnded = true;
    this.#idleFrames = 0;
    this.#finish(call);
    this.owner.whole(call);
  }

  #headers(): void {
    const { id, end, parts } = this.#block!;
    this.#block = undefined;
    // A block is decoded even when its call is refused, or the table would differ from the peer's.
    const fields = this.#decoder.decode(parts.length === 1 ? parts[0]! : Buffer.concat(parts), HEADER_BYTES_MAX);
    let call = this.calls.get(id);
    if (call === undefined) {
      if (this.side === "client") return; // Was on its way when the call ended.
      if (id % 2 === 0 || id <= this.#lastId) {
        if (id % 2 === 1) return;
        throw new ConnectionFault(CODE.protocol, "A stream has a number that clients do not use");
      }
      this.#lastId = id;
      if (this.goneAway || this.calls.size >= STREAMS_MAX) {
        this.#idle();
        this.#send(FRAME.reset, 0, id, uint32(CODE.refused));
        return;
      }
      call = new Call(id, this.#streamWindow);
      call.fields = fields;
      this.calls.set(id, call);
    } else if (call.fields.length === 0) call.fields = fields;
    else call.trailers = fields;
    if (end) this.#remoteEnd(call);
  }

  #settings(flags: number, body: Buffer): void {
    this.#idle();
    if (flags & FLAG.ack) return;
    if (body.length % 6 !== 0) throw new ConnectionFault(CODE.frameSize, "SETTINGS has a length that none has");
    for (let at = 0; at < body.length; at += 6) {
      if (body.readUInt16BE(at) !== 4) continue;
      const window = body.readUInt32BE(at + 2);
      if (window > 0x7fffffff) throw new ConnectionFault(CODE.flow, "The window is too large");
      for (const call of this.calls.values()) call.window += window - this.#streamWindow;
      this.#streamWindow = window;
      this.#flushAll();
    }
    this.#send(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0));
  }

  #goneAway(body: Buffer): void {
    if (body.length < 8) throw new ConnectionFault(CODE.frameSize, "GOAWAY is too short");
    this.goneAway = true;
    if (this.side === "client") {
      const last = body.readUInt32BE(0) & 0x7fffffff;
      for (const call of [...this.calls.values()]) {
        if (call.id <= last) continue;
        this.calls.delete(call.id);
        this.owner.cut(call);
      }
    }
    if (this.calls.size === 0) this.socket.end();
  }

  #windowUpdate(id: number, body: Buffer): void {
    exactly(body, 4);
    const bytes = body.readUInt32BE(0) & 0x7fffffff;
    this.#idle();
    if (id === 0) {
      this.#window += bytes;
      if (this.#window > 0x7fffffff || bytes === 0) throw new ConnectionFault(CODE.flow, "The window is too large");
      return this.#flushAll();
    }
    const call = this.calls.get(id);
    if (call === undefined) return;
    call.window += bytes;
    if (call.window > 0x7fffffff || bytes === 0) return this.reset(call, CODE.flow);
    if (call.waiting !== undefined) this.#flush(call);
  }

  #flushAll(): void {
    for (const call of [...this.calls.values()]) if (call.waiting !== undefined) this.#flush(call);
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}

function exactly(body: Buffer, length: number): void {
  if (body.length !== length) {
    throw new ConnectionFault(CODE.frameSize, "A frame has a length that its type does not have");
  }
}

function unpadded(flags: number, body: Buffer): Buffer {
  if (!(flags & FLAG.padded)) return body;
  const padding = body[0] ?? 0;
  if (padding >= body.length) throw new ConnectionFault(CODE.protocol, "The padding is longer than its frame");
  return body.subarray(1, body.length - padding);
}
