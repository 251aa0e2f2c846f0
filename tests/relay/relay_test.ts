import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configFrom } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { CertificateError, ConfigError } from "../../src/errors.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { GRPC_CODE, messagePrefix } from "../../src/otlp/grpc.ts";
import { createRelay, type Relay, startRelayWith } from "../../src/relay/relay.ts";
import { StorageError } from "../../src/queue/storage_error.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { startCollector } from "../../src/collector/server.ts";
import { relayConfig, SILENT } from "../support/relay/config.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { Journal, requestOf } from "../support/relay/exporting.ts";
import { GrpcClient } from "../support/far_end/grpc_client.ts";
import { type MtlsEndpoint, startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { queueThread } from "../support/threads/queue_threads.ts";

const TOKEN = "a-token-of-the-tests";

interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

interface Place extends AsyncDisposable {
  readonly dir: string;
  readonly certs: TestCertificates;
  readonly lines: Journal<Line>;
  /** The configuration, with these keys of `exporter`, `receiver` and so on instead. */
  config(collectorUrl: string, more?: ConfigInput): ConfigInput;
  start(input: ConfigInput): Promise<Relay>;
}

/** A folder with certificates and tokens, and a log. */
async function place(): Promise<Place> {
  const certs = await testCertificates();
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-relay-test-"));
  await writeFile(join(dir, "tokens.yaml"), `tokens:\n  - { id: test, sha256: ${digestOf(TOKEN)} }\n`);
  for (const name of ["client.crt", "client.key", "ca.crt"]) await copyFile(join(certs.dir, name), join(dir, name));
  const lines = new Journal<Line>();
  const log = createLog({ level: "debug", format: "json", write: (line) => lines.push(JSON.parse(line)) });
  return {
    dir,
    certs,
    lines,
    config: (collectorUrl, more = {}) =>
      relayConfig({ collectorUrl, certsDir: dir, queuePath: join(dir, "queue.db") }, SILENT, {
        receiver: { auth: { tokens_file: join(dir, "tokens.yaml") } },
        exporter: {
          retry_on_failure: { initial_interval: "10ms", max_interval: "100ms" },
          tls: { reload_interval: "100ms" },
        },
        shutdown: { grace: "5s" },
      }, more),
    start: (input) => startRelayWith(configFrom(input), log, { startThread: queueThread }),
    async [Symbol.asyncDispose]() {
      await rm(dir, { recursive: true, force: true });
      await certs[Symbol.asyncDispose]();
    },
  };
}

async function post(url: string, names: readonly string[], token = TOKEN): Promise<number> {
  const response = await fetch(`${url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${token}` },
    body: requestOf("traces", names),
  });
  await response.body?.cancel();
  return response.status;
}

/** A loopback port that somebody has. */
async function takenPort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

async function isListening(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}

/** Whether a file is there. */
async function exists(path: string): Promise<boolean> {
  return await stat(path).then(() => true, () => false);
}

Deno.test("it takes what has a token, hands it to the Collector over mutual TLS, and stops", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  const relay = await here.start(here.config(endpoint.url));
  assert.match(relay.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(await post(relay.url, ["a"]), 200);
  assert.equal(await post(relay.url, ["a"], "another"), 401);
  await endpoint.arrived(1);
  assert.equal(endpoint.requests[0]?.peer, "client-app");
  assert.match(String(endpoint.requests[0]?.headers["user-agent"]), /^OTel-OTLP-Exporter-edgeferry\/\d/);
  assert(await isListening(`${relay.adminUrl}/readyz`));
  await Promise.all([relay.stop(), relay.stop()]);
  await relay[Symbol.asyncDispose]();
  assert(!await isListening(relay.url));
  assert(!await isListening(`${relay.adminUrl}/livez`));
  assert.equal(here.lines.entries.at(-1)?.message, "Stopped");
  assert.equal(here.lines.entries.filter(({ message }) => message === "Stopped").length, 1);
});

