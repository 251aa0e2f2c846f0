/**
 * One way to a Collector: an endpoint and a signal. It sends, says what the answer means for what was sent, and knows how the endpoint
 * fares: its breaker, the proof of its gzip members, its last failure. Every lane that sends there shares it.
 * @module
 */
import type { Fault } from "../diagnosis/faults.ts";
import { faultNamed } from "../diagnosis/faults.ts";
import { messageOf } from "../errors.ts";
import type { SignalName } from "../signal.ts";
import { Breaker, type BreakerOptions, type Permit } from "./breaker.ts";
import { type Answer, answeredCode, causeOf, type ExportClient, type Prover } from "./client/client.ts";
import { dispositionOf } from "./client/disposition.ts";
import type { EndpointHealth } from "./endpoint_health.ts";
import { Evidence } from "./evidence.ts";
import { type Members, MembersProof, type ProvedForm } from "./members.ts";
import type { RequestBody } from "./payload.ts";
import type { Compression } from "./recode/recode.ts";
import type { Failing, Refused, Taken } from "./search.ts";

/** What a way tells. */
export interface WayEvents {
  /** One request was answered with a success. `requests`: how many senders' requests it was merged from. */
  sent(signal: SignalName, sent: { items: number; requests: number; bytes: number; durationMs: number }): void;
  /** The Collector took a request and rejected items of it. */
  rejected(signal: SignalName, items: number, message: string): void;
  /** An attempt failed; what it carried is kept. `failures`: how many in a row. */
  failed(signal: SignalName, fault: Fault, detail: { cause: string; failures: number; retryMs: number }): void;
  /** The first success after failures. */
  recovered(signal: SignalName, failures: number): void;
  /**
   * Whether the endpoint reads a form of body: all gzip members, or else every request goes by itself; zstd, or else gzip is sent.
   */
  members(signal: SignalName, form: ProvedForm, members: Members, url: string): void;
  /** An attempt had no answer in time on a connection that was open, and the next one, on a new connection, had. */
  silent(signal: SignalName, fault: Fault, url: string): void;
}

/** What other targets know of the same endpoint too, for the same signal. */
export interface SharedEndpoint {
  readonly health: EndpointHealth;
  readonly proof: MembersProof;
}

/** Settings of a way. */
export interface WayOptions {
  readonly client: ExportClient;
  /** Absent where no other target sends there. */
  readonly shared?: SharedEndpoint;
  readonly compression: Compression;
  readonly retry: BreakerOptions;
  /** Whether a header names the sender: the endpoint tells senders apart. False unless given. */
  readonly bySender?: boolean;
  readonly events: WayEvents;
}

/** A request that failed. */
export interface Failure {
  /** ms since the Unix epoch. */
  readonly at: number;
  readonly fault: Fault;
  /** In the words of what failed. */
  readonly cause: string;
  /** When it is tried again, in ms since the Unix epoch. */
  readonly retryAt: number;
}

/** What came of a request. */
export type Post =
  | Taken & { readonly rejected: number; readonly message: string | undefined }
  | Refused
  | Failing
  | { readonly kind: "stopped"; readonly answer: Answer };

/** What a failure means for what was sent. */
export interface Setback {
  /** In how many ms it may be tried again; absent: at once. */
  readonly afterMs?: number;
  /** How long the Collector itself asks to wait, in ms. */
  readonly askedMs?: number;
  readonly cause: string;
}

/** What is sent. */
export interface Shipped {
  readonly items: number;
  /** How many senders' requests it was merged from. */
  readonly requests: number;
  readonly permit: Permit;
  /** Less than the target's own time for an attempt, in ms. */
  readonly timeoutMs?: number;
  /** Whose data it is; with several senders, the first one's. */
  readonly sender: string;
}

const EMPTY = new Uint8Array(0);

