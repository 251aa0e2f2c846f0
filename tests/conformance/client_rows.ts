/**
 * What OTLP/HTTP obliges a client to, as data: how a Collector misbehaves, and what the relay has to do. Sources: OTLP 1.11.0,
 * sections as named, and the exporter page of the OpenTelemetry specification (specification/protocol/exporter.md).
 */
import { Buffer } from "node:buffer";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type CollectorOptions, type Misbehaviour, startCollector } from "../../src/collector/server.ts";
import type { Books } from "../../src/queue/queue.ts";
import type { TestCertificates } from "../support/files/certificates.ts";
import { Journal, requestOf } from "../support/relay/exporting.ts";
import { booksIn, startRelayHere } from "../support/relay/relay.ts";

/** One attempt to deliver the request, as the Collector saw it. */
export interface Attempt {
  /** When, by `performance.now()`. */
  readonly at: number;
}

/** What came of one request. */
export interface Observed {
  readonly attempts: readonly Attempt[];
  /** Header fields of the attempt that was accepted; empty where none was. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of the signal, after the relay has stopped. */
  readonly books: Books;
  readonly log: readonly string[];
  /** TCP connections that were opened to the Collector; undefined where nobody counts them. */
  readonly connections: number | undefined;
}

/** What is demanded of a client, and by whom. */
export interface Clause {
  readonly clause: string;
  readonly obligation: "MUST" | "MUST NOT" | "SHOULD" | "ours";
  readonly situation: string;
  readonly expected: string;
  /** Attempts that are waited for before the relay is stopped. */
  readonly attempts: number;
  readonly check: (observed: Observed) => string | undefined;
}

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

export function told({ attempts, books }: Observed): string {
  return `${attempts.length} attempts, ${books.delivered} delivered, ${books.rejectedByCollector} rejected, ` +
    `${books.deadLettered} dead, ${books.queued} queued`;
}

export const deliveredAfter = (count: number) => (observed: Observed) =>
  observed.attempts.length === count && observed.books.delivered === 1 ? undefined : told(observed);

/** The second attempt is at least this long after the first, in ms, less what clocks and the rounding of a date may take. */
export const notBefore = (ms: number) => (observed: Observed) => {
  const [first, second] = observed.attempts;
  const waited = first === undefined || second === undefined ? 0 : second.at - first.at;
  return deliveredAfter(2)(observed) ?? (waited >= ms ? undefined : `asked again after ${Math.round(waited)} ms`);
};

/** Nothing else was taken, so that the refusal proves nothing yet. */
export const heldAndAsked = (observed: Observed) => {
  const { attempts: [first, second, third, fourth], books } = observed;
  const grows = first !== undefined && second !== undefined && third !== undefined && fourth !== undefined &&
    fourth.at - third.at >= 38 && second.at - first.at >= 8;
  return grows && books.queued === 1 && books.deadLettered === 0 ? undefined : told(observed);
};

const header = (name: string, pattern: RegExp) => (observed: Observed) =>
  pattern.test(observed.headers[name] ?? "") ? undefined : `${name}: ${observed.headers[name] ?? "none"}`;

