/**
 * The crash oracle of a fleet, from sender to Collector: three relays behind HTTP on one PostgreSQL, numbered senders that write down every
 * 200, and each round something goes wrong with relays, with their connections or with the database. At the end every span written down is
 * at the far end as it was sent, and the books balance. By hand:
 * `deno run -A tests/e2e/fleet_oracle.ts --kills 200 --seed 7`.
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { Random } from "../support/bodies/requests.ts";
import { startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { CuttingProxy } from "../support/postgres/cutting_proxy.ts";
import { drained, makeTables, startMember } from "../support/postgres/fleet.ts";
import { type Postgres, startPostgres } from "../support/postgres/postgres.ts";
import type { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { mountSmallDisk, type SmallDisk } from "../support/tools/small_disk.ts";
import { BATCH_BYTES, CONSUMERS, SPANS_MAX } from "./oracle_load.ts";

/** What can go wrong, and how often it is drawn: what takes a minute is rarer. */
export const TROUBLES = {
  "kill a relay": 4,
  "kill two relays": 20,
  "freeze a relay": 1,
  "terminate backends": 4,
  "cancel backends": 4,
  "cut connections": 3,
  "cut answers": 4,
  "kill postgres": 3,
  "freeze postgres": 2,
  "fill the disk": 2,
  "fail over": 3,
} as const;
export type TroubleName = keyof typeof TROUBLES;

export interface FleetOracleOptions {
  /** All that is drawn follows from it. */
  readonly seed: number;
  /** What happens, in order. */
  readonly troubles: readonly TroubleName[];
  readonly say?: (line: string) => void;
}

export interface FleetOracleFigures {
  /** Relays killed. */
  readonly kills: number;
  readonly troubles: Readonly<Record<string, number>>;
  readonly requests: {
    readonly issued: number;
    readonly answered200: number;
    readonly refused: number;
    readonly unanswered: number;
  };
  readonly spans: {
    readonly answered: number;
    readonly delivered: number;
    /** Receipts of a span after its first, and by what happened when the first was received. */
    readonly duplicates: number;
    readonly duplicatesBy: Readonly<Record<string, number>>;
    readonly duplicatesMax: number;
  };
  readonly seconds: number;
}

const RELAYS = 3;
/** Requests whose outcome waits for its transaction, beside those in flight. */
const SETTLING = 8;
/** Requests that are answered 200 before the next trouble. */
const ANSWERED_EACH = 30;
/** How long a relay is frozen, in ms: its lease runs out twice. */
const FROZEN_MS = 60_000;
/** A lease runs out by then, in ms: what was begun under it has arrived again, or does not. */
const LEASE_MS = 30_000;
/** In the text of an append, and in the name by which it is called once it is prepared. */
const APPEND = "append_";
/** Each server has one of its own. */
const DISK_MIB = 400;
/** What is written again and again to fill it. */
const MIB = new Uint8Array(2 ** 20);

/** What happened, from when to when, in ms since the Unix epoch. */
interface Round {
  readonly trouble: TroubleName;
  readonly from: number;
  until: number;
}

/** Runs it, and fails where the promise is broken. */
export async function runFleetOracle(
  { seed, troubles, say = () => {} }: FleetOracleOptions,
): Promise<FleetOracleFigures> {
  const startedAt = performance.now();
  await using stack = new AsyncDisposableStack();
  const scene = await Scene.start(stack, seed, {
    standby: troubles.includes("fail over"),
    disk: troubles.includes("fill the disk"),
  });
  const { senders } = scene;
  const rounds: Round[] = [];
  try {
    await senders.answered(ANSWERED_EACH);
    for (const [index, trouble] of troubles.entries()) {
      const round: Round = { trouble, from: Date.now(), until: Infinity };
      rounds.push(round);
      await scene.strike(trouble);
      // It goes on: whatever it was is over when the next comes.
      await senders.answered(senders.answered200 + ANSWERED_EACH);
      round.until = Date.now();
      say(`${index} ${trouble}: ${senders.answered200} answered 200, ${scene.kills} killed`);
    }
  } finally {
    await senders.stop();
  }
  say("draining");
  await drained(scene.server);
  const times = new Map<string, number[]>();
  const changed: string[] = [];
  for (const { at, spans } of scene.receipts) {
    for (const { id, intact } of spans) {
      if (!intact || !senders.spans.has(id)) changed.push(id);
      times.set(id, [...times.get(id) ?? [], at]);
    }
  }
  assert.deepEqual(changed, [], "spans that arrived otherwise than they were sent");
  assert.deepEqual([...senders.written].filter((id) => !times.has(id)), [], "spans answered 200 that never arrived");
  const duplicates = judgeDuplicates(times, rounds, Math.max(...scene.receipts.map(({ spans }) => spans.length)));
  const accepted = await scene.accepted();
  assert(accepted >= senders.written.size, `${accepted} spans in the books, ${senders.written.size} answered 200`);
  const { issued, answered200, refused, unanswered } = senders;
  return {
    kills: scene.kills,
    troubles: Object.fromEntries(
      Object.keys(TROUBLES).map((name) => [name, troubles.filter((each) => each === name).length]),
    ),
    requests: { issued, answered200, refused, unanswered },
    spans: { answered: senders.written.size, delivered: times.size, ...duplicates },
    seconds: Math.round((performance.now() - startedAt) / 1000),
  };
}