Deno.test("a second relay on the same queue ends before it listens, whatever the port", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  const relay = await here.start(here.config(endpoint.url));
  const port = new URL(relay.url).port;
  for (const taken of [port, "0"]) {
    await assert.rejects(
      here.start(here.config(endpoint.url, {
        receiver: { http: { endpoint: `127.0.0.1:${taken}` }, auth: { tokens_file: join(here.dir, "tokens.yaml") } },
      })),
      /queue/,
    );
  }
  assert.equal(here.lines.entries.filter(({ message }) => message === "Receiving").length, 1);
  assert.equal(await post(relay.url, ["a"]), 200);
  await relay.stop();
});

Deno.test("with the none engine the Collector's answer is the sender's", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  await using relay = await here.start(here.config(endpoint.url, { sending_queue: { storage: "none" } }));
  endpoint.answer({ status: 200 }, { status: 400 }, { status: 500 }, { status: 429, headers: { "retry-after": "2" } });
  assert.equal(await post(relay.url, ["a"]), 200);
  assert.equal(await post(relay.url, ["a"]), 400);
  assert.equal(await post(relay.url, ["a"]), 503);
  assert.equal(await post(relay.url, ["a"]), 503);
  assert(!await exists(join(here.dir, "queue.db")));
});

const FAILING: readonly {
  readonly what: string;
  readonly input: (here: Place, taken: number) => ConfigInput | Promise<ConfigInput>;
  readonly kind: typeof ConfigError | typeof CertificateError | typeof StorageError;
  readonly says: RegExp;
}[] = [
  {
    what: "the receiver's port is taken",
    input: (here, taken) =>
      here.config("https://localhost:1", { receiver: { http: { endpoint: `127.0.0.1:${taken}` } } }),
    kind: ConfigError,
    says: /^Cannot listen at receiver\.http\.endpoint 127\.0\.0\.1:\d+: .*; free the port or choose another$/,
  },
  {
    what: "the admin's port is taken",
    input: (here, taken) =>
      here.config("https://localhost:1", { telemetry: { admin: { endpoint: `127.0.0.1:${taken}` } } }),
    kind: ConfigError,
    says: /^Cannot listen at telemetry\.admin\.endpoint 127\.0\.0\.1:\d+: .*; free the port or choose another$/,
  },
  {
    what: "the key is no PEM",
    input: async (here) => {
      await writeFile(join(here.dir, "client.key"), "not a key\n");
      return here.config("https://localhost:1");
    },
    kind: CertificateError,
    says: /client\.key/,
  },
  {
    what: "the key is of another certificate",
    input: (here) =>
      here.config("https://localhost:1", { exporter: { tls: { key_file: here.certs.mismatchedClient.keyFile } } }),
    kind: CertificateError,
    says: /mismatched-client\.key/,
  },
  {
    what: "the client certificate is not there",
    input: (here) =>
      here.config("https://localhost:1", { exporter: { tls: { cert_file: join(here.dir, "none.crt") } } }),
    kind: CertificateError,
    says: /none\.crt/,
  },
  {
    what: "there is no file of tokens",
    input: (here) =>
      here.config("https://localhost:1", {
        receiver: { http: { endpoint: "127.0.0.1:0" }, auth: { tokens_file: join(here.dir, "none.yaml") } },
      }),
    kind: ConfigError,
    says: /^Cannot read receiver\.auth\.tokens_file .*none\.yaml: .*; make one with 'token new --id NAME'$/s,
  },
  {
    what: "the tokens cannot be read as such",
    input: async (here) => {
      await writeFile(join(here.dir, "tokens.yaml"), "tokens: [ { id: x, sha256: short } ]\n");
      return here.config("https://localhost:1");
    },
    kind: ConfigError,
    says: /tokens\.yaml/,
  },
  {
    what: "the queue's file is of another kind",
    input: async (here) => {
      await writeFile(join(here.dir, "queue.db"), "x".repeat(10_000));
      return here.config("https://localhost:1", {
        sending_queue: { path: join(here.dir, "queue.db", "below-a-file.db") },
      });
    },
    kind: StorageError,
    says: /queue/,
  },
];

