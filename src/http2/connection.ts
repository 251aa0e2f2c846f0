/**
 * A connection of HTTP/2 (RFC 9113) on a socket of `node:net` or `node:tls`, as server or as client. It knows frames, windows, limits
 * and times, and nothing of what its streams carry. No native code but the socket's runs here, so that a fault is an exception of
 * this connection and not the end of the process (`docs/decisions-grpc.md`).
 * @module
 */
import type { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { concatenate, discard } from "../codec/bytes.ts";
import { leaveGarbage } from "../codec/memory.ts";
import { FloodBudget } from "./flood_budget.ts";
import { contentLength, fieldOf, malformation, withoutBlanks } from "./fields.ts";
import {
  ConnectionFault,
  ERROR_CODE,
  FLAG,
  frame,
  FRAME_BYTES_MAX,
  FRAME_TYPE,
  type FrameHead,
  FrameReader,
  type FrameSink,
  numbersFrame,
  PREFACE,
  SETTING,
  settingsFrame,
} from "./frame.ts";
import { HpackDecoder, NO_TABLE, TABLE_BYTES_MAX } from "./hpack.ts";
import { type Field, HpackError } from "./hpack_tables.ts";
import { FrameWriter } from "./frame_writer.ts";
import { type Http2Stream, Stream, type StreamCut, type StreamEvents, type StreamHost } from "./stream.ts";
import { PassingMap } from "../passing.ts";

/** Bounds of a connection. Each time of 0 is none. */
export interface Http2Limits {
  /** Streams that the peer of a server may have open at once. */
  readonly streamsMax: number;
  /** What of one body may be on its way or unread, in bytes; 65,535 at least, which a peer may take before it knows better. */
  readonly streamWindowBytes: number;
  /** What of all bodies of the connection may be, in bytes; 65,535 at least. */
  readonly windowBytes: number;
  /** A header's names and values, with 32 bytes for each field. A block of more than twice as much ends the connection. */
  readonly headerListBytesMax: number;
  /** From the connection's opening to the peer's SETTINGS, and for a frame or a header that has begun, in ms. */
  readonly headerMs: number;
  /** Without a stream, in ms; then the connection is closed by GOAWAY. */
  readonly idleMs: number;
  /** Without a byte from the peer while a stream is open, in ms; then it is asked by PING. */
  readonly pingMs: number;
  /** What it has for the answer, in ms; then the connection is closed. */
  readonly pingAckMs: number;
  /** While the peer takes nothing of what waits on a stream: it opens no window, or does not read; in ms. Then the stream is reset. */
  readonly takeMs: number;
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** In words, for a log. */
  readonly message: string;
  /** Why, in one word. `foreign`: no HTTP/2; `flood`, `protocol`: what the peer sent; `late`: a header or an answer to PING did not come. */
  readonly reason: "foreign" | "closed" | "idle" | "drained" | "flood" | "late" | "protocol" | "local" | "socket";
  /** The error code of HTTP/2 that either side gave. */
  readonly code?: number | undefined;
}

/** What a connection tells its owner. */
export interface ConnectionEvents {
  /** To a server: a request has come. `end`: it has no body, and `end` is not told again. */
  opened?(stream: Http2Stream, fields: readonly Field[], end: boolean): StreamEvents;
  /** To a server: the header of a request is over the limit. Whatever is not answered here is reset. */
  oversized?(stream: Http2Stream): void;
  /** To a server: a request is none, for this reason. Its stream is reset, and `opened` is not told of it. */
  malformed?(why: string): void;
  /** To a server: the peer does not speak HTTP/2, but begins so. What is returned is its answer, and nothing else is sent. */
  foreign?(first: Uint8Array): Uint8Array;
  /** The peer's SETTINGS have come: it speaks HTTP/2. */
  ready?(): void;
  /** To a client: a request that found no room may find some. */
  room?(): void;
  /** The peer takes no more requests. */
  goaway?(code: number, debug: string): void;
  /** It is over, and every stream with it. Told once. */
  closed(end: ConnectionEnd): void;
  /** One of these, or of a stream's, has thrown. */
  failed(error: unknown): void;
}

export interface Http2Options {
  readonly side: "client" | "server";
  readonly limits: Http2Limits;
  readonly events: ConnectionEvents;
}

/** What holds until the peer's SETTINGS say otherwise (RFC 9113, section 6.9.2). */
const WINDOW_BYTES_DEFAULT = 65_535;
const WINDOW_BYTES_MAX = 0x7fffffff;
/** Streams that a client opens before it knows the server's bound. */
const STREAMS_BEFORE_SETTINGS = 100;
const STREAM_ID_MAX = 0x7fffffff;
/** How long the peer may take to answer the first of two GOAWAYs, and to close its side of the socket, in ms. */
const CLOSE_MS = 1_000;
const PING_BYTES = 8;
/** A timer that is later than this tells of a process that was busy, in ms. */
const STALL_MS = 100;

/** One connection. */
export class Http2Connection implements FrameSink, StreamHost {
  readonly #socket: Socket;
  readonly #server: boolean;
  readonly #limits: Http2Limits;
  readonly #events: ConnectionEvents;
  readonly #streams = new PassingMap<Stream>();
  /** Those that have something to send. */
  readonly #sending = new PassingMap<Stream>();
  readonly #reader = new FrameReader(this);
  readonly #decoder = new HpackDecoder();
  readonly #writer: FrameWriter;
  readonly #flood = new FloodBudget();
  /** Whether a piece of a body was handed over of what the socket has brought last. */
  #handedOver = false;
  #prefaceAt = 0;
  /** That have come whole. */
  #frames = 0;
  #block: { readonly id: number; readonly end: boolean; readonly parts: Uint8Array[]; bytes: number } | undefined;
  #sendWindow = WINDOW_BYTES_DEFAULT;
  #receiveWindow: number;
  #unannounced = 0;
  /** The peer's settings. */
  #peerStreamWindow = WINDOW_BYTES_DEFAULT;
  #peerStreamsMax = STREAMS_BEFORE_SETTINGS;
  #table: "default" | "smaller" | "none" = "default";
  #ready = false;
  /** The highest stream that the peer has opened, and the next one that we would. */
  #lastId = 0;
  #nextId = 1;
  /** The highest one that we still take, once we have said so. */
  #takenIdMax = STREAM_ID_MAX;
  #draining: "no" | "announced" | "said" = "no";
  /** It drains because it was idle. */
  #idled = false;
  #peerGone = false;
  #wantsRoom = false;
  #closing: ConnectionEnd | undefined;
  #over = false;
  /** Times, by `performance.now()`. */
  readonly #openedAt = performance.now();
  #heardAt = this.#openedAt;
  #idleSince = this.#openedAt;
  #partialSince: number | undefined;
  #pingedAt: number | undefined;
  #closeAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  /** The last check was put off. */
  #putOff = false;

  /** @param socket Connected; with TLS, after its handshake. */
  constructor(socket: Socket, { side, limits, events }: Http2Options) {
    this.#socket = socket;
    this.#server = side === "server";
    this.#limits = limits;
    this.#events = events;
    this.#receiveWindow = limits.windowBytes;
    this.#writer = new FrameWriter(socket, () => this.#sendWaiting());
    if (!this.#server) {
      this.#prefaceAt = PREFACE.length;
      this.#writer.write(PREFACE);
      this.#begin();
    }
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error: Error) => this.#end({ reason: "socket", message: error.message }));
    socket.on("end", () => this.#end({ reason: "closed", message: "The peer closed the connection" }));
    socket.on("close", () => this.#end({ reason: "closed", message: "The connection was closed" }));
    this.#arm(this.#openedAt + limits.headerMs);
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Whether a client may make requests on it, now or once there is room. */
  get usable(): boolean {
    return !this.#over && this.#closing === undefined && !this.#peerGone && this.#draining === "no" &&
      this.#nextId <= STREAM_ID_MAX;
  }

  /**
   * Sends the header of a request.
   * @param end It has no body.
   * @returns undefined where the connection takes no more, or the peer has as many as it wants: then `room` is told.
   */
  request(block: Uint8Array, events: StreamEvents, end = false): Http2Stream | undefined {
    if (this.#server || !this.usable) return undefined;
    if (this.#streams.size >= this.#peerStreamsMax) {
      this.#wantsRoom = true;
      return undefined;
    }
    const stream = new Stream(this, this.#nextId, this.#peerStreamWindow, this.#limits.streamWindowBytes);
    this.#nextId += 2;
    stream.events = events;
    this.#open(stream);
    stream.sendHeaders(block, end);
    return stream;
  }

  /**
   * Takes no more requests, and closes when the last stream has ended. A server says so twice (RFC 9113, section 6.8): requests that
   * were on their way at the first time are still taken.
   */
  drain(): void {
    if (this.#draining !== "no" || this.#over || this.#closing !== undefined) return;
    if (!this.#server) return this.#sayGoaway();
    this.#draining = "announced";
    this.#closeAt = performance.now() + CLOSE_MS;
    this.#arm(this.#closeAt);
    // Before, no frame but SETTINGS may be the first that a client gets (RFC 9113, section 3.4).
    if (this.#ready) this.#announceGoaway();
  }

  /** Ends it at once, whatever is under way. */
  destroy(message = "The connection was given up"): void {
    this.#end({ reason: "local", message });
  }

  /** SETTINGS come before anything else (RFC 9113, section 3.4), also where a server gives up before the peer has begun. */
  #beginFirst(): void {
    if (this.#prefaceAt < PREFACE.length) this.#begin();
  }

  #begin(): void {
    const { streamsMax, streamWindowBytes, headerListBytesMax, windowBytes } = this.#limits;
    this.#writer.write(settingsFrame([
      this.#server ? [SETTING.streamsMax, streamsMax] : [SETTING.push, 0],
      [SETTING.streamWindow, streamWindowBytes],
      [SETTING.headerListBytesMax, headerListBytesMax],
    ]));
    if (windowBytes <= WINDOW_BYTES_DEFAULT) return;
    this.#writer.write(numbersFrame(FRAME_TYPE.window, 0, windowBytes - WINDOW_BYTES_DEFAULT));
  }

  #open(stream: Stream): void {
    // Silence counts from here on: before, nothing was to be said.
    if (this.#streams.size === 0 && !this.#server) this.#heardAt = performance.now();
    this.#idled = false;
    this.#streams.set(stream.id, stream);
    if (this.#limits.pingMs > 0) this.#arm(this.#heardAt + this.#limits.pingMs);
  }

  // What the socket brings.

  #receive(chunk: Buffer): void {
    if (this.#over || this.#closing !== undefined) return;
    this.#heardAt = performance.now();
    this.#pingedAt = this.#draining === "announced" ? this.#pingedAt : undefined;
    const framesBefore = this.#frames;
    this.#handedOver = false;
    try {
      this.#reader.read(this.#withoutPreface(chunk));
    } catch (error) {
      const code = error instanceof ConnectionFault
        ? error.code
        : error instanceof HpackError
        ? ERROR_CODE.compression
        : ERROR_CODE.internal;
      const message = error instanceof Error ? error.message : String(error);
      if (this.#prefaceAt < PREFACE.length) return this.#answerForeign(chunk, message);
      return this.#fail(code, code === ERROR_CODE.calm ? "flood" : "protocol", message);
    }
    if (!this.#reader.within && this.#block === undefined && this.#prefaceAt === PREFACE.length) {
      this.#partialSince = undefined;
    } else if (this.#partialSince === undefined || (this.#frames > framesBefore && this.#block === undefined)) {
      // Another one than was under way before: a busy peer's bytes may always end within a frame.
      this.#partialSince = this.#heardAt;
      if (this.#limits.headerMs > 0) this.#arm(this.#heardAt + this.#limits.headerMs);
    }
    this.#announce();
    // Nothing of it is held: neither a piece of a body nor the beginning of a header. Left to V8, what 450 strangers send at once lies as
    // garbage until its helper threads have come by, which is late on a busy machine.
    if (this.#server && !this.#handedOver && this.#block === undefined) discard(chunk);
  }

  #withoutPreface(chunk: Buffer): Buffer {
    if (this.#prefaceAt === PREFACE.length) return chunk;
    const length = Math.min(PREFACE.length - this.#prefaceAt, chunk.length);
    if (chunk.compare(PREFACE, this.#prefaceAt, this.#prefaceAt + length, 0, length) !== 0) {
      throw new ConnectionFault(ERROR_CODE.protocol, NO_PREFACE);
    }
    this.#prefaceAt += length;
    // Not before: who speaks something else is answered in words.
    if (this.#prefaceAt === PREFACE.length) this.#begin();
    return chunk.subarray(length);
  }

  /** @internal */
  frame(head: FrameHead, body: Buffer): void {
    const { type, id, length } = head;
    this.#expected(head);
    this.#frames++;
    if (length >= GARBAGE_BYTES_MIN) leaveGarbage(length);
    switch (type) {
      case FRAME_TYPE.headers:
        return this.#onHeaders(head, body);
      case FRAME_TYPE.continuation:
        return this.#onContinuation(head, body);
      case FRAME_TYPE.reset:
        exactly(length, 4);
        return this.#onReset(ofStream(id), body.readUInt32BE(0));
      case FRAME_TYPE.settings:
        return this.#onSettings(head, body);
      case FRAME_TYPE.ping:
        exactly(length, PING_BYTES);
        ofConnection(id);
        this.#flood.spend();
        if (head.flags & FLAG.ack) {
          this.#pingedAt = undefined;
          if (this.#draining === "announced") this.#sayGoaway();
        } else this.#writer.write(frame(FRAME_TYPE.ping, FLAG.ack, 0, body));
        return;
      case FRAME_TYPE.goaway:
        ofConnection(id);
        return this.#onGoaway(body);
      case FRAME_TYPE.window:
        exactly(length, 4);
        return this.#onWindow(id, body.readUInt32BE(0) & 0x7fffffff);
      case FRAME_TYPE.priority:
        ofStream(id);
        exactly(length, 5);
        return this.#flood.spend();
      case FRAME_TYPE.push:
        throw new ConnectionFault(ERROR_CODE.protocol, "Nobody asked for a push");
      default: // What a later RFC adds is ignored (RFC 9113, section 4.1).
        return this.#flood.spend();
    }
  }

  /** Whether a frame may come now, whatever it says. */
  #expected({ type, id }: FrameHead): void {
    if (!this.#ready && type !== FRAME_TYPE.settings) {
      throw new ConnectionFault(ERROR_CODE.protocol, "The first frame is not SETTINGS");
    }
    if (this.#block !== undefined && (type !== FRAME_TYPE.continuation || id !== this.#block.id)) {
      throw new ConnectionFault(ERROR_CODE.protocol, "A header block is interrupted");
    }
  }

  /** @internal */
  dataBegins(head: FrameHead): void {
    this.#expected(head);
    const { id, length } = head;
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) throw new ConnectionFault(ERROR_CODE.flow, "DATA is over the connection's window");
    const stream = this.#streams.get(ofStream(id));
    if (stream === undefined || stream.remoteEnded) {
      this.#known(id);
      // It was on its way when the stream ended, or its peer does not know what a stream is.
      this.#flood.spend();
      return;
    }
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) this.#cut(stream, ERROR_CODE.flow, "DATA is over the stream's window");
    // A frame that brings nothing and ends nothing.
    else if (length === 0 && (head.flags & FLAG.endStream) === 0) this.#flood.spend();
  }

  /** @internal */
  dataPiece({ id }: FrameHead, piece: Buffer): void {
    this.#handedOver = true;
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      this.#unannounced += piece.length;
      return;
    }
    this.#flood.earnBytes(piece.length);
    stream.receivedBytes += piece.length;
    stream.unconsumed += piece.length;
    if (!stream.headed) return this.#cut(stream, ERROR_CODE.protocol, "DATA stands before the header");
    if (stream.statedBytes !== undefined && stream.receivedBytes > stream.statedBytes) {
      return this.#cut(stream, ERROR_CODE.protocol, "The body is longer than its content-length");
    }
    this.#tell(stream, () => stream.events!.data(piece));
  }

  /** @internal */
  dataEnds({ id, flags, length }: FrameHead, padding: number): void {
    this.#frames++;
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      this.#unannounced += padding;
      return;
    }
    if (padding > 0) {
      stream.unconsumed += padding;
      this.consumedOf(stream, padding);
      if (padding === length && (flags & FLAG.endStream) === 0) this.#flood.spend();
    }
    if (flags & FLAG.endStream) this.#remoteEnd(stream);
  }

  #onHeaders({ id, flags }: FrameHead, body: Buffer): void {
    ofStream(id);
    let block = unpadded(flags, body);
    if (flags & FLAG.priority) {
      if (block.length < 5) throw new ConnectionFault(ERROR_CODE.frameSize, "HEADERS is too short for its priority");
      block = block.subarray(5);
    }
    this.#block = { id, end: (flags & FLAG.endStream) !== 0, parts: [], bytes: 0 };
    this.#partialSince = undefined;
    this.#addToBlock(this.#block, block, (flags & FLAG.endHeaders) !== 0);
  }

  #onContinuation({ flags }: FrameHead, body: Buffer): void {
    if (this.#block === undefined) throw new ConnectionFault(ERROR_CODE.protocol, "A CONTINUATION follows nothing");
    this.#flood.spend();
    this.#addToBlock(this.#block, body, (flags & FLAG.endHeaders) !== 0);
  }

  #addToBlock(block: { readonly parts: Uint8Array[]; bytes: number }, part: Uint8Array, whole: boolean): void {
    block.bytes += part.length;
    // Somewhat over the limit, its stream alone is refused: other calls of the connection may be somebody else's.
    if (block.bytes > 2 * this.#limits.headerListBytesMax) {
      throw new ConnectionFault(ERROR_CODE.calm, "A header block is too large");
    }
    // A part is a view of a larger buffer, which is not kept for it.
    block.parts.push(whole && block.parts.length === 0 ? part : new Uint8Array(part));
    if (whole) this.#onBlock();
  }

  #onBlock(): void {
    const { id, end, parts } = this.#block!;
    this.#block = undefined;
    // A block of a stream that is over is decoded too, or the table would differ from the peer's.
    const sent = this.#decoder.decode(
      parts.length === 1 ? parts[0]! : concatenate(parts),
      this.#limits.headerListBytesMax,
    );
    const fields = sent === undefined ? undefined : withoutBlanks(sent);
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#server ? this.#onRequest(id, fields, end) : this.#known(id, 1);
    if (stream.remoteEnded) return this.#cut(stream, ERROR_CODE.streamClosed, "A header follows the end of its stream");
    if (fields === undefined) return this.#cut(stream, ERROR_CODE.calm, "The header is over the limit");
    if (stream.headed) return this.#onTrailers(stream, fields, end);
    const wrong = malformation(fields, "response");
    if (wrong !== undefined) return this.#cut(stream, ERROR_CODE.protocol, wrong);
    if (fieldOf(fields, ":status")!.startsWith("1")) {
      this.#flood.spend();
      if (end) this.#cut(stream, ERROR_CODE.protocol, "A provisional answer ends its stream");
      return;
    }
    const misstated = this.#misstated(stream, fields);
    if (misstated !== undefined) return this.#cut(stream, ERROR_CODE.protocol, misstated);
    this.#tell(stream, () => stream.events!.headers?.(fields));
    if (end) this.#remoteEnd(stream);
  }

  #onRequest(id: number, fields: readonly Field[] | undefined, end: boolean): void {
    if (id % 2 === 0) throw new ConnectionFault(ERROR_CODE.protocol, "A stream has a number that clients do not use");
    // On its way when the stream ended.
    if (id <= this.#lastId) return this.#flood.spend();
    this.#lastId = id;
    if (id > this.#takenIdMax) return this.#flood.spend();
    if (this.#streams.size >= this.#limits.streamsMax) {
      this.#flood.spend();
      this.#writer.write(numbersFrame(FRAME_TYPE.reset, id, ERROR_CODE.refused));
      return;
    }
    const stream = new Stream(this, id, this.#peerStreamWindow, this.#limits.streamWindowBytes);
    this.#open(stream);
    if (fields === undefined) {
      stream.events = IGNORED;
      stream.headed = true;
      this.#tell(stream, () => this.#events.oversized?.(stream));
      if (end && !stream.over) this.#remoteEnd(stream);
      if (!stream.over && !stream.localEnded && stream.waitingBytes === 0) this.resetOf(stream, ERROR_CODE.calm);
      return;
    }
    stream.events = IGNORED;
    const wrong = malformation(fields, "request") ?? this.#misstated(stream, fields) ??
      (end && (stream.statedBytes ?? 0) > 0 ? TOO_SHORT : undefined);
    if (wrong !== undefined) {
      this.#tellOwner(() => this.#events.malformed?.(wrong));
      return this.#cut(stream, ERROR_CODE.protocol, wrong);
    }
    stream.remoteEnded = end;
    this.#tell(stream, () => stream.events = this.#events.opened?.(stream, fields, end) ?? IGNORED);
    if (end) this.#finish(stream);
  }

  /** Notes what a header states of the body. @returns what is wrong with that. */
  #misstated(stream: Stream, fields: readonly Field[]): string | undefined {
    stream.headed = true;
    const stated = contentLength(fields);
    if (stated === "malformed") return "The header field content-length is not a number of bytes";
    stream.statedBytes = stated;
    return undefined;
  }

  #onTrailers(stream: Stream, fields: readonly Field[], end: boolean): void {
    const wrong = end ? malformation(fields, "trailers") : "A second header does not end its stream";
    if (wrong !== undefined) return this.#cut(stream, ERROR_CODE.protocol, wrong);
    this.#tell(stream, () => stream.events!.trailers?.(fields));
    this.#remoteEnd(stream);
  }

  #remoteEnd(stream: Stream): void {
    if (stream.over) return;
    if (!stream.headed) return this.#cut(stream, ERROR_CODE.protocol, "The stream ends before the header");
    if (stream.statedBytes !== undefined && stream.receivedBytes < stream.statedBytes) {
      return this.#cut(stream, ERROR_CODE.protocol, TOO_SHORT);
    }
    stream.remoteEnded = true;
    this.#tell(stream, () => stream.events!.end());
    this.#finish(stream);
  }

  #onReset(id: number, code: number): void {
    this.#flood.spend();
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#known(id);
    this.#remove(stream);
    this.#tellCut(stream, {
      reason: "reset",
      code,
      unprocessed: code === ERROR_CODE.refused,
      message: `The peer reset the stream with code ${code}`,
    });
  }

  #onSettings({ id, flags, length }: FrameHead, body: Buffer): void {
    ofConnection(id);
    this.#flood.spend();
    if (flags & FLAG.ack) {
      exactly(length, 0);
      if (!this.#ready) throw new ConnectionFault(ERROR_CODE.protocol, "The first frame is not SETTINGS");
      return;
    }
    if (length % 6 !== 0) throw new ConnectionFault(ERROR_CODE.frameSize, "SETTINGS has a length that none has");
    for (let at = 0; at < length; at += 6) {
      // Each window that is set walks all streams.
      if (at >= 6 * SETTINGS_FREE) this.#flood.spend();
      this.#setting(body.readUInt16BE(at), body.readUInt32BE(at + 2));
    }
    this.#writer.write(frame(FRAME_TYPE.settings, FLAG.ack, 0, NOTHING));
    if (!this.#ready) {
      this.#ready = true;
      this.#idleSince = this.#heardAt;
      if (this.#draining === "announced") this.#announceGoaway();
      this.#armIdle();
      this.#tellOwner(() => this.#events.ready?.());
    }
    this.#sendWaiting();
    this.#tellRoom();
  }

  #setting(id: number, value: number): void {
    switch (id) {
      case SETTING.tableBytes:
        if (value < TABLE_BYTES_MAX && this.#table === "default") this.#table = "smaller";
        return;
      case SETTING.push:
        if (value > 1 || (!this.#server && value === 1)) {
          throw new ConnectionFault(ERROR_CODE.protocol, "SETTINGS_ENABLE_PUSH has a value that it cannot have");
        }
        return;
      case SETTING.streamsMax:
        this.#peerStreamsMax = value;
        return;
      case SETTING.streamWindow:
        if (value > WINDOW_BYTES_MAX) {
          throw new ConnectionFault(ERROR_CODE.flow, "SETTINGS has a window that is too large");
        }
        for (const stream of this.#streams.values()) {
          stream.sendWindow += value - this.#peerStreamWindow;
          if (stream.sendWindow > WINDOW_BYTES_MAX) {
            throw new ConnectionFault(ERROR_CODE.flow, "SETTINGS makes a window too large");
          }
        }
        this.#peerStreamWindow = value;
        return;
      case SETTING.frameBytesMax:
        if (value < FRAME_BYTES_MAX || value > 0xffffff) {
          throw new ConnectionFault(ERROR_CODE.protocol, "SETTINGS_MAX_FRAME_SIZE has a value that it cannot have");
        }
        return;
    }
  }

  #onGoaway(body: Buffer): void {
    if (body.length < 8) throw new ConnectionFault(ERROR_CODE.frameSize, "GOAWAY is too short");
    this.#flood.spend();
    const last = body.readUInt32BE(0) & 0x7fffffff;
    const code = body.readUInt32BE(4);
    const first = !this.#peerGone;
    this.#peerGone = true;
    if (!this.#server) {
      for (const stream of [...this.#streams.values()]) {
        if (stream.id <= last) continue;
        this.#remove(stream);
        const message = `The peer takes no more requests: GOAWAY with code ${code}`;
        this.#tellCut(stream, { reason: "goaway", code, unprocessed: true, message });
      }
    }
    if (first) this.#tellOwner(() => this.#events.goaway?.(code, body.toString("latin1", 8, 8 + DEBUG_BYTES_MAX)));
    this.#closeIfDone();
  }

  #onWindow(id: number, bytes: number): void {
    this.#flood.spend();
    if (id === 0) {
      this.#sendWindow += bytes;
      if (bytes === 0 || this.#sendWindow > WINDOW_BYTES_MAX) {
        throw new ConnectionFault(
          bytes === 0 ? ERROR_CODE.protocol : ERROR_CODE.flow,
          "WINDOW_UPDATE has a size that it cannot have",
        );
      }
      return this.#sendWaiting();
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#known(id);
    stream.sendWindow += bytes;
    if (bytes === 0 || stream.sendWindow > WINDOW_BYTES_MAX) {
      const code = bytes === 0 ? ERROR_CODE.protocol : ERROR_CODE.flow;
      return this.#cut(stream, code, "WINDOW_UPDATE has a size that it cannot have");
    }
    this.#sendWaiting();
  }

  /** A frame for a stream that is over is let pass; one for a stream that never was ends the connection (RFC 9113, section 5.1). */
  #known(id: number, cost: 0 | 1 = 0): void {
    if (cost === 1) this.#flood.spend();
    const known = this.#server ? id % 2 === 1 && id <= this.#lastId : id % 2 === 1 && id < this.#nextId;
    if (!known) throw new ConnectionFault(ERROR_CODE.protocol, "A frame is for a stream that nobody has opened");
  }

  // What the streams ask for.

  /** @internal */
  headersOf(stream: Stream, block: Uint8Array, end: boolean): void {
    let flags = end ? FLAG.endStream : 0;
    if (this.#table === "smaller") {
      // Owed at the beginning of the next block (RFC 7541, section 4.2); without it strict peers end the connection.
      this.#table = "none";
      block = concatenate([NO_TABLE, block]);
    }
    if (block.length <= FRAME_BYTES_MAX) {
      this.#writer.writeFrame(FRAME_TYPE.headers, flags | FLAG.endHeaders, stream.id, block);
      return end ? this.#localEnd(stream) : undefined;
    }
    for (let at = 0; at < block.length; at += FRAME_BYTES_MAX) {
      const part = block.subarray(at, at + FRAME_BYTES_MAX);
      if (at + FRAME_BYTES_MAX >= block.length) flags |= FLAG.endHeaders;
      this.#writer.writeFrame(at === 0 ? FRAME_TYPE.headers : FRAME_TYPE.continuation, flags, stream.id, part);
      flags = 0;
    }
    if (end) this.#localEnd(stream);
  }

  /** @internal */
  waiting(stream: Stream): void {
    const first = !this.#sending.has(stream.id);
    if (first) this.#sending.set(stream.id, stream);
    this.#sendWaiting();
    if (!this.#sending.has(stream.id)) return;
    // Asked only now: most of what is sent leaves at once, and the clock costs more than the rest of this.
    if (first) stream.movedAt = performance.now();
    if (this.#limits.takeMs > 0) this.#arm(stream.movedAt + this.#limits.takeMs);
  }

  /** @internal */
  consumedOf(stream: Stream, bytes: number): void {
    const taken = Math.min(bytes, stream.unconsumed);
    stream.unconsumed -= taken;
    stream.unannounced += taken;
    this.#unannounced += taken;
    if (!stream.remoteEnded && stream.unannounced >= this.#limits.streamWindowBytes / 2) {
      this.#writer.write(numbersFrame(FRAME_TYPE.window, stream.id, stream.unannounced));
      stream.receiveWindow += stream.unannounced;
      stream.unannounced = 0;
    }
    this.#announce();
  }

  /** @internal */
  resetOf(stream: Stream, code: number): void {
    this.#writer.write(numbersFrame(FRAME_TYPE.reset, stream.id, code));
    this.#remove(stream);
    this.#tellCut(stream, { reason: "local", code, unprocessed: false, message: "The stream was given up" });
  }

  /** @internal */
  hasSent(position: number): boolean {
    return this.#writer.hasSent(position);
  }

  /** Gives the peer back what has been consumed of the connection's window, once it is much. */
  #announce(): void {
    if (this.#unannounced < this.#limits.windowBytes / 2) return;
    this.#writer.write(numbersFrame(FRAME_TYPE.window, 0, this.#unannounced));
    this.#receiveWindow += this.#unannounced;
    this.#unannounced = 0;
  }

  /** Sends what waits, a frame of each stream in turn, until a window or the socket is full. */
  #sendWaiting(): void {
    for (let sent = true; sent;) {
      sent = false;
      for (const stream of this.#sending.values()) {
        if (this.#writer.full) return;
        const next = stream.nextData(Math.min(this.#sendWindow, stream.sendWindow, FRAME_BYTES_MAX));
        if (next !== undefined) {
          sent = true;
          this.#sendWindow -= next.bytes.length;
          stream.sendWindow -= next.bytes.length;
          this.#writer.writeData(stream.id, next.bytes, next.end);
          stream.sentTo = this.#writer.position;
          this.#flood.earnBytes(next.bytes.length);
        }
        const trailers = stream.nextTrailers();
        if (trailers !== undefined) this.headersOf(stream, trailers, true);
        else if (next?.end === true) this.#localEnd(stream);
        else if (stream.waitingBytes === 0) this.#sending.delete(stream.id);
        else if (next !== undefined) stream.movedAt = performance.now();
      }
    }
  }

  #localEnd(stream: Stream): void {
    stream.localEnded = true;
    this.#sending.delete(stream.id);
    // An answer may end before its request has: the client is asked to send no more of it (RFC 9113, section 8.1).
    if (this.#server && !stream.remoteEnded) {
      this.#writer.write(numbersFrame(FRAME_TYPE.reset, stream.id, ERROR_CODE.none));
      return this.#remove(stream);
    }
    this.#finish(stream);
  }

  #finish(stream: Stream): void {
    if (!stream.localEnded || !stream.remoteEnded || stream.over) return;
    this.#flood.earnStream();
    this.#remove(stream);
  }

  /** The peer's fault, of one stream. */
  #cut(stream: Stream, code: number, message: string): void {
    this.#flood.spend();
    this.#writer.write(numbersFrame(FRAME_TYPE.reset, stream.id, code));
    this.#remove(stream);
    this.#tellCut(stream, { reason: "malformed", code, unprocessed: false, message });
  }

  #remove(stream: Stream): void {
    if (stream.over) return;
    stream.over = true;
    stream.forget();
    this.#sending.delete(stream.id);
    this.#streams.delete(stream.id);
    this.#unannounced += stream.unconsumed;
    this.#announce();
    if (this.#streams.size > 0) return this.#tellRoom();
    this.#idleSince = performance.now();
    this.#armIdle();
    this.#closeIfDone();
    this.#tellRoom();
  }

  // What the owners are told.

  #tell(stream: Stream, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#events.failed(error);
      // The others on this connection go on.
      if (!stream.over) this.resetOf(stream, ERROR_CODE.internal);
    }
  }

  #tellCut(stream: Stream, cause: StreamCut): void {
    this.#tellOwner(() => stream.events!.cut(cause));
  }

  #tellRoom(): void {
    if (!this.#wantsRoom || !this.usable || this.#streams.size >= this.#peerStreamsMax) return;
    this.#wantsRoom = false;
    this.#tellOwner(() => this.#events.room?.());
  }

  /** What an owner throws here is no reason to stop half way. */
  #tellOwner(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#events.failed(error);
    }
  }

  // How it ends.

  #announceGoaway(): void {
    this.#writer.write(numbersFrame(FRAME_TYPE.goaway, 0, STREAM_ID_MAX, ERROR_CODE.none));
    this.#ping();
  }

  #sayGoaway(): void {
    this.#beginFirst();
    this.#draining = "said";
    this.#closeAt = this.#pingedAt = undefined;
    this.#takenIdMax = this.#lastId;
    this.#writer.write(numbersFrame(FRAME_TYPE.goaway, 0, this.#lastId, ERROR_CODE.none));
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#streams.size > 0 || this.#closing !== undefined || this.#over) return;
    if (this.#draining === "said") {
      this.#close(
        this.#idled ? this.#idleEnd() : { reason: "drained", message: "The connection was closed when it was done" },
      );
    } else if (this.#peerGone) this.#close({ reason: "closed", message: "The peer takes no more requests" });
  }

  /** GOAWAY with a code, and no more is read. */
  #fail(code: number, reason: ConnectionEnd["reason"], message: string): void {
    this.#beginFirst();
    this.#writer.write(numbersFrame(FRAME_TYPE.goaway, 0, this.#lastId, code));
    this.#close({ reason, code, message });
  }

  #answerForeign(first: Buffer, message: string): void {
    this.#tellOwner(() => this.#writer.write(this.#events.foreign?.(first) ?? NOTHING));
    this.#close({ reason: "foreign", code: ERROR_CODE.protocol, message });
  }

  /** Sends what is written, and closes the socket once the peer has closed its side, or soon. */
  #close(end: ConnectionEnd): void {
    this.#closing = end;
    this.#writer.end();
    this.#closeAt = performance.now() + CLOSE_MS;
    this.#arm(this.#closeAt);
    this.#cutAll(end);
  }

  #idleEnd(): ConnectionEnd {
    return { reason: "idle", message: `No request came within ${this.#limits.idleMs} ms` };
  }

  #cutAll({ code, message }: ConnectionEnd): void {
    for (const stream of [...this.#streams.values()]) {
      this.#remove(stream);
      this.#tellCut(stream, { reason: "closed", code: code ?? ERROR_CODE.none, unprocessed: false, message });
    }
  }

  #end(end: ConnectionEnd): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
    const told = this.#closing ?? (this.#idled && end.reason === "closed" ? this.#idleEnd() : end);
    this.#cutAll(told);
    this.#tellOwner(() => this.#events.closed(told));
  }

  // Times. One timer a connection, set to the earliest of them; it looks when it goes off, and is set again.

  #armIdle(): void {
    if (this.#limits.idleMs > 0 && this.#ready) this.#arm(this.#idleSince + this.#limits.idleMs);
  }

  #arm(at: number): void {
    if (this.#over || at >= this.#timerAt || at === Infinity) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#check(), Math.max(0, at - performance.now()));
  }

  #check(): void {
    const lateMs = performance.now() - this.#timerAt;
    this.#timerAt = Infinity;
    // The process was busy: what the peer has sent in time may be there, and is read first.
    if (lateMs > STALL_MS && !this.#putOff) {
      this.#putOff = true;
      return this.#arm(performance.now() + STALL_MS);
    }
    this.#putOff = false;
    // A timer may go off a little before its time.
    const now = performance.now() + 1;
    if (this.#closeAt !== undefined && this.#closeAt <= now) {
      if (this.#closing !== undefined) return this.#end(this.#closing);
      this.#sayGoaway();
    }
    const { headerMs, idleMs, pingAckMs } = this.#limits;
    if (this.#closing === undefined) {
      if (
        headerMs > 0 &&
        Math.min(this.#ready ? Infinity : this.#openedAt, this.#partialSince ?? Infinity) + headerMs <= now
      ) {
        return this.#fail(ERROR_CODE.settingsTimeout, "late", `A header did not arrive within ${headerMs} ms`);
      }
      if (this.#pingedAt !== undefined && pingAckMs > 0 && this.#pingedAt + pingAckMs <= now) {
        return this.#end({ reason: "late", message: `PING was not answered within ${pingAckMs} ms` });
      }
      const idle = idleMs > 0 && this.#ready && this.#streams.size === 0 && this.#idleSince + idleMs <= now;
      if (idle && this.#draining === "no") {
        // In two steps, as any drain: a request may be on its way.
        this.#idled = true;
        this.drain();
      }
      this.#resetStalled(now);
      this.#askIfSilent(now);
    }
    this.#arm(this.#nextCheck());
  }

  #resetStalled(now: number): void {
    const { takeMs } = this.#limits;
    if (takeMs === 0) return;
    for (const stream of [...this.#sending.values()]) {
      if (stream.movedAt + takeMs <= now) this.resetOf(stream, ERROR_CODE.cancel);
    }
  }

  #askIfSilent(now: number): void {
    const { pingMs } = this.#limits;
    if (pingMs > 0 && this.#streams.size > 0 && this.#pingedAt === undefined && this.#heardAt + pingMs <= now) {
      this.#ping();
    }
  }

  #ping(): void {
    this.#pingedAt = performance.now();
    this.#writer.write(frame(FRAME_TYPE.ping, 0, 0, PING));
    if (this.#limits.pingAckMs > 0) this.#arm(this.#pingedAt + this.#limits.pingAckMs);
  }

  #nextCheck(): number {
    if (this.#closing !== undefined) return this.#closeAt ?? Infinity;
    const { headerMs, idleMs, pingMs, pingAckMs } = this.#limits;
    const after = (at: number | undefined, ms: number) => at === undefined || ms === 0 ? Infinity : at + ms;
    const busy = this.#streams.size > 0;
    const stalledSince = [...this.#sending.values()].reduce((least, { movedAt }) => Math.min(least, movedAt), Infinity);
    return Math.min(
      this.#closeAt ?? Infinity,
      after(this.#ready ? undefined : this.#openedAt, headerMs),
      after(this.#partialSince, headerMs),
      after(stalledSince, this.#limits.takeMs),
      after(this.#pingedAt, pingAckMs),
      after(busy || !this.#ready || this.#draining !== "no" ? undefined : this.#idleSince, idleMs),
      after(busy && this.#pingedAt === undefined ? this.#heardAt : undefined, pingMs),
    );
  }
}

/** From this size on a frame that is not DATA is worth counting as garbage, in bytes; no sender has such often. */
const GARBAGE_BYTES_MIN = 4 * 1024;
/** Settings of one frame that cost nothing beside it: there are about as many kinds. */
const SETTINGS_FREE = 10;
const TOO_SHORT = "The body is shorter than its content-length";
const NO_PREFACE = "The peer does not speak HTTP/2";
const NOTHING = new Uint8Array(0);
const PING = new Uint8Array(PING_BYTES);
/** What is read of the words in a GOAWAY. */
const DEBUG_BYTES_MAX = 256;

/** For a stream that was refused: the rest of it is of no use. */
const IGNORED: StreamEvents = { data() {}, end() {}, cut() {} };

function exactly(length: number, wanted: number): void {
  if (length !== wanted) {
    throw new ConnectionFault(ERROR_CODE.frameSize, "A frame has a length that its type does not have");
  }
}

function ofStream(id: number): number {
  if (id === 0) throw new ConnectionFault(ERROR_CODE.protocol, "A frame of a stream names none");
  return id;
}

function ofConnection(id: number): void {
  if (id !== 0) throw new ConnectionFault(ERROR_CODE.protocol, "A frame of the connection names a stream");
}

function unpadded(flags: number, body: Buffer): Buffer {
  if (!(flags & FLAG.padded)) return body;
  const padding = body[0];
  if (padding === undefined || padding >= body.length) {
    throw new ConnectionFault(ERROR_CODE.protocol, "The padding is longer than its frame");
  }
  return body.subarray(1, body.length - padding);
}
