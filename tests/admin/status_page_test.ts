import assert from "node:assert/strict";
import { STEP_MS } from "../../src/admin/history.ts";
import { historyFileOf, readHistory } from "../../src/admin/history_file.ts";
import { StatusPage } from "../../src/admin/status_page.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { startTelemetry } from "../../src/telemetry/telemetry.ts";
import { exporterEvents } from "../../src/relay/events.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { append, type Exporting, exporting, requestOf, submission } from "../support/relay/exporting.ts";

/** A page over these ends, and where its sources are asked. */
function over(
  ends: Exporting,
  more: {
    readonly collect?: () => Promise<never>;
    readonly queuePath?: string;
    readonly historyFile?: string;
    readonly background?: boolean;
  } = {},
) {
  const stack = new AsyncDisposableStack();
  const telemetry = stack.use(startTelemetry({ serviceName: "edgeferry", exporter: {} }));
  const metrics = createMetrics(telemetry.meterProvider);
  metrics.observeQueue(() => ends.queue.stats());
  let collected = 0;
  const collect = () => {
    collected++;
    return telemetry.collect();
  };
  const page = stack.use(new StatusPage({ ...ends, exporter: ends.exporter, collect, ...more }));
  return { page, metrics, collected: () => collected, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

Deno.test("those who look at the same time share a sample; nothing is sampled in between", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = over(ends);
  await all.page.html();
  const before = all.collected();
  await Promise.all([all.page.html(), all.page.html(), all.page.html()]);
  assert.equal(all.collected(), before + 1);
});

Deno.test("without background work nothing is sampled but for who asks, and no timer stays", async () => {
  await using ends = await exporting({ storage: "none" });
  const telemetry = startTelemetry({ serviceName: "edgeferry", exporter: {} });
  let collected = 0;
  const collect = () => {
    collected++;
    return telemetry.collect();
  };
  // It is not disposed of: the test runner's sanitizers fail a test that leaves a timer behind.
  const page = new StatusPage({ ...ends, exporter: ends.exporter, collect, background: false });
  assert.match(await page.html(), /Ready/);
  assert.equal(collected, 1);
  await telemetry.stop();
});

Deno.test("whoever comes is told at once, and whoever leaves is not told any more", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = over(ends);
  const watcher = all.page.watch();
  assert.match((await watcher!.next())!.state, /Ready/);
  const waiting = watcher!.next();
  watcher![Symbol.dispose]();
  assert.equal(await waiting, undefined);
  assert.equal(await watcher!.next(), undefined);
});

Deno.test("the end of the page ends those who look", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = over(ends);
  const watcher = all.page.watch()!;
  await watcher.next();
  const waiting = watcher.next();
  all.page[Symbol.dispose]();
  assert.equal(await waiting, undefined);
  assert.equal(all.page.watch(), undefined);
});

Deno.test("what cannot be collected leaves a gap, and the page goes on", async () => {
  await using ends = await exporting({ storage: "none" });
  let broken = true;
  const telemetry = startTelemetry({ serviceName: "edgeferry", exporter: {} });
  const collect = () => broken ? Promise.reject(new Error("told to fail")) : telemetry.collect();
  using page = new StatusPage({ ...ends, exporter: ends.exporter, collect });
  await assert.rejects(page.html(), /told to fail/);
  broken = false;
  assert.match(await page.html(), /Ready/);
  await telemetry.stop();
});

Deno.test("the history of the charts is kept over a restart", async () => {
  await using ends = await exporting({ storage: "none" });
  const historyFile = historyFileOf(ends.queuePath);
  let at = 1_000_000_000_000;
  const next = async (page: StatusPage) => {
    at += STEP_MS;
    await page.html();
  };
  const telemetry = startTelemetry({ serviceName: "edgeferry", exporter: {} });
  const sources = { ...ends, exporter: ends.exporter, collect: () => telemetry.collect(), historyFile, now: () => at };
  {
    await using page = new StatusPage(sources);
    for (let step = 0; step < 3; step++) await next(page);
  }
  const kept = await readHistory(historyFile);
  assert(kept !== undefined && kept.fine.length >= 3);
  await using again = new StatusPage(sources);
  await next(again);
  await again[Symbol.asyncDispose]();
  assert.equal((await readHistory(historyFile))?.fine.length, kept.fine.length + 1);
  await telemetry.stop();
});

Deno.test("the newest dead letters are read from the queue's file, or are said not to be readable", async () => {
  await using ends = await exporting({
    misbehave: ({ names }) => names.length === 0 ? undefined : { kind: "status", status: 400, message: "never again" },
  });
  await using all = over(ends, { queuePath: ends.queuePath });
  const told = exporterEvents(all.metrics, createLog({ level: "error", write: () => {} }));
  assert.match(await all.page.html(), /id="letters"[^>]*><li class="none">None/i);
  await append(ends.queue, submission("logs", requestOf("logs", ["a", "b"]), { sender: "web" }));
  await ends.told.find(({ event }) => event === "dead", "the dead letter");
  told.deadLettered("logs", 2, "web", "never again");
  await ends.emptied();
  assert.match(await all.page.html(), /400 never again.*1 letter with 2 log records/s);
  await using elsewhere = over(ends, { queuePath: `${ends.queuePath}.missing` });
  assert.match(await elsewhere.page.html(), /They cannot be read; see the log/);
});
