/**
 * One attempt: one request to the Collector over mutual TLS, and its answer. No retry, no queue.
 * @module
 */
import { clientFacts } from "../diagnosis/client_facts.ts";
import { concernsTheWay, diagnose, type Fault } from "../diagnosis/faults.ts";
import { messageOf } from "../errors.ts";
import { readAnswer, retryAfterMs } from "../otlp/http_answer.ts";
import { decodeStatus, decodeSuccess, type PartialSuccess } from "../otlp/response.ts";
import type { SignalName } from "../signal.ts";
import { BytesBlob } from "./bytes_blob.ts";

/** The identity that the relay shows, and the CA that it trusts: PEM texts, as `pki/identity.ts` has checked them. */
export interface ClientIdentity {
  readonly caCerts: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

/** Where one signal goes. */
export interface Target {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** For a whole attempt, from connecting to the last byte of the answer, in ms. */
  readonly timeoutMs: number;
}

/** What came of an attempt. */
export type Answer =
  & {
    /** From the start of the attempt to the last byte of the answer, in ms. */
    readonly durationMs: number;
  }
  & (Answered | Unanswered);

/** The Collector answered. */
export interface Answered {
  readonly kind: "answer";
  readonly status: number;
  /** The Collector's own words; empty for a success. */
  readonly message: string;
  readonly retryAfterMs: number | undefined;
  readonly partialSuccess: PartialSuccess | undefined;
}

/** No answer: whether the Collector has the data is not known, so it counts as undelivered. */
export interface Unanswered {
  readonly kind: "none";
  readonly cause: string;
  readonly timedOut: boolean;
  /** The attempt was given up on request: that tells nothing of the Collector. */
  readonly aborted: boolean;
}

/** From this size on a body is read by `fetch` piece by piece, in bytes. */
const STREAMED_BYTES_MIN = 256 * 1024;

/** Posts to the Collector. */
export class CollectorClient {
  readonly #targets: Readonly<Record<SignalName, Target>>;
  readonly #userAgent: string;
  readonly #idleConnectionsMax: number;
  #identity: ClientIdentity;
  #http: Deno.HttpClient;
  #replaced = 0;
  readonly #onReplaced: (() => void)[] = [];
  #answered = false;

  constructor(
    options: {
      readonly identity: ClientIdentity;
      readonly targets: Readonly<Record<SignalName, Target>>;
      readonly userAgent: string;
      /** Connections kept ready for each Collector. */
      readonly idleConnectionsMax: number;
    },
  ) {
    this.#targets = options.targets;
    this.#userAgent = options.userAgent;
    this.#idleConnectionsMax = options.idleConnectionsMax;
    this.#identity = options.identity;
    this.#http = this.#create(options.identity);
  }

  #create({ caCerts, cert, key }: ClientIdentity): Deno.HttpClient {
    return Deno.createHttpClient({
      caCerts: [...caCerts],
      ...(cert !== undefined && key !== undefined ? { cert, key } : {}),
      poolMaxIdlePerHost: this.#idleConnectionsMax,
      // HTTP/2 where the server agrees by ALPN, HTTP/1.1 otherwise.
      http1: true,
      http2: true,
    });
  }

  /** The client as it is now; read it at the call of `fetch`, never before an `await`. */
  get http(): Deno.HttpClient {
    return this.#http;
  }

  /** Shows another identity from the next request on; requests under way finish on the old one. */
  replaceIdentity(identity: ClientIdentity): void {
    const old = this.#http;
    this.#http = this.#create(identity);
    this.#identity = identity;
    this.#replaced++;
    this.#answered = false;
    old.close();
    for (const tell of this.#onReplaced) tell();
  }

  /** Tells of each other identity that is shown from now on. */
  whenReplaced(tell: () => void): void {
    this.#onReplaced.push(tell);
  }

  /** How often the identity has been replaced: each time all connections are new. */
  get replaced(): number {
    return this.#replaced;
  }

  /** Another client of the same Collectors, to try an identity before it is shown here. Its caller closes it. */
  withIdentity(identity: ClientIdentity): CollectorClient {
    return new CollectorClient({
      identity,
      targets: this.#targets,
      userAgent: this.#userAgent,
      idleConnectionsMax: this.#idleConnectionsMax,
    });
  }

  /** The identity that is shown. */
  get identity(): ClientIdentity {
    return this.#identity;
  }

  /** Names what was wrong with an attempt; what is known of the certificate shown decides where the text does not. */
  diagnose(answer: Answer): Fault {
    const client = clientFacts(this.#identity, this.#answered, new Date());
    return diagnose(
      answer.kind === "none"
        ? { text: answer.cause, timedOut: answer.timedOut, client }
        : { status: answer.status, text: answer.message, client },
    );
  }

  target(signal: SignalName): Target {
    return this.#targets[signal];
  }

  /**
   * Posts one export request. Never throws: what went wrong is in the answer.
   * @param encoding How `body` is encoded; it is sent as it is.
   * @param abort Gives the attempt up early.
   */
  async send(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: "gzip" | "identity",
    abort?: AbortSignal,
  ): Promise<Answer> {
    const { url, headers, timeoutMs } = this.#targets[signal];
    const http = this.#http;
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeoutMs);
    const started = performance.now();
    try {
      const response = await fetch(url, {
        method: "POST",
        client: http,
        headers: {
          ...headers,
          "content-type": "application/x-protobuf",
          ...(encoding === "gzip" ? { "content-encoding": "gzip" } : {}),
          "user-agent": this.#userAgent,
        },
        body: body.length < STREAMED_BYTES_MIN ? body : new BytesBlob(body),
        // A redirect would take the data elsewhere, perhaps without TLS: it is a fault of the configuration.
        redirect: "manual",
        signal: abort === undefined ? timeout.signal : AbortSignal.any([timeout.signal, abort]),
      });
      const answer = await read(signal, response);
      if (http === this.#http && !concernsTheWay(answer.status, answer.message)) this.#answered = true;
      return { ...answer, durationMs: performance.now() - started };
    } catch (error) {
      const aborted = abort?.aborted === true;
      const timedOut = !aborted && timeout.signal.aborted;
      const cause = aborted ? "given up" : timedOut ? `no answer within ${timeoutMs} ms` : messageOf(error);
      return { kind: "none", cause, timedOut, aborted, durationMs: performance.now() - started };
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#http.close();
  }
}

async function read(signal: SignalName, response: Response): Promise<Answered> {
  const body = await readAnswer(response);
  const contentType = response.headers.get("content-type");
  const { status } = response;
  const ok = status >= 200 && status < 300;
  const location = response.headers.get("location");
  return {
    kind: "answer",
    status,
    message: ok ? "" : location !== null ? `redirected to ${location.slice(0, 200)}` : decodeStatus(contentType, body),
    retryAfterMs: retryAfterMs(response.headers.get("retry-after")),
    partialSuccess: ok ? decodeSuccess(signal, contentType, body) : undefined,
  };
}
