import assert from "node:assert/strict";
import { createServer } from "node:https";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { SignalName } from "../../src/signal.ts";
import { startCollector } from "../../src/collector/server.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { examine, type Report } from "../../src/doctor/doctor.ts";
import { ending, type TestCertificates, testCertificates } from "../support/files/certificates.ts";

const ALONE = { DENO_TLS_CA_STORE: "" };

function embedded(certs: TestCertificates, more: Partial<Parameters<typeof startCollector>[0]> = {}) {
  return startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
    ...more,
  });
}

async function doctor(
  certs: TestCertificates,
  endpoint: string,
  more: ConfigInput = {},
  options: Partial<Parameters<typeof examine>[0]> = {},
): Promise<Report> {
  const file = join(certs.dir, `relay-${crypto.randomUUID()}.yaml`);
  const config: ConfigInput = {
    receiver: { http: { endpoint: "127.0.0.1:0" } },
    ...more,
    exporter: {
      endpoint,
      ...more.exporter,
      tls: {
        ca_file: certs.ca.certificateFile,
        cert_file: certs.client.certificateFile,
        key_file: certs.client.keyFile,
        ...more.exporter?.tls,
      },
    },
    sending_queue: { path: join(certs.dir, "queue.db"), queue_size: "64MiB", ...more.sending_queue },
  };
  await writeFile(file, JSON.stringify(config));
  return await examine({ file, env: ALONE, ...options });
}

function checkOf(report: Report, id: string) {
  const check = report.checks.find((each) => each.id === id);
  assert(check !== undefined, id);
  return check;
}

Deno.test("a sound relay: every step in the order of the path, none skipped", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  const report = await doctor(certs, collector.url);
  assert.deepEqual([report.ok, report.faults, report.warnings], [true, [], []]);
  assert.deepEqual(report.checks.map(({ id }) => id), [
    ...[
      "config",
      "trust",
      "proxy",
      "receiver_certificate",
      "receiver_dates",
      "receiver_http",
      "receiver_grpc",
      "files",
      "permissions",
      "pem",
      "key_match",
      "dates",
      "chain",
      "usages",
    ],
    ...[
      "dns",
      "tcp",
      "addresses",
      "tls",
      "server_form",
      "server_chain",
      "server_name",
      "server_dates",
      "server_usage",
      "demanded",
      "accepted",
    ],
    ...["clock", "http2", "request_traces", "request_metrics", "request_logs", "request_profiles", "members"],
    ...["queue_folder", "disk"],
  ]);
  assert(report.checks.every(({ status }) => status === "ok"));
});

Deno.test("a configuration that cannot be used: all else is skipped, and says so", async () => {
  await using certs = await testCertificates();
  const file = join(certs.dir, "bad.yaml");
  await writeFile(file, "exporter: { endpoint: ftp://x }\nreceivr: {}\n");
  const report = await examine({ file, env: ALONE });
  assert.deepEqual(report.faults, ["bad_config"]);
  const config = checkOf(report, "config");
  assert.match(config.finding, /bad\.yaml:1:/);
  assert.match(config.evidence.join("\n"), /receivr/);
  for (const { id, status, finding } of report.checks) {
    if (["config", "trust", "proxy"].includes(id)) continue;
    assert.deepEqual([status, finding], ["skipped", 'Skipped: it needs "configuration", which did not pass'], id);
  }
});

Deno.test("what Deno trusts beside the CA, and proxies in the way, are warnings", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  const report = await doctor(certs, collector.url, {}, {
    env: { NODE_EXTRA_CA_CERTS: "/etc/roots.pem", HTTPS_PROXY: "http://proxy.example:3128" },
  });
  assert.deepEqual([report.ok, report.warnings], [true, ["trusts_more", "proxied"]]);
  assert.deepEqual(checkOf(report, "trust").evidence, [
    "Deno's own roots: DENO_TLS_CA_STORE is not empty",
    "the roots of NODE_EXTRA_CA_CERTS",
  ]);
  assert.match(checkOf(report, "proxy").finding, /the proxy of HTTPS_PROXY$/);
  const direct = { ...ALONE, HTTPS_PROXY: "http://proxy.example:3128", NO_PROXY: "example.org, localhost" };
  assert.deepEqual((await doctor(certs, collector.url, {}, { env: direct })).warnings, []);
});

Deno.test("a proxy variable is no proxy for OTLP/gRPC, which doctor says", async () => {
  await using certs = await testCertificates();
  const file = join(certs.dir, "grpc.yaml");
  await writeFile(file, "exporter: { protocol: grpc, endpoint: collector.invalid:4317 }\n");
  const report = await examine({ file, env: { ...ALONE, HTTPS_PROXY: "http://proxy.example:3128" } });
  const { status, finding } = checkOf(report, "proxy");
  assert.deepEqual([status, finding], [
    "ok",
    "OTLP/gRPC goes straight to the Collector; HTTPS_PROXY would apply to OTLP/HTTP alone",
  ]);
});

