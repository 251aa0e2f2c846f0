/**
 * What OTLP/gRPC obliges a server to, as data, like `rows.ts`. MUST, SHOULD and MAY are those of the OTLP specification 1.11.0, section
 * "OTLP/gRPC", and of the gRPC specification ("gRPC over HTTP2"); `ours` is what the relay promises where they leave the choice.
 */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import type { Field } from "../../src/http2/hpack_tables.ts";
import { GRPC_CODE, grpcCodeName, messagePrefix } from "../../src/otlp/grpc.ts";
import { decodeSuccess } from "../../src/otlp/response.ts";
import { type SignalName, SIGNALS } from "../../src/signal.ts";
import type { CallOptions, GrpcAnswer, GrpcClient } from "../support/far_end/grpc_client.ts";
import { type Need, REQUESTS_PROTOBUF, type Row, type Upstream } from "./rows.ts";
import type { Abilities, RowResult } from "./table.ts";

/** One call, and what is wrong with its answer; undefined when it is as expected. */
export interface GrpcRow extends Pick<Row, "clause" | "obligation" | "request" | "expected"> {
  readonly needs?: Need;
  readonly upstream?: Upstream;
  readonly signals?: readonly SignalName[];
  readonly ask: (call: Caller, signal: SignalName) => Promise<GrpcAnswer>;
  readonly check: (answer: GrpcAnswer, signal: SignalName) => string | undefined;
}

/** Calls with the token, unless the options have metadata of their own. */
export interface Caller {
  readonly client: GrpcClient;
  readonly token: string;
  call(message: Uint8Array, options?: CallOptions): Promise<GrpcAnswer>;
}

const pathOf = (signal: SignalName) => SIGNALS.find(({ name }) => name === signal)!.grpcPath;
const said = ({ code, retryMs }: GrpcAnswer) =>
  `${grpcCodeName(code)}${retryMs === undefined ? "" : `, RetryInfo ${retryMs / 1_000} s`}`;
const is = (...codes: readonly (keyof typeof GRPC_CODE)[]) => (answer: GrpcAnswer) =>
  codes.some((code) => GRPC_CODE[code] === answer.code) && answer.retryMs === undefined ? undefined : said(answer);
const retried = (...codes: readonly (keyof typeof GRPC_CODE)[]) => (answer: GrpcAnswer) => {
  const { code, retryMs } = answer;
  const right = codes.some((each) => GRPC_CODE[each] === code);
  return right && retryMs !== undefined && retryMs >= 1_000 && retryMs <= 5_000 ? undefined : said(answer);
};
const withGzip = (token: string): readonly Field[] => [["grpc-encoding", "gzip"], ["authorization", `Bearer ${token}`]];

