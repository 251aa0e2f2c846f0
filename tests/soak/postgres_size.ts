/**
 * `deno run -A tests/soak/postgres_size.ts [--backlog-mib 1024] [--record-kib 16] [--snapshot-minutes 10] [--steady-minutes 30] [--rate 50]`:
 * how large the tables of a queue are on a real PostgreSQL while a backlog comes and goes behind an open snapshot, and at a steady rate
 * after it. Prints a line each half minute and a table in Markdown; fails where the size does not come back, or grows at the steady rate.
 *
 * The snapshot is opened before the backlog and held while it drains, as a long backup does: no row that it could see may be removed.
 */
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { setTimeout as pause } from "node:timers/promises";
import type { SendingQueue } from "../../src/queue/queue.ts";
import { assertBalanced } from "../queue/contract.ts";
import { LIMIT, record, settleAll, statsOf } from "../queue/records.ts";
import { Database } from "../integration/queue/postgres/scene.ts";
import { startPostgres } from "../support/postgres/postgres.ts";

const { values: flags } = parseArgs({
  options: {
    "backlog-mib": { type: "string", default: "1024" },
    "record-kib": { type: "string", default: "16" },
    "snapshot-minutes": { type: "string", default: "10" },
    "steady-minutes": { type: "string", default: "30" },
    "rate": { type: "string", default: "50" },
  },
});
const MIB = 2 ** 20;
const recordBytes = Number(flags["record-kib"]) * 1024;
const backlog = Math.round(Number(flags["backlog-mib"]) * MIB / recordBytes);
const snapshotMs = Number(flags["snapshot-minutes"]) * 60_000;
const steadyMs = Number(flags["steady-minutes"]) * 60_000;
const everyMs = 1_000 / Number(flags.rate);
/** Between two looks at the size, in ms. */
const LOOK_MS = 30_000;
/** How much more than at its beginning the steady part may end with, in bytes: partitions come and go whole. */
const GROWTH_MAX = 64 * MIB;
const APPENDS_AT_ONCE = 32;

interface Size {
  readonly phase: string;
  readonly atS: number;
  readonly totalMib: number;
  readonly payloadsMib: number;
  readonly rowsMib: number;
  readonly deadRows: number;
  readonly waitMs: number;
}

await using server = await startPostgres({ settings: { max_wal_size: "2GB" } });
const database = await Database.make(server, "size");
await using receiver = await database.open({ role: "receiver", bytesMax: 8 * 2 ** 30 });
await using exporter = await database.open({ role: "exporter", bytesMax: 8 * 2 ** 30 });
const startedAt = performance.now();
const sizes: Size[] = [];
let phase = "empty";
let longestWaitMs = 0;
let appended = 0;
let settled = 0;

async function look(): Promise<Size> {
  const [row] = await database.query(`SELECT
    (SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::float8 FROM pg_inherits WHERE inhparent = 'edgeferry.payloads'::regclass) AS payloads,
    (SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class WHERE relnamespace = 'edgeferry'::regnamespace AND relkind = 'r'
      AND relname NOT LIKE 'payloads%') AS rows,
    (SELECT sum(n_dead_tup)::float8 FROM pg_stat_user_tables WHERE schemaname = 'edgeferry') AS dead`);
  const [payloads, rows] = [Number(row?.payloads), Number(row?.rows)];
  const size = {
    phase,
    atS: Math.round((performance.now() - startedAt) / 1000),
    totalMib: Math.round((payloads + rows) / MIB),
    payloadsMib: Math.round(payloads / MIB),
    rowsMib: Math.round(rows / MIB * 10) / 10,
    deadRows: Number(row?.dead),
    waitMs: Math.round(longestWaitMs),
  };
  longestWaitMs = 0;
  sizes.push(size);
  console.error(JSON.stringify(size));
  return size;
}

async function append(queue: SendingQueue): Promise<void> {
  await queue.append(record(appended++, { bytes: recordBytes }));
}

/** Takes and settles until it is told to end. Of two that wait one has a round, so that a wait may last two of them. */
async function drain(ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    const waits = settled < appended;
    const since = performance.now();
    const deliveries = await exporter.take(LIMIT, ended);
    if (waits) longestWaitMs = Math.max(longestWaitMs, performance.now() - since);
    await settleAll(deliveries);
    settled += deliveries.length;
  }
}

await look();
const snapshot = await database.connect("postgres", "test");
await snapshot.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
await snapshot.query("SELECT count(*) FROM edgeferry.deliveries");
const snapshotAt = performance.now();
phase = "filling";
await Promise.all(Array.from({ length: APPENDS_AT_ONCE }, async () => {
  while (appended < backlog) await append(receiver);
}));
const full = await look();
assert.ok(full.payloadsMib >= Number(flags["backlog-mib"]), `${full.payloadsMib} MiB hold the backlog`);

phase = "draining, snapshot open";
const ending = new AbortController();
const draining = Promise.all([drain(ending.signal), drain(ending.signal)]);
let lookedAt = performance.now();
async function lookNowAndThen(): Promise<void> {
  if (performance.now() - lookedAt < LOOK_MS) return;
  lookedAt = performance.now();
  await look();
}
while ((await statsOf(exporter)).records > 0) {
  await pause(200);
  await lookNowAndThen();
}
await look();

async function steady(forMs: number): Promise<void> {
  const until = performance.now() + forMs;
  for (let next = performance.now(); performance.now() < until; next += everyMs) {
    await append(receiver);
    await lookNowAndThen();
    const leftMs = next + everyMs - performance.now();
    if (leftMs > 0) await pause(leftMs);
  }
}
phase = "steady, snapshot open";
await steady(Math.max(0, snapshotAt + snapshotMs - performance.now()));
await look();
await snapshot.query("COMMIT");
await snapshot.end();
phase = "steady, snapshot closed";
// What the snapshot kept is removed by the next autovacuum, once a minute.
await steady(Math.min(150_000, steadyMs / 2));
phase = "steady";
const before = await look();
await steady(Math.max(0, steadyMs - 150_000));
let stats = await statsOf(exporter);
// A lease that is lost has records sent twice, of which one settle counts: the database knows what is left.
for (; stats.records > 0; stats = await statsOf(exporter)) await pause(100);
const after = await look();
ending.abort();
await draining;
console.error(`${settled - appended} of ${appended} records were taken twice`);
assertBalanced(stats);
console.log("| phase | s | all, MiB | payloads, MiB | rows, MiB | dead rows | longest wait of a taker, ms |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
for (const size of sizes) console.log(`| ${Object.values(size).join(" | ")} |`);
assert.ok(
  after.totalMib * MIB <= before.totalMib * MIB + GROWTH_MAX,
  `it grew from ${before.totalMib} to ${after.totalMib} MiB`,
);
