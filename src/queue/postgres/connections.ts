/**
 * The connections of one relay: a few, made when they are needed, each given one piece of work at a time. A statement that is not
 * answered in time is left behind with its connection, since its backend may go on for as long as it likes.
 * @module
 */
import { messageOf } from "../../errors.ts";
import { type Client, DatabaseError, type QueryConfig } from "../../postgres/driver.ts";
import { within } from "../../within.ts";

/** A row, as the driver gives it. */
export type Row = Record<string, unknown>;

/** Asks one statement of a connection. */
export type Ask = (statement: QueryConfig) => Promise<readonly Row[]>;

/**
 * Why a piece of work has no result.
 * - `refused`: PostgreSQL rolled it back; `sqlState` says why.
 * - `unreachable`: it was never sent.
 * - `unknown`: it may have been committed: the connection was lost, nothing was heard in time, or the commit was not replicated as asked.
 */
export class PostgresFailure extends Error {
  override readonly name = "PostgresFailure";
  readonly kind: "refused" | "unreachable" | "unknown";
  /** Five characters of PostgreSQL's appendix A; only where it said something. */
  readonly sqlState: string | undefined;

  constructor(kind: PostgresFailure["kind"], message: string, sqlState?: string) {
    super(message);
    this.kind = kind;
    this.sqlState = sqlState;
  }

  /** Whether the same work may succeed later, with nothing changed here: all but what PostgreSQL refuses for what was asked. */
  get passes(): boolean {
    return this.kind !== "refused" || PASSING_CLASSES.has(this.sqlState?.slice(0, 2) ?? "");
  }
}

/** Transaction rollback, insufficient resources, object not in the state that is wanted, operator intervention. */
const PASSING_CLASSES = new Set(["40", "53", "55", "57"]);

export interface ConnectionsSettings {
  /** A new connection, ready for statements. */
  connect(): Promise<Client>;
  readonly max: number;
  /**
   * Whether a statement with a name stays prepared in its session. Behind a pooler that gives each transaction another session that ends
   * with the first that is not found; a name must belong to one text for ever, since others may have prepared it there.
   */
  readonly prepare: boolean;
}

interface Connection {
  readonly client: Client;
  /** Why it cannot be used any more. */
  lost: string | undefined;
  /** What the server warned of since the last piece of work began: its commit was not replicated. */
  doubt: string | undefined;
}

/** What PostgreSQL says of a commit whose wait for a standby was cancelled: "warning", of no narrower class. */
const WARNING = "01000";

/** Invalid or duplicate name of a prepared statement; a plan that no longer fits the tables. */
const NOT_PREPARED = new Set(["26000", "42P05", "0A000"]);

/** Serialization failure, deadlock: PostgreSQL ended it so that others go on, and nothing of it is kept. */
const CONTENTION = new Set(["40001", "40P01"]);

/** How often such a transaction is made, in all. PostgreSQL looks for a deadlock after a second: no haste is needed. */
const TRIES_MAX = 3;

/** How long a connection that was left behind is kept, in ms: as long as it is there it is known that its backend may be, too. */
const LEFT_BEHIND_MS = 300_000;

export class Connections {
  readonly #settings: ConnectionsSettings;
  readonly #idle: Connection[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #leftBehind = new Set<() => void>();
  readonly #ending = new Set<Promise<void>>();
  /** Called when no connection has work any more. */
  #unused: (() => void) | undefined;
  #prepare: boolean;
  #busy = 0;
  #closed = false;
  /** Why the last attempt to reach the database failed; undefined after one that did not. */
  trouble: string | undefined;

  constructor(settings: ConnectionsSettings) {
    this.#settings = settings;
    this.#prepare = settings.prepare;
  }

  /** How many connections were given up while their backend had not answered. */
  get abandoned(): number {
    return this.#leftBehind.size;
  }

  /** One statement, in a transaction of its own. @throws {PostgresFailure} */
  run(statement: QueryConfig, withinMs: number): Promise<readonly Row[]> {
    return this.#repeated((ask) => ask(statement), withinMs);
  }

