/**
 * `deno run -A tests/bench/fleet.ts [--relays 1,2,4] [--rounds 3] [--requests 6000] [--connections 64] [--spans 10]`: relays on one PostgreSQL, and one
 * on sqlite, side by side in one run. Prints a table in Markdown: what a request costs the relays and PostgreSQL in CPU, its WAL, how many
 * transactions keep them a second and how many requests share one, and requests a second and p99 as ratios to one relay, for those depend on
 * the machine.
 *
 * PostgreSQL is a real one that syncs, with TLS; every accepted span is counted at the sink, and one that is lost fails the run.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { initCertificates } from "../../src/pki/init.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { makeTables } from "../support/postgres/fleet.ts";
import { type Postgres, startPostgres } from "../support/postgres/postgres.ts";
import { tree } from "../support/postgres/processes.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { drive } from "./measure.ts";
import { writeRelayFiles } from "./relay_files.ts";
import { counts, cpuUs, kill, resetCounts, type Sink, startRelay, startSink } from "./processes.ts";

const { values: flags } = parseArgs({
  options: {
    relays: { type: "string", default: "1,2,4" },
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "6000" },
    warm: { type: "string", default: "6000" },
    connections: { type: "string", default: "64" },
    spans: { type: "string", default: "10" },
  },
});
const [requests, warm, connections, spans] = [flags.requests, flags.warm, flags.connections, flags.spans].map(
  Number,
) as [
  number,
  number,
  number,
  number,
];

interface Figures {
  readonly relayUs: number;
  readonly postgresUs: number;
  readonly walBytes: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  /** Transactions of appends a second, and requests in one of them. */
  readonly commitsPerSecond: number;
  readonly requestsPerCommit: number;
}

/** The server's processes come and go: what those have used that are there, and what the server has gathered of others. */
async function serverUs(postgres: Postgres): Promise<number> {
  const [own, ...children] = tree(postgres.pid);
  const each = await Promise.all(children.map((pid) => cpuUs(pid).catch(() => 0)));
  return (await cpuUs(own!, true)) + each.reduce((sum, us) => sum + us, 0);
}

async function walAt(postgres: Postgres): Promise<number> {
  const [row] = await postgres.query("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS at");
  return Number(row?.["at"]);
}

/** Transactions that have kept something; the database remembers each for ten minutes. */
async function commitsOf(postgres: Postgres): Promise<number> {
  const [row] = await postgres.query("SELECT count(*)::int AS commits FROM edgeferry.appends");
  return Number(row?.["commits"]);
}

interface Fleet {
  readonly name: string;
  readonly relays: readonly { readonly url: string; readonly child: Deno.ChildProcess }[];
  readonly sink: Sink;
  readonly postgres: Postgres | undefined;
}

/** All relays at once, each by its share of the connections, until all has arrived. */
async function measure(fleet: Fleet, count: number, at: { folder: string; certs: string }): Promise<Figures> {
  const { relays, sink, postgres } = fleet;
  await resetCounts(sink);
  if (postgres) await postgres.query("DELETE FROM edgeferry.appends");
  const relayCpu = async () => (await Promise.all(relays.map(({ child }) => cpuUs(child.pid)))).reduce((a, b) => a + b);
  const before = [
    await relayCpu(),
    postgres ? await serverUs(postgres) : 0,
    postgres ? await walAt(postgres) : 0,
  ] as const;
  const share = {
    shape: "gzip",
    spans,
    connections: Math.max(1, Math.round(connections / relays.length)),
  } as const;
  const each = await Promise.all(
    relays.map(({ url }) => drive({ url }, share, `${Math.round(count / relays.length)}r`, at)),
  );
  const ok = each.reduce((sum, { ok }) => sum + ok, 0);
  for (let idle = 0, last = -1; last < ok * spans;) {
    const { items } = await counts(sink);
    idle = items > last ? 0 : idle + 1;
    if (idle > 400) throw new Error(`${fleet.name} lost spans: ${items} of ${ok * spans} arrived`);
    last = items;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const commits = postgres ? await commitsOf(postgres) : 0;
  const seconds = Math.max(...each.map(({ seconds }) => seconds));
  return {
    commitsPerSecond: commits / seconds,
    requestsPerCommit: commits === 0 ? 0 : ok / commits,
    relayUs: (await relayCpu() - before[0]) / ok,
    postgresUs: postgres ? (await serverUs(postgres) - before[1]) / ok : 0,
    walBytes: postgres ? (await walAt(postgres) - before[2]) / ok : 0,
    perSecond: ok / seconds,
    p99Ms: Math.max(...each.map(({ p99Ms }) => p99Ms)),
  };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

await using stack = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), "edgeferry-bench-"));
stack.defer(() => rm(folder, { recursive: true, force: true }));
const at = { folder, certs: join(folder, "certs") };
await initCertificates({ dir: at.certs });
const database = stack.use(await testCertificates());

const fleets: Fleet[] = [];
for (const count of [0, ...flags.relays.split(",").map(Number)]) {
  const sink = await startSink(at.certs);
  const name = count === 0 ? "sqlite, 1 relay" : `postgres, ${count} relay${count > 1 ? "s" : ""}`;
  const postgres = count === 0 ? undefined : stack.use(await startPostgres({ tls: { server: database.server } }));
  if (postgres !== undefined) await makeTables(postgres);
  const queue: ConfigInput["sending_queue"] = postgres === undefined ? {} : {
    storage: "postgres",
    postgres: {
      url: postgres.url("relay").replace("127.0.0.1", "localhost"),
      tls: { ca_file: database.ca.certificateFile },
    },
  };
  const relays: { url: string; child: Deno.ChildProcess }[] = [];
  for (let index = 0; index < Math.max(1, count); index++) {
    const dir = join(folder, `${count}-${index}`);
    await writeRelayFiles(dir, { certs: at.certs, sink, config: { sending_queue: queue } });
    relays.push(await startRelay(dir));
  }
  stack.defer(() => kill(...relays.map(({ child }) => child), sink.child));
  fleets.push({ name, relays, sink, postgres });
}
const figures = new Map<string, Figures[]>();
for (const fleet of fleets) await measure(fleet, warm * fleet.relays.length, at);
for (let round = 0; round < Number(flags.rounds); round++) {
  for (const fleet of fleets) {
    const found = await measure(fleet, requests, at);
    figures.set(fleet.name, [...figures.get(fleet.name) ?? [], found]);
    console.error(round, fleet.name, JSON.stringify(found));
  }
}
const of = (name: string, key: keyof Figures) => median((figures.get(name) ?? []).map((each) => each[key]));
const one = fleets.find(({ postgres }) => postgres !== undefined)?.name ?? "";
console.log(
  "| | relay, us a request | PostgreSQL, us a request | WAL, bytes a request | commits/s | requests a commit | requests/s to one relay | p99 to one relay |",
);
console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
for (const { name } of fleets) {
  const [relay, server, wal] = (["relayUs", "postgresUs", "walBytes"] as const).map((key) => Math.round(of(name, key)));
  const ratio = (key: "perSecond" | "p99Ms") => (of(name, key) / of(one, key)).toFixed(2);
  const [commits, shared] = [Math.round(of(name, "commitsPerSecond")), of(name, "requestsPerCommit").toFixed(1)];
  console.log(
    `| ${name} | ${relay} | ${server || "-"} | ${wal || "-"} | ${commits || "-"} | ${commits ? shared : "-"} | ${
      ratio("perSecond")
    } | ${ratio("p99Ms")} |`,
  );
}
