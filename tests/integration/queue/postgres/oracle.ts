/**
 * The crash oracle of the fleet: three relays on one database append and send numbered records, and each round something goes wrong with
 * a relay or with PostgreSQL. At the end everything that was accepted has been delivered, nothing that was refused has, and the books
 * balance. By hand: `deno run -A tests/integration/queue/postgres/oracle.ts --rounds 200 --seed 7`.
 */
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { assertBalanced } from "../../../queue/contract.ts";
import { statsOf } from "../../../queue/records.ts";
import { Random } from "../../../support/bodies/requests.ts";
import { CuttingProxy } from "../../../support/postgres/cutting_proxy.ts";
import { type Postgres, startPostgres } from "../../../support/postgres/postgres.ts";
import { Fleet, type Relay } from "./fleet.ts";
import { Database } from "./scene.ts";

/** What can go wrong. */
export const TROUBLES = [
  "kill a relay",
  "kill two relays",
  "freeze a relay",
  "terminate backends",
  "cancel backends",
  "cut connections",
  "cut answers",
  "kill postgres",
  "freeze postgres",
  "fail over",
] as const;
export type TroubleName = typeof TROUBLES[number];

export interface OracleOptions {
  readonly seed: number;
  readonly troubles: readonly TroubleName[];
  readonly say?: (line: string) => void;
}

export interface OracleFigures {
  readonly accepted: number;
  readonly refused: number;
  readonly unknown: number;
  /** Refused as unknown, and delivered all the same. */
  readonly unknownDelivered: number;
  readonly delivered: number;
  readonly duplicates: number;
  readonly relaysKilled: number;
  readonly seconds: number;
}

/** Records that one relay appends: more than it comes to. */
const COUNT = 900_000;

/** In the text of an append, and in the name by which it is called once it is prepared. */
const APPEND = "append_";

const NAME = "oracle";

export async function runOracle({ seed, troubles, say = () => {} }: OracleOptions): Promise<OracleFigures> {
  const startedAt = performance.now();
  await using stack = new AsyncDisposableStack();
  const run = new Run(new Random(seed), stack.use(await startPostgres()));
  stack.defer(() => run.end());
  await run.begin(troubles.includes("fail over"));
  for (const [round, trouble] of troubles.entries()) {
    const before = run.fleet.accepted.size;
    await run.strike(trouble);
    // It goes on: whatever it was is over when the next comes.
    await run.fleet.until(() => run.fleet.accepted.size > before + 200);
    say(`${round} ${trouble}: ${run.fleet.accepted.size} accepted, ${run.fleet.missing.length} on their way`);
  }
  await run.settle();
  const { fleet } = run;
  return {
    accepted: fleet.accepted.size,
    refused: fleet.refused.size,
    unknown: fleet.unknown.size,
    unknownDelivered: [...fleet.unknown].filter((number) => fleet.delivered.has(number)).length,
    delivered: fleet.delivered.size,
    duplicates: fleet.duplicates,
    relaysKilled: run.relaysKilled,
    seconds: Math.round((performance.now() - startedAt) / 1000),
  };
}

class Run {
  readonly #random: Random;
  #server: Postgres;
  readonly #servers: Postgres[];
  #standby: Postgres | undefined;
  #proxy: CuttingProxy | undefined;
  #fleet: Fleet | undefined;
  #relays: Relay[] = [];
  relaysKilled = 0;

  constructor(random: Random, server: Postgres) {
    this.#random = random;
    this.#server = server;
    this.#servers = [server];
  }

  get #database(): Database {
    return Database.on(this.#server, NAME);
  }

