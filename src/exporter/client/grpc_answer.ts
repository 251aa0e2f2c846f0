/**
 * The answer to a unary call of gRPC, as its parts arrive: header, one message, trailers. Source: the gRPC specification, "gRPC over HTTP2",
 * "Responses", and "HTTP to gRPC status code mapping".
 * @module
 */
import { concatenate } from "../../codec/bytes.ts";
import { gunzip } from "../../codec/gzip.ts";
import { unzstd } from "../../codec/zstd.ts";
import { messageOf } from "../../errors.ts";
import { fieldOf } from "../../http2/fields.ts";
import type { Field } from "../../http2/hpack_tables.ts";
import {
  decodeGrpcMessage,
  decodeStatusDetails,
  GRPC_CODE,
  grpcCodeName,
  MESSAGE_PREFIX_BYTES,
} from "../../otlp/grpc.ts";
import { ANSWER_BYTES_MAX, RETRY_AFTER_MAX_MS, retryAfterMs } from "../../otlp/http_answer.ts";
import { decodeStatus, readSuccess } from "../../otlp/response.ts";
import type { SignalName } from "../../signal.ts";
import { statusOfGrpc } from "./disposition.ts";
import type { Answered } from "./transport.ts";

/** What an answer may be compressed by: grpc-go compresses its own as the request was. */
export const ANSWER_CODINGS = "identity,gzip,zstd";

/** One answer, until it is whole. */
export class GrpcAnswer {
  readonly #signal: SignalName;
  #header: readonly Field[] = [];
  #trailers: readonly Field[] = [];
  readonly #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(signal: SignalName) {
    this.#signal = signal;
  }

  header(fields: readonly Field[]): void {
    this.#header = fields;
  }

  /** Keeps a piece of the body, up to a bound. */
  data(piece: Uint8Array): void {
    if (this.#bytes <= ANSWER_BYTES_MAX) this.#pieces.push(piece.subarray(0, ANSWER_BYTES_MAX + 1 - this.#bytes));
    this.#bytes += piece.length;
  }

  trailers(fields: readonly Field[]): void {
    this.#trailers = fields;
  }

  /**
   * What it says, once all of it is there.
   * @param early Whether it came before all of the call had been sent.
   */
  answered(early = false): Answered {
    const status = Number(fieldOf(this.#header, ":status"));
    const type = fieldOf(this.#header, "content-type") ?? "";
    const isGrpc = /^application\/grpc(?:$|[+;])/i.test(type);
    if (!isGrpc && status !== 200) return this.#ofHttp(status, type);
    if (!isGrpc) return foreign(`answered 200 with ${type.slice(0, 80) || "no type"}, which is no answer of gRPC`);
    // Without a message both stand in the one block that there is ("Trailers-Only").
    const trailer = (name: string) => fieldOf(this.#trailers, name) ?? fieldOf(this.#header, name);
    const code = trailer("grpc-status");
    if (code === undefined || !/^\d{1,3}$/.test(code)) {
      // A proxy that names gRPC's type and speaks HTTP: its status says more.
      return status === 200 ? foreign("answered without a grpc-status") : this.#ofHttp(status, type);
    }
    // Whoever says two things has not said that it has the data.
    const codes = [...this.#header, ...this.#trailers].filter(([name]) => name === "grpc-status");
    if (codes.some(([, value]) => value !== code)) return foreign("answered with two values of grpc-status");
    if (Number(code) === GRPC_CODE.OK) return this.#success(early);
    const details = decodeStatusDetails(trailer("grpc-status-details-bin") ?? "");
    const words = decodeGrpcMessage(trailer("grpc-message") ?? "") || (details?.message ?? "");
    const asked = details?.retryMs;
    return {
      kind: "answer",
      status: statusOfGrpc(Number(code), words, asked !== undefined),
      grpc: grpcCodeName(Number(code)),
      message: words.slice(0, WORDS_MAX),
      foreign: false,
      retryAfterMs: asked === undefined ? undefined : Math.min(asked, RETRY_AFTER_MAX_MS),
      partialSuccess: undefined,
    };
  }

  /** What stands before the Collector has answered, as HTTP has it. */
  #ofHttp(status: number, type: string): Answered {
    const location = fieldOf(this.#header, "location");
    const words = decodeStatus(type, concatenate(this.#pieces));
    return {
      kind: "answer",
      status,
      message: location === undefined ? words : `redirected to ${location.slice(0, 200)}`,
      foreign: status >= 200 && status < 300,
      retryAfterMs: retryAfterMs(fieldOf(this.#header, "retry-after") ?? null),
      partialSuccess: undefined,
    };
  }

  #success(early: boolean): Answered {
    let body: Uint8Array;
    try {
      body = this.#message();
    } catch (error) {
      return foreign(`answered OK with ${messageOf(error)}`);
    }
    const whole = this.#bytes <= ANSWER_BYTES_MAX;
    const contentType = "application/x-protobuf";
    const reading = readSuccess(this.#signal, { status: 200, contentType, body, whole, early });
    if (reading.kind === "foreign") return foreign(reading.why);
    const { partialSuccess } = reading;
    return {
      kind: "answer",
      status: 200,
      grpc: "OK",
      message: "",
      foreign: false,
      retryAfterMs: undefined,
      partialSuccess,
    };
  }

  /** The one message that there has to be, inflated. */
  #message(): Uint8Array {
    const body = concatenate(this.#pieces);
    if (body.length < MESSAGE_PREFIX_BYTES) throw new Error("no message");
    const length = new DataView(body.buffer).getUint32(1);
    const message = body.subarray(MESSAGE_PREFIX_BYTES);
    if (length !== message.length) throw new Error("a message of another length than it states");
    if (body[0] === 0) return message;
    const coding = fieldOf(this.#header, "grpc-encoding") ?? "identity";
    if (body[0] !== 1 || coding === "identity") throw new Error("a message that is compressed by nothing");
    if (coding === "gzip") return gunzip(message, ANSWER_BYTES_MAX).content.take();
    if (coding === "zstd") return unzstd(message, ANSWER_BYTES_MAX);
    throw new Error(`a message in a coding that was not offered, ${coding.slice(0, 40)}`);
  }
}

/** The most of an answer's own words that is kept, in characters. */
const WORDS_MAX = 1_024;

function foreign(why: string): Answered {
  return {
    kind: "answer",
    status: 200,
    message: why,
    foreign: true,
    retryAfterMs: undefined,
    partialSuccess: undefined,
  };
}
