/**
 * What OTLP obliges a client to over whichever transport, and how it is looked at: a relay with the durable queue, a far end that misbehaves
 * as told. Sources: OTLP 1.11.0, sections as named, and the exporter page of the OpenTelemetry specification
 * (specification/protocol/exporter.md).
 */
import { Buffer } from "node:buffer";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { ConfigInput } from "../../src/config/schema.ts";
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

/** The longest backoff, in ms: many times what settling a record and asking again take. */
export const LONGEST_MS = 400;

/** How long one row may take, in ms: less than {@link Journal} waits, more than any row needs. */
export const TIMEOUT = "500ms";

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

/** A header field of the attempt that was accepted. */
export const header = (name: string, pattern: RegExp) => (observed: Observed) =>
  pattern.test(observed.headers[name] ?? "") ? undefined : `${name}: ${observed.headers[name] ?? "none"}`;

/** A clause that is the same over each transport, but for how the far end says it. */
type Common = Omit<Clause, "situation">;

export const USER_AGENT: Common = {
  clause: "Exporter: User-Agent names exporter, language and version",
  obligation: "SHOULD",
  expected: "OTel-OTLP-Exporter-edgeferry/VERSION (language)",
  attempts: 1,
  check: header("user-agent", /^OTel-OTLP-Exporter-edgeferry\/\d+\.\d+\.\d+ \(TypeScript; Deno\)$/),
};

/** For each failure that passes. */
export const RETRIED: Omit<Common, "clause"> = {
  obligation: "SHOULD",
  expected: "delivered by the second attempt",
  attempts: 2,
  check: deliveredAfter(2),
};

export const NO_RESPONSE: Common = { ...RETRIED, clause: "All Other Responses: no response, so retry" };

export const NOT_RETRIED: Common = {
  clause:
    "Failures: not retried as it is. Deviation: held and asked about, since dropping would break the 200 already given",
  obligation: "ours",
  expected: "held, delivered when the Collector takes it",
  attempts: 2,
  check: deliveredAfter(2),
};

/** Nothing else was taken, so that the refusal proves nothing yet. */
const heldAndAsked = (observed: Observed) => {
  const { attempts: [first, second, third, fourth], books } = observed;
  const grows = first !== undefined && second !== undefined && third !== undefined && fourth !== undefined &&
    fourth.at - third.at >= 38 && second.at - first.at >= 8;
  return grows && books.queued === 1 && books.deadLettered === 0 ? undefined : told(observed);
};

export const BAD_DATA: Common = {
  clause:
    "Bad Data: not retried. Deviation: held and asked about until other data was taken between, or a Collector that refuses " +
    "everything would turn all of it into dead letters",
  obligation: "ours",
  expected: "held while nothing else is taken, and asked about less and less often",
  attempts: 4,
  check: heldAndAsked,
};

/** What the far end says of one span. */
export const REJECTED = { rejected: 1, message: "one span too many" };

export const PARTLY_REJECTED: Common = {
  clause: "Partial Success: not retried, counted, the message logged",
  obligation: "MUST NOT",
  expected: "one attempt, 1 rejected, the message in the log",
  attempts: 1,
  check: (observed) =>
    observed.attempts.length === 1 && observed.books.rejectedByCollector === 1 &&
      observed.log.some((line) => line.includes(REJECTED.message))
      ? undefined
      : told(observed),
};

/** What it says where it has taken all. */
export const WARNING = { rejected: 0, message: "mind the gap" };

export const WARNED: Common = {
  clause: "Partial Success: a warning is logged",
  obligation: "SHOULD",
  expected: "one attempt, delivered, the message in the log",
  attempts: 1,
  check: (observed) =>
    deliveredAfter(1)(observed) ??
      (observed.log.some((line) => line.includes(WARNING.message)) ? undefined : "not in the log"),
};

/** A far end, whose attempts go to a journal. */
export interface FarEnd {
  readonly url: string;
  /** Where it differs from HTTP. */
  readonly exporter?: NonNullable<ConfigInput["exporter"]>;
  /** Requests with one span, each sent when an attempt has been made for the one before; 1. */
  readonly requests?: number;
  /** Awaited when they are sent. */
  readonly sent?: () => Promise<void>;
  /** Header fields of the attempt that was accepted. */
  headers(): Readonly<Record<string, string>>;
  connections(): number | undefined;
}

/** Lets one clause be shown. @param start Starts the far end, which is ended with the stack. @returns what is not as it has to be */
export async function show(
  clause: Clause,
  certs: TestCertificates,
  start: (attempts: Journal<Attempt>, stack: AsyncDisposableStack) => Promise<FarEnd>,
): Promise<string | undefined> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-conformance-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const attempts = new Journal<Attempt>();
  const end = await start(attempts, stack);
  const queuePath = join(dir, "queue.db");
  const relay = await startRelayHere({
    engine: "sqlite",
    collectorUrl: end.url,
    certsDir: certs.dir,
    queuePath,
    config: {
      exporter: {
        timeout: TIMEOUT,
        retry_on_failure: { initial_interval: "20ms", max_interval: `${LONGEST_MS}ms` },
        ...end.exporter,
      },
      telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
    },
  });
  try {
    for (let sent = 0; sent < (end.requests ?? 1); sent++) {
      await attempts.until(() => attempts.entries.length >= sent, `attempt ${sent}`);
      const answer = await fetch(`${relay.url}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${relay.token}` },
        body: requestOf("traces", ["a"]),
      });
      await answer.body?.cancel();
      if (answer.status !== 200) return `the relay answered ${answer.status}`;
    }
    await end.sent?.();
    await attempts.until(() => attempts.entries.length >= clause.attempts, `attempt ${clause.attempts}`);
  } finally {
    // A stop sends what can be sent, so that an attempt too many would be made now.
    await relay[Symbol.asyncDispose]();
  }
  return clause.check({
    attempts: attempts.entries,
    headers: end.headers(),
    books: booksIn(queuePath).traces,
    log: relay.log(),
    connections: end.connections(),
  });
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
