/**
 * How old a kept connection may become. A connection that is kept for ever pins its sender to one relay, so that a relay which is
 * added behind a balancer of connections gets no senders.
 * @module
 */

/** Connections that opened together end apart: each at a time of its own within so much of the limit, above or below. */
const JITTER = 0.1;

/** Says which connections are to end. */
export class ConnectionAge<Connection extends object> {
  readonly #ageMs: number | undefined;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #ends = new WeakMap<Connection, number>();

  /** @param ageMs Undefined: they may become as old as they like. @param now ms of a clock that never steps */
  constructor(
    ageMs: number | undefined,
    now: () => number = () => performance.now(),
    random: () => number = Math.random,
  ) {
    this.#ageMs = ageMs;
    this.#now = now;
    this.#random = random;
  }

  opened(connection: Connection): void {
    if (this.#ageMs === undefined) return;
    this.#ends.set(connection, this.#now() + this.#ageMs * (1 - JITTER + 2 * JITTER * this.#random()));
  }

  /** Whether its next answer is to be its last. */
  reached(connection: Connection): boolean {
    const end = this.#ends.get(connection);
    return end !== undefined && this.#now() >= end;
  }
}