/** What was on its way when something broke may arrive twice, and nothing else. */
function judgeDuplicates(
  times: ReadonlyMap<string, readonly number[]>,
  rounds: readonly Round[],
  requestSpansMax: number,
) {
  let duplicates = 0;
  const by: Record<string, number> = {};
  const unexplained: string[] = [];
  for (const [id, [first = 0, ...more]] of times) {
    for (const again of more) {
      duplicates++;
      const round = rounds.findLast(({ from, until }) => first <= until + LEASE_MS && again >= from);
      if (round === undefined) unexplained.push(id);
      else by[round.trouble] = (by[round.trouble] ?? 0) + 1;
    }
  }
  assert.deepEqual(unexplained, [], "spans that arrived twice while nothing was wrong");
  const affected = (trouble: TroubleName) => {
    if (trouble === "kill a relay" || trouble === "freeze a relay") return 1;
    return trouble === "kill two relays" ? 2 : RELAYS;
  };
  const duplicatesMax = rounds.reduce(
    (sum, { trouble }) => sum + affected(trouble) * (CONSUMERS + SETTLING) * requestSpansMax,
    0,
  );
  assert(duplicates <= duplicatesMax, `${duplicates} duplicates, where ${duplicatesMax} can have been on their way`);
  return { duplicates, duplicatesBy: by, duplicatesMax };
}

/** The database, its standby, the relays and what stands between. */
class Scene {
  readonly #random: Random;
  readonly #small: boolean;
  readonly #proxy: CuttingProxy;
  readonly #relays: RestartableRelay[];
  readonly #far: Awaited<ReturnType<typeof startEmbeddedFarEnd>>;
  readonly senders: NumberedSenders;
  /** The one that takes writes, and its standby where there is one. */
  readonly #servers: Placed[];
  #standbys = 0;
  kills = 0;

  private constructor(
    own: {
      readonly random: Random;
      readonly small: boolean;
      readonly proxy: CuttingProxy;
      readonly relays: RestartableRelay[];
      readonly far: Awaited<ReturnType<typeof startEmbeddedFarEnd>>;
      readonly servers: Placed[];
    },
    seed: number,
  ) {
    this.#random = own.random;
    this.#small = own.small;
    this.#proxy = own.proxy;
    this.#relays = own.relays;
    this.#far = own.far;
    this.#servers = own.servers;
    // One of them is killed or frozen now and then: senders find nobody there, as behind a balancer that has not noticed.
    const pick = new Random(seed + 1);
    this.senders = new NumberedSenders({
      seed,
      url: () => pick.pick(this.#relays).url,
      senders: 6,
      spansMax: SPANS_MAX,
      poisoned: 0,
    });
  }

  static async start(
    stack: AsyncDisposableStack,
    seed: number,
    { standby, disk }: { readonly standby: boolean; readonly disk: boolean },
  ): Promise<Scene> {
    const certs = stack.use(await testCertificates());
    const placed = await place(disk, (parent) => startPostgres({ settings: { max_wal_size: "64MB" }, ...parent }));
    const { server } = placed;
    const servers = [placed];
    stack.defer(async () => {
      for (const each of servers) await each[Symbol.asyncDispose]();
    });
    await makeTables(server);
    const far = stack.use(await startEmbeddedFarEnd(certs, certs.dir));
    const proxy = stack.use(await CuttingProxy.start(server.port));
    const url = server.url("relay").replace(`:${server.port}/`, `:${proxy.port}/`);
    const relays = await Promise.all(Array.from({ length: RELAYS }, async () =>
      stack.use(
        await startMember({
          role: "both",
          certs,
          collectorUrl: far.url,
          url,
          settings: { sending_queue: { num_consumers: CONSUMERS, batch: { max_size: BATCH_BYTES } } },
        }),
      )));
    const scene = new Scene({ random: new Random(seed), small: disk, proxy, relays, far, servers }, seed);
    if (standby) await scene.#follow();
    return scene;
  }

  get #primary(): Placed {
    const [primary] = this.#servers;
    if (primary === undefined) throw new Error("There is no server");
    return primary;
  }

  /** The one that takes writes. */
  get server(): Postgres {
    return this.#primary.server;
  }

  get receipts() {
    return this.#far.receipts;
  }

  /** Spans in the books. */
  async accepted(): Promise<number> {
    const [row] = await this.server.query(
      `SELECT (SELECT coalesce(sum(accepted), 0) FROM edgeferry.totals) + (SELECT coalesce(sum(accepted), 0) FROM edgeferry.ledger) AS accepted`,
    );
    return Number(row?.["accepted"]);
  }

