import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { parse } from "@std/yaml";
import { configFrom } from "../../src/config/load.ts";
import { alternativeOf, type ConfigInput, ConfigSchema, OPTIONS } from "../../src/config/schema.ts";
import type { TokensInput } from "../../src/config/tokens.ts";
import { ConfigError } from "../../src/errors.ts";
import { parseTokensFile } from "../../src/receiver/senders/tokens_schema.ts";

Deno.test("the defaults, in the units of the type", () => {
  const config = ConfigSchema.parse({});
  assert.deepEqual(config.receiver, {
    http: {
      endpoint: { hostname: "127.0.0.1", port: 4319 },
      max_request_body_size: 20 * 2 ** 20,
      max_request_resources: 50_000,
      max_request_messages: 2_000_000,
      request_body_timeout: 10_000,
      max_in_flight_bytes: 32 * 2 ** 20,
      max_retry_after: 5_000,
      max_connections: 1_000,
      max_connections_per_address: 500,
      max_header_size: 16 * 2 ** 10,
      read_header_timeout: 10_000,
      idle_timeout: 60_000,
      tls: {
        require_client_certificate: true,
        reload_interval: 5_000,
        expiry_warning: 30 * 86_400_000,
        expiry_error: 3 * 86_400_000,
        key_readable_by_others: false,
      },
      cors: { allowed_origins: [] },
    },
    grpc: { max_concurrent_streams: 100 },
    auth: {
      tokens_file: "config/tokens.yaml",
      reload_interval: 500,
      jwt: {
        clock_tolerance: 5_000,
        refresh_interval: 600_000,
        sender_claim: "sub",
        permissions_claim: "edgeferry",
      },
      insecure: false,
    },
    limits: { queue_share: 0.9 },
  });
  assert.deepEqual(config.sending_queue, {
    storage: "sqlite",
    path: "data/queue.db",
    postgres: {
      durability: "checked",
      connect_timeout: 5_000,
      tls: {
        insecure: false,
        expiry_warning: 30 * 86_400_000,
        expiry_error: 3 * 86_400_000,
        key_readable_by_others: false,
      },
    },
    queue_size: 2 ** 30,
    num_consumers: 4,
    batch: { flush_timeout: 200, min_size: 512 * 2 ** 10, max_size: 4 * 2 ** 20 },
    dead_letters: { max_size: 256 * 2 ** 20 },
  });
  assert.equal("max_age" in config.sending_queue, false);
  assert.equal(config.exporter.endpoint, "https://localhost:4318");
  assert.equal(config.exporter.timeout, 10_000);
  assert.deepEqual(config.telemetry.metrics, { enabled: true, interval: 60_000 });
  assert.equal(config.shutdown.grace, 8_000);
});

Deno.test("config/relay.yaml is the defaults, with every option that has one", async () => {
  const value = parse(await readFile(new URL("../../config/relay.yaml", import.meta.url), "utf8"));
  assert.deepEqual(ConfigSchema.parse(value), ConfigSchema.parse({}));
  for (const option of OPTIONS.filter((option) => option.default !== undefined)) {
    let at: unknown = value;
    for (const key of option.path) at = typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined;
    assert.notEqual(at, undefined, `${option.path.join(".")} is not in config/relay.yaml`);
  }
});

Deno.test("every option has help without a period and says what it must be", () => {
  assert.ok(OPTIONS.length > 60);
  for (const option of OPTIONS) {
    assert.match(option.help, /[^.]$/, option.path.join("."));
    assert.notEqual(option.wanted, "");
  }
});

Deno.test("a default is never shared between configurations", () => {
  configFrom({}).receiver.http.cors.allowed_origins.push("https://a.example");
  assert.deepEqual(configFrom({}).receiver.http.cors.allowed_origins, []);
});

