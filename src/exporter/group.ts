/**
 * Several exporters as one client: each request goes to one of them, and on to another where the first cannot take it. What is known of
 * an endpoint comes of real requests alone; one that failed is tried again by a real request, too.
 * @module
 */
import type { Fault } from "../diagnosis/faults.ts";
import type { SignalName } from "../signal.ts";
import type { Answer, ExportClient, SendOptions, Target } from "./client.ts";
import { MembersProof } from "./members.ts";

/** How a group chooses. `failover`: the first that works. `balance`: one of those that work, by weight. */
export type GroupKind = "failover" | "balance";

/** One exporter of a group. */
export interface GroupMember {
  /** As people call it. */
  readonly name: string;
  readonly client: ExportClient;
  /** How often it is chosen beside the others; counts for `balance`. */
  readonly weight: number;
  /** What is known of it; shared by all groups that it is in. */
  readonly health: MemberHealth;
}

/** What a group tells. */
export interface GroupEvents {
  /** Data goes from one member to another, since the first cannot take it. */
  moved(signal: SignalName, from: string, to: string, fault: Fault): void;
  /** A member takes data again for good. */
  returned(signal: SignalName, name: string): void;
}

/** Settings of a group. */
export interface GroupOptions {
  readonly signal: SignalName;
  readonly kind: GroupKind;
  readonly members: readonly GroupMember[];
  readonly events: GroupEvents;
  /** From 0 to below 1; for tests. */
  readonly random?: () => number;
}

/** A member that failed is tried again after so long, in ms; each relapse doubles it, up to the most. */
const RETURN_MS = 30_000;
const RETURN_MS_MAX = 600_000;
/** So many successes, each at least so long after the one before, in ms, and a member is back. */
const SUCCESSES_TO_RETURN = 3;
const SUCCESS_APART_MS = 5_000;
/** A Collector that asks to wait is busy, not dead: after so long of it, in ms, data goes elsewhere. */
const LOAD_MS_MAX = 30_000;

/** What is known of one endpoint for one signal. */
export class MemberHealth {
  readonly #now: () => number;
  #state: "up" | "down" | "returning" = "up";
  #retryAt = 0;
  #waitMs = RETURN_MS;
  #successes = 0;
  #lastSuccessAt = 0;
  #busySince: number | undefined;
  #probing = false;

  /** @param now A clock in ms that is never set back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether it takes data, as far as is known. */
  get up(): boolean {
    return this.#state === "up";
  }

  /** Whether it is time to try it: one request at once. */
  get due(): boolean {
    return this.#state !== "up" && !this.#probing && this.#now() >= this.#retryAt;
  }

  /** A request is under way that shows whether it is back. */
  probe(): void {
    this.#probing = true;
  }

  /** Since when it has only asked to wait, in ms; 0 where it has not. */
  busy(): number {
    this.#busySince ??= this.#now();
    this.#probing = false;
    return this.#now() - this.#busySince;
  }