Deno.test("a certificate near its end is a warning, and a fault when it is very near", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  const at = async (days: number, tls: NonNullable<ConfigInput["exporter"]>["tls"] = {}) => {
    const { certificateFile, keyFile } = await certs.issueClient(`days-${days}`, ending(days));
    const exporter = { tls: { cert_file: certificateFile, key_file: keyFile, ...tls } };
    const report = await doctor(certs, collector.url, { exporter });
    return { ...checkOf(report, "dates"), faults: report.faults };
  };
  const near = await at(20);
  assert.deepEqual([near.status, near.fault, near.faults], ["warning", "expires_soon", []]);
  assert.match(near.finding, /CN=client-app: 19 days left$/);
  assert.deepEqual((await at(2)).faults, ["expires_soon"]);
  assert.equal((await at(20, { expiry_warning: "24h", expiry_error: "1h" })).status, "ok");
});

Deno.test("an endpoint that reads the first gzip member alone, and clocks that differ, are warnings", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs, { misbehave: () => ({ kind: "first_member_only" }) });
  const report = await doctor(certs, collector.url);
  assert.deepEqual([report.faults, report.warnings], [[], ["first_member_only"]]);
  const plain = await doctor(certs, collector.url, { exporter: { compression: "gzip" } });
  assert.deepEqual(plain.warnings, []);
  assert.match(checkOf(plain, "members").finding, /^Skipped: exporter\.compression is gzip/);
  const later = await doctor(certs, collector.url, {}, { now: () => new Date(Date.now() + 3_600_000) });
  assert.deepEqual(later.warnings, ["clock_skew", "first_member_only"]);
  assert.match(checkOf(later, "clock").finding, /^The clocks differ by -3(599|600|601) s$/);
});

Deno.test("an endpoint that refuses empty requests proves nothing of its second member by refusing it", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs, {
    // Reads the first member alone, and refuses an empty request.
    misbehave: (_signal, _request, body) =>
      body[0] === 0x1f ? { kind: "status", status: 400, message: "no data" } : undefined,
  });
  const report = await doctor(certs, collector.url);
  assert.deepEqual([report.faults, report.warnings], [[], ["first_member_only"]]);
  assert.match(
    checkOf(report, "members").finding,
    /^An empty request of two gzip members was refused, or a field that OTLP does not have/,
  );
});

Deno.test("a page with 200 is no Collector, and a connection that goes silent has a name", async () => {
  await using certs = await testCertificates();
  await using page = await embedded(certs, { misbehave: () => ({ kind: "page" }) });
  const report = await doctor(certs, page.url);
  assert.deepEqual([...new Set(report.faults)], ["wrong_protocol"]);
  let silent = false;
  await using collector = await embedded(certs, {
    // The first question for logs only.
    misbehave: (signal) => signal === "logs" && !silent ? (silent = true, { kind: "silence" }) : undefined,
  });
  assert.deepEqual((await doctor(certs, collector.url, { exporter: { timeout: "500ms" } })).warnings, [
    "connection_silent",
  ]);
});

Deno.test("signals with a Collector of their own are examined by themselves", async () => {
  await using certs = await testCertificates();
  await using first = await embedded(certs);
  await using second = await embedded(certs, {
    misbehave: () => ({ kind: "status", status: 401, message: "no credentials" }),
  });
  const report = await doctor(certs, first.url, { exporter: { logs_endpoint: `${second.url}/v1/logs` } });
  assert.deepEqual(report.faults, ["unauthorized"]);
  const requests = report.checks.filter(({ id }) => id.startsWith("request_"));
  assert.deepEqual(requests.map(({ status }) => status), [
    ...["ok", "ok", "skipped", "ok"],
    ...["skipped", "skipped", "fault", "skipped"],
  ]);
  assert.match(
    String(requests[0]?.endpoint),
    new RegExp(`^https://localhost:${first.port} \\(traces, metrics, profiles\\)$`),
  );
  assert.deepEqual(requests[6]?.evidence, ["answered 401 no credentials"]);
});

Deno.test("a Collector without profiles is sound, and told so; one without logs is not", async () => {
  await using certs = await testCertificates();
  const without = async (missing: SignalName) => {
    await using collector = await embedded(certs, {
      misbehave: (signal) => signal === missing ? { kind: "status", status: 404, message: "" } : undefined,
    });
    return await doctor(certs, collector.url);
  };
  const profiles = await without("profiles");
  assert.deepEqual([profiles.ok, profiles.faults], [true, []]);
  assert.match(checkOf(profiles, "request_profiles").finding, /has no pipeline for profiles, which are in development/);
  assert.deepEqual((await without("logs")).ok, false);
});

