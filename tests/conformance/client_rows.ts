/**
 * What OTLP/HTTP obliges a client to, as data: how a Collector misbehaves, and what the relay has to do. Sources: OTLP 1.11.0,
 * sections as named, and the exporter page of the OpenTelemetry specification (specification/protocol/exporter.md).
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type CollectorOptions, type Misbehaviour, startCollector } from "../../src/collector/server.ts";
import type { TestCertificates } from "../support/files/certificates.ts";
import {
  BAD_DATA,
  type Clause,
  deliveredAfter,
  header,
  isQuestion,
  LONGEST_MS,
  NO_RESPONSE,
  NOT_RETRIED,
  notBefore,
  PARTLY_REJECTED,
  REJECTED,
  RETRIED,
  show,
  told,
  USER_AGENT,
  WARNED,
  WARNING,
} from "./client_clauses.ts";

export interface ClientRow extends Clause {
  /** How the Collector answers attempt `number`, from 1. */
  readonly misbehave: (number: number) => Misbehaviour | undefined;
  /** Where the Collector is to be, connections are cut before TLS three times; then it is there. */
  readonly late?: true;
  /** Requests with one span, each sent when an attempt has been made for the one before, over connections that are counted; 1. */
  readonly requests?: number;
}

const once = (misbehaviour: Misbehaviour) => (number: number) => number === 1 ? misbehaviour : undefined;
const status = (code: number, headers: Readonly<Record<string, string>> = {}, message = "told to"): Misbehaviour => ({
  kind: "status",
  status: code,
  headers,
  message,
});

/** Requests in a row that fail: 28 waits at the longest backoff, see {@link hasJitter}. */
const FAILURES = 33;
/** Requests that follow each other. */
const FOLLOWING = 4;

const ANSWER_BYTES = 5 * 1024 * 1024;

/**
 * Whether waits of at most `longestMs` are random in their upper half. A busy machine makes waits longer and never shorter, so the
 * shortest tells most: fixed waits of `longestMs` have none below nine tenths of it, whatever the machine does, and fixed shorter
 * ones seem random only if half of them are late. Of 28 random waits (uniform in the upper half) the shorter ones lie that close
 * together about once in a million runs: P(Bin(28, 0.12) >= 14).
 */
export function hasJitter(waits: readonly number[], longestMs: number): boolean {
  const sorted = waits.toSorted((a, b) => a - b);
  const shortest = sorted[0]!;
  return shortest < 0.9 * longestMs && sorted[Math.floor(sorted.length / 2)]! - shortest > 0.06 * longestMs;
}

