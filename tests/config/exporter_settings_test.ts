import assert from "node:assert/strict";
import { exporterSettings, headersFor, namesSender } from "../../src/config/exporter_settings.ts";
import { configFrom } from "../../src/config/load.ts";

Deno.test("the defaults for each signal", () => {
  const config = configFrom({});
  for (const signal of ["traces", "metrics", "logs"] as const) {
    assert.deepEqual(exporterSettings(config, signal), {
      protocol: "http/protobuf",
      url: `https://localhost:4318/v1/${signal}`,
      headers: {},
      timeoutMs: 10_000,
      urlKey: ["exporter", "endpoint"],
      retry: { initialMs: 1_000, maxMs: 30_000 },
      compression: "passthrough",
      tls: {
        ca: { what: "CA", setting: "exporter.tls.ca_file", value: "certs/ca.crt" },
        cert: { what: "client certificate", setting: "exporter.tls.cert_file", value: "certs/client.crt" },
        key: { what: "client key", setting: "exporter.tls.key_file", value: "certs/client.key" },
        keyPassphrase: { value: undefined, setting: "exporter.tls.key_passphrase" },
        reloadIntervalMs: 5_000,
        exposedKeyAllowed: false,
        expiry: { warningMs: 30 * 86_400_000, errorMs: 3 * 86_400_000 },
      },
    });
  }
});

Deno.test("the signal's path is appended to the base, and a signal's own URL stays as it is", () => {
  const url = (endpoint: string) => exporterSettings(configFrom({ exporter: { endpoint } }), "logs").url;
  assert.equal(url("https://h"), "https://h/v1/logs");
  assert.equal(url("https://h/"), "https://h/v1/logs");
  assert.equal(url("https://h:1/a/b/"), "https://h:1/a/b/v1/logs");
  assert.equal(url("https://h/a?k=v"), "https://h/a/v1/logs?k=v");
  const own = configFrom({ exporter: { logs_endpoint: "https://h/custom/" } });
  assert.equal(exporterSettings(own, "logs").url, "https://h/custom/");
});

Deno.test("PEM text wins over the default file, a signal's own over the general", () => {
  const pem = "-----BEGIN X-----\nabc\n-----END X-----";
  const config = configFrom({
    exporter: {
      headers: { a: "1", b: "2" },
      tls: { ca_pem: pem, key_passphrase: "general" },
      signals: { logs: { headers: { c: "3" }, tls: { key_file: "logs.key" } }, traces: { tls: { ca_file: "t.crt" } } },
    },
  });
  const [traces, metrics, logs] = (["traces", "metrics", "logs"] as const).map((name) =>
    exporterSettings(config, name)
  );
  assert.ok(traces && metrics && logs);
  assert.deepEqual(metrics.tls.ca, { what: "CA", setting: "exporter.tls.ca_pem", value: pem });
  assert.deepEqual(traces.tls.ca, { what: "CA", setting: "exporter.signals.traces.tls.ca_file", value: "t.crt" });
  assert.deepEqual(traces.tls.keyPassphrase, { value: "general", setting: "exporter.tls.key_passphrase" });
  assert.equal(logs.tls.key.value, "logs.key");
  assert.deepEqual(logs.tls.keyPassphrase, {
    value: undefined,
    setting: "exporter.signals.logs.tls.key_passphrase",
  });
  assert.deepEqual(logs.headers, { c: "3" });
});

Deno.test("each exporter has settings of its own, named by its section", () => {
  const config = configFrom({
    exporters: {
      "eu-1": { endpoint: "https://eu-1.example", tls: { key_file: "eu/client.key" } },
      audit: {
        endpoint: "https://audit.example",
        timeout: "3s",
        signals: { logs: { tls: { ca_file: "audit/ca.crt" } } },
      },
    },
    routes: [{ exporters: ["eu-1", "audit"] }],
  });
  assert.equal(exporterSettings(config, "traces").url, "https://eu-1.example/v1/traces");
  assert.deepEqual(exporterSettings(config, "traces", "eu-1").tls.key, {
    what: "client key",
    setting: "exporters.eu-1.tls.key_file",
    value: "eu/client.key",
  });
  const audit = exporterSettings(config, "logs", "audit");
  assert.equal(audit.timeoutMs, 3_000);
  assert.equal(audit.tls.ca.setting, "exporters.audit.signals.logs.tls.ca_file");
});

Deno.test("headers that name the sender", () => {
  const headers = { "X-Scope-OrgID": "org-${sender}", plain: "x" };
  assert.ok(namesSender(headers) && !namesSender({ plain: "x" }));
  assert.deepEqual(headersFor(headers, "checkout"), { "X-Scope-OrgID": "org-checkout", plain: "x" });
  assert.deepEqual(headersFor(headers, "$& ü\r\n"), { "X-Scope-OrgID": "org-%24%26%20%C3%BC%0D%0A", plain: "x" });
});
