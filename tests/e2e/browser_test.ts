/**
 * The stock web SDK in a real browser, on a page of another origin than the relay's: with a token that the page's own backend
 * has minted, in a header, in the URL, and by a beacon. What must not get in does not.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { promisify } from "node:util";
import { mint } from "../../src/receiver/senders/minted.ts";
import { newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startChromium } from "../support/tools/chromium.ts";
import { folder } from "../support/files/folder.ts";
import { startRelayProcess } from "../support/relay/relay.ts";
import { startSink } from "../support/far_end/sink.ts";
import { startCollector } from "../support/tools/collector.ts";

const page = fileURLToPath(new URL("browser/page.ts", import.meta.url));
const pictures = fileURLToPath(new URL("../.cache/screenshots/", import.meta.url));
const ARRIVAL_MS = 30_000;

/** A web server of one origin, which has the page and nothing else. */
function servePage(script: string) {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) =>
      new URL(url).pathname === "/page.js"
        ? new Response(script, { headers: { "content-type": "text/javascript" } })
        : new Response(
          '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script type="module" src="/page.js"></script>',
          {
            headers: { "content-type": "text/html" },
          },
        ),
  );
  return { port: server.addr.port, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("the stock web SDK in Chromium, on another origin", async (t) => {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await folder());
  const bundle = join(at.path, "page.js");
  // The bundler is fetched at its first use: where a proxy replaces certificates, by what the machine trusts.
  await promisify(execFile)(Deno.execPath(), ["bundle", "--quiet", "--platform", "browser", page, "-o", bundle], {
    env: { ...process.env, DENO_TLS_CA_STORE: "mozilla,system" },
  });
  const site = stack.use(servePage(await readFile(bundle, "utf8")));
  const origin = `http://localhost:${site.port}`;
  const secret = newSecret();
  const certificates = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certificates.dir, sink }));
  const relay = stack.use(
    await startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certificates.dir,
      auth: {
        tokens:
          `signing_keys: [{ id: web, secret: ${secret}, origins: ["${origin}"], signals: [traces], max_age: 10m }]`,
      },
      config: {
        telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { sampling_ratio: 1 }, log: { format: "json" } },
      },
    }),
  );
  const browser = stack.use(await startChromium());
  const tab = await browser.newTab();
  const minted = await mint({ keyId: "web", secret, ageMs: 300_000, origins: [origin], bodyBytesMax: 65_536 });
  const tokens = [minted];

  const visit = async (how: string, { from = origin, token = minted, service = `page by ${how}` } = {}) => {
    tokens.push(token);
    const title = await tab.visit(`${from}/#${new URLSearchParams({ relay: relay.url, how, token, service })}`);
    await mkdir(pictures, { recursive: true });
    await writeFile(join(pictures, `${service.replaceAll(" ", "_")}.png`), await tab.screenshot());
    return title;
  };
  const shown = () => tab.text();
  const arrived = (service: string) =>
    sink.spans().filter((span) => span.resource.attributes["service.name"] === service);

  for (const [how, title] of [["header", "sent"], ["url", "sent"], ["beacon", "queued"]] as const) {
    await t.step(`a page sends, the token by ${how}`, async () => {
      assert.equal(await visit(how), title, tab.log.join("\n"));
      await sink.waitFor(() => arrived(`page by ${how}`).length > 0, ARRIVAL_MS);
      assert.deepEqual(arrived(`page by ${how}`).map(({ name }) => name), ["page view"]);
    });
  }

  await t.step("a page of an origin that the key does not have cannot even ask", async () => {
    assert.equal(await visit("header", { from: `http://127.0.0.1:${site.port}`, service: "elsewhere" }), "failed");
    assert.match(tab.log.join("\n"), /blocked by CORS policy/);
    assert.match(await shown(), /TypeError: Failed to fetch/);
  });

  await t.step(
    "a token of another origin, or one that has expired, is refused where the page can see why",
    async () => {
      const expired = await mint({ keyId: "web", secret, ageMs: -60_000 });
      assert.equal(await visit("header", { token: expired, service: "expired" }), "failed");
      assert.match(await shown(), /401: Not authenticated: the token has expired/);
      await relay.line(/"reason":"unauthenticated".*the token has expired/);
      const other = await mint({ keyId: "web", secret: newSecret(), ageMs: 60_000 });
      assert.equal(await visit("header", { token: other, service: "forged" }), "failed");
      assert.match(await shown(), /401: Not authenticated: the token's signature is wrong/);
      await relay.line(/"reason":"unauthenticated".*the token's signature is wrong/);
    },
  );

  await t.step("no token is in the log, nor in the relay's own spans", async () => {
    await relay.stop();
    assert.deepEqual([arrived("elsewhere"), arrived("expired"), arrived("forged")], [[], [], []]);
    const own = arrived("edgeferry");
    assert.ok(own.length > 0, "its requests were traced");
    const everything = [
      relay.log().join("\n"),
      ...sink.spans().map((span) =>
        JSON.stringify(span, (_, value) => typeof value === "bigint" ? String(value) : value)
      ),
    ].join("\n");
    for (const token of tokens) assert.ok(!everything.includes(token.slice(-20)), "the end of a token, its signature");
    assert.ok(!everything.includes("access_token"));
    assert.ok(!everything.includes(secret));
  });
});
