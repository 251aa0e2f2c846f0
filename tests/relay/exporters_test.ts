/** Several Collectors at once: routes, a group that fails over, headers by sender; on each engine what it can. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CollectorOptions, type Received, startCollector } from "../../src/collector/server.ts";
import { configFrom } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { startRelayWith } from "../../src/relay/relay.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { queueThread } from "../support/threads/queue_threads.ts";

/** What has arrived at a far end, each with what it needs to be told by. */
class Arrivals {
  readonly received: { readonly items: number; readonly signal: string; readonly scope: string }[] = [];
  #changed = Promise.withResolvers<void>();

  push({ items, signal, headers }: Received): void {
    // An empty one is a trial or a probe.
    if (items === 0) return;
    this.received.push({ items, signal, scope: headers["x-scope-orgid"] ?? "" });
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  /** Resolves when so many items of a signal are there. */
  async items(signal: string, count: number): Promise<void> {
    const there = () =>
      this.received.filter((each) => each.signal === signal).reduce((sum, each) => sum + each.items, 0);
    while (there() < count) await this.#changed.promise;
    assert.equal(there(), count);
  }
}

interface Place extends AsyncDisposable {
  readonly tls: NonNullable<NonNullable<ConfigInput["exporter"]>["tls"]>;
  readonly lines: Record<string, unknown>[];
  collector(more?: Partial<CollectorOptions>): Promise<{ url: string; arrivals: Arrivals; stop(): Promise<void> }>;
  relay(config: ConfigInput): Promise<{
    send(sender: string, signal: "traces" | "logs"): Promise<number>;
    /** Records that wait for a target, as its metrics say. */
    waitingFor(target: string): Promise<number>;
  }>;
}

async function place(): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-exporters-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const senders = ["checkout-1", "shop"];
  await writeFile(
    join(dir, "tokens.yaml"),
    `tokens:\n${senders.map((id) => `  - { id: ${id}, sha256: ${digestOf(`token-of-${id}`)} }\n`).join("")}`,
  );
  const lines: Record<string, unknown>[] = [];
  return {
    tls: { ca_file: certs.ca.certificateFile, cert_file: certs.client.certificateFile, key_file: certs.client.keyFile },
    lines,
    async collector(more = {}) {
      const arrivals = new Arrivals();
      const { certificate: cert, key } = certs.server;
      const collector = stack.use(
        await startCollector({
          host: "127.0.0.1",
          port: 0,
          tls: { ca: [certs.ca.certificate], cert, key },
          onReceived: (received) => arrivals.push(received),
          ...more,
        }),
      );
      return { url: collector.url, arrivals, stop: () => collector.stop() };
    },
    async relay(config) {
      const relay = await startRelayWith(
        configFrom({
          receiver: { http: { endpoint: "127.0.0.1:0" }, auth: { tokens_file: join(dir, "tokens.yaml") } },
          telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, metrics: { enabled: false } },
          ...config,
          sending_queue: { path: join(dir, "queue.db"), ...config.sending_queue },
        }),
        createLog({ level: "debug", format: "json", write: (line) => void lines.push(JSON.parse(line)) }),
        { startThread: queueThread },
      );
      stack.defer(() => relay.stop());
      return {
        async waitingFor(target) {
          const lines = (await (await fetch(`${relay.adminUrl}/metrics`)).text()).split("\n");
          const line = lines.find((each) => each.startsWith(`edgeferry_target_records{target="${target}"`));
          assert(line !== undefined);
          return Number(line.slice(line.lastIndexOf("} ") + 2).split(" ")[0]);
        },
        async send(sender, signal) {
          const body = signal === "traces"
            ? {
              resourceSpans: [{
                scopeSpans: [{ spans: [{ traceId: "1".repeat(32), spanId: "1".repeat(16), name: "x" }] }],
              }],
            }
            : { resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: "x" } }] }] }] };
          const answer = await fetch(`${relay.url}/v1/${signal}`, {
            method: "POST",
            headers: { authorization: `Bearer token-of-${sender}`, "content-type": "application/json" },
            body: JSON.stringify(body),
          });
          await answer.body?.cancel();
          return answer.status;
        },
      };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const RETRY = { initial_interval: "10ms", max_interval: "100ms" };

