/** Unary calls of gRPC, on the framing of `src/http2`: what no client library would send can be sent. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import net, { type Socket } from "node:net";
import secure, { type ConnectionOptions } from "node:tls";
import { type ConnectionEnd, Http2Connection } from "../../../src/http2/connection.ts";
import { fieldOf } from "../../../src/http2/fields.ts";
import { encodeFields } from "../../../src/http2/hpack.ts";
import type { Field } from "../../../src/http2/hpack_tables.ts";
import type { Http2Stream, StreamCut } from "../../../src/http2/stream.ts";
import { decodeGrpcMessage, decodeStatusDetails, messagePrefix } from "../../../src/otlp/grpc.ts";

export interface GrpcAnswer {
  /** `grpc-status`. */
  readonly code: number;
  readonly message: string;
  /** The delay of its RetryInfo, in ms. */
  readonly retryMs: number | undefined;
  /** The messages of the answer. */
  readonly messages: readonly Buffer[];
  /** Header and trailers; of an answer of trailers alone they are one. */
  readonly fields: readonly Field[];
  readonly trailersOnly: boolean;
}

export interface CallOptions {
  readonly path?: string;
  /** Beside what a call has in any case. */
  readonly metadata?: readonly Field[];
  /** In the place of the pseudo fields and the type. */
  readonly header?: readonly Field[];
  /** Whether the message is flagged as compressed. */
  readonly compressed?: boolean;
}

export const TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** A call that is under way. */
export interface OpenCall {
  readonly stream: Http2Stream;
  /** Rejects with the {@link StreamCut}. */
  readonly answer: Promise<GrpcAnswer>;
  /** Resolves with the next message of an answer of several. */
  next(): Promise<Buffer>;
}

export class GrpcClient implements AsyncDisposable {
  readonly http2: Http2Connection;
  readonly ended: Promise<ConnectionEnd>;
  /** Resolves when the server has asked to make no more calls. */
  readonly goaway: Promise<void>;

  constructor(readonly socket: Socket) {
    const ended = Promise.withResolvers<ConnectionEnd>();
    const gone = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.goaway = gone.promise;
    this.http2 = new Http2Connection(socket, {
      side: "client",
      limits: {
        streamsMax: 0,
        streamWindowBytes: 65_535,
        windowBytes: 1 << 20,
        headerListBytesMax: 65_536,
        headerMs: 0,
        idleMs: 0,
        pingMs: 0,
        pingAckMs: 0,
        takeMs: 0,
      },
      events: {
        goaway: () => gone.resolve(),
        closed: ended.resolve,
        failed(error) {
          throw error;
        },
      },
    });
  }

  static async connect(url: string, tls: ConnectionOptions = {}): Promise<GrpcClient> {
    const { protocol, hostname, port } = new URL(url);
    const at = { host: hostname, port: Number(port) };
    const secured = protocol === "https:";
    const socket = secured ? secure.connect({ ...at, ALPNProtocols: ["h2"], ...tls }) : net.connect(at);
    await new Promise<void>((resolve, reject) => {
      socket.once(secured ? "secureConnect" : "connect", resolve).once("error", reject);
    });
    return new GrpcClient(socket);
  }

  /** Begins a call, whose bytes are the caller's to send. */
  open({ path = TRACES, metadata = [], header }: CallOptions = {}): OpenCall {
    const answered = Promise.withResolvers<GrpcAnswer>();
    const first: Field[] = [];
    const trailers: Field[] = [];
    let body = Buffer.alloc(0);
    let wake = () => {};
    let read = 0;
    const stream = this.http2.request(
      encodeFields([
        ...(header ?? [
          [":method", "POST"],
          [":scheme", "http"],
          [":path", path],
          [":authority", "localhost"],
          ["content-type", "application/grpc"],
          ["te", "trailers"],
        ]),
        ...metadata,
      ]),
      {
        headers: (fields) => void first.push(...fields),
        data(piece) {
          body = Buffer.concat([body, piece]);
          stream!.consumed(piece.length);
          wake();
        },
        trailers: (fields) => void trailers.push(...fields),
        end() {
          const fields = [...first, ...trailers];
          const details = fieldOf(fields, "grpc-status-details-bin");
          const status = fieldOf(fields, "grpc-status");
          answered.resolve({
            code: status === undefined ? -1 : Number(status),
            message: decodeGrpcMessage(fieldOf(fields, "grpc-message") ?? ""),
            retryMs: details === undefined ? undefined : decodeStatusDetails(details)?.retryMs,
            messages: messagesOf(body),
            fields,
            trailersOnly: trailers.length === 0,
          });
        },
        cut: (cause: StreamCut) => answered.reject(cause),
      },
    );
    assert(stream !== undefined, "the connection takes no call");
    answered.promise.catch(() => {});
    return {
      stream,
      answer: answered.promise,
      async next() {
        for (;;) {
          const message = messagesOf(body)[read];
          if (message !== undefined) {
            read++;
            return message;
          }
          await new Promise<void>((resolve) => wake = resolve);
        }
      },
    };
  }

  /** Calls with one message. */
  call(message: Uint8Array, options: CallOptions = {}): Promise<GrpcAnswer> {
    const { stream, answer } = this.open(options);
    stream.sendData(Buffer.concat([messagePrefix(message.length, options.compressed ?? false), message]), true);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.http2.destroy();
    await this.ended;
  }
}

function messagesOf(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= body.length;) {
    const length = body.readUInt32BE(at + 1);
    if (at + 5 + length > body.length) break;
    messages.push(body.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return messages;
}
