/**
 * What an endpoint has taken, and when: a refusal is about what was refused only where the endpoint took data that was sent after it. A
 * Collector takes an empty request without asking its back end, which may refuse everything for a while.
 * @module
 */

/** Where and when something was not taken. */
export interface Occasion {
  /** How many requests of data had been sent when the answer came. */
  readonly sentBefore: number;
  /** Which of several endpoints answered; undefined where there is one. */
  readonly by?: string | undefined;
}

/** Places remembered at most, which are senders and endpoints; beyond it those are forgotten that took nothing for longest. */
const PLACES_MAX = 20_000;

/** How long an endpoint counts as fickle after it has taken what it had refused, in ms. */
export const FICKLE_MS = 600_000;

/** The requests of data of one way. */
export class Evidence {
  readonly #bySender: boolean;
  readonly #now: () => number;
  #contradictedAt = -Infinity;
  /** The number of the last request that was taken, by place. */
  readonly #taken = new Map<string, number>();
  #sent = 0;
  #moves = 0;

  /**
   * @param bySender Whether the endpoint tells senders apart: what it takes of one proves nothing of another.
   * @param now A clock in ms that is never set back.
   */
  constructor(bySender: boolean, now: () => number = () => performance.now()) {
    this.#bySender = bySender;
    this.#now = now;
  }

  /**
   * Whether it refuses by chance, as far as is known: behind one address there may be several servers, of which one refuses everything. That
   * others were taken between two refusals proves little then.
   */
  get fickle(): boolean {
    return this.#now() - this.#contradictedAt < FICKLE_MS;
  }

  /** It took what it had refused by itself. */
  contradicted(): void {
    this.#contradictedAt = this.#now();
  }

  /** How often the data has gone to another endpoint since the one before refused everything. */
  get moves(): number {
    return this.#moves;
  }

  /** The data goes to another endpoint from now on: how many were refused in a row says nothing of that one. */
  moved(): void {
    this.#moves++;
  }

  /** Requests of data that have been sent. */
  get sent(): number {
    return this.#sent;
  }

  /** A request is sent. Returns its number. */
  send(): number {
    return ++this.#sent;
  }

  /**
   * Items of it were taken.
   * @param request Its number.
   * @param sender Whose it was.
   * @param by Which of several endpoints took it.
   */
  took(request: number, sender: string, by: string | undefined): void {
    this.#note(this.#placeOf(sender, undefined), request);
    if (by !== undefined) this.#note(this.#placeOf(sender, by), request);
  }

  /** The number of the last request of a sender that was taken, anywhere or by one endpoint; 0: none was. */
  lastTaken(sender: string, by?: string): number {
    return this.#taken.get(this.#placeOf(sender, by)) ?? 0;
  }

  /** Whether the endpoint that answered has taken data of the sender that was sent after the answer had come. */
  takenSince({ sentBefore, by }: Occasion, sender: string): boolean {
    return this.lastTaken(sender, by) > sentBefore;
  }

  #placeOf(sender: string, by: string | undefined): string {
    return JSON.stringify([this.#bySender ? sender : "", by]);
  }

  #note(place: string, request: number): void {
    const last = this.#taken.get(place) ?? 0;
    this.#taken.delete(place);
    this.#taken.set(place, Math.max(last, request));
    const [oldest] = this.#taken.keys();
    if (this.#taken.size > PLACES_MAX && oldest !== undefined) this.#taken.delete(oldest);
  }
}
