import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import {
  environmentName,
  otelName,
  readDotEnv,
  readEnvironment,
  substitute,
  SubstitutionError,
  withDotEnv,
} from "../../src/config/environment.ts";
import { exporterSettings } from "../../src/config/exporter_settings.ts";
import { loadConfig } from "../../src/config/load.ts";
import { OPTIONS } from "../../src/config/schema.ts";
import { ConfigError } from "../../src/errors.ts";

const NOWHERE = new URL(".", import.meta.url).pathname;
const load = (env: Record<string, string | undefined>) => loadConfig({ env, cwd: NOWHERE });

/** The example's file, word for word. */
const EXAMPLE = `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://localhost:4318/v1/metrics
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://localhost:4318/v1/traces
OTEL_EXPORTER_OTLP_CERTIFICATE=certs/ca.crt
OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=certs/client.crt
OTEL_EXPORTER_OTLP_CLIENT_KEY=certs/client.key
OTEL_EXPORTER_OTLP_INSECURE=false
`;

Deno.test("the example's .env works word for word, and .env.example holds it", async () => {
  const { config, warnings, sources } = await load(readDotEnv(EXAMPLE));
  assert.deepEqual(warnings, []);
  assert.equal(sources.environment.length, 5);
  assert.equal(exporterSettings(config, "traces").url, "https://localhost:4318/v1/traces");
  assert.equal(exporterSettings(config, "metrics").url, "https://localhost:4318/v1/metrics");
  assert.equal(exporterSettings(config, "logs").url, "https://localhost:4318/v1/logs");
  assert.deepEqual(exporterSettings(config, "traces").tls.key, {
    what: "client key",
    setting: "exporter.tls.key_file",
    value: "certs/client.key",
  });
  const ours = await readFile(new URL("../../.env.example", import.meta.url), "utf8");
  assert.deepEqual(readDotEnv(ours), readDotEnv(EXAMPLE));
});

Deno.test("every suffix, general and per signal; the signal's own wins", async () => {
  const pem = "-----BEGIN CERTIFICATE-----\\nabc\\n-----END CERTIFICATE-----";
  const { config, warnings } = await load({
    OTEL_EXPORTER_OTLP_ENDPOINT: " https://c.example:4318/otlp/ ",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://t.example",
    OTEL_EXPORTER_OTLP_HEADERS: "api-key=a%20b%2Cc , X-Two = 2",
    OTEL_EXPORTER_OTLP_LOGS_HEADERS: "only=logs",
    OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: "none",
    OTEL_EXPORTER_OTLP_TIMEOUT: "2500",
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "100",
    OTEL_EXPORTER_OTLP_CERTIFICATE: "general.crt",
    OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE: pem,
    OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE: "logs.crt",
    OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY: "logs.key",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
    OTEL_SERVICE_NAME: "ferry-1",
  });
  assert.deepEqual(warnings, []);
  const [traces, metrics, logs] = (["traces", "metrics", "logs"] as const).map((name) =>
    exporterSettings(config, name)
  );
  assert.ok(traces && metrics && logs);
  assert.deepEqual([traces.url, metrics.url, logs.url], [
    "https://t.example",
    "https://c.example:4318/otlp/v1/metrics",
    "https://c.example:4318/otlp/v1/logs",
  ]);
  assert.deepEqual(traces.headers, { "api-key": "a b,c", "X-Two": "2" });
  assert.deepEqual(logs.headers, { only: "logs" });
  assert.deepEqual([traces.compression, metrics.compression, logs.compression], ["gzip", "none", "gzip"]);
  assert.deepEqual([traces.timeoutMs, metrics.timeoutMs, logs.timeoutMs], [100, 2500, 2500]);
  assert.equal(traces.tls.ca.value, "general.crt");
  assert.equal(metrics.tls.ca.value, pem.replaceAll("\\n", "\n"));
  assert.deepEqual([traces.tls.key.value, logs.tls.key.value, logs.tls.cert.value], [
    "certs/client.key",
    "logs.key",
    "logs.crt",
  ]);
  assert.equal(config.telemetry.resource.service_name, "ferry-1");
});

Deno.test("EDGEFERRY_ takes the same suffixes, short or long, and wins over OTEL_", async () => {
  const short = await load({
    OTEL_EXPORTER_OTLP_TIMEOUT: "1",
    EDGEFERRY_TIMEOUT: "2",
    EDGEFERRY_LOGS_ENDPOINT: "https://l.example/x",
  });
  assert.equal(short.config.exporter.timeout, 2);
  assert.equal(exporterSettings(short.config, "logs").url, "https://l.example/x");
  const long = await load({ EDGEFERRY_TIMEOUT: "2", EDGEFERRY_EXPORTER_OTLP_TIMEOUT: "3" });
  assert.equal(long.config.exporter.timeout, 3);
  const key = await load({ EDGEFERRY_EXPORTER_OTLP_TIMEOUT: "3", EDGEFERRY_EXPORTER_TIMEOUT: "4s" });
  assert.equal(key.config.exporter.timeout, 4_000);
  assert.deepEqual(key.warnings, []);
});