  get fleet(): Fleet {
    if (this.#fleet === undefined) throw new Error("The run has not begun");
    return this.#fleet;
  }

  async begin(standby: boolean): Promise<void> {
    await Database.make(this.#server, NAME);
    if (standby) await this.#follow();
    this.#proxy = await CuttingProxy.start(this.#server.port);
    this.#fleet = new Fleet({ ...this.#server.config("relay"), database: NAME, port: this.#proxy.port });
    this.#relays = await Promise.all([1, 2, 3].map(() => this.fleet.start(COUNT)));
    await this.fleet.until(() => this.fleet.accepted.size > 100);
  }

  async #follow(): Promise<void> {
    this.#standby = await this.#server.standby({ name: `standby_${this.#servers.length}`, synchronous: true });
    this.#servers.push(this.#standby);
  }

  async strike(trouble: TroubleName): Promise<void> {
    switch (trouble) {
      case "kill a relay":
        return await this.#kill(1);
      case "kill two relays":
        return await this.#kill(2);
      case "freeze a relay": {
        const relay = this.#relays[this.#random.below(this.#relays.length)]!;
        relay.freeze();
        // Until its lease has run out by the clock of the database.
        const dead = "SELECT count(*)::int AS live FROM edgeferry.relays WHERE alive_until > clock_timestamp()";
        while (Number((await this.#ask(dead))[0]?.live) >= this.#relays.length) await delay(200);
        relay.thaw();
        return;
      }
      case "terminate backends":
        return await this.#signalBackends("pg_terminate_backend");
      case "cancel backends":
        return await this.#signalBackends("pg_cancel_backend");
      case "cut connections":
        return this.#proxy?.cutAll();
      case "cut answers":
        for (let cut = 0; cut < 5; cut++) await this.#proxy?.cutAnswerTo(APPEND);
        return;
      case "kill postgres":
        await this.#server.kill();
        await this.#server.start();
        return;
      case "freeze postgres":
        this.#server.freeze();
        await delay(this.#random.below(12_000));
        return this.#server.thaw();
      case "fail over":
        return await this.#failOver();
    }
  }

  async #kill(count: number): Promise<void> {
    for (let killed = 0; killed < count; killed++) {
      const [relay] = this.#relays.splice(this.#random.below(this.#relays.length), 1);
      await relay!.kill();
      this.relaysKilled += 1;
    }
    this.#relays.push(...await Promise.all(Array.from({ length: count }, () => this.fleet.start(COUNT))));
  }

  /** The primary is lost for good, and its standby takes its place, under load. */
  async #failOver(): Promise<void> {
    const standby = this.#standby;
    if (standby === undefined) throw new Error("There is no standby");
    // Fenced: it answers nobody any more, neither old connections nor new ones.
    await this.#server.kill();
    await standby.promote();
    this.#server = standby;
    this.#proxy!.target = standby.port;
    await this.#follow();
  }

  /** Some at random, ten times. */
  async #signalBackends(call: "pg_terminate_backend" | "pg_cancel_backend"): Promise<void> {
    for (let times = 0; times < 10; times++) {
      await this.#ask(
        `SELECT ${call}(pid) FROM pg_stat_activity WHERE application_name <> 'test' AND usename = 'relay' AND random() < 0.5`,
      );
      await delay(this.#random.below(200));
    }
  }

  async #ask(text: string): Promise<readonly Record<string, unknown>[]> {
    const client = await this.#database.connect("postgres", "test");
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Nobody appends any more; what is left is sent, and everything is counted. */
  async settle(): Promise<void> {
    for (const relay of this.#relays) relay.stop();
    await this.fleet.until(() => this.fleet.missing.length === 0 && this.#relays.every(({ stopped }) => stopped));
    await using queue = await this.#database.open({ role: "receiver" });
    let stats = await statsOf(queue);
    while (stats.records > 0) stats = await statsOf(queue);
    assert.deepEqual(this.fleet.missing, [], "accepted and not delivered");
    assert.deepEqual(
      [...this.fleet.refused].filter((number) => this.fleet.delivered.has(number)),
      [],
      "refused and delivered",
    );
    assertBalanced(stats);
    const { accepted } = stats.books.traces;
    assert.ok(
      accepted / 3 >= this.fleet.accepted.size,
      `${accepted / 3} in the books, ${this.fleet.accepted.size} accepted`,
    );
  }

  async end(): Promise<void> {
    await this.#fleet?.[Symbol.asyncDispose]();
    await this.#proxy?.[Symbol.asyncDispose]();
    for (const server of this.#servers.slice(1)) await server[Symbol.asyncDispose]();
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { rounds: { type: "string", default: "20" }, seed: { type: "string", default: "1" } },
  });
  const random = new Random(Number(values.seed));
  const troubles = Array.from({ length: Number(values.rounds) }, () => TROUBLES[random.below(TROUBLES.length)]!);
  console.log(await runOracle({ seed: Number(values.seed), troubles, say: (line) => console.log(line) }));
}
