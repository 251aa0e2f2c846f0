/**
 * What OTLP/gRPC obliges a client to, as data. Sources: OTLP 1.11.0, sections as named, and the gRPC specification ("gRPC over HTTP2").
 */
import { encodeStatusDetails, GRPC_CODE, messagePrefix } from "../../src/otlp/grpc.ts";
import { encodeSuccess, type PartialSuccess } from "../../src/otlp/response.ts";
import { concatenate } from "../../src/codec/bytes.ts";
import { type GrpcReply, startGrpcEnd } from "../support/far_end/grpc_end.ts";
import type { TestCertificates } from "../support/files/certificates.ts";
import {
  BAD_DATA,
  type Clause,
  deliveredAfter,
  header,
  isQuestion,
  NO_RESPONSE,
  NOT_RETRIED,
  notBefore,
  PARTLY_REJECTED,
  REJECTED,
  RETRIED,
  show,
  USER_AGENT,
  WARNED,
  WARNING,
} from "./client_clauses.ts";

export interface GrpcClientRow extends Clause {
  /** How the Collector answers attempt `number`, from 1. */
  readonly reply: (number: number) => GrpcReply;
}

const TAKEN: GrpcReply = { kind: "message" };
const once = (reply: GrpcReply) => (number: number) => number === 1 ? reply : TAKEN;

function refusal(name: keyof typeof GRPC_CODE, message = "told to", retryMs?: number): GrpcReply {
  const code = GRPC_CODE[name];
  return {
    kind: "status",
    code,
    message,
    more: retryMs === undefined ? [] : [["grpc-status-details-bin", encodeStatusDetails({ code, message }, retryMs)]],
  };
}

function partly(partial: PartialSuccess): GrpcReply {
  const message = encodeSuccess("traces", "application/x-protobuf", partial);
  return { kind: "message", frame: concatenate([messagePrefix(message.length, false), message]) };
}

/** Every row, in the order of the specification. */
export const GRPC_CLIENT_ROWS: readonly GrpcClientRow[] = [
  ...([
    [":path", /^\/opentelemetry\.proto\.collector\.trace\.v1\.TraceService\/Export$/],
    ["content-type", /^application\/grpc$/],
    ["te", /^trailers$/],
    ["grpc-timeout", /^\d{1,8}[HMSmun]$/],
  ] as const).map(([name, pattern]): GrpcClientRow => ({
    clause: "gRPC over HTTP2, Requests",
    obligation: name === "grpc-timeout" ? "SHOULD" : "MUST",
    situation: "the Collector accepts",
    expected: `one call, ${name} as specified`,
    reply: () => TAKEN,
    attempts: 1,
    check: (observed) => deliveredAfter(1)(observed) ?? header(name, pattern)(observed),
  })),
  {
    clause: "OTLP/gRPC: gzip",
    obligation: "MUST",
    situation: "the Collector accepts what the relay has compressed",
    expected: "grpc-encoding: gzip",
    reply: () => TAKEN,
    attempts: 1,
    check: header("grpc-encoding", /^gzip$/),
  },
  {
    ...USER_AGENT,
    situation: "the Collector accepts",
    reply: () => TAKEN,
  },
  ...(["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"] as const).map(
    (name): GrpcClientRow => ({
      ...RETRIED,
      clause: "OTLP/gRPC Response, Failures: the retryable codes",
      situation: `the Collector answers ${name} once`,
      reply: once(refusal(name)),
    }),
  ),
  {
    clause: "OTLP/gRPC Throttling: RESOURCE_EXHAUSTED with RetryInfo is retryable, its delay is honoured",
    obligation: "SHOULD",
    situation: "RESOURCE_EXHAUSTED, RetryInfo of 1 s",
    expected: "the second attempt 1 s later or more",
    reply: once(refusal("RESOURCE_EXHAUSTED", "slow down", 1_000)),
    attempts: 2,
    check: notBefore(1_000),
  },
  {
    clause: "OTLP/gRPC Throttling: the delay of RetryInfo is honoured",
    obligation: "SHOULD",
    situation: "UNAVAILABLE, RetryInfo of 1 s",
    expected: "the second attempt 1 s later or more",
    reply: once(refusal("UNAVAILABLE", "later", 1_000)),
    attempts: 2,
    check: notBefore(1_000),
  },
  {
    ...NOT_RETRIED,
    situation: "RESOURCE_EXHAUSTED without RetryInfo once",
    reply: once(refusal("RESOURCE_EXHAUSTED", "quota")),
  },
  ...([
    "UNKNOWN",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAUTHENTICATED",
  ] as const).map((name): GrpcClientRow => ({
    ...NOT_RETRIED,
    situation: `the Collector answers ${name} once`,
    reply: once(refusal(name)),
  })),
  ...([
    ["INVALID_ARGUMENT", refusal("INVALID_ARGUMENT")],
    [
      "RESOURCE_EXHAUSTED for the message's size",
      refusal("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5000000 vs. 4194304)"),
    ],
    ["INTERNAL for what it cannot decode", refusal("INTERNAL", "grpc: error unmarshalling request: unexpected EOF")],
  ] as const).map(([what, reply]): GrpcClientRow => ({
    ...BAD_DATA,
    situation: `the Collector answers ${what}`,
    reply: () => reply,
  })),
  {
    ...PARTLY_REJECTED,
    situation: "OK with 1 rejected span",
    reply: () => partly(REJECTED),
  },
  {
    ...WARNED,
    situation: "OK with 0 rejected and a message",
    reply: () => partly(WARNING),
  },
  ...([
    ["the connection is cut once", { kind: "disconnect" }],
    ["the Collector does not answer in time once", { kind: "silence" }],
    ["the stream is reset once", { kind: "reset", code: 2 }],
    ["GOAWAY comes before the call was looked at", { kind: "goaway" }],
  ] as const).map(([situation, reply]): GrpcClientRow => ({
    ...NO_RESPONSE,
    situation,
    reply: once(reply),
  })),
  {
    ...NOT_RETRIED,
    clause: "gRPC over HTTP2, Responses: a success has a grpc-status",
    situation: "OK without trailers once",
    reply: once({ kind: "no_trailers" }),
  },
];

/** Lets one row happen: a far end that answers as told. */
export function runGrpcClientRow(row: GrpcClientRow, certs: TestCertificates): Promise<string | undefined> {
  return show(row, certs, async (attempts, stack) => {
    let headers: Readonly<Record<string, string>> = {};
    const end = stack.use(
      await startGrpcEnd(({ message, header }) => {
        if (isQuestion(message)) return TAKEN;
        const reply = row.reply(attempts.entries.length + 1);
        headers = Object.fromEntries(header);
        attempts.push({ at: performance.now() });
        return reply;
      }, { certs }),
    );
    return {
      url: end.url,
      exporter: { protocol: "grpc" },
      headers: () => headers,
      connections: () => end.connections,
    };
  });
}
