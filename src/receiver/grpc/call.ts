/**
 * The way in by gRPC: a call as the receiver's steps take it. Its message is the body, still compressed; its metadata are the header
 * fields, and the names by which gRPC says of a body what HTTP says are read as those.
 * @module
 */
import type { Socket } from "node:net";
import { Refusal } from "../../errors.ts";
import { fieldOf } from "../../http2/fields.ts";
import type { Field } from "../../http2/hpack_tables.ts";
import type { Http2Stream, StreamCut } from "../../http2/stream.ts";
import { GRPC_CODE, parseGrpcTimeout } from "../../otlp/grpc.ts";
import { contentEncodingOf } from "../headers.ts";
import type { Answer, Inbound, InboundBody, InboundPeer } from "../inbound.ts";
import type { HeaderFields } from "../senders/peer.ts";
import { answerMessage, answerRefusal, answerStatus } from "./answer.ts";
import { MessageReader } from "./message.ts";

/** What a call asks of its listener. */
export interface CallHost {
  readonly socket: Socket;
  /** The prefix of its message is there, or what is wrong with it is known: it is ready for the receiver's steps. */
  begun(call: Call): void;
  /** It has been answered, or is gone. */
  ended(call: Call): void;
  /** Its sender has proved who it is. */
  proved(): void;
  /**
   * So many bytes more, or fewer, are held of a call that nobody reads yet. Where that is too much, other calls that wait make room; false
   * where it is too much all the same.
   */
  hold(call: Call, bytes: number): boolean;
}

/** What a call takes beside its header and its message, in bytes; measured over 45,000 of them. */
const CALL_BYTES = 2_048;

/** What is held of strangers' calls is as much as may be. */
export function holdsTooMuch(): Refusal {
  return new Refusal("overloaded", "The relay holds as much as it may of calls whose senders it does not know yet", {
    remedy: "retry",
  });
}

let numbered = 0;

/** One call of a method that takes a signal. */
export class Call implements Inbound, HeaderFields, InboundBody, InboundPeer {
  /** As the instrumentation reads it of a request. */
  readonly method = "POST";
  readonly httpVersion = "2.0";
  readonly openedAt = performance.now();
  /** It is found by this among those under way. */
  readonly number = ++numbered;
  /** By when its sender wants the answer, by `performance.now()`; `Infinity`: whenever. */
  readonly deadline: number;
  readonly #host: CallHost;
  readonly #stream: Http2Stream;
  readonly #fields: readonly Field[];
  readonly #reader = new MessageReader();
  #begun = false;
  #queued = false;
  #taken = false;
  #whole = false;
  #over = false;
  #forgotten = false;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  /** What the call counts as while it waits, in bytes. */
  #waitingBytes = 0;
  #take: ((piece: Uint8Array) => void) | undefined;
  #reading: PromiseWithResolvers<void> | undefined;
  #broken: unknown;