Deno.test("what cannot start says why, and leaves nothing running", async (t) => {
  await using taken = await takenPort();
  for (const { what, input, kind, says } of FAILING) {
    await t.step(what, async () => {
      await using here = await place();
      await assert.rejects(async () => await here.start(await input(here, taken.port)), (error) => {
        assert(error instanceof kind, `${error}`);
        assert.match(error.message, says);
        return true;
      });
      // The lock is free again, the ports are, and the sanitizers see the rest.
      await using endpoint = await startMtlsEndpoint(here.certs);
      for (const name of ["client.key", "tokens.yaml"]) {
        if (name === "client.key") await copyFile(join(here.certs.dir, name), join(here.dir, name));
        else await writeFile(join(here.dir, name), `tokens:\n  - { id: test, sha256: ${digestOf(TOKEN)} }\n`);
      }
      await rm(join(here.dir, "queue.db"), { force: true });
      const relay = await here.start(here.config(endpoint.url));
      await relay.stop();
    });
  }
});

Deno.test("off loopback without authentication it is refused, with the line to add", () => {
  const input: ConfigInput = {
    receiver: { http: { endpoint: "0.0.0.0:4319" }, auth: { insecure: true } },
  };
  assert.throws(() => configFrom(input), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /0\.0\.0\.0:4319/);
    assert.match(error.message, /tokens_file/);
    return true;
  });
});

Deno.test("a changed client certificate is taken up without a restart; one that cannot be used is not", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  await using relay = await here.start(here.config(endpoint.url));
  assert.equal(await post(relay.url, ["a"]), 200);
  await endpoint.arrived(1);
  const old = new X509Certificate(here.certs.client.certificate).fingerprint256;
  assert.equal(endpoint.requests[0]?.fingerprint, old);

  await writeFile(join(here.dir, "client.crt"), "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n");
  const refused = await here.lines.find(({ message }) => message.startsWith("Refused a changed"), "a refusal");
  assert.equal(refused.level, "error");
  assert.match(String(refused["cause"]), /client\.crt/);
  assert.equal(await post(relay.url, ["b"]), 200);
  await endpoint.arrived(2);
  assert.equal(endpoint.requests[1]?.fingerprint, old);

  const next = await here.certs.issueClient("next", { days: 3 });
  await writeFile(join(here.dir, "client.key"), next.key);
  await writeFile(join(here.dir, "client.crt"), next.certificate);
  await here.lines.find(({ message }) => message === "Took up a changed client certificate", "the new certificate");
  assert.equal(await post(relay.url, ["c"]), 200);
  await endpoint.arrived(3);
  assert.equal(endpoint.requests[2]?.fingerprint, new X509Certificate(next.certificate).fingerprint256);
});

Deno.test("what failed for an old certificate is sent when a new one is shown, and not when its backoff ends", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  // The Collector does not know who issued this one.
  await writeFile(join(here.dir, "client.key"), here.certs.otherClient.key);
  await writeFile(join(here.dir, "client.crt"), here.certs.otherClient.certificate);
  await using relay = await here.start(
    here.config(endpoint.url, {
      exporter: { retry_on_failure: { initial_interval: "1h", max_interval: "1h" } },
      shutdown: { grace: "2s" },
    }),
  );
  assert.equal(await post(relay.url, ["waiting"]), 200);
  await here.lines.find((line) => line["signal"] === "traces" && line["failures"] === 1, "the failure");
  await writeFile(join(here.dir, "client.key"), here.certs.client.key);
  await writeFile(join(here.dir, "client.crt"), here.certs.client.certificate);
  // The trial's empty request, and then what waited.
  await endpoint.arrived(2);
  assert.deepEqual(await arrivedNames(endpoint), ["waiting"]);
});

async function arrivedNames(endpoint: MtlsEndpoint): Promise<string[]> {
  await Promise.resolve();
  return endpoint.requests.flatMap(({ message }) => [...JSON.stringify(message).matchAll(/"name":"(\w+)"/g)])
    .map((match) => match[1]!);
}

Deno.test("a stop sends what is queued, and keeps what the Collector does not take for the next start", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  const first = await here.start(here.config(endpoint.url));
  for (const name of ["a", "b", "c"]) assert.equal(await post(first.url, [name]), 200);
  await first.stop();
  assert.deepEqual((await arrivedNames(endpoint)).sort(), ["a", "b", "c"]);

  const nowhere = await takenPort();
  await nowhere[Symbol.asyncDispose]();
  const second = await here.start(here.config(`https://localhost:${nowhere.port}`));
  for (const name of ["d", "e"]) assert.equal(await post(second.url, [name]), 200);
  await here.lines.find((line) => line["fault"] === "connection_refused", "the failure");
  const started = performance.now();
  await second.stop();
  assert(performance.now() - started < 5_000, "a Collector that is gone is not waited for");

  const third = await here.start(here.config(endpoint.url));
  await endpoint.arrived(endpoint.requests.length + 1);
  await third.stop();
  assert.deepEqual((await arrivedNames(endpoint)).sort(), ["a", "b", "c", "d", "e"]);
});