  async strike(trouble: TroubleName): Promise<void> {
    switch (trouble) {
      case "kill a relay":
        return await this.#kill(1);
      case "kill two relays":
        return await this.#kill(2);
      case "freeze a relay": {
        const relay = this.#random.pick(this.#relays);
        relay.signal("SIGSTOP");
        await delay(FROZEN_MS);
        return relay.signal("SIGCONT");
      }
      case "terminate backends":
        return await this.#signalBackends("pg_terminate_backend");
      case "cancel backends":
        return await this.#signalBackends("pg_cancel_backend");
      case "cut connections":
        return this.#proxy.cutAll();
      case "cut answers":
        for (let cut = 0; cut < 5; cut++) await this.#proxy.cutAnswerTo(APPEND);
        return;
      case "kill postgres":
        await this.server.kill();
        return await this.server.start();
      case "freeze postgres":
        this.server.freeze();
        await delay(this.#random.below(12_000));
        return this.server.thaw();
      case "fill the disk":
        return await this.#fillDisk();
      case "fail over":
        return await this.#failOver();
    }
  }

  /** At a moment of its own each; all start again. */
  async #kill(count: number): Promise<void> {
    const left = [...this.#relays];
    const some = Array.from({ length: count }, () => left.splice(this.#random.below(left.length), 1)).flat();
    for (const relay of some) {
      await delay(this.#random.below(300));
      await relay.kill();
      this.kills++;
    }
    await Promise.all(some.map((relay) => relay.start()));
  }

  /** Some at random, ten times. */
  async #signalBackends(call: "pg_terminate_backend" | "pg_cancel_backend"): Promise<void> {
    for (let times = 0; times < 10; times++) {
      await this.server.query(`SELECT ${call}(pid) FROM pg_stat_activity WHERE usename = 'relay' AND random() < 0.5`);
      await delay(this.#random.below(200));
    }
  }

  /** Until senders have been refused for it, and somewhat longer. PostgreSQL ends where it cannot write its WAL, and is started again. */
  async #fillDisk(): Promise<void> {
    const { disk } = this.#primary;
    if (disk === undefined) throw new Error("There is no small disk");
    const file = join(disk.dir, "filling");
    const refused = this.senders.refused + this.senders.unanswered;
    try {
      for (let mib = 0; mib < DISK_MIB; mib++) await writeFile(file, MIB, { flag: "a" });
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    }
    while (this.senders.refused + this.senders.unanswered < refused + 20) await delay(50);
    await writeFile(file, "");
    await this.server.kill();
    await this.server.start();
  }

  async #follow(): Promise<void> {
    this.#standbys++;
    const name = `standby_${this.#standbys}`;
    this.#servers.push(
      await place(this.#small, (parent) => this.server.standby({ name, synchronous: true, ...parent })),
    );
  }

  /** The primary is lost for good, and its standby takes its place, under load. */
  async #failOver(): Promise<void> {
    const [lost, standby] = this.#servers;
    if (lost === undefined || standby === undefined) throw new Error("There is no standby");
    // Fenced: it answers nobody any more, neither old connections nor new ones.
    await lost.server.kill();
    await standby.server.promote();
    this.#servers.shift();
    this.#proxy.target = standby.server.port;
    await lost[Symbol.asyncDispose]();
    await this.#follow();
  }
}

/** A server, and the disk that is its own. */
interface Placed extends AsyncDisposable {
  readonly server: Postgres;
  readonly disk: SmallDisk | undefined;
}

async function place(
  small: boolean,
  start: (parent: { readonly parent?: string }) => Promise<Postgres>,
): Promise<Placed> {
  await using stack = new AsyncDisposableStack();
  const disk = small ? stack.use(await mountSmallDisk(`size=${DISK_MIB}m,mode=755`)) : undefined;
  const server = stack.use(await start(disk === undefined ? {} : { parent: disk.dir }));
  const own = stack.move();
  return { server, disk, [Symbol.asyncDispose]: () => own.disposeAsync() };
}

/** So many rounds that at least so many relays are killed. */
export function drawTroubles(random: Random, kills: number): TroubleName[] {
  const bag = Object.entries(TROUBLES).flatMap(([name, times]) => Array<TroubleName>(times).fill(name as TroubleName));
  const drawn: TroubleName[] = [];
  for (let killed = 0; killed < kills;) {
    const trouble = random.pick(bag);
    drawn.push(trouble);
    killed += trouble === "kill two relays" ? 2 : trouble === "kill a relay" ? 1 : 0;
  }
  return drawn;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { kills: { type: "string", default: "20" }, seed: { type: "string", default: "1" } },
  });
  const seed = Number(values.seed);
  const troubles = drawTroubles(new Random(seed), Number(values.kills));
  console.log(JSON.stringify(await runFleetOracle({ seed, troubles, say: (line) => console.error(line) }), null, 2));
}