  /** @param url Of the signal that its method takes. */
  constructor(host: CallHost, stream: Http2Stream, readonly url: string, fields: readonly Field[]) {
    this.#host = host;
    this.#stream = stream;
    this.#fields = fields;
    const timeout = fieldOf(fields, "grpc-timeout");
    const ms = timeout === undefined ? Infinity : parseGrpcTimeout(timeout);
    this.deadline = this.openedAt + (ms ?? Infinity);
    this.#waitingBytes = fields.reduce((sum, [name, value]) => sum + name.length + value.length, CALL_BYTES);
    host.hold(this, this.#waitingBytes);
    if (ms === undefined) this.#break(new Refusal("malformed", "grpc-timeout is not up to 8 digits and a unit"));
  }

  /** Whether the prefix of its message is still to come. */
  get late(): boolean {
    return !this.#begun && !this.#over;
  }

  /** Whether it waits: for its message, or for other calls of its connection to prove who sends. */
  get waits(): boolean {
    return !this.#over && !this.#taken && (!this.#begun || this.#queued);
  }

  // As the stream has it.

  data(piece: Uint8Array): void {
    if (this.#over || this.#forgotten) return this.#stream.consumed(piece.length);
    let content: Uint8Array;
    try {
      content = this.#reader.take(piece);
    } catch (error) {
      this.#stream.consumed(piece.length);
      return this.#break(error);
    }
    this.#stream.consumed(piece.length - content.length);
    if (this.#reader.length !== undefined) this.#begin();
    if (this.#take !== undefined) this.#hand(this.#take, content);
    else if (content.length > 0) this.#keep(content);
  }

  end(): void {
    if (this.#over) return;
    try {
      if (this.#broken === undefined) this.#reader.end();
    } catch (error) {
      return this.#break(error);
    }
    this.#whole = true;
    this.#reading?.resolve();
  }

  cut({ message }: StreamCut): void {
    if (this.#over) return;
    this.#close();
    this.#break(new Error(message));
  }

  // As the receiver's steps have it.

  get headers(): HeaderFields {
    return this;
  }

  get body(): InboundBody {
    return this;
  }

  get peer(): InboundPeer {
    return this;
  }

  get socket(): Socket {
    return this.#host.socket;
  }

  address(): string | undefined {
    return this.#host.socket.remoteAddress;
  }

  proved(): void {
    this.#host.proved();
  }

  get(name: string): string | null {
    switch (name) {
      case "content-type":
        return "application/x-protobuf";
      case "content-length":
        return this.#reader.length === undefined ? null : String(this.#reader.length);
      case "content-encoding":
        return this.#encoding();
      case "accept-encoding":
        // It is about messages here; an answer is a few bytes.
        return null;
    }
    let joined: string | undefined;
    for (const [each, value] of this.#fields) {
      if (each === name) joined = joined === undefined ? value : `${joined}, ${value}`;
    }
    return joined ?? null;
  }

  keys(): Iterable<string> {
    return this.#fields.map(([name]) => name).filter((name) => !name.startsWith(":"));
  }

  forEachPiece(take: (piece: Uint8Array) => void): Promise<void> | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    const ready = this.#unread;
    const bytes = this.#forgetUnread();
    for (const piece of ready) take(piece);
    this.#stream.consumed(bytes);
    if (this.#whole) return undefined;
    this.#take = take;
    this.#reading = Promise.withResolvers<void>();
    return this.#reading.promise;
  }

  cancel(): void {
    this.#forgotten = true;
    this.#take = undefined;
    this.#stream.consumed(this.#forgetUnread());
  }

  // As the listener has it.

  /** Answers, unless that has been done or nobody is there any more. @returns whether it did. */
  answer(answer: Answer): boolean {
    if (this.#over) return false;
    this.#close();
    const { refused } = answer;
    if (refused === undefined) answerMessage(this.#stream, answer.body);
    else answerRefusal(this.#stream, refused.refusal, refused.toldS);
    return true;
  }

  /** Whether it has been answered, and nothing is left to be told of it. */
  get done(): boolean {
    return this.#over && this.#broken === undefined;
  }

  /** The receiver's steps begin. */
  taken(): void {
    this.#taken = true;
    this.#waitNoLonger();
  }

  /** Its message is waited for no longer. */
  refuse(refusal: Refusal): void {
    this.#break(refusal);
  }

  /** Its sender waits no longer. What was under way goes on, and may be kept. */
  expire(): void {
    if (this.#over) return;
    this.#break(new Refusal("body_timeout", "Body did not arrive within grpc-timeout", { remedy: "retry" }));
    this.#close();
    answerStatus(this.#stream, {
      code: GRPC_CODE.DEADLINE_EXCEEDED,
      message: "grpc-timeout has passed; the data may have been kept all the same",
    });
  }

  #begin(): void {
    if (this.#begun || this.#over) return;
    this.#begun = true;
    // When all that has come with the prefix has been handed over: most messages are whole then, and nobody waits for them.
    queueMicrotask(() => {
      this.#queued = true;
      this.#host.begun(this);
    });
  }

  #encoding(): string | null {
    if (!this.#reader.compressed) return null;
    const encoding = fieldOf(this.#fields, "grpc-encoding") ?? null;
    if (contentEncodingOf(encoding) !== "identity") return encoding;
    throw new Refusal("malformed", "The message is flagged as compressed, and grpc-encoding says by nothing");
  }

  #keep(content: Uint8Array): void {
    // A small part would hold the memory of all that it came in.
    this.#unread.push(content.length * 2 < content.buffer.byteLength ? new Uint8Array(content) : content);
    this.#unreadBytes += content.length;
    if (this.#host.hold(this, content.length)) return;
    this.#break(holdsTooMuch());
  }

  /** What the reader throws ends its reading, and not the connection's. */
  #hand(take: (piece: Uint8Array) => void, content: Uint8Array): void {
    try {
      take(content);
      this.#stream.consumed(content.length);
    } catch (error) {
      this.cancel();
      this.#stream.consumed(content.length);
      this.#reading?.reject(error);
    }
  }

  /** The reader of the body is told, now or when it asks: by then it is known who sends what is refused. */
  #break(error: unknown): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    this.cancel();
    this.#reading?.reject(error);
    this.#begin();
  }

  #forgetUnread(): number {
    const bytes = this.#unreadBytes;
    this.#unread = [];
    this.#unreadBytes = 0;
    if (bytes > 0) this.#host.hold(this, -bytes);
    return bytes;
  }

  #waitNoLonger(): void {
    const bytes = this.#waitingBytes;
    this.#waitingBytes = 0;
    this.#host.hold(this, -bytes);
  }

  #close(): void {
    this.#over = true;
    this.#waitNoLonger();
    this.#forgetUnread();
    this.#host.ended(this);
  }
}