for (const storage of ["sqlite", "none"] as const) {
  Deno.test(`${storage}: a group goes on to the next exporter when the first is gone`, async () => {
    await using at = await place();
    const [one, two] = [await at.collector(), await at.collector()];
    const common = { tls: at.tls, retry_on_failure: RETRY };
    const relay = await at.relay({
      exporters: { one: { endpoint: one.url, ...common }, two: { endpoint: two.url, ...common } },
      groups: { eu: { failover: ["one", "two"] } },
      routes: [{ exporters: ["eu"] }],
      sending_queue: { storage },
    });
    assert.equal(await relay.send("shop", "traces"), 200);
    await one.arrivals.items("traces", 1);
    await one.stop();
    for (let request = 0; request < 3; request++) assert.equal(await relay.send("shop", "traces"), 200);
    await two.arrivals.items("traces", 3);
    assert.ok(
      at.lines.some(({ message, target, from, to }) =>
        String(message).startsWith("An exporter of the group cannot take data") && target === "eu" && from === "one" &&
        to === "two"
      ),
      JSON.stringify(at.lines),
    );
  });
}

Deno.test("a header that names the sender: each request is of one sender alone", async () => {
  await using at = await place();
  const one = await at.collector();
  const relay = await at.relay({
    exporter: { endpoint: one.url, headers: { "X-Scope-OrgID": "org-${sender}" }, tls: at.tls },
    sending_queue: { batch: { flush_timeout: "300ms" } },
  });
  await Promise.all(
    ["shop", "checkout-1", "shop", "checkout-1"].map(async (sender) =>
      assert.equal(await relay.send(sender, "traces"), 200)
    ),
  );
  await one.arrivals.items("traces", 4);
  const byScope = Map.groupBy(one.arrivals.received, ({ scope }) => scope);
  const items = (scope: string) => byScope.get(scope)?.reduce((sum, each) => sum + each.items, 0);
  assert.deepEqual([items("org-shop"), items("org-checkout-1"), byScope.size], [2, 2, 2]);
});

for (const storage of ["sqlite", "none"] as const) {
  // With `none` the answer is one Collector's: the others may miss data.
  const also = storage === "none" ? { required: false } : {};
  Deno.test(`${storage}, routes: signals and senders go where the first that matches says; one that is down holds up no other`, async () => {
    await using at = await place();
    const [main, audit] = [await at.collector(), await at.collector()];
    const gone = await at.collector();
    await gone.stop();
    const common = { tls: at.tls, retry_on_failure: RETRY };
    const relay = await at.relay({
      exporters: {
        main: { endpoint: main.url, ...common },
        audit: { endpoint: audit.url, ...also, ...common },
        gone: { endpoint: gone.url, ...also, ...common },
      },
      sending_queue: { storage },
      routes: [
        { signals: ["traces"], senders: ["checkout-*"], exporters: ["main", "audit", "gone"] },
        { exporters: ["main"] },
      ],
    });
    assert.equal(await relay.send("checkout-1", "traces"), 200);
    assert.equal(await relay.send("checkout-1", "logs"), 200);
    assert.equal(await relay.send("shop", "traces"), 200);
    await main.arrivals.items("traces", 2);
    await main.arrivals.items("logs", 1);
    await audit.arrivals.items("traces", 1);
    assert.equal(audit.arrivals.received.length, 1);
  });
}

Deno.test("none: who is not required is tried once, and its answer is waited for by no sender", async () => {
  await using at = await place();
  const held = Promise.withResolvers<undefined>();
  const [main, audit] = [await at.collector(), await at.collector({ misbehave: () => held.promise })];
  const common = { tls: at.tls, retry_on_failure: RETRY };
  const relay = await at.relay({
    exporters: {
      main: { endpoint: main.url, ...common },
      audit: { endpoint: audit.url, required: false, ...common },
    },
    sending_queue: { storage: "none" },
    routes: [{ exporters: ["main", "audit"] }],
  });
  try {
    assert.equal(await relay.send("shop", "traces"), 200);
    assert.equal(await relay.waitingFor("audit"), 1, "still under way when the sender has its 200");
    assert.equal(await relay.waitingFor("main"), 0);
  } finally {
    held.resolve(undefined);
  }
  await audit.arrivals.items("traces", 1);
});

Deno.test("none: a group fails over within the time that its sender waits, and remembers", async () => {
  await using at = await place();
  let asked = 0;
  const silent = await at.collector({ misbehave: () => (asked++, { kind: "silence" }) });
  const two = await at.collector();
  const common = { tls: at.tls, retry_on_failure: RETRY };
  const relay = await at.relay({
    exporters: { one: { endpoint: silent.url, ...common }, two: { endpoint: two.url, ...common } },
    groups: { eu: { failover: ["one", "two"] } },
    routes: [{ exporters: ["eu"] }],
    sending_queue: { storage: "none" },
  });
  assert.equal(await relay.send("shop", "traces"), 200);
  const before = asked;
  for (let request = 0; request < 3; request++) assert.equal(await relay.send("shop", "traces"), 200);
  assert.equal(asked, before, "one that does not answer costs one timeout alone");
  await two.arrivals.items("traces", 4);
});
