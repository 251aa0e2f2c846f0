/**
 * `deno run -A tests/bench/ports.ts [--relays 2] [--rounds 3] [--requests 6000] [--connections 64] [--spans 10]`: several relays on one
 * machine and one address: behind nginx `stream`, or on one port that the kernel shares out (`SO_REUSEPORT`). Prints a table in Markdown: what
 * a request costs the relays and the balancer in CPU, requests a second, p99, and how the connections fall on the relays.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { initCertificates } from "../../src/pki/init.ts";
import { startNginxStream } from "../support/tools/nginx.ts";
import { tree } from "../support/postgres/processes.ts";
import { drive } from "./measure.ts";
import { counts, cpuUs, freePort, kill, resetCounts, root, type Sink, startRelay, startSink } from "./processes.ts";
import { writeRelayFiles } from "./relay_files.ts";

const { values: flags } = parseArgs({
  options: {
    relays: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "6000" },
    connections: { type: "string", default: "64" },
    spans: { type: "string", default: "10" },
  },
});
const relayCount = Number(flags.relays);
const [requests, connections, spans] = [Number(flags.requests), Number(flags.connections), Number(flags.spans)];

type Relay = Awaited<ReturnType<typeof startRelay>>;

/** Relays that are one to their senders. */
interface Group {
  readonly name: string;
  readonly url: string;
  readonly relays: readonly Relay[];
  readonly sink: Sink;
  /** Of the balancer, in us. */
  balancerUs(): Promise<number>;
}

interface Figures {
  readonly relayUs: number;
  readonly balancerUs: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  /** The part of the relays' CPU that the busiest one had. */
  readonly busiest: number;
}

await using stack = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), "edgeferry-bench-"));
stack.defer(() => rm(folder, { recursive: true, force: true }));
const at = { folder, certs: join(folder, "certs") };
await initCertificates({ dir: at.certs });

async function startGroup(name: string, port: (index: number) => number, before: readonly string[]): Promise<Group> {
  const sink = await startSink(at.certs);
  const relays: Relay[] = [];
  for (let index = 0; index < relayCount; index++) {
    const dir = join(folder, `${name}-${index}`);
    const config = { receiver: { http: { endpoint: `127.0.0.1:${port(index)}` } } };
    await writeRelayFiles(dir, { certs: at.certs, sink, config });
    relays.push(await startRelay(dir, "http", before));
  }
  stack.defer(() => kill(...relays.map(({ child }) => child), sink.child));
  return { name, url: relays[0]!.url, relays, sink, balancerUs: () => Promise.resolve(0) };
}

const shared = freePort();
const ports = Array.from({ length: relayCount }, () => freePort());
const alone = await startGroup("own port each, half of the senders to each", (index) => ports[index]!, []);
const nginx = stack.use(await startNginxStream(ports));
const groups: Group[] = [
  {
    ...alone,
    name: "nginx stream",
    url: `http://127.0.0.1:${nginx.port}`,
    async balancerUs() {
      const each = await Promise.all(tree(nginx.pid).map((pid) => cpuUs(pid).catch(() => 0)));
      return each.reduce((sum, us) => sum + us, 0);
    },
  },
  await startGroup("one port, SO_REUSEPORT", () => shared, ["--preload", join(root, "tests/bench/share_port.ts")]),
];

async function measure({ name, url, relays, sink, balancerUs }: Group): Promise<Figures> {
  await resetCounts(sink);
  const cpuOfEach = () => Promise.all(relays.map(({ child }) => cpuUs(child.pid)));
  const [before, balancerBefore] = [await cpuOfEach(), await balancerUs()];
  const load = { shape: "gzip", spans, connections } as const;
  const { ok, seconds, p99Ms } = await drive({ url }, load, `${requests}r`, at);
  for (let idle = 0, last = -1; last < ok * spans;) {
    const { items } = await counts(sink);
    idle = items > last ? 0 : idle + 1;
    if (idle > 400) throw new Error(`${name} lost spans: ${items} of ${ok * spans} arrived`);
    last = items;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const after = await cpuOfEach();
  const each = after.map((us, index) => us - before[index]!);
  const all = each.reduce((sum, us) => sum + us, 0);
  return {
    relayUs: all / ok,
    balancerUs: (await balancerUs() - balancerBefore) / ok,
    perSecond: ok / seconds,
    p99Ms,
    busiest: Math.max(...each) / all,
  };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
const found = new Map<string, Figures[]>();
for (const group of groups) await measure(group);
for (let round = 0; round < Number(flags.rounds); round++) {
  for (const group of groups) {
    const figures = await measure(group);
    found.set(group.name, [...found.get(group.name) ?? [], figures]);
    console.error(round, group.name, JSON.stringify(figures));
  }
}
console.log(
  "| | relays, us a request | balancer, us a request | requests/s | p99, ms | the busiest relay's part of the work |",
);
console.log("| --- | --- | --- | --- | --- | --- |");
for (const { name } of groups) {
  const of = (key: keyof Figures) => median((found.get(name) ?? []).map((each) => each[key]));
  console.log(
    `| ${name} | ${Math.round(of("relayUs"))} | ${Math.round(of("balancerUs"))} | ${Math.round(of("perSecond"))} | ${
      of("p99Ms").toFixed(1)
    } | ${of("busiest").toFixed(2)} |`,
  );
}
