/**
 * Several exporters as one client: each request goes to one of them, and on to another where the first cannot take it. What is known of
 * an endpoint comes of real requests alone; one that failed is tried again by a real request, too.
 * @module
 */
import { concernsTheWay, type Fault } from "../diagnosis/faults.ts";
import type { SignalName } from "../signal.ts";
import type { Answer, ExportClient, Prover, SendOptions, Target } from "./client.ts";
import { type Members, MembersProof } from "./members.ts";

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
  /**
   * A request went from one member to another, since the first could not take it. `first`: the member counts as down from now on.
   * `maybeBoth`: the first one may have it, too.
   */
  moved(signal: SignalName, from: string, to: string, fault: Fault, how: { first: boolean; maybeBoth: boolean }): void;
  /** Whether a member reads all gzip members of a body; where it may read the first only, every request goes by itself. */
  members(signal: SignalName, members: Members, url: string): void;
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
  /** A clock in ms that is never set back; for tests. */
  readonly now?: () => number;
}

/** A member that failed is tried again after so long, in ms; each relapse doubles it, up to the most. */
const RETURN_MS = 30_000;
const RETURN_MS_MAX = 600_000;
/** So many successes, each at least so long after the one before, in ms, and a member is back. */
const SUCCESSES_TO_RETURN = 3;
const SUCCESS_APART_MS = 5_000;
/** A Collector that asks to wait is busy, not dead: after so long of it, in ms, data goes elsewhere. */
const LOAD_MS_MAX = 30_000;
/** How long one is left alone that does not say for how long it asks to wait, in ms. */
const REST_MS = 1_000;

/** What is known of one endpoint for one signal. */
export class MemberHealth {
  readonly #now: () => number;
  #state: "up" | "down" | "returning" = "up";
  #retryAt = 0;
  #waitMs = RETURN_MS;
  #successes = 0;
  #lastSuccessAt = 0;
  #busySince: number | undefined;
  #restUntil = 0;
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

  /**
   * It asks to wait: busy, and not dead.
   * @param restMs For how long, in ms.
   * @returns For how long it has asked for nothing else, in ms.
   */
  busy(restMs: number): number {
    const now = this.#now();
    this.#busySince ??= now;
    this.#restUntil = now + restMs;
    this.#probing = false;
    return now - this.#busySince;
  }

  /** Whether it has asked to wait, and the time is not over. */
  get rests(): boolean {
    return this.#now() < this.#restUntil;
  }

  /** What was in the way may be gone: it is tried at the next request. */
  hasten(): void {
    this.#retryAt = Math.min(this.#retryAt, this.#now());
    this.#restUntil = 0;
  }

