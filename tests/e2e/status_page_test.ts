/**
 * The status page in a real browser, over a relay with real traffic: what it shows is what has happened, live; in light and dark, on
 * a phone, by keyboard and to a screen reader; with the Collector down; and without a secret anywhere.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Misbehaviour, startCollector } from "../../src/collector/server.ts";
import type { SignalName } from "../../src/signal.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startChromium } from "../support/tools/chromium.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { startRelayHere } from "../support/relay/relay.ts";

const pictures = fileURLToPath(new URL("../.cache/screenshots/", import.meta.url));
const SHOWN_MS = 30_000;
/** Words of a Collector that would be a script, were they not text. */
const EVIL = "these logs are <img src=x onerror=document.title=1> not taken";

Deno.test("the status page in Chromium", async (t) => {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  // A Collector that refuses an empty request too says nothing of what it was sent, and nothing is set aside for it.
  let misbehave = (signal: SignalName, empty: boolean): Misbehaviour | undefined =>
    signal === "logs" && !empty ? { kind: "status", status: 400, message: EVIL } : undefined;
  const tls = {
    ca: [certificates.ca.certificate],
    cert: certificates.server.certificate,
    key: certificates.server.key,
  };
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls,
    misbehave: (signal, _, body) => misbehave(signal, body.length === 0),
    onReceived: () => {},
  });
  let collecting = true;
  stack.defer(async () => {
    if (collecting) await collector.stop();
  });
  const tokens = { shop: newSecret(), web: newSecret() };
  const adminToken = newSecret();
  const passed = newSecret();
  const relay = stack.use(
    await startRelayHere({
      engine: "sqlite",
      collectorUrl: collector.url,
      certsDir: certificates.dir,
      auth: {
        tokens: JSON.stringify({
          tokens: Object.entries(tokens).map(([id, token]) => ({ id, sha256: digestOf(token) })),
        }),
      },
      config: {
        exporter: {
          headers: { "x-api-key": passed },
          retry_on_failure: { initial_interval: "100ms", max_interval: "1s" },
        },
        telemetry: { admin: { endpoint: "127.0.0.1:0", token: adminToken }, log: { format: "json" } },
      },
    }),
  );
  const send = async (sender: keyof typeof tokens | undefined, signal: SignalName, count: number) => {
    const answer = await fetch(`${relay.url}/v1/${signal}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${sender === undefined ? "nobody's" : tokens[sender]}`,
        "content-type": "application/x-protobuf",
      },
      body: requestOf(signal, Array.from({ length: count }, (_, index) => `n${index}`)),
    });
    await answer.body?.cancel();
    return answer.status;
  };
  const browser = stack.use(await startChromium());
  const tab = await browser.newTab();
  const url = relay.adminUrl.replace("http://", `http://admin:${adminToken}@`);
  /** Waits for the page to show it, by itself. */
  const shows = (id: string, pattern: RegExp) =>
    tab.evaluate<string>(`new Promise((resolve, reject) => {
      const element = document.getElementById(${JSON.stringify(id)});
      const look = () => ${pattern}.test(element.innerText) && (observer.disconnect(), resolve(element.innerText));
      const observer = new MutationObserver(look);
      observer.observe(element, { childList: true, subtree: true, characterData: true });
      setTimeout(() => reject(new Error("not shown: " + element.innerText)), ${SHOWN_MS});
      look();
    })`);
  const picture = async (name: string, width: number, scheme: "light" | "dark") => {
    await tab.emulate({ width, scheme });
    const [wanted, had] = await tab.evaluate<[number, number]>(
      "[document.documentElement.scrollWidth, innerWidth]",
    );
    assert(wanted <= had, `${name}: something is ${wanted} px wide in a window of ${had}`);
    const clipped = await tab.evaluate<string[]>(`[...document.querySelectorAll("main *, header *, footer *")]
      .filter((each) => !each.closest("svg, thead") && getComputedStyle(each).display !== "inline")
      .filter((each) => each.scrollWidth > each.clientWidth + 1)
      .map((each) => each.tagName + "#" + each.id + " " + each.scrollWidth + " in " + each.clientWidth)`);
    assert.deepEqual(clipped, [], `${name}: clipped at ${width}`);
    await mkdir(pictures, { recursive: true });
    await writeFile(join(pictures, `status_${name}.png`), await tab.screenshot());
  };

  await t.step("without the token it is not shown", async () => {
    for (const path of ["/", "/metrics", "/events"]) {
      const answer = await fetch(relay.adminUrl + path);
      assert.equal(answer.status, 401, path);
      await answer.body?.cancel();
    }
  });

  await t.step("what happens is shown as it happens", async () => {
    await tab.emulate({ width: 1280, scheme: "light" });
    // With what it is told at once, if that is there already.
    assert.match(await tab.visit(`${url}/`), /^edgeferry/);
    await shows("connection", /^Live$/);
    assert.match(await shows("senders", /./), /Nobody has sent anything yet/);
    assert.match(await shows("state", /./), /^Ready\s+Nobody has sent anything yet\.$/);
    assert.equal(await send("shop", "traces", 40), 200);
    assert.equal(await send("shop", "metrics", 7), 200);
    assert.equal(await send("web", "logs", 3), 200);
    assert.equal(await send(undefined, "traces", 1), 401);
    const rows = async (id: string, pattern: RegExp) => (await shows(id, pattern)).split("\n");
    const [traces, metrics, logs] = await rows("signals", /40\s+40\s[\s\S]*7\s+7\s[\s\S]*3\s+0\s+0\s+3\s/);
    assert.match(traces!, /^traces\s.*\s40\s+40\s+0\s+0\s+0\s+0\s+balanced$/);
    assert.match(metrics!, /^metrics\s.*\s7\s+7\s+0\s+0\s+0\s+0\s+balanced$/);
    assert.match(logs!, /^logs\s.*\s3\s+0\s+0\s+3\s+0\s+0\s+balanced$/);
    assert.match(await shows("senders", /shop/), /shop\s.*\s47\s+\S+ \S+ ago\s+none/);
    assert.match(await shows("senders_note", /\d/), /1 unauthenticated/);
    const letters = await shows("letters", /400/);
    assert.match(letters, /web\s+400 these logs are <img/);
    assert.match(letters, /1 letter with 3 log records, /);
    assert.match(letters, /^deno task queue replay --sender web --signal logs --reason 'these logs are <img /m);
    assert.match(await shows("ways", /takes[\s\S]*refuses/), /https:.*\s+takes\s+traces, metrics\s+refuses all\s+logs/);
    assert.match(
      await shows("state", /refused/),
      /^Logs refused\s+The Collector has taken none of what was sent as logs;/,
    );
    assert.match(await shows("certificates", /Collector/), /client\s+CN=client-app\s+\S+ \S+\s+\d+/);
    assert.match(await shows("chart_latency", /p50 \d/), /p50 [\d.]+ .s p99 [\d.]+ .s/);
    assert.match(await tab.evaluate("document.title"), /^edgeferry: Logs refused$/);
  });

  await t.step("what others have written is text", async () => {
    assert((await shows("letters", /img/)).includes(EVIL));
    assert.equal(await tab.evaluate("document.images.length"), 0);
  });

  await t.step("light, dark, and as narrow as a phone", async () => {
    const ground = () => tab.evaluate<string>("getComputedStyle(document.body).backgroundColor");
    await picture("light", 1280, "light");
    const light = await ground();
    for (const width of [360, 390, 560, 700, 861, 1024, 1121, 1920]) await picture(`light_${width}`, width, "light");
    await picture("dark", 1280, "dark");
    assert.notEqual(await ground(), light);
    await tab.emulate({ width: 1280, scheme: "light" });
  });

  await t.step("a screen reader is told what a chart shows, and what each table is", async () => {
    const nodes = await tab.accessible();
    const named = (role: string) => nodes.filter((node) => node.role === role).map(({ name }) => name);
    for (const role of ["banner", "main", "contentinfo"]) assert.equal(named(role).length, 1, role);
    assert.deepEqual(
      named("heading").sort(),
      [
        "edgeferry",
        "Traffic",
        "Items a second",
        "Queue",
        "Oldest queued",
        "Time to a safe 200",
        "Signals and books",
        "Collector",
        new URL(collector.url).origin,
        "Receiver",
        new URL(relay.url).origin,
        "Certificates",
        "Dead letters",
        "Senders",
      ].sort(),
    );
    assert.equal(named("table").length, 3);
    assert(!named("table").includes(""), "each table has a name");
    const charts = named("image");
    assert.equal(charts.length, 4);
    assert.match(
      charts[0]!,
      /^Items a second over the last 5 min\. taken: now [\d.]+, lowest [\d.]+, highest [\d.]+\. sent on: now/,
    );
    assert(named("columnheader").length >= 20 && named("rowheader").includes("traces"));
    assert.equal(named("status").length, 2, "the state and the connection are told politely");
    await tab.emulate({ width: 390, scheme: "light" });
    const narrow = (await tab.accessible()).map(({ role }) => role);
    assert.equal(narrow.filter((role) => role === "table").length, 3, "a table stays one where it looks like a list");
    assert(narrow.filter((role) => role === "columnheader").length >= 20);
    await tab.emulate({ width: 1280, scheme: "light" });
  });

  await t.step("by keyboard: the way around the header, and the pause", async () => {
    const focused = () => tab.evaluate<string>("document.activeElement.textContent || document.activeElement.tagName");
    await tab.press("Tab");
    assert.equal(await focused(), "Skip to the state of the relay");
    assert.notEqual(await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "none");
    await tab.press("Tab");
    assert.equal(await focused(), "Pause");
    await tab.press("Enter");
    assert.equal(await shows("connection", /Paused/), "Paused");
    await tab.press("Enter");
    await shows("connection", /^Live$/);
  });

  await t.step("a Collector that is down is named, with what to do, and what waits", async () => {
    collecting = false;
    await collector.stop();
    assert.equal(await send("shop", "traces", 5), 200);
    const notice = await shows("notices", /start the Collector/);
    assert.match(
      notice,
      /To do: start the Collector, or correct the host and port of exporter\.endpoint\. connection_refused/,
    );
    assert.match(notice, /traces: \d+ requests failed in a row.*What was answered 200 is kept in the queue\./);
    assert.match(await shows("signals", /traces\s.*\s5\s+balanced/), /traces\s.*\s45\s+40\s+0\s+0\s+0\s+5\s+balanced/);
    assert.match(
      await shows("state", /held up/),
      /^Traces held up\s+Nothing listens at exporter\.endpoint\. What was answered 200 waits in the queue; nothing is lost\.$/,
    );
    assert.match(await shows("ways", /failing/), /failing\s+traces, \d+ in a row/);
    await picture("down", 1280, "light");
    await picture("down_phone", 360, "dark");
    await tab.emulate({ width: 1280, scheme: "light" });
  });

  await t.step("when it is back the page says so", async () => {
    misbehave = () => undefined;
    const again = await startCollector({
      host: "127.0.0.1",
      port: Number(new URL(collector.url).port),
      tls,
      onReceived: () => {},
    });
    stack.defer(() => again.stop());
    assert.match(await shows("state", /refused/), /^Logs refused/);
    assert.match(await shows("signals", /45\s+45/), /traces\s.*\s45\s+45\s+0\s+0\s+0\s+0\s+balanced/);
    assert.match(
      await shows("ways", /Healed/),
      /takes\s+traces[\s\S]*\nHealed fault, .* ago: Nothing listens at exporter\.endpoint connection_refused/,
    );
    assert.equal(await send("web", "logs", 2), 200);
    assert.match(await shows("state", /grow/), /^Dead letters grow\s+.* 1 dead letter, /);
  });

  await t.step("the page needs nothing that its policy forbids, and shows no secret", async () => {
    assert.deepEqual(tab.log, []);
    const headers = { authorization: `Bearer ${adminToken}` };
    const texts = [await tab.evaluate<string>("document.documentElement.outerHTML")];
    for (const path of ["/", "/metrics", "/readyz", "/livez"]) {
      texts.push(await (await fetch(relay.adminUrl + path, { headers })).text());
    }
    for (const secret of [...Object.values(tokens), adminToken, passed, ...Object.values(tokens).map(digestOf)]) {
      for (const text of texts) assert(!text.includes(secret.slice(0, 16)));
    }
  });
});