  /**
   * Several statements in one transaction. `work` may be called again, see {@link CONTENTION}.
   * @throws {PostgresFailure}, or what `work` throws, and nothing is kept
   */
  transaction<Result>(work: (ask: Ask) => Promise<Result>, withinMs: number): Promise<Result> {
    return this.#repeated(async (ask) => {
      // The role's default does not decide what a statement sees.
      await ask({ text: "BEGIN ISOLATION LEVEL READ COMMITTED" });
      let result: Result;
      try {
        result = await work(ask);
      } catch (error) {
        await ask({ text: "ROLLBACK" }).catch(() => {});
        throw error;
      }
      await ask({ text: "COMMIT" });
      return result;
    }, withinMs);
  }

  /** Ends those that are idle, and each other when its work is done or has had its time; waits a little for these. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    for (const forget of [...this.#leftBehind]) forget();
    for (const { client } of this.#idle.splice(0)) this.#end(client);
    if (this.#busy > 0) await within(new Promise<void>((resolve) => this.#unused = resolve), END_MS);
    await Promise.all(this.#ending);
  }

  #end(client: Client): void {
    const ending = endClient(client).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  /** Makes a transaction again at once that was ended in favour of another. */
  async #repeated<Result>(work: (ask: Ask) => Promise<Result>, withinMs: number): Promise<Result> {
    const until = performance.now() + withinMs;
    for (let tries = 1;; tries++) {
      try {
        return await this.#work(work, until - performance.now());
      } catch (error) {
        const lost = error instanceof PostgresFailure && error.kind === "refused" &&
          CONTENTION.has(error.sqlState ?? "");
        if (!lost || tries === TRIES_MAX || performance.now() >= until) throw error;
      }
    }
  }

  async #work<Result>(work: (ask: Ask) => Promise<Result>, withinMs: number): Promise<Result> {
    const until = performance.now() + withinMs;
    const connection = await this.#acquire(until);
    connection.doubt = undefined;
    const ask: Ask = async ({ name, ...statement }) => {
      if (connection.lost !== undefined) throw new PostgresFailure("unknown", connection.lost);
      const prepared = name !== undefined && this.#prepare;
      try {
        return (await connection.client.query(prepared ? { ...statement, name } : statement)).rows;
      } catch (error) {
        const failure = failureOf(error);
        if (!prepared || failure.kind !== "refused" || !NOT_PREPARED.has(failure.sqlState ?? "")) throw failure;
        // A pooler has given this transaction to another backend than the one that knows the statement. Nothing has been done.
        this.#prepare = false;
        return await ask(statement);
      }
    };
    const working = work(ask);
    if (!await within(working.then(() => {}, () => {}), Math.max(0, until - performance.now()))) {
      this.#leaveBehind(connection, working);
      throw new PostgresFailure("unknown", `PostgreSQL has not answered for ${Math.round(withinMs / 1000)} s`);
    }
    try {
      const result = await working;
      if (connection.doubt !== undefined) throw new PostgresFailure("unknown", connection.doubt);
      this.trouble = undefined;
      this.#release(connection);
      return result;
    } catch (error) {
      // A connection that was lost is not used again; what PostgreSQL refused leaves it as it was.
      if (error instanceof PostgresFailure && error.kind === "unknown" && connection.doubt === undefined) {
        connection.lost ??= error.message;
        this.trouble = error.message;
      }
      this.#release(connection);
      throw error;
    }
  }

  async #acquire(until: number): Promise<Connection> {
    for (;;) {
      if (this.#closed) throw new PostgresFailure("unreachable", "The queue is closed");
      const idle = this.#idle.pop();
      if (idle !== undefined && idle.lost === undefined) {
        this.#busy += 1;
        return idle;
      }
      if (idle !== undefined) continue;
      if (this.#leftBehind.size >= this.#settings.max) {
        throw new PostgresFailure(
          "unreachable",
          `PostgreSQL owes ${this.#leftBehind.size} connections an answer: a standby may be lost that commits wait for`,
        );
      }
      if (this.#busy < this.#settings.max) return await this.#open(until);
      if (!await this.#turn(until)) throw new PostgresFailure("unreachable", "All connections to PostgreSQL are busy");
    }
  }

  async #open(until: number): Promise<Connection> {
    this.#busy += 1;
    try {
      const connecting = this.#settings.connect();
      if (!await within(connecting, Math.max(0, until - performance.now()))) {
        connecting.then((client) => this.#end(client), () => {});
        throw new Error("PostgreSQL has not taken a connection in time");
      }
      const client = await connecting;
      const connection: Connection = { client, lost: undefined, doubt: undefined };
      client.on("error", (error) => connection.lost ??= messageOf(error));
      client.on("end", () => connection.lost ??= "PostgreSQL closed the connection");
      client.on("notice", ({ code, message }) => {
        if (code === WARNING) connection.doubt ??= `PostgreSQL has committed, but warns: ${message}`;
      });
      return connection;
    } catch (error) {
      this.#free();
      this.trouble = messageOf(error);
      throw new PostgresFailure("unreachable", this.trouble);
    }
  }

  #release(connection: Connection): void {
    if (connection.lost !== undefined || this.#closed) this.#end(connection.client);
    else this.#idle.push(connection);
    this.#free();
  }

  #free(): void {
    this.#busy -= 1;
    if (this.#busy === 0) this.#unused?.();
    this.#waiting.shift()?.();
  }

  /** Resolves to whether a connection may have become free in time. */
  #turn(until: number): Promise<boolean> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        resolve(false);
      }, Math.max(0, until - performance.now()));
      this.#waiting.push(wake);
    });
  }

  #leaveBehind(connection: Connection, working: Promise<unknown>): void {
    connection.lost ??= "PostgreSQL did not answer in time";
    this.trouble = connection.lost;
    const forget = () => {
      clearTimeout(timer);
      if (this.#leftBehind.delete(forget)) this.#end(connection.client);
    };
    const timer = setTimeout(forget, LEFT_BEHIND_MS);
    this.#leftBehind.add(forget);
    working.then(forget, forget);
    this.#free();
  }
}

/** How long a connection takes to be closed in order, in ms; then its socket is closed. */
const END_MS = 1_000;

/** Ends a connection, however it is. Never rejects. */
export async function endClient(client: Client): Promise<void> {
  // With a statement under way the driver closes the socket without a word; that it is closed it does not always hear.
  if (!await within(client.end().catch(() => {}), END_MS)) client.connection.stream.destroy();
}

/** An ERROR has rolled the transaction back; what ends the connection says nothing of a commit that was under way. */
export function failureOf(error: unknown): PostgresFailure {
  if (error instanceof PostgresFailure) return error;
  if (!(error instanceof DatabaseError)) return new PostgresFailure("unknown", messageOf(error));
  const { code, severity, message } = error;
  // Class 08: of the connection, also between a pooler and the server. 40003: statement completion unknown.
  const unknown = severity !== "ERROR" || code === undefined || code.startsWith("08") || code === "40003";
  return new PostgresFailure(unknown ? "unknown" : "refused", message, code);
}