Deno.test("every key has a variable of its own", async () => {
  const names = OPTIONS.map((option) => environmentName(option.path));
  assert.equal(new Set(names).size, names.length);
  assert.equal(environmentName(["receiver", "http", "endpoint"]), "EDGEFERRY_RECEIVER_HTTP_ENDPOINT");
  const { config, warnings } = await load({
    EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "[::1]:0",
    EDGEFERRY_RECEIVER_HTTP_CORS_ALLOWED_ORIGINS: "https://a.example,https://b.example",
    EDGEFERRY_RECEIVER_AUTH_TOKENS: "{tokens: []}",
    EDGEFERRY_SENDING_QUEUE_STORAGE: "none",
    EDGEFERRY_SENDING_QUEUE_NUM_CONSUMERS: "9",
    EDGEFERRY_EXPORTER_HEADERS: "{a: b}",
    EDGEFERRY_TELEMETRY_TRACES_ENABLED: "false",
    EDGEFERRY_TELEMETRY_TRACES_SAMPLING_RATIO: "1",
  });
  assert.deepEqual(warnings, []);
  assert.deepEqual(config.receiver.http.endpoint, { hostname: "::1", port: 0 });
  assert.equal(config.receiver.http.cors.allowed_origins.length, 2);
  assert.equal(config.receiver.auth.tokens, "{tokens: []}");
  assert.equal(config.sending_queue.storage, "none");
  assert.equal(config.sending_queue.num_consumers, 9);
  assert.deepEqual(config.exporter.headers, { a: "b" });
  assert.deepEqual(config.telemetry.traces, { enabled: false, sampling_ratio: 1 });
});

Deno.test("each suffix of the specification is in the reference", () => {
  const byKey = new Map(OPTIONS.map((option) => [option.path.join("."), otelName(option)]));
  assert.equal(byKey.get("exporter.endpoint"), "OTEL_EXPORTER_OTLP_ENDPOINT");
  assert.equal(byKey.get("exporter.logs_endpoint"), "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT");
  assert.equal(byKey.get("exporter.tls.key_pem"), "OTEL_EXPORTER_OTLP_CLIENT_KEY");
  assert.equal(byKey.get("exporter.signals.metrics.timeout"), "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT");
  assert.equal(byKey.get("telemetry.resource.service_name"), "OTEL_SERVICE_NAME");
  assert.equal(byKey.get("receiver.http.endpoint"), undefined);
});

Deno.test("empty is unset", async () => {
  const { config, warnings, sources } = await load({
    OTEL_EXPORTER_OTLP_ENDPOINT: "",
    OTEL_EXPORTER_OTLP_COMPRESSION: "",
    EDGEFERRY_SENDING_QUEUE_STORAGE: "",
    EDGEFERRY_NONSENSE: undefined,
  });
  assert.equal(config.exporter.endpoint, "https://localhost:4318");
  assert.equal(config.sending_queue.storage, "sqlite");
  assert.deepEqual(sources.environment, []);
  assert.equal(warnings.length, 1);
});

Deno.test("INSECURE true and a protocol that is not spoken are warnings; INSECURE never changes a setting", () => {
  const reading = readEnvironment({
    OTEL_EXPORTER_OTLP_INSECURE: "TRUE",
    OTEL_EXPORTER_OTLP_LOGS_INSECURE: "false",
    OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
  });
  assert.deepEqual(reading.assignments, [
    { path: ["exporter", "protocol"], value: "grpc", variable: "OTEL_EXPORTER_OTLP_PROTOCOL" },
  ]);
  assert.deepEqual(reading.faults, []);
  assert.equal(reading.warnings.length, 2);
  assert.match(reading.warnings[0] ?? "", /^OTEL_EXPORTER_OTLP_INSECURE=true has no effect/);
  assert.match(reading.warnings[1] ?? "", /^OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is neither http\/protobuf nor grpc/);
});

