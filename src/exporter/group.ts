/**
 * Several exporters as one client: each request goes to one of them, and on to another where the first cannot take it. What is known of
 * an endpoint comes of real requests alone; one that failed is tried again by a real request, too.
 * @module
 */
import { type Fault, faultNamed } from "../diagnosis/faults.ts";
import type { SignalName } from "../signal.ts";
import { dispositionOf } from "./client/disposition.ts";
import type { Answer, ExportClient, Prover, SendOptions, Target } from "./client/client.ts";
import { type EndpointHealth, LOAD_MS_MAX } from "./endpoint_health.ts";
import type { Members, MembersProof } from "./members.ts";
import type { Coding } from "./recode/recode.ts";

/** How a group chooses. `failover`: the first that works. `balance`: one of those that work, by weight. */
export type GroupKind = "failover" | "balance";

/** One exporter of a group. */
export interface GroupMember {
  /** As people call it. */
  readonly name: string;
  readonly client: ExportClient;
  /** How often it is chosen beside the others; counts for `balance`. */
  readonly weight: number;
  /** What is known of it; shared by all targets that it is in. */
  readonly health: EndpointHealth;
  /** Whether it reads the form of body that is sent; shared in the same way. */
  readonly proof: MembersProof;
}

/** What a group tells. */
export interface GroupEvents {
  /**
   * A request went from one member to another, since the first could not take it. `first`: the member counts as down from now on.
   * `maybeBoth`: the first one may have it, too.
   */
  moved(signal: SignalName, from: string, to: string, fault: Fault, how: { first: boolean; maybeBoth: boolean }): void;
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

interface Failed {
  readonly member: GroupMember;
  readonly answer: Answer;
}

/** A client that is several. */
export class GroupClient implements ExportClient {
  readonly #options: GroupOptions;
  readonly #random: () => number;
  readonly #now: () => number;
  /** The member that gave an answer, so that its own client says what was wrong. */
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
    // Refusals of the previous identity say nothing about the one in use now.
    for (const { client, health } of options.members) client.whenReplaced(() => health.hasten());
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

  givenBy(answer: Answer): string | undefined {
    return this.#givenBy.get(answer)?.name;
  }

  target(signal: SignalName): Target {
    return this.#current.client.target(signal);
  }