Deno.test("while it stops, requests that were let in are answered, and new ones are told to come again", async () => {
  await using here = await place();
  const asked = Promise.withResolvers<void>();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: {
      ca: [here.certs.ca.certificate],
      cert: here.certs.server.certificate,
      key: here.certs.server.key,
    },
    misbehave: (_signal, request) => {
      asked.resolve();
      return request === 1 ? { kind: "silence" } : undefined;
    },
  });
  const relay = await here.start(
    here.config(collector.url, {
      sending_queue: { storage: "none" },
      exporter: { timeout: "700ms" },
    }),
  );
  const underWay = post(relay.url, ["a"]);
  await asked.promise;
  const stopped = relay.stop();
  const late = await post(relay.url, ["late"]).catch(() => "refused");
  assert(late === 503 || late === "refused", String(late));
  assert.equal(await underWay, 503, "the Collector did not answer: it is the sender's to retry");
  await stopped;
});

Deno.test("signals may have a Collector and an identity of their own", async () => {
  await using here = await place();
  await using general = await startMtlsEndpoint(here.certs);
  await using own = await startMtlsEndpoint(here.certs);
  const other = await here.certs.issueClient("other", { days: 3 });
  await using relay = await here.start(here.config(general.url, {
    exporter: {
      logs_endpoint: `${own.url}/elsewhere/v1/logs`,
      signals: {
        logs: {
          tls: { cert_file: other.certificateFile, key_file: other.keyFile },
          headers: { "x-tenant": "logs" },
          compression: "none",
        },
      },
    },
  }));
  const sent = await fetch(`${relay.url}/v1/logs`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${TOKEN}` },
    body: requestOf("logs", ["log"]),
  });
  await sent.body?.cancel();
  assert.equal(sent.status, 200);
  assert.equal(await post(relay.url, ["span"]), 200);
  await Promise.all([own.arrived(1), general.arrived(1)]);
  assert.equal(own.requests[0]?.path, "/elsewhere/v1/logs");
  assert.equal(own.requests[0]?.headers["x-tenant"], "logs");
  assert.equal(own.requests[0]?.headers["content-encoding"], undefined);
  assert.equal(own.requests[0]?.fingerprint, new X509Certificate(other.certificate).fingerprint256);
  assert.equal(general.requests[0]?.path, "/v1/traces");
  assert.equal(general.requests[0]?.headers["content-encoding"], "gzip");
});

Deno.test("failed stays pending while all is well", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  await using relay = await here.start(here.config(endpoint.url));
  assert.equal(await post(relay.url, ["a"]), 200);
  const turn = Promise.withResolvers<string>();
  setTimeout(turn.resolve, 0, "pending");
  assert.equal(await Promise.race([relay.failed, turn.promise]), "pending");
  await relay.stop();
  const after = Promise.withResolvers<string>();
  setTimeout(after.resolve, 0, "pending");
  assert.equal(await Promise.race([relay.failed, after.promise]), "pending");
});

Deno.test("where it is in the way of another relay on the same queue, it says so", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  await using relay = await here.start(here.config(endpoint.url));
  await assert.rejects(here.start(here.config(endpoint.url)), StorageError);
  assert.equal(await post(relay.url, ["a"]), 200);
  assert((await readFile(join(here.dir, "queue.db"))).length > 0);
});

Deno.test("on one port the rest of admin is behind its token, and not there without one", async () => {
  await using here = await place();
  const free = createServer();
  free.listen(0, "127.0.0.1");
  await once(free, "listening");
  const endpoint = `127.0.0.1:${(free.address() as AddressInfo).port}`;
  free.close();
  await once(free, "close");
  const input = (token?: string) =>
    here.config("https://127.0.0.1:9", {
      receiver: { http: { endpoint }, auth: { tokens_file: join(here.dir, "tokens.yaml") } },
      telemetry: { admin: { endpoint, ...(token === undefined ? {} : { token }) } },
    });
  const status = async (path: string, authorization = "") => {
    const answer = await fetch(`http://${endpoint}${path}`, { headers: { authorization } });
    await answer.body?.cancel();
    return answer.status;
  };
  const open = ["/livez", "/readyz"];
  const guarded = ["/", "/metrics", "/events"];
  {
    await using relay = await here.start(input("s3cret"));
    assert.equal(relay.adminUrl, relay.url);
    for (const path of open) assert.equal(await status(path), 200, path);
    for (const path of guarded) {
      assert.equal(await status(path), 401, path);
      assert.equal(await status(path, `Bearer ${TOKEN}`), 401, "a sender's token is another");
      assert.equal(await status(path, "Bearer s3cret"), 200, path);
    }
    assert.equal(await status("/v1/traces"), 405);
    // A stop does not wait for who looks.
    const looking = await fetch(`http://${endpoint}/events`, { headers: { authorization: "Bearer s3cret" } });
    await relay.stop();
    assert.match(await looking.text(), /^data: /);
  }
  await using _relay = await here.start(input());
  for (const path of open) assert.equal(await status(path), 200, path);
  for (const path of guarded) assert.equal(await status(path), 404, path);
});

