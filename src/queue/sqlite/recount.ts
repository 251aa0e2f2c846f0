/**
 * Keeps the senders' shares equal to the rows when rows come or go without an append or settle of this process.
 * @module
 */
import type { Shares } from "../shares.ts";
import type { Connection } from "./connection.ts";

/** How often the shares are counted anew at most, in ms: it reads every row's head. */
const RECOUNT_MS = 10_000;

export class Recount {
  readonly #connection: Pick<Connection, "ask" | "closing" | "questionFailed">;
  readonly #shares: Shares;
  readonly #now: () => number;
  /** Whether rows have come or gone that the shares do not count yet. */
  #wanted = false;
  #countedAt = -Infinity;

  /** @param now ms of a clock that never steps */
  constructor(
    connection: Pick<Connection, "ask" | "closing" | "questionFailed">,
    shares: Shares,
    now: () => number,
  ) {
    this.#connection = connection;
    this.#shares = shares;
    this.#now = now;
  }

  /** A count is wanted, when {@link ifWanted} next finds that it is time for one. */
  want(): void {
    this.#wanted = true;
  }

  ifWanted(): void {
    if (this.#wanted && this.#now() - this.#countedAt >= RECOUNT_MS && !this.#connection.closing) void this.count();
  }

  /** Answers come in order, so that what the rows say then is what the shares should have. Never rejects. */
  async count(): Promise<void> {
    this.#wanted = false;
    this.#countedAt = this.#now();
    try {
      const { senders } = await this.#connection.ask("senders", {});
      if (senders !== undefined) this.#shares.replace(senders);
      else this.#wanted = true;
    } catch (error) {
      this.#wanted = true;
      this.#connection.questionFailed(error);
    }
  }
}
