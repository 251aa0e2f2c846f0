/**
 * One attempt: one request to the Collector over mutual TLS, and its answer. No retry, no queue.
 * @module
 */
import { headersFor, type Protocol } from "../../config/exporter_settings.ts";
import { bareHost } from "../../config/units.ts";
import { type ClientFacts, clientFacts } from "../../diagnosis/client_facts.ts";
import { asksForServerKey, concernsTheWay, diagnose, type Fault } from "../../diagnosis/faults.ts";
import { sendsWeakKey } from "../../diagnosis/handshake.ts";
import { messageOf } from "../../errors.ts";
import type { SignalName } from "../../signal.ts";
import { GrpcTransport } from "./grpc_transport.ts";
import { HttpTransport } from "./http_transport.ts";
import type { Coding } from "../recode/recode.ts";
import type { Answered, ClientIdentity, Place, Transport } from "./transport.ts";
import { type AddressState, type ResolveName, Transports } from "./transports.ts";

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

/** No answer: whether the Collector has the data is not known, so it counts as undelivered. */
export interface Unanswered {
  readonly kind: "none";
  readonly cause: string;
  readonly timedOut: boolean;
  /** The attempt was given up on request: that tells nothing of the Collector. */
  readonly aborted: boolean;
}

/** How a server that speaks HTTP/2 alone refuses a client that offers HTTP/1.1 (RFC 7301, 3.2), in the words of rustls. */
const NO_COMMON_PROTOCOL = /NoApplicationProtocol/;

/** The longest look at the certificates of a server, in ms. */
const HANDSHAKE_MS = 5_000;

/** What is asked for more than once of an attempt. */
export interface SendOptions {
  /** Gives the attempt up early. */
  readonly abort?: AbortSignal;
  /** Less than the target's own time for an attempt, in ms. */
  readonly timeoutMs?: number;
  /** The body is of a form that not every endpoint reads: several gzip members, or zstd. */
  readonly needsProof?: boolean;
  /** Whose data the body is, where the headers name the sender. */
  readonly sender?: string;
}

/** Whether a form of body is read to its end (see `members.ts`), or the answer that says neither. */
export interface Prover {
  prove(): Promise<"all" | "first_only" | "unknown" | Answer>;
  /** As it was last; undefined where nothing is known. */
  known(): "all" | "first_only" | "unknown" | undefined;
  /** A connection was lost: the next answer may come from another server. */
  lost(): void;
  /** A body of that form was refused: it may have been another server. */
  doubted(): void;
}

/** What the exporter needs of a client, which may be one of a group. */
export interface ExportClient {
  /** Posts one export request. Never throws: what went wrong is in the answer. */
  send(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: Coding,
    options?: SendOptions,
  ): Promise<Answer>;
  /** Names what was wrong with an attempt. */
  diagnose(answer: Answer): Fault;
  target(signal: SignalName): Target;
  /** Tells of each other identity that is shown from now on. */
  whenReplaced(tell: () => void): void;
  /** How often the identity has been replaced. */
  readonly replaced: number;
  /** How often all connections have been given up for new ones. */
  readonly renewed: number;
  /** For a client that stands for several, and asks each of them. */
  readonly proof?: Prover;
  /**
   * Whose name questions bear from now on that carry nobody's data, where a header names the sender: a Collector may know some
   * senders alone, and what it says to one it need not say to another.
   */
  speakFor?(sender: string): void;
  /** For a client that stands for several: which of them gave an answer. */
  givenBy?(answer: Answer): string | undefined;
  /**
   * For a client that stands for several: the one that gave this answer refuses everything, as far as can be told.
   * @returns whether another has what is sent from now on.
   */
  leave?(answer: Answer): boolean;
  close(): void;
}