/** The rows. @param bodyBytesMax The server's limit on a message, in bytes. */
export function grpcRows(bodyBytesMax: number): readonly GrpcRow[] {
  return [
    {
      clause: "OTLP/gRPC Response, Full Success",
      obligation: "MUST",
      request: "valid",
      expected: "OK, `partial_success` unset",
      ask: ({ call }, signal) => call(REQUESTS_PROTOBUF[signal], { path: pathOf(signal) }),
      check: ({ code, messages: [message] }) =>
        code === 0 && message?.length === 0
          ? undefined
          : `${grpcCodeName(code)}, a message of ${message?.length} bytes`,
    },
    {
      clause: "OTLP/gRPC",
      obligation: "MUST",
      request: "gzip",
      expected: "OK",
      ask: ({ client, token }, signal) =>
        client.call(gzipSync(REQUESTS_PROTOBUF[signal]), {
          path: pathOf(signal),
          compressed: true,
          metadata: withGzip(token),
        }),
      check: is("OK"),
    },
    {
      clause: "OTLP/gRPC Response",
      obligation: "SHOULD",
      request: "an empty message",
      expected: "OK",
      ask: ({ call }, signal) => call(new Uint8Array(0), { path: pathOf(signal) }),
      check: is("OK"),
    },
    {
      clause: "OTLP/gRPC Response, Failures",
      obligation: "SHOULD",
      request: "what is no protobuf",
      expected: "a code that is not retried",
      ask: ({ call }, signal) => call(Buffer.from("hello"), { path: pathOf(signal) }),
      check: is("INVALID_ARGUMENT", "INTERNAL"),
    },
    {
      clause: "OTLP/gRPC Response, Failures",
      obligation: "ours",
      request: `${bodyBytesMax + 1} bytes`,
      expected: "RESOURCE_EXHAUSTED without RetryInfo",
      signals: ["traces"],
      ask: ({ call }) => call(new Uint8Array(bodyBytesMax + 1)),
      check: is("RESOURCE_EXHAUSTED"),
    },
    {
      clause: "gRPC, Length-Prefixed-Message",
      obligation: "ours",
      request: "two messages in a call",
      expected: "INVALID_ARGUMENT",
      signals: ["traces"],
      ask({ client, token }) {
        const { stream, answer } = client.open({ metadata: [["authorization", `Bearer ${token}`]] });
        const message = REQUESTS_PROTOBUF.traces;
        const framed = Buffer.concat([messagePrefix(message.length, false), message]);
        stream.sendData(Buffer.concat([framed, framed]), true);
        return answer;
      },
      check: is("INVALID_ARGUMENT"),
    },
    {
      clause: "gRPC, Compression",
      obligation: "MUST",
      request: "grpc-encoding: br",
      expected: "UNIMPLEMENTED",
      signals: ["traces"],
      ask: ({ client, token }) =>
        client.call(REQUESTS_PROTOBUF.traces, {
          compressed: true,
          metadata: [["grpc-encoding", "br"], ["authorization", `Bearer ${token}`]],
        }),
      check: is("UNIMPLEMENTED"),
    },
    {
      clause: "gRPC, Status codes",
      obligation: "MUST",
      request: "a method that is none",
      expected: "UNIMPLEMENTED",
      signals: ["traces"],
      ask: ({ call }) =>
        call(new Uint8Array(0), { path: "/opentelemetry.proto.collector.trace.v1.TraceService/Import" }),
      check: is("UNIMPLEMENTED"),
    },
    {
      clause: "gRPC, Requests",
      obligation: "SHOULD",
      request: "Content-Type: application/json",
      expected: "HTTP status 415",
      signals: ["traces"],
      ask: ({ call }) =>
        call(Buffer.from("{}"), {
          header: [[":method", "POST"], [":scheme", "http"], [":path", "/v1/traces"], [":authority", "localhost"], [
            "content-type",
            "application/json",
          ]],
        }),
      check: ({ fields }) => fields[0]?.[1] === "415" ? undefined : `HTTP status ${fields[0]?.[1]}`,
    },
    {
      clause: "OTLP/gRPC Response, Failures",
      obligation: "ours",
      request: "an unknown token",
      expected: "UNAUTHENTICATED",
      needs: "token",
      ask: ({ client }, signal) =>
        client.call(REQUESTS_PROTOBUF[signal], {
          path: pathOf(signal),
          metadata: [["authorization", "Bearer unknown"]],
        }),
      check: is("UNAUTHENTICATED"),
    },
    {
      clause: "OTLP/gRPC Throttling",
      obligation: "SHOULD",
      request: "what is behind answers 429, Retry-After: 7",
      expected: "RESOURCE_EXHAUSTED or UNAVAILABLE with RetryInfo, no longer than senders wait",
      needs: "upstream",
      upstream: { kind: "status", status: 429, headers: { "retry-after": "7" } },
      ask: ({ call }, signal) => call(REQUESTS_PROTOBUF[signal], { path: pathOf(signal) }),
      check: retried("RESOURCE_EXHAUSTED", "UNAVAILABLE"),
    },
    {
      clause: "OTLP/gRPC Throttling",
      obligation: "SHOULD",
      request: "what is behind answers 503",
      expected: "UNAVAILABLE with RetryInfo",
      needs: "upstream",
      upstream: { kind: "status", status: 503 },
      ask: ({ call }, signal) => call(REQUESTS_PROTOBUF[signal], { path: pathOf(signal) }),
      check: retried("UNAVAILABLE"),
    },
    {
      clause: "OTLP/gRPC Response, Failures",
      obligation: "SHOULD",
      request: "what is behind answers 400",
      expected: "INVALID_ARGUMENT",
      needs: "upstream",
      upstream: { kind: "status", status: 400 },
      ask: ({ call }, signal) => call(REQUESTS_PROTOBUF[signal], { path: pathOf(signal) }),
      check: is("INVALID_ARGUMENT"),
    },
    {
      clause: "OTLP/gRPC Response, Partial Success",
      obligation: "MUST",
      request: "what is behind rejects 1 item",
      expected: "OK, `partial_success` with 1 and its words",
      needs: "upstream",
      upstream: { kind: "partial_success", rejected: 1, message: "too old" },
      ask: ({ call }, signal) => call(REQUESTS_PROTOBUF[signal], { path: pathOf(signal) }),
      check({ code, messages: [message] }, signal) {
        const partial = decodeSuccess(signal, "application/x-protobuf", message ?? new Uint8Array(0));
        return code === 0 && partial?.rejected === 1 && partial.message === "too old"
          ? undefined
          : `${grpcCodeName(code)} with ${JSON.stringify(partial)}`;
      },
    },
    {
      clause: "gRPC Health Checking Protocol",
      obligation: "ours",
      request: "grpc.health.v1.Health/Check",
      expected: "OK, SERVING",
      signals: ["traces"],
      ask: ({ call }) => call(new Uint8Array(0), { path: "/grpc.health.v1.Health/Check" }),
      check: (answer) => answer.messages[0]?.equals(Uint8Array.of(8, 1)) === true ? undefined : said(answer),
    },
  ];
}

/** Asks every row, each on a connection of its own: some end theirs. */
export async function askGrpc(
  rows: readonly GrpcRow[],
  connect: () => Promise<GrpcClient>,
  token: string,
  { needs, upstream }: Abilities,
): Promise<RowResult[]> {
  const results: RowResult[] = [];
  for (const row of rows) {
    const cases: { name: string; fault: string | undefined }[] = [];
    if (row.needs === undefined || needs.has(row.needs)) {
      upstream?.(row.upstream);
      for (const signal of row.signals ?? SIGNALS.map(({ name }) => name)) {
        await using client = await connect();
        const metadata = [["authorization", `Bearer ${token}`]] as const;
        const call: Caller["call"] = (message, options) => client.call(message, { metadata, ...options });
        const fault = await row.ask({ client, token, call }, signal).then(
          (answer) => row.check(answer, signal),
          (cause: { readonly message?: string }) => `no answer: ${cause.message}`,
        );
        cases.push({ name: signal, fault });
      }
    }
    results.push({ row, cases });
  }
  upstream?.(undefined);
  return results;
}