Deno.test("gRPC: what is answered OK reaches the Collector; at a stop calls under way are answered, and senders go elsewhere", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  const relay = await here.start(here.config(endpoint.url, { receiver: { grpc: { endpoint: "127.0.0.1:0" } } }));
  await using client = await GrpcClient.connect(relay.grpcUrl!);
  const metadata = [["authorization", `Bearer ${TOKEN}`]] as const;
  assert.equal((await client.call(requestOf("traces", ["one"]), { metadata })).code, 0);
  await endpoint.arrived(1);
  const health = { path: "/grpc.health.v1.Health/Check" };
  assert.deepEqual((await client.call(new Uint8Array(0), health)).messages.map((each) => [...each]), [[8, 1]]);
  // Its message is still to come when the relay stops: it is told to send it again, while there is a connection to say so on.
  const half = client.open({ metadata });
  half.stream.sendData(messagePrefix(100, false));
  const stopped = relay.stop();
  await client.goaway;
  const { code, retryMs } = await half.answer;
  assert.equal(code, GRPC_CODE.UNAVAILABLE);
  assert(retryMs !== undefined && retryMs >= 1_000);
  await client.ended;
  await stopped;
  await assert.rejects(GrpcClient.connect(relay.grpcUrl!));
});

Deno.test("gRPC: a client certificate in a token's place, by the CA of receiver.http.tls", async () => {
  await using here = await place();
  await using endpoint = await startMtlsEndpoint(here.certs);
  const { ca, server, client, otherClient } = here.certs;
  const tls = { cert_file: server.certificateFile, key_file: server.keyFile, client_ca_file: ca.certificateFile };
  const receiver = { http: { tls }, grpc: { endpoint: "127.0.0.1:0" } };
  await using relay = await here.start(here.config(endpoint.url, { receiver }));
  const call = async (pair?: { readonly certificate: string; readonly key: string }) => {
    const own = pair === undefined ? {} : { cert: pair.certificate, key: pair.key };
    await using one = await GrpcClient.connect(relay.grpcUrl!, { ca: ca.certificate, servername: "localhost", ...own });
    return await one.call(requestOf("traces", ["by certificate"]));
  };
  assert.equal((await call(client)).code, 0);
  await endpoint.arrived(1);
  const [none, other] = [await call(), await call(otherClient)];
  assert.deepEqual([none.code, other.code], [GRPC_CODE.UNAUTHENTICATED, GRPC_CODE.UNAUTHENTICATED]);
  assert.match(none.message, /no client certificate/);
  assert.match(other.message, /is not of a CA in receiver\.http\.tls\.client_ca_file/);
});

Deno.test("gRPC needs a socket of the relay's own", async () => {
  await using here = await place();
  const config = configFrom(here.config("https://localhost:1", { receiver: { grpc: { endpoint: "127.0.0.1:0" } } }));
  await assert.rejects(createRelay(config), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /^Cannot use receiver\.grpc\.endpoint here: this relay has no socket of its own/);
    return true;
  });
});