/** Settings of a client. */
export interface CollectorClientOptions {
  readonly identity: ClientIdentity;
  readonly targets: Readonly<Record<SignalName, Target>>;
  readonly userAgent: string;
  /** Connections kept ready for each Collector. */
  readonly idleConnectionsMax: number;
  /** `http/protobuf` unless given. */
  readonly protocol?: Protocol;
  /**
   * Of OTLP/HTTP: whether HTTP/2 is offered; true unless given. Deno's client leaves Nagle's algorithm on, so that a small request over HTTP/2
   * waits 44 ms for the peer's delayed acknowledgement, where over HTTP/1.1 it takes one: who waits for the answer had better not.
   * A server that speaks HTTP/2 alone is spoken to in it all the same.
   */
  readonly http2?: boolean;
  /** All addresses of a name: where one of several is dead, another is used. Absent: the system's choice is never changed. */
  readonly resolve?: ResolveName | undefined;
}

/** Posts to the Collector. */
export class CollectorClient implements ExportClient {
  readonly #options: CollectorClientOptions;
  #spokenFor: string | undefined;
  #identity: ClientIdentity;
  #http2: boolean;
  readonly #transports: Transports;
  #replaced = 0;
  #renewed = 0;
  readonly #onReplaced: (() => void)[] = [];
  #answered = false;
  #serverKeyWeak = false;

