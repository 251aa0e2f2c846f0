/**
 * What OTLP/gRPC obliges a client to, as data. Sources: OTLP 1.11.0, sections as named, and the gRPC specification ("gRPC over HTTP2").
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeStatusDetails, GRPC_CODE, messagePrefix } from "../../src/otlp/grpc.ts";
import { encodeSuccess, type PartialSuccess } from "../../src/otlp/response.ts";
import { concatenate } from "../../src/codec/bytes.ts";
import { type GrpcReply, startGrpcEnd } from "../support/far_end/grpc_end.ts";
import type { TestCertificates } from "../support/files/certificates.ts";
import { Journal, requestOf } from "../support/relay/exporting.ts";
import { booksIn, startRelayHere } from "../support/relay/relay.ts";
import {
  type Attempt,
  type Clause,
  deliveredAfter,
  heldAndAsked,
  isQuestion,
  LONGEST_MS,
  notBefore,
  type Observed,
  TIMEOUT,
  told,
} from "./client_rows.ts";

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

const field = (name: string, pattern: RegExp) => (observed: Observed) =>
  pattern.test(observed.headers[name] ?? "") ? undefined : `${name}: ${observed.headers[name] ?? "none"}`;

const held = (clause: string, situation: string, reply: GrpcReply): GrpcClientRow => ({
  clause,
  obligation: "ours",
  situation,
  expected: "held, delivered when the Collector takes it",
  reply: once(reply),
  attempts: 2,
  check: deliveredAfter(2),
});

const NOT_RETRIED =
  "Failures: not retried as it is. Deviation: held and asked about, since dropping would break the 200 already given";

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
    check: (observed) => deliveredAfter(1)(observed) ?? field(name, pattern)(observed),
  })),
  {
    clause: "OTLP/gRPC: gzip",
    obligation: "MUST",
    situation: "the Collector accepts what the relay has compressed",
    expected: "grpc-encoding: gzip",
    reply: () => TAKEN,
    attempts: 1,
    check: field("grpc-encoding", /^gzip$/),
  },
  {
    clause: "Exporter: User-Agent names exporter, language and version",
    obligation: "SHOULD",
    situation: "the Collector accepts",
    expected: "OTel-OTLP-Exporter-edgeferry/VERSION (language)",
    reply: () => TAKEN,
    attempts: 1,
    check: field("user-agent", /^OTel-OTLP-Exporter-edgeferry\/\d+\.\d+\.\d+ \(TypeScript; Deno\)$/),
  },
  ...(["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"] as const).map(
    (name): GrpcClientRow => ({
      clause: "OTLP/gRPC Response, Failures: the retryable codes",
      obligation: "SHOULD",
      situation: `the Collector answers ${name} once`,
      expected: "delivered by the second attempt",
      reply: once(refusal(name)),
      attempts: 2,
      check: deliveredAfter(2),
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
  held(NOT_RETRIED, "RESOURCE_EXHAUSTED without RetryInfo once", refusal("RESOURCE_EXHAUSTED", "quota")),
  ...([
    "UNKNOWN",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAUTHENTICATED",
  ] as const).map((name) => held(NOT_RETRIED, `the Collector answers ${name} once`, refusal(name))),
  ...([
    ["INVALID_ARGUMENT", refusal("INVALID_ARGUMENT")],
    [
      "RESOURCE_EXHAUSTED for the message's size",
      refusal("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5000000 vs. 4194304)"),
    ],
    ["INTERNAL for what it cannot decode", refusal("INTERNAL", "grpc: error unmarshalling request: unexpected EOF")],
  ] as const).map(([what, reply]): GrpcClientRow => ({
    clause:
      "Bad Data: not retried. Deviation: held and asked about until other data was taken between, or a Collector that refuses " +
      "everything would turn all of it into dead letters",
    obligation: "ours",
    situation: `the Collector answers ${what}`,
    expected: "held while nothing else is taken, and asked about less and less often",
    reply: () => reply,
    attempts: 4,
    check: heldAndAsked,
  })),
  {
    clause: "Partial Success: not retried, counted, the message logged",
    obligation: "MUST NOT",
    situation: "OK with 1 rejected span",
    expected: "one attempt, 1 rejected, the message in the log",
    reply: () => partly({ rejected: 1, message: "one span too many" }),
    attempts: 1,
    check: (observed) =>
      observed.attempts.length === 1 && observed.books.rejectedByCollector === 1 &&
        observed.log.some((line) => line.includes("one span too many"))
        ? undefined
        : told(observed),
  },
  {
    clause: "Partial Success: a warning is logged",
    obligation: "SHOULD",
    situation: "OK with 0 rejected and a message",
    expected: "one attempt, delivered, the message in the log",
    reply: () => partly({ rejected: 0, message: "mind the gap" }),
    attempts: 1,
    check: (observed) =>
      deliveredAfter(1)(observed) ??
        (observed.log.some((line) => line.includes("mind the gap")) ? undefined : "not in the log"),
  },
  ...([
    ["the connection is cut once", { kind: "disconnect" }],
    ["the Collector does not answer in time once", { kind: "silence" }],
    ["the stream is reset once", { kind: "reset", code: 2 }],
    ["GOAWAY comes before the call was looked at", { kind: "goaway" }],
  ] as const).map(([situation, reply]): GrpcClientRow => ({
    clause: "All Other Responses: no response, so retry",
    obligation: "SHOULD",
    situation,
    expected: "delivered by the second attempt",
    reply: once(reply),
    attempts: 2,
    check: deliveredAfter(2),
  })),
  held("gRPC over HTTP2, Responses: a success has a grpc-status", "OK without trailers once", { kind: "no_trailers" }),
];

/** Lets one row happen: a relay with the durable queue, a far end that answers as told, one span. */
export async function runGrpcClientRow(row: GrpcClientRow, certs: TestCertificates): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-conformance-"));
  try {
    const attempts = new Journal<Attempt>();
    let headers: Readonly<Record<string, string>> = {};
    await using end = await startGrpcEnd(({ message, header }) => {
      if (isQuestion(message)) return TAKEN;
      const reply = row.reply(attempts.entries.length + 1);
      headers = Object.fromEntries(header);
      attempts.push({ at: performance.now() });
      return reply;
    }, { certs });
    const queuePath = join(dir, "queue.db");
    const relay = await startRelayHere({
      engine: "sqlite",
      collectorUrl: end.url,
      certsDir: certs.dir,
      queuePath,
      config: {
        exporter: {
          protocol: "grpc",
          timeout: TIMEOUT,
          retry_on_failure: { initial_interval: "20ms", max_interval: `${LONGEST_MS}ms` },
        },
        telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
      },
    });
    try {
      const answer = await fetch(`${relay.url}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${relay.token}` },
        body: requestOf("traces", ["a"]),
      });
      await answer.body?.cancel();
      if (answer.status !== 200) return `the relay answered ${answer.status}`;
      await attempts.until(() => attempts.entries.length >= row.attempts, `attempt ${row.attempts}`);
    } finally {
      // A stop sends what can be sent, so that an attempt too many would be made now.
      await relay[Symbol.asyncDispose]();
    }
    return row.check({
      attempts: attempts.entries,
      headers,
      books: booksIn(queuePath).traces,
      log: relay.log(),
      connections: end.connections,
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