/** Every row, in the order of the specification. */
export const CLIENT_ROWS: readonly ClientRow[] = [
  {
    clause: "OTLP/HTTP Request: Content-Type, binary",
    obligation: "MUST",
    situation: "the Collector accepts",
    expected: "one POST, application/x-protobuf",
    misbehave: () => undefined,
    attempts: 1,
    check: (observed) => deliveredAfter(1)(observed) ?? header("content-type", /^application\/x-protobuf$/)(observed),
  },
  {
    clause: "OTLP/HTTP Request: gzip with Content-Encoding: gzip",
    obligation: "MUST",
    situation: "the Collector accepts what the relay has compressed",
    expected: "content-encoding: gzip",
    misbehave: () => undefined,
    attempts: 1,
    check: header("content-encoding", /^gzip$/),
  },
  {
    clause: "OTLP/HTTP Connection: cannot connect, so retry with exponential backoff",
    obligation: "SHOULD",
    situation: "three connections are cut before TLS",
    expected: "delivered by the fourth",
    late: true,
    misbehave: () => undefined,
    attempts: 1,
    check: deliveredAfter(1),
  },
  {
    clause: "OTLP/HTTP Connection: kept alive between requests",
    obligation: "SHOULD",
    situation: `${FOLLOWING} requests after each other`,
    expected: "each delivered, over fewer connections",
    misbehave: () => undefined,
    requests: FOLLOWING,
    attempts: FOLLOWING,
    check: (observed) => {
      const { attempts, books, connections = FOLLOWING } = observed;
      if (attempts.length !== FOLLOWING || books.delivered !== FOLLOWING) return told(observed);
      return connections < FOLLOWING ? undefined : `${connections} connections`;
    },
  },
  {
    ...USER_AGENT,
    situation: "the Collector accepts",
    misbehave: () => undefined,
  },
  ...[429, 502, 503, 504].map((code): ClientRow => ({
    ...RETRIED,
    clause: "Failures: 429, 502, 503 and 504 are retryable",
    situation: `the Collector answers ${code} once`,
    misbehave: once(status(code)),
  })),
  {
    ...NO_RESPONSE,
    situation: "the Collector cuts the connection once",
    misbehave: once({ kind: "disconnect" }),
  },
  {
    ...NO_RESPONSE,
    situation: "the Collector does not answer in time once",
    misbehave: once({ kind: "silence" }),
  },
  {
    clause: "OTLP/HTTP Throttling: Retry-After in seconds is honoured",
    obligation: "SHOULD",
    situation: "503, Retry-After: 1",
    expected: "the second attempt 1 s later or more",
    misbehave: once(status(503, { "retry-after": "1" })),
    attempts: 2,
    check: notBefore(1_000),
  },
  {
    clause: "OTLP/HTTP Throttling: Retry-After as an HTTP-date is honoured",
    obligation: "SHOULD",
    situation: "429, Retry-After: a date 2 s ahead",
    expected: "the second attempt at that date or later",
    misbehave: (number) =>
      number === 1 ? status(429, { "retry-after": new Date(Date.now() + 2_000).toUTCString() }) : undefined,
    attempts: 2,
    // A date has whole seconds.
    check: notBefore(990),
  },
  {
    clause: "OTLP/HTTP Throttling, Exporter Retry: exponential backoff with jitter where there is no Retry-After",
    obligation: "SHOULD",
    situation: `503 ${FAILURES} times, first retry after 20 ms, later ones after ${LONGEST_MS} ms at most`,
    expected: "each of the first waits at least half of 20, 40, 80, 160, 320 ms; those at the longest differ",
    misbehave: (number) => number <= FAILURES ? status(503) : undefined,
    attempts: FAILURES + 1,
    check: (observed) => {
      const waits = observed.attempts.slice(1).map(({ at }, index) => at - observed.attempts[index]!.at);
      // Lower bounds, less what a timer may be early: a busy machine makes waits longer, and their differences larger.
      const grow = [10, 20, 40, 80, 160].every((least, index) => waits[index]! >= least - 2);
      return deliveredAfter(FAILURES + 1)(observed) ??
        (grow && hasJitter(waits.slice(5), LONGEST_MS) ? undefined : `waits ${waits.map(Math.round)}`);
    },
  },
  ...[400, 413, 422].map((code): ClientRow => ({
    ...BAD_DATA,
    situation: `the Collector answers ${code}`,
    misbehave: () => status(code),
  })),
  ...[301, 401, 403, 404, 405, 407, 415, 500, 501].map((code): ClientRow => ({
    ...NOT_RETRIED,
    situation: `the Collector answers ${code} once`,
    misbehave: once(status(code)),
  })),
  {
    ...PARTLY_REJECTED,
    situation: "200 with 1 rejected span",
    misbehave: () => ({ kind: "partial_success", ...REJECTED }),
  },
  {
    ...WARNED,
    situation: "200 with 0 rejected and a message",
    misbehave: () => ({ kind: "partial_success", ...WARNING }),
  },
  {
    clause: "OTLP/HTTP Response: the client limits what it reads (4 MiB)",
    obligation: "SHOULD",
    situation: `503 with ${ANSWER_BYTES} bytes once`,
    expected: "delivered by the second attempt, the log line short",
    misbehave: once(status(503, { "content-type": "text/plain" }, "x".repeat(ANSWER_BYTES))),
    attempts: 2,
    check: (observed) =>
      deliveredAfter(2)(observed) ??
        (observed.log.every((line) => line.length < 10_000) ? undefined : "a log line of more than 10,000 characters"),
  },
];

/** Lets one row happen: a Collector that misbehaves. */
export function runClientRow(row: ClientRow, certs: TestCertificates): Promise<string | undefined> {
  return show(row, certs, async (attempts, stack) => {
    let headers: Readonly<Record<string, string>> = {};
    const late = row.late === true ? stack.use(await cutting(3)) : undefined;
    const options: CollectorOptions = {
      host: "127.0.0.1",
      port: late?.port ?? 0,
      tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
      misbehave: (_signal, _number, body) => {
        if (isQuestion(body)) return undefined;
        const misbehaviour = row.misbehave(attempts.entries.length + 1);
        attempts.push({ at: performance.now() });
        return misbehaviour;
      },
      onReceived: (received) => void (headers = received.headers),
    };
    const start = async () => stack.use(await startCollector(options));
    const url = late?.url ?? (await start()).url;
    const counted = row.requests === undefined ? undefined : stack.use(await passing(Number(new URL(url).port)));
    return {
      url: counted?.url ?? url,
      requests: row.requests ?? 1,
      sent: async () => {
        if (late === undefined) return;
        await late.done;
        await start();
      },
      headers: () => headers,
      connections: () => counted?.connections(),
    };
  });
}

/** A port of loopback in front of another that passes bytes on as they come, and counts the connections. */
async function passing(to: number) {
  const open = new Set<Socket>();
  let connections = 0;
  const server = createServer((near) => {
    connections++;
    const far = connect(to, "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]] as const) {
      open.add(one);
      one.once("close", () => {
        open.delete(one);
        other.destroy();
      });
      // It is followed by "close".
      one.on("error", () => {});
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://localhost:${port}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/** A port of loopback that cuts so many connections, and is free afterwards. */
async function cutting(connections: number) {
  const done = Promise.withResolvers<void>();
  let cut = 0;
  const server = createServer((socket) => {
    socket.destroy();
    if (++cut === connections) server.close(() => done.resolve());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `https://localhost:${port}`,
    done: done.promise,
    async [Symbol.asyncDispose]() {
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}