  /** @param like Whose choices of addresses are taken over. */
  constructor(options: CollectorClientOptions, like?: CollectorClient) {
    this.#options = options;
    this.#identity = options.identity;
    this.#http2 = options.http2 ?? true;
    this.#transports = new Transports({
      create: (at) => this.#create(at),
      resolve: options.resolve,
      tunnels: !this.#grpc,
      onRenewed: () => void this.#renewed++,
    }, like === undefined ? undefined : like.#transports);
  }

  get #grpc(): boolean {
    return this.#options.protocol === "grpc";
  }

  /** Where nothing is encrypted no certificate is shown, so that none can be refused. */
  get #encrypted(): boolean {
    return Object.values(this.#options.targets).some(({ url }) => url.startsWith("https:"));
  }

  #create(at: Place | undefined): Transport {
    const { userAgent, idleConnectionsMax } = this.#options;
    const options = { identity: this.#identity, userAgent, at };
    return this.#grpc
      ? new GrpcTransport(options)
      : new HttpTransport({ ...options, idleConnectionsMax, http2: this.#http2 });
  }

  /**
   * What OTLP/HTTP is sent by to a signal's Collector, as it is now; undefined over gRPC. Read it at the call of `fetch`, never before an
   * `await`.
   */
  httpFor(signal: SignalName): HttpTransport["http"] | undefined {
    const transport = this.#transports.for(this.target(signal).url);
    return transport instanceof HttpTransport ? transport.http : undefined;
  }

  /** Shows another identity from the next request on; requests under way finish on the old one. */
  replaceIdentity(identity: ClientIdentity): void {
    this.#identity = identity;
    this.#replaced++;
    this.#answered = false;
    this.#transports.renew();
    for (const tell of this.#onReplaced) tell();
  }

  /** Tells of each other identity that is shown from now on. */
  whenReplaced(tell: () => void): void {
    this.#onReplaced.push(tell);
  }

  /** How often the identity has been replaced. */
  get replaced(): number {
    return this.#replaced;
  }

  /** How often all connections have been given up for new ones: for another identity, or because one had gone silent. */
  get renewed(): number {
    return this.#renewed;
  }

  /** Another client of the same Collectors, to try an identity before it is shown here. Its caller closes it. */
  withIdentity(identity: ClientIdentity): CollectorClient {
    return new CollectorClient({ ...this.#options, identity, http2: this.#http2 }, this);
  }

  /** The identity that is shown. */
  get identity(): ClientIdentity {
    return this.#identity;
  }

  /** Names what was wrong with an attempt; what is known of the certificate shown decides where the text does not. */
  diagnose(answer: Answer): Fault {
    let facts: ClientFacts | undefined;
    const client = this.#encrypted
      ? () => facts ??= clientFacts(this.#identity, this.#answered, new Date())
      : undefined;
    return diagnose(
      answer.kind === "none"
        ? { text: answer.cause, timedOut: answer.timedOut, client, serverKeyWeak: this.#serverKeyWeak }
        : { status: answer.status, grpc: answer.grpc, text: answer.message, foreign: answer.foreign, client },
    );
  }

  target(signal: SignalName): Target {
    return this.#options.targets[signal];
  }

  /**
   * Posts one export request. Never throws: what went wrong is in the answer.
   * @param encoding How `body` is encoded; it is sent as it is.
   */
  async send(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: Coding,
    { abort, timeoutMs = Infinity, sender }: SendOptions = {},
  ): Promise<Answer> {
    const started = performance.now();
    const answer = await this.#attempt(signal, body, encoding, abort, timeoutMs, sender);
    // The server has seen nothing of the request: it is sent again as it wants it.
    if (answer.kind === "none" && !this.#http2 && !this.#grpc && NO_COMMON_PROTOCOL.test(answer.cause)) {
      this.#http2 = true;
      this.#transports.renew();
      return await this.#attempt(signal, body, encoding, abort, timeoutMs - answer.durationMs, sender, started);
    }
    if (answer.kind === "none" && asksForServerKey(answer.cause)) await this.#lookAtServerKey(signal, abort);
    return answer;
  }

  /** The text alone does not tell a weak key from a CA that is another. */
  async #lookAtServerKey(signal: SignalName, abort: AbortSignal | undefined): Promise<void> {
    const { hostname, port } = new URL(this.target(signal).url);
    const { cert, key } = this.#identity;
    const host = bareHost(hostname);
    const where = { host, port: Number(port || 443), timeoutMs: HANDSHAKE_MS };
    this.#serverKeyWeak = await sendsWeakKey({ ...where, cert, key, ...(abort === undefined ? {} : { abort }) });
  }

  /** What comes of an empty request to an address of the name of a signal's Collector. Never rejects. */
  askAt(signal: SignalName, address: string): Promise<AddressState> {
    const { url, headers } = this.target(signal);
    return this.#transports.askAt({ signal, url, headers }, address);
  }

  speakFor(sender: string): void {
    this.#spokenFor = sender;
  }

  async #attempt(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: Coding,
    abort: AbortSignal | undefined,
    timeoutMsMax: number,
    sender: string | undefined,
    started: number = performance.now(),
  ): Promise<Answer> {
    const { url, headers, timeoutMs: ownMs } = this.#options.targets[signal];
    const named = sender ?? this.#spokenFor;
    // Which address to use is being found out: that takes less time than one that is dead.
    const looking = this.#transports.looking(url);
    const before = performance.now();
    if (looking !== undefined) await looking;
    const leftMs = timeoutMsMax - (looking === undefined ? 0 : performance.now() - before);
    const timeoutMs = Math.max(1, Math.round(Math.min(ownMs, leftMs)));
    const transport = this.#transports.for(url);
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeoutMs);
    const question = { signal, url, headers: named === undefined ? headers : headersFor(headers, named) };
    try {
      const answer = await transport.post({
        ...question,
        body,
        encoding,
        timeoutMs,
        abort: abort === undefined ? timeout.signal : AbortSignal.any([timeout.signal, abort]),
      });
      this.#transports.answered(question);
      if (
        transport === this.#transports.for(url) && !answer.foreign && !concernsTheWay(answer.status, answer.message)
      ) {
        this.#answered = true;
      }
      return { ...answer, durationMs: performance.now() - started };
    } catch (error) {
      const aborted = abort?.aborted === true;
      const timedOut = !aborted && timeout.signal.aborted;
      // An aborted fetch ends its stream, not the connection, and over HTTP/2 every next request would take the same one.
      if (timedOut && transport === this.#transports.for(url)) this.#transports.renew();
      if (!aborted) this.#transports.failed(question);
      const cause = aborted ? "given up" : timedOut ? `no answer within ${timeoutMs} ms` : messageOf(error);
      return { kind: "none", cause, timedOut, aborted, durationMs: performance.now() - started };
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#transports.close();
  }
}

/** What was answered, in words: the gRPC code, or the status. */
export function answeredCode({ grpc, status }: Pick<Answered, "grpc" | "status">): string {
  return grpc ?? String(status);
}

/** What came of a request, in the words of who failed; the words for what is no answer of OTLP begin with "answered". */
export function causeOf(answer: Answer): string {
  if (answer.kind === "none") return answer.cause;
  return answer.foreign ? answer.message : `${answeredCode(answer)} ${answer.message}`.trim();
}
