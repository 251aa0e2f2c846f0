/**
 * A far end of OTLP/gRPC that answers as it is told to, over the relay's own framing of HTTP/2: what a real server never does by itself.
 * What is to hold against real ones is tested against the real Collector.
 */
import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer as createSecureServer, type TLSSocket } from "node:tls";
import { concatenate } from "../../../src/codec/bytes.ts";
import { Http2Connection } from "../../../src/http2/connection.ts";
import { fieldOf } from "../../../src/http2/fields.ts";
import { FRAME_TYPE, numbersFrame } from "../../../src/http2/frame.ts";
import { encodeFields } from "../../../src/http2/hpack.ts";
import type { Field } from "../../../src/http2/hpack_tables.ts";
import type { Http2Stream } from "../../../src/http2/stream.ts";
import { MESSAGE_PREFIX_BYTES, messagePrefix } from "../../../src/otlp/grpc.ts";
import type { TestCertificates } from "../files/certificates.ts";

/** One call, as it came. */
export interface GrpcCall {
  /** Of all calls, from 1. */
  readonly number: number;
  /** Of all connections, from 1. */
  readonly connection: number;
  readonly path: string;
  readonly header: readonly Field[];
  readonly encoding: string;
  /** The message, as it was sent. */
  readonly message: Uint8Array;
}

/** What is answered. */
export type GrpcReply =
  /** A message in its frame, and trailers. */
  | { readonly kind: "message"; readonly frame?: Uint8Array; readonly header?: Field[]; readonly trailers?: Field[] }
  /** Trailers alone. */
  | { readonly kind: "status"; readonly code: number; readonly message?: string; readonly more?: Field[] }
  /** Something else over HTTP/2. */
  | { readonly kind: "http"; readonly status: number; readonly type: string; readonly body: string }
  /** A success that ends without trailers. */
  | { readonly kind: "no_trailers" }
  /** A header, half a message, and nothing more. */
  | { readonly kind: "half" }
  | { readonly kind: "reset"; readonly code: number }
  /** GOAWAY that says that this call has not been looked at; the connection ends with the others. */
  | { readonly kind: "goaway" }
  | { readonly kind: "disconnect" }
  | { readonly kind: "silence" };

export interface GrpcEnd extends AsyncDisposable {
  readonly url: string;
  readonly calls: readonly GrpcCall[];
  /** Connections so far, and those that are open. */
  readonly connections: number;
  readonly open: number;
}

/** An empty Export response, as a frame. */
export const EMPTY_RESPONSE: Uint8Array = messagePrefix(0, false);

const OK: readonly Field[] = [["grpc-status", "0"]];
const HEADER: readonly Field[] = [[":status", "200"], ["content-type", "application/grpc"]];

const LIMITS = {
  streamsMax: 100,
  streamWindowBytes: 65_535,
  windowBytes: 1 << 20,
  headerListBytesMax: 1 << 16,
  headerMs: 0,
  idleMs: 0,
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};

/** @param reply Asked once the call is whole. `streamsMax`: calls at once on a connection. `early`: answered before a byte of the message is read. */
export async function startGrpcEnd(
  reply: (call: GrpcCall) => GrpcReply | Promise<GrpcReply>,
  options: {
    readonly certs?: TestCertificates;
    readonly streamsMax?: number;
    readonly port?: number;
    readonly early?: GrpcReply;
  } = {},
): Promise<GrpcEnd> {
  const calls: GrpcCall[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const serve = (socket: Socket) => {
    const number = ++connections;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    void new Http2Connection(socket, {
      side: "server",
      limits: { ...LIMITS, streamsMax: options.streamsMax ?? LIMITS.streamsMax },
      events: {
        opened(stream, fields) {
          const pieces: Uint8Array[] = [];
          const { early } = options;
          if (early !== undefined) {
            queueMicrotask(() => answer(early, stream, socket));
            return { data() {}, end() {}, cut() {} };
          }
          return {
            data(piece) {
              pieces.push(piece.slice());
              stream.consumed(piece.length);
            },
            async end() {
              const call: GrpcCall = {
                number: calls.length + 1,
                connection: number,
                path: fieldOf(fields, ":path") ?? "",
                header: fields,
                encoding: fieldOf(fields, "grpc-encoding") ?? "identity",
                message: concatenate(pieces).subarray(MESSAGE_PREFIX_BYTES),
              };
              calls.push(call);
              answer(await reply(call), stream, socket);
            },
            cut() {},
          };
        },
        closed() {},
        failed: (error) => queueMicrotask(() => Promise.reject(error)),
      },
    });
  };
  const server = listener(serve, options.certs);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.certs === undefined ? "http" : "https"}://localhost:${port}`,
    calls,
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function listener(serve: (socket: Socket) => void, certs: TestCertificates | undefined): Server {
  if (certs === undefined) return createServer(serve);
  const { ca, server: { certificate: cert, key } } = certs;
  return createSecureServer(
    { ca: ca.certificate, cert, key, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ["h2"] },
    (socket: TLSSocket) => serve(socket),
  );
}

function answer(reply: GrpcReply, stream: Http2Stream, socket: Socket): void {
  switch (reply.kind) {
    case "message":
      stream.sendHeaders(encodeFields([...HEADER, ...reply.header ?? []]));
      stream.sendData(reply.frame ?? EMPTY_RESPONSE);
      return stream.sendTrailers(encodeFields(reply.trailers ?? OK));
    case "status": {
      const { code, message, more = [] } = reply;
      const words: Field[] = message === undefined ? [] : [["grpc-message", message]];
      return stream.sendHeaders(encodeFields([...HEADER, ["grpc-status", String(code)], ...words, ...more]), true);
    }
    case "http":
      stream.sendHeaders(encodeFields([[":status", String(reply.status)], ["content-type", reply.type]]));
      return stream.sendData(new TextEncoder().encode(reply.body), true);
    case "no_trailers":
      stream.sendHeaders(encodeFields(HEADER));
      return stream.sendData(EMPTY_RESPONSE, true);
    case "half":
      stream.sendHeaders(encodeFields(HEADER));
      return stream.sendData(EMPTY_RESPONSE.subarray(0, 3));
    case "reset":
      return stream.reset(reply.code);
    case "goaway":
      socket.write(numbersFrame(FRAME_TYPE.goaway, 0, Math.max(0, stream.id - 2), 0));
      return;
    case "disconnect":
      return void socket.destroy();
    case "silence":
      return;
  }
}
