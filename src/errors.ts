/**
 * The errors that carry a decision. Inbound a {@link Refusal}, whose code indexes one table of HTTP answers; at start a
 * {@link ConfigError} or a {@link CertificateError}, which names the thing, its state and the remedy.
 * @module
 */

/** What a refusal means on the wire. `retryable` is what OTLP lets a sender do with the status. */
export interface RefusalRow {
  /** HTTP status code. */
  readonly status: number;
  /** `google.rpc.Code` that goes with it. */
  readonly grpcCode: number;
  /** OTLP/HTTP: only 429, 502, 503 and 504 may be retried. */
  readonly retryable: boolean;
}

/**
 * Every refusal the relay can answer, by code.
 * Source: OTLP 1.11 "OTLP/HTTP Response" (400 for undecodable data, 429/503 for overload, the rest by RFC 9110). 500 is
 * absent on purpose: a conforming sender drops its data on 500, so no fault of ours leaves as one.
 */
export const REFUSALS = {
  malformed: { status: 400, grpcCode: 3, retryable: false },
  rejected_upstream: { status: 400, grpcCode: 3, retryable: false },
  unauthenticated: { status: 401, grpcCode: 16, retryable: false },
  keys_unavailable: { status: 503, grpcCode: 14, retryable: true },
  forbidden: { status: 403, grpcCode: 7, retryable: false },
  not_found: { status: 404, grpcCode: 5, retryable: false },
  method_not_allowed: { status: 405, grpcCode: 12, retryable: false },
  body_incomplete: { status: 503, grpcCode: 14, retryable: true },
  body_timeout: { status: 503, grpcCode: 4, retryable: true },
  header_timeout: { status: 503, grpcCode: 4, retryable: true },
  header_too_large: { status: 431, grpcCode: 8, retryable: false },
  too_large: { status: 413, grpcCode: 8, retryable: false },
  unsupported_type: { status: 415, grpcCode: 3, retryable: false },
  unsupported_encoding: { status: 415, grpcCode: 3, retryable: false },
  throttled: { status: 429, grpcCode: 8, retryable: true },
  queue_full: { status: 503, grpcCode: 14, retryable: true },
  storage_failed: { status: 503, grpcCode: 14, retryable: true },
  upstream_unavailable: { status: 503, grpcCode: 14, retryable: true },
  overloaded: { status: 503, grpcCode: 14, retryable: true },
  shutting_down: { status: 503, grpcCode: 14, retryable: true },
  internal: { status: 503, grpcCode: 13, retryable: true },
} as const satisfies Record<string, RefusalRow>;

/** A stable name for why a request was not taken; the label of the refusal metrics. */
export type RefusalCode = keyof typeof REFUSALS;

/**
 * Why a connection was closed without an answer; the label of its metric. `max_connections` or `max_connections_per_address` were
 * open; `handshake`: TLS failed, or was not through in the time of a header; `idle`: no request, or no further one, came in time; `protocol`: it broke
 * the rules of HTTP/2, or sent floods of frames that ask for nothing.
 */
export type DropReason = "max_connections" | "max_connections_per_address" | "handshake" | "idle" | "protocol";

/** Retry-After, in seconds, for a retryable refusal that has no better estimate. */
const RETRY_AFTER_DEFAULT_S = 1;
/** The longest wait that a refusal asks for, in seconds. */
const RETRY_AFTER_MAX_S = 3_600;

/** A request that is not taken: it stays the sender's, to retry or to drop as the status says. */
export class Refusal extends Error {
  /** Tells it from other errors, also across copies of this module. */
  override readonly name = "Refusal";
  /** Why; it indexes {@link REFUSALS}. */
  readonly code: RefusalCode;
  /** What is wrong with the request, or with the relay. */
  readonly what: string;
  /** What the sender has to do, where that can be said; the message has it behind `what`. */
  readonly remedy: string | undefined;
  /**
   * When a retry may succeed, as far as can be told: in seconds, whole, from 1 to an hour; set on every retryable refusal. What a
   * sender is told is less where it would not wait that long (`receiver/retry_after.ts`).
   */
  readonly retryAfterS: number | undefined;
  /** Whether senders that were refused together are to come back apart. False where each has waited for a time of its own. */
  readonly spread: boolean;
  /** Further response headers, e.g. `Allow` with 405 or `WWW-Authenticate` with 401. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * What the log limits it by: one of few wordings, all ours, or nobody could tell how many lines a stranger makes. The code, where
   * nothing else is said.
   */
  readonly kind: string;
  /** The path of the field that is malformed, where there is one. */
  readonly field: string | undefined;
  /** Whether the request may have been kept all the same: storage did not say. A retry is right, and may make a duplicate. */
  readonly unknown: boolean;

  /**
   * The message, which is what the sender reads, is `what; remedy`. `retryAfterS` is rounded up and kept within an hour; it counts for
   * retryable codes alone.
   */
  constructor(
    code: RefusalCode,
    what: string,
    options: {
      remedy?: string | undefined;
      retryAfterS?: number;
      spread?: boolean;
      kind?: string;
      headers?: Record<string, string>;
      field?: string;
      unknown?: boolean;
      cause?: unknown;
    } = {},
  ) {
    const message = options.remedy === undefined ? what : `${what}; ${options.remedy}`;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.what = what;
    this.remedy = options.remedy;
    this.retryAfterS = REFUSALS[code].retryable ? wholeSeconds(options.retryAfterS) : undefined;
    this.spread = options.spread ?? true;
    this.headers = options.headers ?? {};
    this.kind = options.kind ?? code;
    this.field = options.field;
    this.unknown = options.unknown ?? false;
  }

