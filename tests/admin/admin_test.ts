import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { adminApp, startAdmin } from "../../src/admin/admin.ts";
import { ConfigError } from "../../src/errors.ts";
import { accessOf } from "../../src/admin/access.ts";
import { StatusPage } from "../../src/admin/status_page.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { startTelemetry } from "../../src/telemetry/telemetry.ts";
import { type Exporting, exporting } from "../support/relay/exporting.ts";

/** The whole of admin over these ends. */
function opened(ends: Exporting) {
  const stack = new AsyncDisposableStack();
  const telemetry = stack.use(startTelemetry({ serviceName: "edgeferry", exporter: {} }));
  const metrics = createMetrics(telemetry.meterProvider);
  metrics.observeQueue(() => ends.queue.stats());
  const page = stack.use(new StatusPage({ ...ends, exporter: ends.exporter, collect: () => telemetry.collect() }));
  return { metrics, page, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Server-sent events, one after the other. */
async function* eventsOf(response: Response): AsyncGenerator<Record<string, string>> {
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      yield JSON.parse(text.slice("data: ".length, end));
      text = text.slice(end + 2);
    }
  }
}

Deno.test("alive is told while the event loop turns; ready while an append would be tried", async () => {
  await using ends = await exporting({ storage: "none" });
  const app = adminApp(ends);
  const livez = await app.request("/livez");
  assert.deepEqual([livez.status, await livez.json()], [200, { status: "ok" }]);
  const readyz = await app.request("/readyz");
  assert.deepEqual([readyz.status, await readyz.json()], [200, { status: "ready", reasons: [] }]);
  assert.equal((await app.request("/elsewhere")).status, 404);
  assert.equal((await app.request("/livez", { method: "POST" })).status, 404);
});

Deno.test("it is served where it is told to, and says what is in the way", async () => {
  await using ends = await exporting({ storage: "none" });
  await using admin = await startAdmin({ hostname: "127.0.0.1", port: 0 }, ends);
  const answer = await fetch(`${admin.url}/livez`);
  assert.deepEqual(await answer.json(), { status: "ok" });
  const taken = createServer();
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  try {
    await assert.rejects(
      startAdmin({ hostname: "127.0.0.1", port }, ends),
      (error) =>
        error instanceof ConfigError &&
        error.message.startsWith(`Cannot listen at telemetry.admin.endpoint 127.0.0.1:${port}: `) &&
        error.message.endsWith("free the port or choose another"),
    );
  } finally {
    taken.close();
    await once(taken, "close");
  }
});

Deno.test("the page's events are not for pages of other sites", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  for (
    const [site, status] of [["cross-site", 403], ["same-site", 403], ["same-origin", 200], ["none", 200]] as const
  ) {
    const answer = await app.request("/events", { headers: { "sec-fetch-site": site } });
    assert.equal(answer.status, status, site);
    await answer.body?.cancel();
  }
});

Deno.test("the metrics are there for Prometheus, and the page for people", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  all.metrics.accepted("traces", 5, "shop");
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  const metrics = await app.request("/metrics");
  assert.equal(metrics.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assert.match(await metrics.text(), /^edgeferry_receiver_accepted_items_total\{signal="traces"\} 5$/m);
  const page = await app.request("/");
  assert.deepEqual([page.status, page.headers.get("content-type")], [200, "text/html; charset=UTF-8"]);
  assert.match(page.headers.get("content-security-policy") ?? "", /^default-src 'none'; script-src 'sha256-/);
  assert.match(await page.text(), /^<!doctype html><html lang="en">/);
  for (const path of ["/", "/metrics", "/events"]) {
    assert.equal((await app.request(path, { method: "POST" })).status, 404, `${path} is for reading alone`);
  }
});

Deno.test("what changes is told to whoever looks: everything first, then what is new; then the stream ends", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  const stream = await app.request("/events");
  assert.equal(stream.headers.get("content-type"), "text/event-stream");
  const events = eventsOf(stream);
  const first: Record<string, string> = (await events.next()).value;
  assert.deepEqual([first["state"], first["senders_note"]], [
    '<strong class="badge good">Ready</strong><span class="sentence">Nobody has sent anything yet.</span>',
    "",
  ]);
  all.metrics.refused("unauthenticated", "traces");
  const second: Record<string, string> = (await events.next()).value;
  assert.equal(second["senders_note"], "Refused before it was known who sent: 1 unauthenticated.");
  assert(!("state" in second), "what has not changed is not told again");
  all.page[Symbol.dispose]();
  assert.deepEqual(await events.next(), { done: true, value: undefined });
});

Deno.test("a range is chosen in the address, of the page and of what comes", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  for (const query of ["", "?range=24h", "?range=%3Cscript%3E"]) {
    assert.equal((await app.request(`/${query}`)).status, 200, query);
    const stream = await app.request(`/events${query}`);
    assert.equal(stream.status, 200, query);
    await stream.body?.cancel();
  }
});

Deno.test("as many may look as there is room for, and who leaves makes room", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  const streams = await Promise.all(Array.from({ length: 32 }, () => app.request("/events")));
  assert.deepEqual(new Set(streams.map(({ status }) => status)), new Set([200]));
  assert.equal((await app.request("/events")).status, 503);
  await streams[0]!.body!.cancel();
  const again = await app.request("/events");
  assert.equal(again.status, 200);
  for (const stream of [...streams.slice(1), again]) await stream.body!.cancel();
});

Deno.test("who asks for the head of the events takes nobody's place", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page });
  for (let request = 0; request < 40; request++) {
    const head = await app.request("/events", { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("content-type")], [200, "text/event-stream"]);
    assert.equal(await head.text(), "");
  }
  const stream = await app.request("/events");
  assert.equal(stream.status, 200);
  await stream.body!.cancel();
});

Deno.test("behind a token health alone is for everybody, without what it knows of certificates", async () => {
  await using ends = await exporting({ storage: "none" });
  await using all = opened(ends);
  const access = accessOf({ token: "s3cret", exposed: true });
  const app = adminApp({ ...ends, exporter: ends.exporter, page: all.page, access, certificates: () => [] });
  const headers = { authorization: "Bearer s3cret" };
  assert.deepEqual(await (await app.request("/readyz")).json(), { status: "ready", reasons: [] });
  assert.deepEqual(Object.keys(await (await app.request("/readyz", { headers })).json()), [
    "status",
    "reasons",
    "warnings",
    "certificates",
  ]);
  for (const path of ["/", "/metrics", "/events"]) {
    assert.equal((await app.request(path)).status, 401, path);
    const shown = await app.request(path, { headers });
    assert.equal(shown.status, 200, path);
    await shown.body?.cancel();
  }
});

Deno.test("where nobody may look there is health and nothing else", async () => {
  await using ends = await exporting({ storage: "none" });
  const app = adminApp({ ...ends, exporter: ends.exporter });
  for (const path of ["/", "/metrics", "/events"]) assert.equal((await app.request(path)).status, 404, path);
});
