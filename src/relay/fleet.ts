/**
 * What a relay knows about the others that share its queue, and about the queue as a whole. It asks the database when somebody wants
 * to know, and not more often than every few seconds.
 * @module
 */
import type { Connector } from "../postgres/connector.ts";
import { durabilityOf } from "../postgres/server_facts.ts";
import type { SharedQueue } from "../admin/status_page.ts";
import type { FleetInspector } from "../queue/postgres/inspect.ts";

/** Between two questions, in ms. */
const ASKED_MS = 5_000;
/** Groups of dead letters that are looked for. */
const GROUPS_MAX = 8;

/** Asks, and remembers the last answer. */
export class FleetWatch {
  readonly #inspector: Pick<FleetInspector, "relays" | "group">;
  readonly #database: Pick<Connector, "server">;
  readonly #managed: boolean;
  readonly #now: () => number;
  #last: SharedQueue | undefined;
  #askedAt = -Infinity;
  #asking: Promise<void> | undefined;

  constructor(
    inspector: Pick<FleetInspector, "relays" | "group">,
    database: Pick<Connector, "server">,
    managed: boolean,
    now: () => number = () => performance.now(),
  ) {
    this.#inspector = inspector;
    this.#database = database;
    this.#managed = managed;
    this.#now = now;
  }

  /** What is known; undefined before the first answer. An old answer has a new one asked for. */
  get last(): SharedQueue | undefined {
    void this.refresh();
    return this.#last;
  }

  /** What keeps a 200 safe; undefined before the first connection. */
  get keptBy(): ReturnType<typeof durabilityOf> {
    const facts = this.#database.server?.facts;
    return facts === undefined ? undefined : durabilityOf(facts, this.#managed);
  }

  /** Resolves when the answer is no older than a few seconds, or none can be had: then the last one stands. */
  refresh(): Promise<void> {
    if (this.#now() - this.#askedAt < ASKED_MS) return this.#asking ?? Promise.resolve();
    this.#askedAt = this.#now();
    return this.#asking ??= (async () => {
      try {
        const [relays, deadLetters] = await Promise.all([
          this.#inspector.relays(),
          this.#inspector.group({ limit: GROUPS_MAX }),
        ]);
        this.#last = { relays, deadLetters };
      } catch {
        // That the database cannot be asked is told by readiness and the log.
      } finally {
        this.#asking = undefined;
      }
    })();
  }
}
