import assert from "node:assert/strict";
import { exporterSettings } from "../../src/config/exporter_settings.ts";
import { configFrom, loadConfig } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { SIGNAL_NAMES, signalOf } from "../../src/signal.ts";

const urls = (input: ConfigInput, name?: string) => {
  const config = configFrom(input);
  return SIGNAL_NAMES.map((signal) => exporterSettings(config, signal, name).url);
};
const methods = (base: string) => SIGNAL_NAMES.map((signal) => base + signalOf(signal).grpcPath);

Deno.test("gRPC: each signal's method at scheme, host and port, by default at 4317; no scheme means https", () => {
  assert.deepEqual(urls({ exporter: { protocol: "grpc" } }), methods("https://localhost:4317"));
  for (const endpoint of ["https://collector:4317", "https://collector:4317/", "collector:4317", " collector:4317 "]) {
    assert.deepEqual(urls({ exporter: { protocol: "grpc", endpoint } }), methods("https://collector:4317"), endpoint);
  }
  assert.deepEqual(urls({ exporter: { protocol: "grpc", endpoint: "[::1]:4317" } }), methods("https://[::1]:4317"));
  assert.deepEqual(
    urls({ exporter: { protocol: "grpc", endpoint: "http://127.0.0.1:4317" } }),
    methods("http://127.0.0.1:4317"),
  );
  const several: ConfigInput = {
    exporters: { eu: { protocol: "grpc", endpoint: "eu:4317" }, us: { endpoint: "https://us" } },
    routes: [{ exporters: ["eu", "us"] }],
  };
  assert.deepEqual(urls(several, "eu"), methods("https://eu:4317"));
  assert.equal(urls(several, "us")[0], "https://us/v1/traces");
});

Deno.test("a signal's own protocol has its own default", () => {
  const [traces, metrics] = urls({ exporter: { signals: { traces: { protocol: "grpc" } } } });
  assert.equal(traces, methods("https://localhost:4317")[0]);
  assert.equal(metrics, "https://localhost:4318/v1/metrics");
  const other = urls({ exporter: { protocol: "grpc", signals: { logs: { protocol: "http/protobuf" } } } });
  assert.equal(other[0], methods("https://localhost:4317")[0]);
  assert.equal(other[2], "https://localhost:4318/v1/logs");
  const own = urls({ exporter: { protocol: "grpc", traces_endpoint: "tempo:4317" } });
  assert.deepEqual(own.slice(0, 2), [
    `https://tempo:4317${signalOf("traces").grpcPath}`,
    `https://localhost:4317${signalOf("metrics").grpcPath}`,
  ]);
});

Deno.test("what cannot be an endpoint of its protocol is named", () => {
  const rows: [ConfigInput, RegExp][] = [
    [{ exporter: { endpoint: "collector:4317" } }, /exporter\.endpoint "collector:4317": it must be an https:\/\/ URL/],
    [
      { exporter: { protocol: "grpc", endpoint: "https://c:4317/v1/traces" } },
      /exporter\.endpoint "https:\/\/c:4317\/v1\/traces": with protocol: grpc it has no path/,
    ],
    [
      { exporter: { protocol: "grpc", logs_endpoint: "https://c/x" } },
      /exporter\.logs_endpoint "https:\/\/c\/x": with protocol/,
    ],
    [{ exporter: { protocol: "grpc", endpoint: "http://collector:4317" } }, /it must be an https:\/\/ URL/],
    [{ exporters: { eu: { endpoint: "eu:4317" } } }, /exporters\.eu\.endpoint "eu:4317"/],
    [{ exporter: { headers: { "grpc-timeout": "1S" } } }, /exporter\.headers/],
  ];
  for (const [input, message] of rows) assert.throws(() => configFrom(input), message);
});

Deno.test("the specification's variables: a protocol for all or for a signal, an endpoint with it", async () => {
  const load = async (env: Record<string, string>) => {
    const { config, warnings } = await loadConfig({ file: null, env });
    assert.deepEqual(warnings.filter((warning) => warning.includes("PROTOCOL")), []);
    return SIGNAL_NAMES.map((signal) => exporterSettings(config, signal).url);
  };
  assert.deepEqual(await load({ OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }), methods("https://localhost:4317"));
  assert.deepEqual(
    await load({ OTEL_EXPORTER_OTLP_PROTOCOL: " GRPC", OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" }),
    methods("https://collector:4317"),
  );
  const [traces, metrics] = await load({
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "grpc",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://tempo:4317",
  });
  assert.equal(traces, methods("https://tempo:4317")[0]);
  assert.equal(metrics, "https://localhost:4318/v1/metrics");
});