  /** The HTTP status of this refusal. */
  get status(): number {
    return REFUSALS[this.code].status;
  }
}

function wholeSeconds(estimate: number | undefined): number {
  const seconds = estimate === undefined || Number.isNaN(estimate) ? RETRY_AFTER_DEFAULT_S : Math.ceil(estimate);
  return Math.min(RETRY_AFTER_MAX_S, Math.max(1, seconds));
}

/** What an error says, in its parts; whoever shows them apart takes no sentence apart. */
export interface Statement {
  /** What cannot be done with which thing: `Cannot read client key certs/client.key`. */
  readonly what: string;
  /** How that thing is: `it is encrypted`. */
  readonly state: string;
  /** What to do; absent where nobody here can say. */
  readonly remedy?: string | undefined;
}

/** The one sentence, without a period. */
export function sentenceOf({ what, state, remedy }: Statement): string {
  return `${what}: ${state}${remedy === undefined ? "" : `; ${remedy}`}`;
}

/** An error that states its parts as fields; the message is the one sentence. */
export class StatedError extends Error implements Statement {
  /** The thing, and what cannot be done with it. */
  readonly what: string;
  /** How the thing is. */
  readonly state: string;
  /** What to do. */
  readonly remedy: string | undefined;

  /** Renders the statement. */
  constructor(statement: Statement, options?: ErrorOptions) {
    super(sentenceOf(statement), options);
    this.what = statement.what;
    this.state = statement.state;
    this.remedy = statement.remedy;
  }
}

/** A configuration that cannot be used: names the key (with line and column where it came from a file) and the remedy. */
export class ConfigError extends Error {
  /** Tells it from other errors, also across copies of this module. */
  override readonly name = "ConfigError";
  /** Everything that is wrong, one sentence each; the message has one a line. */
  readonly faults: readonly string[];
  /** The parts of the sentence; undefined where several things are wrong, or one that stands in a file at a line. */
  readonly statement: Statement | undefined;

  /** Made of one fault, or of several with a sentence each. */
  constructor(fault: Statement | string | readonly string[], options?: ErrorOptions) {
    const statement = typeof fault === "object" && "what" in fault ? fault : undefined;
    const faults = statement === undefined ? [fault as string | readonly string[]].flat() : [sentenceOf(statement)];
    super(faults.join("\n"), options);
    this.faults = faults;
    this.statement = statement;
  }
}

/** Why a certificate, key or CA cannot be used. */
export type CertificateErrorCode =
  | "not_found"
  | "unreadable"
  | "not_pem"
  | "unparsable"
  | "key_encrypted"
  | "key_too_weak"
  | "unsupported"
  | "key_mismatch"
  | "expired"
  | "not_yet_valid"
  | "wrong_issuer"
  | "wrong_usage"
  | "exists"
  | "permissions"
  | "key_exposed"
  | "refused_by_peer"
  | "revoked"
  | "unwritable";

/** A certificate, key or CA that cannot be used: names the file or setting, its state and the remedy. */
export class CertificateError extends StatedError {
  /** Tells it from other errors, also across copies of this module. */
  override readonly name = "CertificateError";
  /** What is wrong. */
  readonly code: CertificateErrorCode;

  /** The message is the statement as one sentence. */
  constructor(code: CertificateErrorCode, statement: Statement, options?: ErrorOptions) {
    super(statement, options);
    this.code = code;
  }
}

/** The code of a system error, such as `ENOENT`; undefined where there is none. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** How many causes a text names: a chain may be a circle. */
const CAUSES_MAX = 8;

/**
 * The text of anything thrown, with its chain of causes, said once each; of several errors in one, each one's. URLs in it lose
 * what may be a secret: the runtime's own errors quote the whole URL of a request.
 */
export function messageOf(error: unknown): string {
  return withoutUrlSecrets(textOf(error, CAUSES_MAX));
}

/** A text whose URLs have no user name, password, query or fragment. */
export function withoutUrlSecrets(text: string): string {
  return text.replaceAll(
    /([a-z][a-z0-9+.-]{0,15}:\/\/)(?:[^\s"'<>()/?#]*@)?([^\s"'<>()?#]*)(?:([?#])(?!\(hidden\))[^\s"'<>()]*)?/gi,
    (_, scheme: string, rest: string, mark: string | undefined) =>
      `${scheme}${rest}${mark === undefined ? "" : `${mark}(hidden)`}`,
  );
}

function textOf(error: unknown, causesLeft: number): string {
  const texts: string[] = [];
  for (let each = error, left = causesLeft;; left--) {
    const text = ownTextOf(each, left);
    // An error that wraps another often quotes it.
    if (!texts.some((said) => said.includes(text))) texts.push(text);
    if (!(each instanceof Error) || each.cause === undefined || left === 0) return texts.join(": ");
    each = each.cause;
  }
}

function ownTextOf(error: unknown, causesLeft: number): string {
  if (!(error instanceof Error)) return String(error);
  // Node's network errors of several addresses have a list and no message.
  const listed = error.message === "" && error instanceof AggregateError && causesLeft > 0
    ? error.errors.slice(0, CAUSES_MAX).map((one) => textOf(one, causesLeft - 1)).join("; ")
    : "";
  return error.message || listed || error.name;
}