export class Way {
  readonly signal: SignalName;
  readonly breaker: Breaker;
  readonly evidence: Evidence;
  readonly #client: ExportClient;
  readonly #compression: Compression;
  readonly #events: WayEvents;
  readonly #members: Prover;
  readonly #health: EndpointHealth | undefined;
  readonly #giveUp = new AbortController();
  #lastFailure: Failure | undefined;
  #taken = 0;
  /** The number of the last of them. */
  #lastTaken = 0;
  /** How many had been sent when an empty request was refused; undefined: none was, or one has been taken since. */
  #emptyRefusedAt: number | undefined;
  /** How many had been sent when one was taken last. */
  #emptyTakenAt = -1;
  /** An attempt on an open connection had no answer in time, and none has been answered since it began. */
  #silent = false;
  /** Requests that were answered, whatever with. */
  #answered = 0;

  constructor(signal: SignalName, { client, compression, shared, retry, bySender = false, events }: WayOptions) {
    this.signal = signal;
    this.breaker = new Breaker(retry);
    this.evidence = new Evidence(bySender);
    this.#client = client;
    this.#compression = compression;
    this.#events = events;
    this.#health = shared?.health;
    const form = formOf(compression);
    this.#members = client.proof ?? shared?.proof ?? new MembersProof({
      form,
      ask: (body, encoding) => client.send(signal, body, encoding, { abort: this.#giveUp.signal }),
      connections: () => client.renewed,
      onChange: (members) => events.members(signal, form, members, client.target(signal).url),
      ...(retry.now === undefined ? {} : { now: retry.now }),
    });
    client.whenReplaced(() => this.breaker.hasten());
    this.#health?.whenChanged((answer) => {
      if (answer === undefined) this.breaker.hasten();
      else this.#learn(answer);
    });
  }

  /** Another target's request has shown that the endpoint is down: that is not found out again at the cost of a timeout. */
  #learn(answer: Answer): void {
    if (this.breaker.failures > 0) return;
    const afterMs = this.breaker.failed(this.breaker.pass());
    const fault = this.faultOf(answer);
    this.#lastFailure = { at: Date.now(), fault, cause: causeOf(answer), retryAt: Date.now() + afterMs };
  }

  /** See {@link ExportClient.speakFor}. */
  speakFor(sender: string): void {
    this.#client.speakFor?.(sender);
  }

  /** Requests of which items were taken. */
  get taken(): number {
    return this.#taken;
  }

  /** How often the identity that is shown has been replaced. */
  get identity(): number {
    return this.#client.replaced;
  }

  /** The last request that failed, also when it has been made good. */
  get lastFailure(): Failure | undefined {
    return this.#lastFailure;
  }

  /** Breaks off every attempt under way. */
  giveUp(): void {
    this.#giveUp.abort();
  }

  /** Whether several requests that are forwarded as members may share one; the answer where it cannot be found out now. */
  async mayShareMembers(): Promise<boolean | Answer> {
    const members = await this.#members.prove();
    return typeof members === "object" ? members : members === "all";
  }

  /** Whether requests may share one, as far as is known. */
  get merges(): boolean {
    const members = this.#compression === "passthrough" ? this.#members.known() : undefined;
    return members === undefined || members === "all";
  }

  /** How what is sent now is compressed; the answer where it cannot be found out. What everybody reads is not asked for. */
  compression(): Compression | Promise<Compression | Answer> {
    if (this.#compression !== "zstd") return this.#compression;
    return this.#members.prove().then((read) => typeof read === "object" ? read : read === "all" ? "zstd" : "gzip");
  }

  /**
   * Sends one request of data.
   * - 2xx: taken. - 400, 413, 422: about what was sent, or the endpoint refuses everything. - 5xx, a cut connection, none in time: about what was sent, or about the endpoint.
   * - Anything else: about the endpoint or us.
   */
  async post(body: RequestBody, { items, requests, permit, timeoutMs, sender }: Shipped): Promise<Post> {
    const { signal } = this;
    const bytes = body.bytes.length;
    const probes = this.#health?.up === false;
    const request = this.evidence.send();
    const answeredBefore = this.#answered;
    const answer = await this.#client.send(signal, body.bytes, body.encoding, {
      abort: this.#giveUp.signal,
      sender,
      needsProof: body.members > 1 || body.encoding === "zstd",
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    this.#listen(answer, answeredBefore);
    if (answer.kind === "none") return { kind: this.mayConcernTheData(answer) ? "failing" : "stopped", answer };
    const disposition = dispositionOf(answer);
    if (disposition === "retry" || disposition === "hold") {
      return { kind: this.mayConcernTheData(answer) ? "failing" : "stopped", answer };
    }
    const by = this.#client.givenBy?.(answer);
    if (disposition === "inspect") {
      // It may be another server, that reads the first member alone and finds the seal broken.
      if (body.members > 1) this.#members.doubted();
      // It works, unless it is known to refuse everything.
      if (this.#health?.refusing === false) this.#health.succeeded(probes);
      return {
        kind: "refused",
        reason: answer.message || `The Collector answered ${answeredCode(answer)}`,
        status: answer.status,
        answer,
        occasion: { sentBefore: this.evidence.sent, by },
      };
    }
    const { partialSuccess } = answer;
    // What it says to have rejected can be no more than it was sent.
    const rejected = Math.min(partialSuccess?.rejected ?? 0, items);
    const empty = rejected === items;
    if (!empty) {
      this.#taken++;
      this.#lastTaken = Math.max(this.#lastTaken, request);
      this.evidence.took(request, sender, by);
    }
    this.#health?.succeeded(probes);
    this.answers(permit);
    this.#events.sent(signal, { items, requests, bytes, durationMs: answer.durationMs });
    if (partialSuccess !== undefined) this.#events.rejected(signal, rejected, partialSuccess.message);
    return {
      kind: "taken",
      ...(by === undefined ? {} : { by }),
      ...(empty ? { empty } : {}),
      rejected,
      message: partialSuccess?.message,
    };
  }

  /**
   * Whether an empty request is taken, after data was refused: where it is refused too, nothing is wrong with the data. That it is taken
   * proves nothing: a Collector takes it without asking its back end. Undefined: it is, or its refusal tells nothing, since data was taken
   * between two of them; otherwise the answer, which is of the kind `refused` or says neither.
   * @param sender Whose data it was.
   */
  async refusesEmpty(sender: string): Promise<Answer | undefined> {
    const answeredBefore = this.#answered;
    const answer = await this.#client.send(this.signal, EMPTY, "identity", { abort: this.#giveUp.signal, sender });
    this.#listen(answer, answeredBefore);
    if (answer.kind !== "answer") return answer;
    const disposition = dispositionOf(answer);
    if (disposition === "inspect") {
      const refusedBefore = this.#emptyRefusedAt;
      this.#emptyRefusedAt ??= this.evidence.sent;
      return refusedBefore !== undefined && this.#lastTaken > refusedBefore ? undefined : answer;
    }
    if (disposition !== "delivered") return answer;
    this.#emptyRefusedAt = undefined;
    this.#emptyTakenAt = this.evidence.sent;
    return undefined;
  }

  /** Whether an empty request was taken when so many requests of data had been sent, or since. */
  takenEmptySince(sentBefore: number): boolean {
    return this.#emptyTakenAt >= sentBefore;
  }

  /**
   * Learns from what came, or did not. Without an answer the connection is lost, and the next answer may come from another server. An
   * answer in time, after one that did not come, names the connection that went silent; where others were answered while that one was
   * waited for, it may be what was sent.
   * @param answeredBefore How many had been answered when it was sent.
   */
  #listen(answer: Answer, answeredBefore: number): void {
    if (answer.kind === "none") {
      if (!answer.aborted) this.#members.lost();
      if (answer.timedOut && this.#answered === answeredBefore) this.#silent = true;
      return;
    }
    this.#answered++;
    if (!this.#silent) return;
    this.#silent = false;
    this.#events.silent(this.signal, faultNamed("connection_silent"), this.#client.target(this.signal).url);
  }

  /** The endpoint takes data; or what it refuses is, as far as is known, not all that it is sent. */
  answers(permit: Permit): void {
    const failures = this.breaker.succeeded(permit);
    if (failures > 0) this.#events.recovered(this.signal, failures);
  }

  /**
   * Opens the breaker after a failure.
   * @param identity How often the identity had been replaced when the request was sent off.
   * @param fewSenders The endpoint tells senders apart, and refused a few: others are tried soon, whatever it asks of those.
   */
  fail(answer: Answer, permit: Permit, identity: number, fewSenders = false): Setback {
    if (answer.kind === "none" && answer.aborted) return { cause: "The relay is stopping" };
    // Sent with an identity that has been replaced since: that tells nothing of the one in use.
    if (identity !== this.#client.replaced) return { cause: "The identity was replaced meanwhile" };
    const refused = isRefusal(answer);
    // Another has it at once: nothing is wrong with the way as a whole.
    if (refused && !fewSenders && this.#client.leave?.(answer) === true) {
      this.evidence.moved();
      return { cause: `${this.faultOf(answer).what} (${causeOf(answer)})` };
    }
    const fault = this.faultOf(answer);
    const askedMs = answer.kind === "answer" ? answer.retryAfterMs : undefined;
    // What may be the data's fault is no reason to be slow: another request may pass. Nor is a refusal of everything, which may be a moment's.
    const slow = fault.lasting && !refused && !fewSenders &&
      (this.breaker.failures > 0 || !this.mayConcernTheData(answer));
    const setback = this.#open(fault, causeOf(answer), permit, fewSenders ? undefined : askedMs, slow);
    if (!fewSenders && this.#health?.judge(answer).move === "moves") this.#health.failed(answer);
    return setback;
  }

  /** Names what keeps data from being taken: a refusal that does so is one of everything. */
  faultOf(answer: Answer): Fault {
    return isRefusal(answer) ? faultNamed("refuses_everything") : this.#client.diagnose(answer);
  }

  /** A defect of ours is no reason to lose a record. */
  failInside(error: unknown, permit: Permit): Setback {
    const fault: Fault = {
      code: "internal",
      what: "The relay failed on its own; what it was sending is kept",
      remedy: "report this with the log",
      lasting: true,
    };
    return this.#open(fault, messageOf(error), permit, undefined, true);
  }

  /**
   * Whether it may be what was sent that the Collector failed on: some answer 500 or 503, or cut the connection, because of what is in a
   * record. 501 and 505 speak of the request alone.
   */
  mayConcernTheData(answer: Answer): boolean {
    if (answer.kind === "answer") return answer.status >= 500 && answer.status !== 501 && answer.status !== 505;
    return !answer.aborted && REACHED.has(this.#client.diagnose(answer).code);
  }

  #open(fault: Fault, cause: string, permit: Permit, askedMs: number | undefined, slow: boolean): Setback {
    const afterMs = this.breaker.failed(permit, askedMs, slow);
    const at = Date.now();
    this.#lastFailure = { at, fault, cause, retryAt: at + afterMs };
    this.#events.failed(this.signal, fault, { cause, failures: this.breaker.failures, retryMs: afterMs });
    return { afterMs, cause: `${fault.what} (${cause})`, ...(askedMs === undefined ? {} : { askedMs }) };
  }
}

/** What an endpoint has to have shown to read before it is sent. */
export function formOf(compression: Compression): ProvedForm {
  return compression === "zstd" ? "zstd" : "gzip_members";
}

/** Whether an answer says that what was sent is wrong. */
export function isRefusal(answer: Answer): boolean {
  return answer.kind === "answer" && dispositionOf(answer) === "inspect";
}

/** Faults of an attempt that had reached a Collector, or may have. */
const REACHED: ReadonlySet<string> = new Set(["timeout", "handshake_cut", "unknown"]);