  failed(): void {
    if (this.#state === "returning") this.#waitMs = Math.min(RETURN_MS_MAX, this.#waitMs * 2);
    this.#state = "down";
    this.#probing = false;
    this.#successes = 0;
    this.#retryAt = this.#now() + this.#waitMs;
    this.#busySince = undefined;
  }

  /** @returns whether it is back by this. */
  succeeded(): boolean {
    this.#probing = false;
    this.#busySince = undefined;
    if (this.#state === "up") return false;
    const now = this.#now();
    if (this.#successes > 0 && now - this.#lastSuccessAt < SUCCESS_APART_MS) return false;
    this.#state = "returning";
    this.#lastSuccessAt = now;
    this.#retryAt = now + SUCCESS_APART_MS;
    if (++this.#successes < SUCCESSES_TO_RETURN) return false;
    this.#state = "up";
    this.#waitMs = RETURN_MS;
    return true;
  }

  /** It is left as it was: the request said nothing of it. */
  unknown(): void {
    this.#probing = false;
  }
}

/** A client that is several. */
export class GroupClient implements ExportClient {
  readonly #options: GroupOptions;
  readonly #random: () => number;
  readonly #proofs: ReadonlyMap<GroupMember, MembersProof>;
  /** Who gave an answer, so that its own client says what was wrong. */
  readonly #givenBy = new WeakMap<Answer, GroupMember>();
  #current: GroupMember;
  #changes = 0;

  constructor(options: GroupOptions) {
    const [first] = options.members;
    if (first === undefined) throw new RangeError("A group has at least one member");
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#current = first;
    this.#proofs = new Map(options.members.map((member) => [
      member,
      new MembersProof({
        ask: (body) => member.client.send(options.signal, body, "gzip"),
        connections: () => member.client.renewed,
        onChange: () => {},
      }),
    ]));
  }

  /** The member that had the last request. */
  get current(): string {
    return this.#current.name;
  }

  get replaced(): number {
    return this.#sum(({ client }) => client.replaced);
  }

  /** Another member is another connection, too: what was proved of the one before says nothing of it. */
  get renewed(): number {
    return this.#changes + this.#sum(({ client }) => client.renewed);
  }

  whenReplaced(tell: () => void): void {
    for (const { client } of this.#options.members) client.whenReplaced(tell);
  }

  target(signal: SignalName): Target {
    return this.#current.client.target(signal);
  }

  diagnose(answer: Answer): Fault {
    return (this.#givenBy.get(answer) ?? this.#current).client.diagnose(answer);
  }

  /**
   * Sends to one member, and to the next where that one cannot take it. What fails on every member says nothing of any of them: it is left
   * to whoever asked. The time that there is, is shared among the members that are left.
   */
  async send(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: "gzip" | "identity",
    options: SendOptions = {},
  ): Promise<Answer> {
    const started = performance.now();
    const { timeoutMs = Infinity, abort, severalMembers = false } = options;
    const order = this.#order();
    const failed: { readonly member: GroupMember; readonly answer: Answer }[] = [];
    let last: Answer | undefined;
    for (const [index, member] of order.entries()) {
      if (abort?.aborted === true) break;
      const leftMs = timeoutMs - (performance.now() - started);
      if (index > 0 && leftMs <= 0) break;
      if (severalMembers) {
        // What is merged goes to nobody of whom it is not known that all of it is read.
        const proof = await this.#proofs.get(member)?.prove();
        if (typeof proof === "object") {
          this.#givenBy.set(proof, member);
          failed.push({ member, answer: last = proof });
        }
        if (proof !== "all") continue;
      }
      if (!member.health.up) member.health.probe();
      const answer = await member.client.send(signal, body, encoding, {
        ...options,
        ...(timeoutMs === Infinity ? {} : { timeoutMs: Math.max(1, leftMs / (order.length - index)) }),
      });
      this.#givenBy.set(answer, member);
      last = answer;
      if (answer.kind === "none" && answer.aborted) {
        member.health.unknown();
        break;
      }
      if (!this.#moves(answer, member)) {
        // What it says of the data says that it works.
        const works = answer.kind === "answer" && answer.status !== 429 && answer.status !== 503;
        if (works && member.health.succeeded()) this.#options.events.returned(signal, member.name);
        this.#goOn(member, failed);
        return answer;
      }
      failed.push({ member, answer });
    }
    for (const { member } of failed) member.health.unknown();
    if (last !== undefined) return last;
    // The way has changed under what was merged for another: it is made anew.
    this.#become(order[0] ?? this.#current);
    const durationMs = performance.now() - started;
    return { kind: "none", cause: "another exporter of the group is next", timedOut: false, aborted: true, durationMs };
  }

  close(): void {
    for (const { client } of this.#options.members) client.close();
  }

  /** One has answered: those before it that failed are down. */
  #goOn(member: GroupMember, failed: readonly { readonly member: GroupMember; readonly answer: Answer }[]): void {
    for (const { member: from, answer } of failed) {
      const wasUp = from.health.up;
      from.health.failed();
      if (wasUp) this.#options.events.moved(this.#options.signal, from.name, member.name, from.client.diagnose(answer));
    }
    this.#become(member);
  }

  #become(member: GroupMember): void {
    if (member === this.#current) return;
    this.#current = member;
    this.#changes++;
  }

  /** Whether the answer sends the data elsewhere. 400, 413 and 422 are about the data; a Collector that asks to wait is busy. */
  #moves(answer: Answer, { health }: GroupMember): boolean {
    if (answer.kind === "none") return true;
    const { status, foreign, retryAfterMs } = answer;
    if (status >= 200 && status < 300) return foreign;
    if (status === 429 || (status === 503 && retryAfterMs !== undefined)) return health.busy() > LOAD_MS_MAX;
    return status !== 400 && status !== 413 && status !== 422;
  }

  /** In which order members are tried. One that was down and is due has the first request, so that it can come back. */
  #order(): GroupMember[] {
    const { kind, members } = this.#options;
    const up = members.filter(({ health }) => health.up);
    const due = members.filter(({ health }) => !health.up && health.due);
    const down = members.filter((member) => !up.includes(member) && !due.includes(member));
    const chosen = kind === "balance" ? this.#shuffled(up) : up;
    const first = kind === "failover"
      ? due.find((member) => chosen[0] === undefined || members.indexOf(member) < members.indexOf(chosen[0]))
      : due[0];
    const rest = [...chosen, ...due.filter((member) => member !== first), ...down];
    return first === undefined ? rest : [first, ...rest];
  }

  /** By weight: the first is each with its share. */
  #shuffled(members: readonly GroupMember[]): GroupMember[] {
    const left = [...members];
    const order: GroupMember[] = [];
    while (left.length > 0) {
      let at = this.#random() * left.reduce((sum, { weight }) => sum + weight, 0);
      const index = left.findIndex(({ weight }) => (at -= weight) < 0);
      order.push(...left.splice(Math.max(0, index), 1));
    }
    return order;
  }

  #sum(of: (member: GroupMember) => number): number {
    return this.#options.members.reduce((sum, member) => sum + of(member), 0);
  }
}
