/**
 * How each sender fares at an endpoint that tells senders apart, because a header names them: what one is refused is no reason to hold
 * back what others have sent.
 * @module
 */

/** What is known of one sender. */
interface Standing {
  /** Its requests that were refused, in a row. */
  refusals: number;
  /** Others were taken while it was refused: the endpoint is not at fault. */
  guilty: boolean;
  /** How many requests of all senders had been taken when the endpoint did not take this one's; undefined: it took the last one. */
  failedAt: number | undefined;
  /** A request of it is under way that shows whether it is still refused. */
  tried: boolean;
  /** Nothing of it is sent before, in ms by the clock. */
  until: number;
  /** When it was refused last, as a count of refusals. */
  refusedAt: number;
}

/** How long a sender waits that was refused, in ms: at first, and at most. */
export interface SenderWait {
  readonly initialMs: number;
  readonly maxMs: number;
}

/** Senders remembered at most; beyond it those are forgotten first that are not refused. */
const SENDERS_MAX = 10_000;

const NOTHING = () => {};

export class SenderStandings {
  readonly #wait: SenderWait;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #standings = new Map<string, Standing>();
  #refusals = 0;
  /** Senders that were refused last. */
  #refused = 0;
  readonly #tryingMax: number;
  #trying = 0;

  /**
   * @param tryingMax Requests of senders that are refused which may be under way at once.
   * @param now A clock in ms that is never set back.
   */
  constructor(
    wait: SenderWait,
    tryingMax: number,
    now: () => number = () => performance.now(),
    random: () => number = Math.random,
  ) {
    this.#wait = wait;
    this.#tryingMax = tryingMax;
    this.#now = now;
    this.#random = random;
  }

  /** Requests under way of senders that are refused. */
  get trying(): number {
    return this.#trying;
  }

  /**
   * In how many ms something of a sender may be sent; 0: now. Of one that is refused one request is under way at once, and of all such
   * no more than may be.
   */
  leftMs(sender: string): number {
    if (this.#refused === 0) return 0;
    const standing = this.#standings.get(sender);
    if (standing === undefined) return 0;
    const waits = standing.tried || (standing.refusals > 0 && this.#trying >= this.#tryingMax);
    return waits ? Math.max(this.#wait.initialMs, this.#ownMs(standing)) : this.#ownMs(standing);
  }

  /** Something of a sender is sent. What is returned says that it has ended. */
  tries(sender: string): () => void {
    const standing = this.#refused === 0 ? undefined : this.#standings.get(sender);
    if (standing === undefined || standing.refusals === 0) return NOTHING;
    standing.tried = true;
    this.#trying++;
    return () => {
      standing.tried = false;
      this.#trying--;
    };
  }

  #ownMs({ until }: Standing): number {
    return Math.max(0, until - this.#now());
  }

  /** Whether the endpoint has taken what others sent while it refused this one. */
  isGuilty(sender: string): boolean {
    return this.#standings.get(sender)?.guilty ?? false;
  }

  /** Refusals in a row. */
  refusalsOf(sender: string): number {
    return this.#standings.get(sender)?.refusals ?? 0;
  }

  /** Those first that are not refused, then those whose last refusal is longest ago. */
  inOrder(senders: readonly string[]): readonly string[] {
    if (this.#refused === 0) return senders;
    const refusedAt = (sender: string) => this.#standings.get(sender)?.refusedAt ?? 0;
    return senders.toSorted((a, b) => refusedAt(a) - refusedAt(b));
  }

  /** A request of the sender was taken. */
  taken(sender: string): void {
    const standing = this.#of(sender);
    if (standing.refusals > 0) this.#refused--;
    Object.assign(standing, { refusals: 0, guilty: false, failedAt: undefined, until: 0, refusedAt: 0 });
  }

  /**
   * The endpoint answered, and refused what the sender sent.
   * @param askedMs How long it asks to wait, in ms.
   * @returns in how many ms the sender is tried again.
   */
  refused(sender: string, askedMs = 0): number {
    const standing = this.#of(sender);
    const leftMs = this.#ownMs(standing);
    if (leftMs > 0) {
      // One of several that were under way: it tells nothing new, but what it asks to wait.
      standing.until = Math.max(standing.until, this.#now() + askedMs);
      return Math.max(leftMs, askedMs);
    }
    if (standing.refusals === 0) this.#refused++;
    const { initialMs, maxMs } = this.#wait;
    const backoffMs = Math.min(maxMs, initialMs * 2 ** Math.min(standing.refusals, 30));
    const waitMs = Math.max(askedMs, backoffMs / 2 + backoffMs / 2 * this.#random());
    standing.refusals++;
    standing.refusedAt = ++this.#refusals;
    standing.until = this.#now() + waitMs;
    return waitMs;
  }

  /**
   * The endpoint did not take what the sender sent, which may be its own fault or the endpoint's.
   * @param taken Requests of all senders that it has taken.
   * @returns whether the sender's: it did not take it before, and has taken others' since.
   */
  failed(sender: string, taken: number): boolean {
    const standing = this.#of(sender);
    if (standing.failedAt === undefined) standing.failedAt = taken;
    else if (taken > standing.failedAt) standing.guilty = true;
    return standing.guilty;
  }

  /** Others were taken beside one that was refused; what has been taken of it since has the last word. */
  condemn(sender: string): void {
    const standing = this.#standings.get(sender);
    if (standing !== undefined && standing.refusals > 0) standing.guilty = true;
  }

  /** What was in the way may be gone: all may be tried now. */
  hasten(): void {
    for (const standing of this.#standings.values()) standing.until = 0;
  }

  #of(sender: string): Standing {
    let standing = this.#standings.get(sender);
    if (standing !== undefined) return standing;
    if (this.#standings.size >= SENDERS_MAX) this.#forgetOne();
    standing = { refusals: 0, guilty: false, failedAt: undefined, tried: false, until: 0, refusedAt: 0 };
    this.#standings.set(sender, standing);
    return standing;
  }

  #forgetOne(): void {
    for (const [sender, { refusals }] of this.#standings) {
      if (refusals > 0) continue;
      this.#standings.delete(sender);
      return;
    }
    const [oldest] = this.#standings.keys();
    if (oldest === undefined) return;
    this.#standings.delete(oldest);
    this.#refused--;
  }
}