  failed(): void {
    if (this.#state === "returning") this.#waitMs = Math.min(RETURN_MS_MAX, this.#waitMs * 2);
    this.#state = "down";
    this.#probing = false;
    this.#successes = 0;
    this.#retryAt = this.#now() + this.#waitMs;
    this.#busySince = undefined;
    this.#restUntil = 0;
  }

  /**
   * It has answered. @param probed Asked since it was down: what was sent before that tells nothing of now.
   * @returns whether it is back by this.
   */
  succeeded(probed: boolean): boolean {
    if (this.#state !== "up" && !probed) return false;
    this.#probing = false;
    this.#busySince = undefined;
    this.#restUntil = 0;
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

/** What an answer means for where the data goes. `busy`: the member asks to wait. */
type Move = "stays" | "busy" | "moves";

interface Failed {
  readonly member: GroupMember;
  readonly answer: Answer;
}

/** A client that is several. */
export class GroupClient implements ExportClient {
  readonly #options: GroupOptions;
  readonly #random: () => number;
  readonly #now: () => number;
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
    this.#now = options.now ?? (() => performance.now());
    this.#current = first;
    const { signal, members, events } = options;
    this.#proofs = new Map(members.map((member) => [
      member,
      new MembersProof({
        ask: (body) => member.client.send(signal, body, "gzip"),
        connections: () => member.client.renewed,
        onChange: (proved) => events.members(signal, proved, member.client.target(signal).url),
        now: this.#now,
      }),
    ]));
    // What was held against the identity before says nothing of the one that is shown now.
    for (const { client, health } of members) client.whenReplaced(() => health.hasten());
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

  /** Whether what is sent now may be of several gzip members: each member is asked for itself before the first merged request to it. */
  readonly proof: Prover = {
    prove: () => this.#prove(),
    known: () => this.#known(),
    // Each member's own is lost with its own connection.
    lost: () => {},
  };

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
    const started = this.#now();
    const { timeoutMs = Infinity, abort, severalMembers = false } = options;
    const order = this.#order();
    const failed: Failed[] = [];
    let last: Answer | undefined;
    /** It answers, and may not read all that is sent. */
    let partial: GroupMember | undefined;
    for (const [index, member] of order.entries()) {
      if (abort?.aborted === true) break;
      const leftMs = timeoutMs - (this.#now() - started);
      if (index > 0 && leftMs <= 0) break;
      const probes = !member.health.up;
      if (probes) member.health.probe();
      // What is merged goes to nobody of whom it is not known that all of it is read.
      const proved = severalMembers ? await this.#proofs.get(member)!.prove() : "all";
      if (typeof proved === "string" && proved !== "all") {
        member.health.unknown();
        partial ??= member;
        continue;
      }
      const answer = typeof proved === "object" ? proved : await member.client.send(signal, body, encoding, {
        ...options,
        ...(timeoutMs === Infinity ? {} : { timeoutMs: Math.max(1, leftMs / (order.length - index)) }),
      });
      this.#givenBy.set(answer, member);
      last = answer;
      if (answer.kind === "none" && answer.aborted) {
        member.health.unknown();
        break;
      }
      // Whoever answers at this address next may be another.
      if (answer.kind === "none") this.#proofs.get(member)!.lost();
      const { move, busyMs } = this.#moveAfter(answer, member);
      if (move === "moves") {
        failed.push({ member, answer });
        continue;
      }
      if (move === "busy") {
        const another = order.slice(index + 1).some(({ health }) => health.up && !health.rests);
        // A balance has others to choose from; a failover waits for the one that is preferred.
        if (this.#options.kind === "balance" && another) continue;
        this.#goOn(member, failed);
        return this.#shortened(answer, member, busyMs);
      }
      // What it says of the data says that it works.
      if (member.health.succeeded(probes)) this.#options.events.returned(signal, member.name);
      this.#goOn(member, failed);
      return answer;
    }
    if (partial !== undefined && abort?.aborted !== true) {
      // The way has changed under what was merged for another: it is made anew.
      this.#goOn(partial, failed);
      // It is due at once, so that what is known of it is looked at before the next merge, and does not merge for it again.
      partial.health.hasten();
      return { ...MADE_ANEW, durationMs: this.#now() - started };
    }
    for (const { member } of failed) member.health.unknown();
    return last ?? { ...MADE_ANEW, durationMs: this.#now() - started };
  }

  speakFor(sender: string): void {
    for (const { client } of this.#options.members) client.speakFor?.(sender);
  }

  close(): void {
    for (const { client } of this.#options.members) client.close();
  }

  /**
   * Of those that the next requests go to. A failover asks them in their order until one says something; a balance sends to each. One that
   * is tried again is asked by the request that tries it, or all would wait for it.
   */
  async #prove(): Promise<Members | Answer> {
    const { kind } = this.#options;
    const failed: Failed[] = [];
    const proofs: Members[] = [];
    let works: GroupMember | undefined;
    for (const member of this.#candidates()) {
      const proved = await this.#proofs.get(member)!.prove();
      if (typeof proved === "string") {
        proofs.push(proved);
        works = member;
        this.#down(works, failed.splice(0));
        if (kind === "failover") break;
        continue;
      }
      this.#givenBy.set(proved, member);
      const aborted = proved.kind === "none" && proved.aborted;
      if (!aborted && this.#moveAfter(proved, member).move === "moves") {
        if (works !== undefined) this.#down(works, [{ member, answer: proved }]);
        else failed.push({ member, answer: proved });
      } else return proved;
    }
    const due = this.#options.members.filter(({ health }) => health.due)
      .flatMap((member) => this.#proofs.get(member)!.known() ?? []);
    return [...proofs, ...due].find((proved) => proved !== "all") ?? proofs[0] ?? failed[0]?.answer ?? "unknown";
  }

  #known(): Members | undefined {
    const known = this.#candidates().map((member) => this.#proofs.get(member)!.known());
    if (known.includes(undefined)) return undefined;
    return known.find((proved) => proved !== "all") ?? known[0];
  }

  /** Those that take data as far as is known; where none does, all. */
  #candidates(): readonly GroupMember[] {
    const { members } = this.#options;
    const up = members.filter(({ health }) => health.up);
    return up.length === 0 ? members : up;
  }

  /** One has answered: those before it that failed are down. */
  #goOn(member: GroupMember, failed: readonly Failed[]): void {
    this.#down(member, failed);
    if (member === this.#current) return;
    this.#current = member;
    this.#changes++;
  }

  #down(to: GroupMember, failed: readonly Failed[]): void {
    for (const { member: from, answer } of failed) {
      const first = from.health.up;
      from.health.failed();
      const fault = from.client.diagnose(answer);
      const maybeBoth = answer.kind === "none"
        ? answer.timedOut || fault.code === "unknown"
        : answer.status === 502 || answer.status === 504;
      this.#options.events.moved(this.#options.signal, from.name, to.name, fault, { first, maybeBoth });
    }
  }

  /** 400, 413 and 422 are about the data; a Collector that asks to wait is busy, and for 30 s no more than that. */
  #moveAfter(answer: Answer, { health }: GroupMember): { readonly move: Move; readonly busyMs: number } {
    const moves = { move: "moves", busyMs: 0 } as const;
    const stays = { move: "stays", busyMs: 0 } as const;
    if (answer.kind === "none") return moves;
    const { status, foreign, retryAfterMs } = answer;
    if (status >= 200 && status < 300) return foreign ? moves : stays;
    // A proxy before it refuses the relay's certificate: that is this member's way, and nothing is wrong with the data.
    if (concernsTheWay(status, answer.message)) return moves;
    if (status === 429 || (status === 503 && retryAfterMs !== undefined)) {
      // One that is being tried again is not waited for: others have its data.
      if (!health.up) return moves;
      const busyMs = health.busy(retryAfterMs ?? REST_MS);
      return busyMs >= LOAD_MS_MAX ? moves : { move: "busy", busyMs };
    }
    return status === 400 || status === 413 || status === 422 ? stays : moves;
  }

  /** However long it asks to wait: after 30 s of it the data goes elsewhere, where there is another. */
  #shortened(answer: Answer, member: GroupMember, busyMs: number): Answer {
    if (answer.kind === "none" || answer.retryAfterMs === undefined || this.#options.members.length === 1) {
      return answer;
    }
    const shortened = { ...answer, retryAfterMs: Math.min(answer.retryAfterMs, LOAD_MS_MAX - busyMs) };
    this.#givenBy.set(shortened, member);
    return shortened;
  }

  /** In which order members are tried. One that was down and is due has the first request, so that it can come back. */
  #order(): GroupMember[] {
    const { kind, members } = this.#options;
    const up = members.filter(({ health }) => health.up);
    const due = members.filter(({ health }) => health.due);
    const down = members.filter((member) => !up.includes(member) && !due.includes(member));
    const chosen = kind === "failover" ? up : [
      ...this.#shuffled(up.filter(({ health }) => !health.rests)),
      ...this.#shuffled(up.filter(({ health }) => health.rests)),
    ];
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

/** As what a stop gives up: it tells nothing of anybody, and what was sent is sent again. */
const MADE_ANEW = {
  kind: "none",
  cause: "another exporter of the group is next",
  timedOut: false,
  aborted: true,
} as const;
