/**
 * Whether an endpoint takes data of a signal, as real requests have shown: every target that sends there learns from the others.
 * @module
 */
import { concernsTheWay } from "../diagnosis/faults.ts";
import type { Answer } from "./client/client.ts";
import { dispositionOf } from "./client/disposition.ts";

/** A member that failed is tried again after so long, in ms; each relapse doubles it, up to the most. */
const RETURN_MS = 30_000;
const RETURN_MS_MAX = 600_000;
/** So many successes, each at least so long after the one before, in ms, and a member is back. */
const SUCCESSES_TO_RETURN = 3;
const SUCCESS_APART_MS = 5_000;
/** A Collector that asks to wait is busy, not dead: after so long of it, in ms, data goes elsewhere. */
export const LOAD_MS_MAX = 30_000;
/** How long one is left alone that does not say for how long it asks to wait, in ms. */
const REST_MS = 1_000;

/** What an answer means for where the data goes. `busy`: the endpoint asks to wait. */
type Move = "stays" | "busy" | "moves";

/** What is known of one endpoint for one signal. */
export class EndpointHealth {
  readonly #now: () => number;
  #state: "up" | "down" | "returning" = "up";
  #retryAt = 0;
  #waitMs = RETURN_MS;
  #successes = 0;
  #lastSuccessAt = 0;
  #busySince: number | undefined;
  #restUntil = 0;
  #probing = false;
  #refusing = false;
  readonly #onChange: ((answer: Answer | undefined) => void)[] = [];

  /** @param now A clock in ms that is never set back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether it takes data, as far as is known. */
  get up(): boolean {
    return this.#state === "up";
  }

  /** Whether it is down because it refuses everything: what it refuses says nothing of the data, and nothing of its return. */
  get refusing(): boolean {
    return this.#refusing;
  }

  /** It refuses everything, as far as can be told: this answer is one of those. */
  refuses(answer: Answer): void {
    this.#refusing = true;
    this.failed(answer);
  }

  /** Tells from now on when it is down, by the answer that showed it, and without one when it is back. */
  whenChanged(tell: (answer: Answer | undefined) => void): void {
    this.#onChange.push(tell);
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

  /** It cannot take data, as this answer shows. */
  failed(answer: Answer): void {
    if (this.#state === "returning") this.#waitMs = Math.min(RETURN_MS_MAX, this.#waitMs * 2);
    const before = this.up;
    this.#state = "down";
    this.#probing = false;
    this.#successes = 0;
    this.#retryAt = this.#now() + this.#waitMs;
    this.#busySince = undefined;
    this.#restUntil = 0;
    if (before) { for (const tell of this.#onChange) tell(answer); }
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
    this.#refusing = false;
    this.#waitMs = RETURN_MS;
    for (const tell of this.#onChange) tell(undefined);
    return true;
  }

  /** It is left as it was: the request said nothing of it. */
  unknown(): void {
    this.#probing = false;
  }

  /** 400, 413 and 422 are about the data, unless it refuses everything; a Collector that asks to wait is busy, and for 30 s no more than that. */
  judge(answer: Answer): { readonly move: Move; readonly busyMs: number } {
    const moves = { move: "moves", busyMs: 0 } as const;
    const stays = { move: "stays", busyMs: 0 } as const;
    if (answer.kind === "none") return moves;
    const { status, foreign, retryAfterMs } = answer;
    if (status >= 200 && status < 300) return foreign ? moves : stays;
    // A proxy before it refuses the relay's certificate: that is this endpoint's way, and nothing is wrong with the data.
    if (concernsTheWay(status, answer.message)) return moves;
    if (status === 429 || (status === 503 && retryAfterMs !== undefined)) {
      // One that is being tried again is not waited for: others have its data.
      if (!this.up) return moves;
      const busyMs = this.busy(retryAfterMs ?? REST_MS);
      return busyMs >= LOAD_MS_MAX ? moves : { move: "busy", busyMs };
    }
    return dispositionOf(answer) === "inspect" && !this.#refusing ? stays : moves;
  }
}