Deno.test("bounds and forms that are refused", () => {
  const bad: [unknown, RegExp][] = [
    [{ sending_queue: { queue_size: "8XiB" } }, /sending_queue\.queue_size "8XiB": it must be a size such as 8MiB/],
    [{ sending_queue: { num_consumers: 0 } }, /num_consumers 0: it must be a whole number from 1 to 64/],
    [{ sending_queue: { num_consumers: 1.5 } }, /num_consumers 1\.5/],
    [{ sending_queue: { num_consumers: "4" } }, /num_consumers "4"/],
    [{ sending_queue: { storage: "memory" } }, /storage "memory": it must be one of sqlite, none/],
    [{ sending_queue: { batch: { max_size: "17MiB" } } }, /batch\.max_size "17MiB".* to 16MiB/],
    [{ exporter: { timeout: 10 } }, /exporter\.timeout 10: it must be a duration/],
    [{ exporter: { endpoint: "collector:4318" } }, /exporter\.endpoint "collector:4318": it must be an https:\/\/ URL/],
    [{ exporter: { endpoint: "http://collector:4318" } }, /http:\/\/ to this machine alone/],
    [{ exporter: { logs_endpoint: "https://h/#x" } }, /exporter\.logs_endpoint/],
    [{ exporter: { headers: { "Content-Type": "text/plain" } } }, /exporter\.headers: /],
    [{ exporter: { headers: { "a b": "x" } } }, /exporter\.headers: /],
    [{ exporter: { headers: { a: "x\ny" } } }, /exporter\.headers: /],
    [{ exporter: { tls: { ca_file: "-----BEGIN CERTIFICATE-----\nabc" } } }, /ca_file \(\d+ characters, PEM text.*\)/],
    [
      { exporter: { tls: { ca_pem: "certs/ca.crt" } } },
      /exporter\.tls\.ca_pem \(12 characters, plain text\): it must be PEM text/,
    ],
    [{ receiver: { http: { cors: { allowed_origins: ["https://a.example/path"] } } } }, /allowed_origins\.0/],
    [{ receiver: { http: { endpoint: ":4319" } } }, /receiver\.http\.endpoint ":4319": it must be host:port/],
    [{ telemetry: { traces: { sampling_ratio: 1.1 } } }, /sampling_ratio 1\.1: it must be a number from 0 to 1/],
    [
      { telemetry: 3 },
      /Cannot use telemetry: it must be a mapping with the keys admin, traces, metrics, log, resource/,
    ],
    [{ exporter: { tls: { ca_pem: "-----BEGIN X", ca_file: "x" } } }, /ca_pem beside exporter\.tls\.ca_file/],
    [{ receiver: { auth: { tokens: "tokens: []", tokens_file: "x" } } }, /tokens beside receiver\.auth\.tokens_file/],
    [
      { receiver: { http: { max_in_flight_bytes: "1MiB" } } },
      /max_request_body_size 20MiB: it is above receiver\.http\.max_in_flight_bytes 1MiB/,
    ],
    [
      { sending_queue: { queue_size: "1MiB" } },
      /queue_size 1MiB: it is below receiver\.http\.max_request_body_size 20MiB/,
    ],
    [
      { exporter: { retry_on_failure: { initial_interval: "1m" } } },
      /initial_interval 1m: it is above max_interval 30s/,
    ],
  ];
  for (const [input, message] of bad) {
    assert.throws(
      () => configFrom(input as ConfigInput),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message),
    );
  }
});

Deno.test("forms that are taken", () => {
  assert.equal(configFrom({ exporter: { endpoint: "http://[::1]:4318" } }).exporter.endpoint, "http://[::1]:4318");
  assert.equal(configFrom({ sending_queue: { max_age: "168h" } }).sending_queue.max_age, 604_800_000);
  assert.equal(
    configFrom({ sending_queue: { storage: "none", queue_size: "1MiB" } }).sending_queue.queue_size,
    2 ** 20,
  );
  assert.equal(
    configFrom({ exporter: { tls: { ca_pem: "-----BEGIN X-----\\nabc\\n-----END X-----" } } }).exporter.tls.ca_pem,
    "-----BEGIN X-----\nabc\n-----END X-----",
  );
});

Deno.test("a relay off loopback that asks nobody for a token is refused with the line to add", () => {
  for (const endpoint of ["0.0.0.0:4319", "[::]:4319", "relay.example:4319"]) {
    assert.throws(
      () => configFrom({ receiver: { http: { endpoint }, auth: { insecure: true } } }),
      /Cannot bind receiver\.http\.endpoint .* without authentication: .* add receiver\.auth\.tokens_file: config\/tokens\.yaml/,
    );
    assert.equal(configFrom({ receiver: { http: { endpoint } } }).receiver.auth.insecure, false);
  }
  assert.equal(configFrom({ receiver: { auth: { insecure: true } } }).receiver.auth.insecure, true);
});

Deno.test("a file and its text are alternatives of each other", () => {
  const name = (path: string) => alternativeOf(path.split("."))?.join(".");
  assert.equal(name("exporter.tls.ca_file"), "exporter.tls.ca_pem");
  assert.equal(name("exporter.signals.logs.tls.key_pem"), "exporter.signals.logs.tls.key_file");
  assert.equal(name("receiver.auth.tokens_file"), "receiver.auth.tokens");
  assert.equal(name("receiver.auth.tokens"), "receiver.auth.tokens_file");
  assert.equal(name("exporter.endpoint"), undefined);
});

Deno.test("the tokens of a program may be objects, and are checked as a file is", () => {
  const sha256 = "ab".repeat(32);
  const tokens: TokensInput = {
    tokens: [{
      id: "web",
      sha256,
      signals: ["traces"],
      limits: { max_request_body_size: "1MiB", queue_share: 0.5 },
      origins: ["https://app.example"],
      not_after: "2027-01-31T12:00:00Z",
      resource_attributes: { "tenant.id": "acme" },
    }],
    signing_keys: [{ id: "pages", secret: "x".repeat(43), origins: ["https://app.example"], max_age: "5m" }],
  };
  const { auth } = configFrom({ receiver: { auth: { tokens } } }).receiver;
  const read = parseTokensFile(auth.tokens!, "tokens");
  assert.deepEqual(read.tokens.map(({ id, signals, limits }) => [id, signals, limits?.max_request_body_size]), [
    ["web", ["traces"], 1 << 20],
  ]);
  assert.deepEqual(read.signingKeys.map(({ id, max_age_ms }) => [id, max_age_ms]), [["pages", 300_000]]);
  assert.throws(() => configFrom({ receiver: { auth: { tokens: "" } } }), /the text of a tokens file, or what it says/);
});