Deno.test("a bad OTEL_ enum or number is ignored with a warning, a bad EDGEFERRY_ one is an error", async () => {
  const { config, warnings } = await load({
    OTEL_EXPORTER_OTLP_COMPRESSION: "zstd",
    OTEL_EXPORTER_OTLP_TIMEOUT: "10s",
    OTEL_EXPORTER_OTLP_HEADERS: "good=1,bad,=x,%zz=1,Content-Length=3,enc=%E0%A4%A",
  });
  assert.equal(config.exporter.compression, "passthrough");
  assert.equal(config.exporter.timeout, 10_000);
  assert.deepEqual(config.exporter.headers, { good: "1" });
  assert.equal(warnings.length, 7);
  for (const warning of warnings) assert.match(warning, /^Cannot use .*; it is ignored$/);
  for (const [name, value] of [["COMPRESSION", "zstd"], ["TIMEOUT", "0"], ["HEADERS", "bad"], ["ENDPOINT", "c:4318"]]) {
    await assert.rejects(load({ [`EDGEFERRY_${name}`]: value }), (error) => {
      return error instanceof ConfigError && error.message.includes(`EDGEFERRY_${name}`);
    });
  }
  await assert.rejects(
    load({ OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" }),
    /^ConfigError: OTEL_EXPORTER_OTLP_ENDPOINT: Cannot use exporter\.endpoint "collector:4317"/,
  );
});

Deno.test("an unknown EDGEFERRY_ name is a warning that names the nearest", () => {
  const { warnings } = readEnvironment({
    EDGEFERRY_RECIEVER_HTTP_ENDPOINT: "x",
    EDGEFERRY_CLIENT_KYE: "x",
    EDGEFERRY_Q: "x",
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: "delta",
    EDGEFERRYX: "x",
  });
  assert.deepEqual(warnings, [
    "Variable EDGEFERRY_RECIEVER_HTTP_ENDPOINT sets nothing; did you mean EDGEFERRY_RECEIVER_HTTP_ENDPOINT?",
    "Variable EDGEFERRY_CLIENT_KYE sets nothing; did you mean EDGEFERRY_CLIENT_KEY?",
    "Variable EDGEFERRY_Q sets nothing; config reference lists the names",
  ]);
});

Deno.test(".env: quotes, comments, export and PEM over several lines", () => {
  const text = '# c\nA=1\nexport B="x y"\nC=\'$D\'\nE="-----BEGIN X-----\nabc\n-----END X-----"\n';
  assert.deepEqual(readDotEnv(text), { A: "1", B: "x y", C: "$D", E: "-----BEGIN X-----\nabc\n-----END X-----" });
  assert.deepEqual({ ...withDotEnv({ A: "2", Z: "" }, "A=1\nZ=1\nY=1\n") }, { A: "2", Z: "", Y: "1" });
});

Deno.test("substitution: defaults stand for unset and not for empty, $$ escapes, nothing is searched twice", () => {
  const env = { A: "1", EMPTY: "", NESTED: "${env:A}" };
  const text = (value: string) => substitute(value, env).text;
  assert.equal(text("x-${env:A}-${env:NONE:-y z}"), "x-1-y z");
  assert.equal(text("${env:EMPTY:-y}"), "");
  assert.equal(text("${env:NONE:-}"), "");
  assert.equal(text("$${env:A} $A $ $$"), "${env:A} $A $ $");
  assert.equal(text("${env:NESTED}"), "${env:A}");
  assert.deepEqual(substitute("${env:A}", env), { text: "1", whole: true, variables: ["A"] });
  assert.equal(substitute("${env:A}${env:A}", env).whole, false);
  assert.equal(substitute("$${env:A}", env).whole, false);
  for (const bad of ["${A}", "${env:}", "${env:1A}", "${file:/etc/passwd}", "${env:A", "${}"]) {
    assert.throws(() => substitute(bad, env), SubstitutionError, bad);
  }
  assert.throws(() => substitute("${env:NONE}", env), /needs the variable NONE, which is not set/);
});

Deno.test("words in capitals and with blanks around them are what they are without", async () => {
  const { config, warnings } = await load({
    OTEL_EXPORTER_OTLP_ENDPOINT: " https://collector.example:4318 ",
    OTEL_EXPORTER_OTLP_COMPRESSION: "GZIP",
    OTEL_EXPORTER_OTLP_LOGS_COMPRESSION: " None ",
    OTEL_EXPORTER_OTLP_PROTOCOL: " HTTP/PROTOBUF",
    OTEL_EXPORTER_OTLP_TIMEOUT: " 1500 ",
    OTEL_EXPORTER_OTLP_CERTIFICATE: " certs/ca.crt ",
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "  ",
    OTEL_SERVICE_NAME: " relay ",
    EDGEFERRY_SENDING_QUEUE_STORAGE: " SQLite ",
    EDGEFERRY_TELEMETRY_LOG_LEVEL: "WARN",
    EDGEFERRY_TELEMETRY_METRICS_ENABLED: "False",
    EDGEFERRY_SHUTDOWN_GRACE: " 3s ",
    EDGEFERRY_RECEIVER_HTTP_ENDPOINT: " 127.0.0.1:1 ",
  });
  assert.deepEqual(warnings, []);
  const { exporter, telemetry } = config;
  assert.deepEqual(
    [
      exporter.endpoint,
      exporter.compression,
      exporter.signals.logs.compression,
      exporter.timeout,
      exporter.tls.ca_file,
    ],
    ["https://collector.example:4318", "gzip", "none", 1_500, "certs/ca.crt"],
  );
  assert.deepEqual(
    [config.sending_queue.storage, telemetry.log.level, telemetry.metrics.enabled, telemetry.resource.service_name],
    ["sqlite", "warn", false, "relay"],
  );
  assert.deepEqual([config.shutdown.grace, config.receiver.http.endpoint.port], [3_000, 1]);
  const { config: file } = await load({});
  assert.equal(file.sending_queue.storage, "sqlite");
});