  diagnose(answer: Answer): Fault {
    return (this.#givenBy.get(answer) ?? this.#current).client.diagnose(answer);
  }

  /** Whether what is sent now may be of the form: each member is asked for itself before the first such request to it. */
  readonly proof: Prover = {
    prove: () => this.#prove(),
    known: () => this.#known(),
    // Each member's own is lost with its own connection, or refusal.
    lost: () => {},
    doubted: () => {},
  };

  /**
   * Sends to one member, and to the next where that one cannot take it. What fails on every member says nothing of any of them: it is left
   * to whoever asked. The time that there is, is shared among the members that are left and take data as far as is known.
   */
  async send(
    signal: SignalName,
    body: Uint8Array<ArrayBuffer>,
    encoding: Coding,
    options: SendOptions = {},
  ): Promise<Answer> {
    const started = this.#now();
    const { timeoutMs = Infinity, abort, needsProof = false } = options;
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
      const proved = needsProof ? await member.proof.prove() : "all";
      if (typeof proved === "string" && proved !== "all") {
        member.health.unknown();
        partial ??= member;
        continue;
      }
      const answer = typeof proved === "object" ? proved : await member.client.send(signal, body, encoding, {
        ...options,
        ...(timeoutMs === Infinity ? {} : { timeoutMs: Math.max(1, leftMs / sharing(order.slice(index))) }),
      });
      this.#givenBy.set(answer, member);
      // That one refuses which is known to refuse everything says less than whatever another answers.
      if (last === undefined || !member.health.refusing) last = answer;
      if (answer.kind === "none" && answer.aborted) {
        last = answer;
        member.health.unknown();
        break;
      }
      // The next answer at this address may come from another server.
      if (answer.kind === "none") member.proof.lost();
      else if (needsProof && dispositionOf(answer) === "inspect") member.proof.doubted();
      const { move, busyMs } = member.health.judge(answer);
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

  /** A balance has others to choose from at each attempt; where all refuse everything, nobody is left to go to. */
  leave(answer: Answer): boolean {
    const { kind, members, signal, events } = this.#options;
    const from = this.#givenBy.get(answer);
    if (kind !== "failover" || from === undefined || from.health.refusing) return false;
    const others = members.filter((member) => member !== from && !member.health.refusing);
    const to = others.find(({ health }) => health.up) ?? others[0];
    if (to === undefined) return false;
    const first = from.health.up;
    from.health.refuses(answer);
    events.moved(signal, from.name, to.name, faultNamed("refuses_everything"), { first, maybeBoth: false });
    return true;
  }

  speakFor(sender: string): void {
    for (const { client } of this.#options.members) client.speakFor?.(sender);
  }

  close(): void {
    for (const { client } of this.#options.members) client.close();
  }

  /**
   * The members that the next requests go to. A failover asks them in their order until one says something; a balance sends to each. One that
   * is tried again is asked by the request that tries it, or all would wait for it.
   */
  async #prove(): Promise<Members | Answer> {
    const { kind } = this.#options;
    const failed: Failed[] = [];
    const proofs: Members[] = [];
    let works: GroupMember | undefined;
    let busy: Answer | undefined;
    for (const member of this.#candidates()) {
      const proved = await member.proof.prove();
      if (typeof proved === "string") {
        proofs.push(proved);
        works = member;
        this.#down(works, failed.splice(0));
        if (kind === "failover") break;
        continue;
      }
      this.#givenBy.set(proved, member);
      const aborted = proved.kind === "none" && proved.aborted;
      const { move } = aborted ? { move: "stays" } : member.health.judge(proved);
      if (move === "moves") {
        if (works !== undefined) this.#down(works, [{ member, answer: proved }]);
        else failed.push({ member, answer: proved });
      } else if (move === "busy" && kind === "balance") {
        // The others have the data meanwhile.
        busy ??= proved;
      } else return proved;
    }
    if (proofs.length === 0 && busy !== undefined) return busy;
    const due = this.#options.members.filter(({ health }) => health.due)
      .flatMap((member) => member.proof.known() ?? []);
    return [...proofs, ...due].find((proved) => proved !== "all") ?? proofs[0] ?? failed[0]?.answer ?? "unknown";
  }

  #known(): Members | undefined {
    const known = this.#candidates().map((member) => member.proof.known());
    if (known.includes(undefined)) return undefined;
    return known.find((proved) => proved !== "all") ?? known[0];
  }

  /** Those that take data as far as is known, in a balance without one that has asked to wait; where none does, all. */
  #candidates(): readonly GroupMember[] {
    const { kind, members } = this.#options;
    const up = members.filter(({ health }) => health.up);
    const awake = kind === "balance" ? up.filter(({ health }) => !health.rests) : up;
    return awake.length > 0 ? awake : up.length > 0 ? up : members;
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
      from.health.failed(answer);
      const refuses = from.health.refusing && answer.kind === "answer" && dispositionOf(answer) === "inspect";
      const fault = refuses ? faultNamed("refuses_everything") : from.client.diagnose(answer);
      const maybeBoth = answer.kind === "none"
        ? answer.timedOut || fault.code === "unknown"
        : answer.status === 502 || answer.status === 504;
      this.#options.events.moved(this.#options.signal, from.name, to.name, fault, { first, maybeBoth });
    }
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

/** How many of those that are left share the time: the first, and of the others those that work; where none of all works, all. */
function sharing([first, ...others]: readonly GroupMember[]): number {
  const working = others.filter(({ health }) => health.up).length;
  return 1 + (working === 0 && first?.health.up === false ? others.length : working);
}

/** As what a stop gives up: it tells nothing of anybody, and what was sent is sent again. */
const MADE_ANEW = {
  kind: "none",
  cause: "another exporter of the group is next",
  timedOut: false,
  aborted: true,
} as const;