Deno.test("an authenticator that answers 403 without a certificate has refused it", async () => {
  await using certs = await testCertificates();
  const server = createServer({
    ca: certs.ca.certificate,
    cert: certs.server.certificate,
    key: certs.server.key,
    requestCert: true,
    rejectUnauthorized: false,
  }, (request, response) => {
    request.resume();
    const { authorized } = request.socket as import("node:tls").TLSSocket;
    response.writeHead(authorized ? 200 : 403, { "content-type": "application/x-protobuf" }).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const report = await doctor(certs, `https://localhost:${port}`);
    assert.equal(checkOf(report, "demanded").status, "ok");
    assert.deepEqual(report.faults, []);
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
});

Deno.test("a queue that cannot be kept where it should be, and a disk that is too small for it", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  const at = (path: string, queue_size = "64MiB") =>
    doctor(certs, collector.url, { sending_queue: { path, queue_size } });
  const blocked = join(certs.dir, "file");
  await writeFile(blocked, "");
  assert.deepEqual((await at(join(blocked, "queue.db"))).faults, ["queue_unusable"]);
  assert.equal(checkOf(await at(join(blocked, "queue.db")), "disk").status, "skipped");
  const deep = await at(join(certs.dir, "a/b/queue.db"));
  assert.equal(checkOf(deep, "queue_folder").finding, `${join(certs.dir, "a/b")} will be made in ${certs.dir}`);
  assert.deepEqual((await at(join(certs.dir, "queue.db"), "16TiB")).warnings, ["disk_low"]);
  const none = await doctor(certs, collector.url, { sending_queue: { storage: "none" } });
  assert.match(checkOf(none, "disk").finding, /^No disk is used/);
});

Deno.test("the first of several faults is found and the others with it: nothing hides behind an independent one", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  const dir = join(certs.dir, "several");
  await mkdir(dir);
  const key = join(dir, "open.key");
  await writeFile(key, await readFile(certs.mismatchedClient.keyFile), { mode: 0o644 });
  const report = await doctor(certs, collector.url, {
    exporter: { tls: { key_file: key } },
    sending_queue: { path: join(certs.client.keyFile, "queue.db") },
  });
  assert.deepEqual(report.faults, ["key_exposed", "key_mismatch", "queue_unusable"]);
});

Deno.test("the Collector's certificate near its end: a warning, then a fault that stands in no other step's way", async () => {
  await using certs = await testCertificates();
  for (const [days, status] of [[20, "warning"], [2, "fault"]] as const) {
    const server = await certs.issueServer(`server-${days}`, ending(days));
    await using collector = await embedded(certs, {
      tls: { ca: [certs.ca.certificate], cert: server.certificate, key: server.key },
    });
    const report = await doctor(certs, collector.url);
    const check = checkOf(report, "server_dates");
    assert.deepEqual([check.status, check.fault], [status, "expires_soon"]);
    assert.equal(check.remedy, "renew it on the Collector's side");
    assert.deepEqual([checkOf(report, "accepted").status, checkOf(report, "request_traces").status], ["ok", "ok"]);
    assert.equal(report.ok, days > 3);
  }
});

Deno.test("each exporter is examined by its name, with its own identity", async () => {
  await using certs = await testCertificates();
  await using collector = await embedded(certs);
  await using other = await embedded(certs);
  const tls = (pair: { certificateFile: string; keyFile: string }) => ({
    ca_file: certs.ca.certificateFile,
    cert_file: pair.certificateFile,
    key_file: pair.keyFile,
  });
  const file = join(certs.dir, "several.yaml");
  const exporters = {
    one: { endpoint: collector.url, tls: tls(certs.client) },
    two: { endpoint: other.url, tls: tls(certs.otherClient) },
  };
  const sending_queue = { path: join(certs.dir, "queue.db"), queue_size: "64MiB" };
  await writeFile(file, JSON.stringify({ exporters, routes: [{ exporters: ["one", "two"] }], sending_queue }));
  const { checks, faults } = await examine({ file, env: ALONE });
  assert.deepEqual(faults, ["client_certificate_unknown_ca"]);
  const accepted = checks.filter(({ id }) => id === "accepted").map((
    { endpoint, status },
  ) => [endpoint?.slice(0, 5), status]);
  assert.deepEqual(accepted, [["one: ", "ok"], ["two: ", "fault"]]);
});
