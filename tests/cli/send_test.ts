import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { startCollector } from "../../src/collector/server.ts";
import { DEV_TOKEN_FILE } from "../../src/cli/dev_token.ts";
import { main } from "../../src/main.ts";
import type { SignalName } from "../../src/signal.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { namesIn } from "../support/relay/exporting.ts";
import { folder } from "../support/files/folder.ts";
import { recorder } from "../support/relay/recorder.ts";
import { type RelayHere, startRelayHere } from "../support/relay/relay.ts";

async function run(...argv: string[]) {
  const { io, out, err } = recorder();
  return { code: await main(["send", ...argv], io), out, err };
}

/** With these variables, and in a folder of its own. */
async function withEnvironment<Value>(env: Record<string, string>, body: () => Promise<Value>): Promise<Value> {
  await using at = await folder();
  const before = { cwd: process.cwd(), env: { ...process.env } };
  process.chdir(at.path);
  Object.assign(process.env, env);
  try {
    return await body();
  } finally {
    process.chdir(before.cwd);
    for (const name of Object.keys(env)) {
      const value = before.env[name];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

async function withRelay(
  body: (relay: RelayHere, received: Map<SignalName, { names: string[]; peer: string }>) => Promise<void>,
): Promise<void> {
  await using certs = await testCertificates();
  const received = new Map<SignalName, { names: string[]; peer: string }>();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
    onReceived: ({ signal, body, peer }) => void received.set(signal, { names: namesIn(signal, body), peer }),
  });
  await using relay = await startRelayHere({
    engine: "none",
    collectorUrl: collector.url,
    certsDir: certs.dir,
    config: {
      telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, metrics: { enabled: false } },
    },
  });
  await body(relay, received);
}

Deno.test("send sends one of each by the stock SDK, and nothing past the relay", () =>
  withRelay(async (relay, received) => {
    const diverted = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_HEADERS: "x=y" };
    const { code, out, err } = await withEnvironment(
      diverted,
      () => run("--url", `${relay.url}/`, "--token", relay.token, "--service", "shop"),
    );
    assert.deepEqual([code, err], [0, []]);
    assert.deepEqual(out.slice(0, 3), ["traces  accepted", "metrics accepted", "logs    accepted"]);
    assert.match(out[3]!, /^trace id [0-9a-f]{32}$/);
    assert.deepEqual(received.get("traces"), {
      names: ["edgeferry send", "GET /hello"],
      peer: "client-app",
    });
    assert(received.get("metrics")?.names.includes("hello.requests"));
    assert(received.has("logs"));
  }));

Deno.test("send finds the token in the environment, in .env, or in the file of dev; as JSON it says what became of each", () =>
  withRelay(async (relay) => {
    const byVariable = await withEnvironment(
      { EDGEFERRY_TOKEN: relay.token },
      () => run("--url", relay.url, "--json"),
    );
    assert.equal(byVariable.code, 0);
    const { url, traceId, spanId, results } = JSON.parse(byVariable.out.join("\n"));
    assert.equal(url, relay.url);
    assert.match(traceId, /^[0-9a-f]{32}$/);
    assert.match(spanId, /^[0-9a-f]{16}$/);
    assert.deepEqual(results, { traces: "accepted", metrics: "accepted", logs: "accepted" });
    const byFile = await withEnvironment({}, async () => {
      await mkdir(join(DEV_TOKEN_FILE, ".."), { recursive: true });
      await writeFile(DEV_TOKEN_FILE, `${relay.token}\n`);
      return await run("--url", relay.url);
    });
    assert.equal(byFile.code, 0, byFile.err.join("\n"));
    const byDotEnv = await withEnvironment({}, async () => {
      await writeFile(".env", `EDGEFERRY_TOKEN=${relay.token}\n`);
      return await run("--url", relay.url);
    });
    assert.equal(byDotEnv.code, 0, byDotEnv.err.join("\n"));
  }));

Deno.test("send says why it was not taken, and ends with 1", () =>
  withRelay(async (relay) => {
    const { code, out, err } = await withEnvironment({}, () => run("--url", relay.url, "--token", "wrong"));
    assert.equal(code, 1);
    for (const line of out.slice(0, 3)) assert.match(line, /^(traces|metrics|logs) +refused: 401 \w+.*token/i, line);
    assert.equal(err.length, 1);
    assert.match(err[0]!, /^The relay at \S+ did not take everything; make a token with 'deno task token new', /);
  }));

Deno.test("send without a token says that one is wanted; a URL that is none is wrong use", () =>
  withRelay(async (relay) => {
    const none = await withEnvironment({}, () => run("--url", relay.url));
    assert.equal(none.code, 1);
    assert.match(
      none.err.join("\n"),
      /no token was sent: pass --token, set EDGEFERRY_TOKEN, or run dev in this folder$/,
    );
    const wrong = await run("--url", "nonsense");
    assert.equal(wrong.code, 2);
    assert.match(wrong.err.join("\n"), /--url/);
  }));

Deno.test("send to where nothing listens says so, and nothing of tokens", async () => {
  const { code, err } = await withEnvironment({}, () => run("--url", "http://127.0.0.1:1"));
  assert.equal(code, 1);
  assert.deepEqual(err, [
    "The relay at http://127.0.0.1:1 did not take everything; nothing listens there: start it with 'deno task dev', " +
    "or name another by --url",
  ]);
});

Deno.test("send follows the configuration: its address, its TLS, its CA and the client certificate that it asks for", async () => {
  await using certs = await testCertificates();
  await using at = await folder();
  const tls = { cert_file: join(certs.dir, "server.crt"), key_file: join(certs.dir, "server.key") };
  const exporterTls = {
    ca_file: join(certs.dir, "ca.crt"),
    cert_file: join(certs.dir, "client.crt"),
    key_file: join(certs.dir, "client.key"),
  };
  for (const client of [{}, { client_ca_file: join(certs.dir, "ca.crt") }]) {
    await using relay = await startRelayHere({
      engine: "sqlite",
      collectorUrl: "https://localhost:1",
      certsDir: certs.dir,
      http: { tls: { ...tls, ...client } },
    });
    const file = join(at.path, "relay.yaml");
    const config = {
      receiver: { http: { endpoint: new URL(relay.url).host, tls: { ...tls, ...client } } },
      exporter: { endpoint: "https://localhost:1", tls: exporterTls },
    };
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config));
    const { code, out, err } = await withEnvironment({}, () => run("--config", file, "--token", relay.token, "--json"));
    assert.deepEqual([code, err], [0, []], out.join("\n"));
    const { url, results } = JSON.parse(out.join("\n"));
    assert.deepEqual([url, new Set(Object.values(results))], [relay.url, new Set(["accepted"])]);
    // A CA that did not sign is not trusted.
    await using other = await testCertificates();
    const wrong = await withEnvironment(
      {},
      () => run("--config", file, "--token", relay.token, "--ca", join(other.dir, "ca.crt")),
    );
    assert.equal(wrong.code, 1, wrong.out.join("\n"));
  }
});

Deno.test("send to http:// reads no configuration; a CA that is missing is named", async () => {
  await withEnvironment({}, async () => {
    await writeFile("bad.yaml", "receiver: 7\n");
    const plain = await run("--url", "http://127.0.0.1:1", "--config", "bad.yaml");
    assert.match(plain.err[0]!, /nothing listens there/);
    const missing = await run("--url", "https://127.0.0.1:1", "--ca", "none.crt");
    assert.equal(missing.code, 1);
    assert.match(missing.err[0]!, /^Cannot read CA none\.crt: there is no such file/);
  });
});