/** Requests in a row that fail: 28 waits at the longest backoff, see {@link hasJitter}. */
const FAILURES = 33;
/** The longest backoff, in ms: many times what settling a record and asking again take. */
export const LONGEST_MS = 400;
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
    clause: "Exporter: User-Agent names exporter, language and version",
    obligation: "SHOULD",
    situation: "the Collector accepts",
    expected: "OTel-OTLP-Exporter-edgeferry/VERSION (language)",
    misbehave: () => undefined,
    attempts: 1,
    check: header("user-agent", /^OTel-OTLP-Exporter-edgeferry\/\d+\.\d+\.\d+ \(TypeScript; Deno\)$/),
  },
  ...[429, 502, 503, 504].map((code): ClientRow => ({
    clause: "Failures: 429, 502, 503 and 504 are retryable",
    obligation: "SHOULD",
    situation: `the Collector answers ${code} once`,
    expected: "delivered by the second attempt",
    misbehave: once(status(code)),
    attempts: 2,
    check: deliveredAfter(2),
  })),
  {
    clause: "All Other Responses: no response, so retry",
    obligation: "SHOULD",
    situation: "the Collector cuts the connection once",
    expected: "delivered by the second attempt",
    misbehave: once({ kind: "disconnect" }),
    attempts: 2,
    check: deliveredAfter(2),
  },
  {
    clause: "All Other Responses: no response, so retry",
    obligation: "SHOULD",
    situation: "the Collector does not answer in time once",
    expected: "delivered by the second attempt",
    misbehave: once({ kind: "silence" }),
    attempts: 2,
    check: deliveredAfter(2),
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
    clause:
      "Bad Data: not retried. Deviation: held and asked about until other data was taken between, or a Collector that refuses " +
      "everything would turn all of it into dead letters",
    obligation: "ours",
    situation: `the Collector answers ${code}`,
    expected: "held while nothing else is taken, and asked about less and less often",
    misbehave: () => status(code),
    attempts: 4,
    check: heldAndAsked,
  })),
  ...[301, 401, 403, 404, 405, 407, 415, 500, 501].map((code): ClientRow => ({
    clause:
      "Failures: not retried as it is. Deviation: held and asked about, since dropping would break the 200 already given",
    obligation: "ours",
    situation: `the Collector answers ${code} once`,
    expected: "held, delivered when the Collector takes it",
    misbehave: once(status(code)),
    attempts: 2,
    check: deliveredAfter(2),
  })),
  {
    clause: "Partial Success: not retried, counted, the message logged",
    obligation: "MUST NOT",
    situation: "200 with 1 rejected span",
    expected: "one attempt, 1 rejected, the message in the log",
    misbehave: () => ({ kind: "partial_success", rejected: 1, message: "one span too many" }),
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
    situation: "200 with 0 rejected and a message",
    expected: "one attempt, delivered, the message in the log",
    misbehave: () => ({ kind: "partial_success", rejected: 0, message: "mind the gap" }),
    attempts: 1,
    check: (observed) =>
      deliveredAfter(1)(observed) ??
        (observed.log.some((line) => line.includes("mind the gap")) ? undefined : "not in the log"),
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

/** How long one row may take, in ms: less than {@link Journal} waits, more than any row needs. */
export const TIMEOUT = "500ms";

/** Lets one row happen: a relay with the durable queue, a Collector that misbehaves, one span. */
export async function runClientRow(row: ClientRow, certs: TestCertificates): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-conformance-"));
  try {
    const attempts = new Journal<Attempt>();
    let headers: Readonly<Record<string, string>> = {};
    await using late = row.late === true ? await cutting(3) : undefined;
    const collectorOptions: CollectorOptions = {
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
    await using stack = new AsyncDisposableStack();
    const start = async () => stack.use(await startCollector(collectorOptions));
    const collectorUrl = late?.url ?? (await start()).url;
    const counted = row.requests === undefined
      ? undefined
      : stack.use(await passing(Number(new URL(collectorUrl).port)));
    const queuePath = join(dir, "queue.db");
    const relay = await startRelayHere({
      engine: "sqlite",
      collectorUrl: counted?.url ?? collectorUrl,
      certsDir: certs.dir,
      queuePath,
      config: {
        exporter: { timeout: TIMEOUT, retry_on_failure: { initial_interval: "20ms", max_interval: `${LONGEST_MS}ms` } },
        telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
      },
    });
    try {
      for (let sent = 0; sent < (row.requests ?? 1); sent++) {
        await attempts.until(() => attempts.entries.length >= sent, `attempt ${sent}`);
        const answer = await fetch(`${relay.url}/v1/traces`, {
          method: "POST",
          headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${relay.token}` },
          body: requestOf("traces", ["a"]),
        });
        await answer.body?.cancel();
        if (answer.status !== 200) return `the relay answered ${answer.status}`;
      }
      if (late !== undefined) {
        await late.done;
        await start();
      }
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
      connections: counted?.connections(),
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
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

/**
 * What the relay asks without delivering: whether every gzip member is read (nothing, then two bytes that are no request), and
 * whether the Collector takes anything at all (nothing).
 */
export function isQuestion(body: Uint8Array): boolean {
  if (body.length === 0) return true;
  try {
    return gunzipSync(Buffer.from(body)).length <= 2;
  } catch {
    return false;
  }
}
