/**
 * The fault matrix: each fault, on TLS 1.2 and 1.3, against the embedded Collector, the real one and an nginx in which TLS ends.
 * In every row `doctor` must name that fault and no other; where a request can be tried, the exporter must name it too.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createServer as createPlainServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { startCollector as startEmbedded } from "../../../src/collector/server.ts";
import type { Protocol } from "../../../src/config/exporter_settings.ts";
import { NAMED_FAULTS } from "../../../src/diagnosis/faults.ts";
import type { Report } from "../../../src/doctor/doctor.ts";
import type { ClientIdentity } from "../../../src/exporter/client/transport.ts";
import { type Pair, type TestCertificates, testCertificates } from "../../support/files/certificates.ts";
import { startCollector as startReal } from "../../support/tools/collector.ts";
import { clientFor } from "../../support/relay/exporting.ts";
import { startNginx } from "../../support/tools/nginx.ts";
import {
  doctor,
  FAULTS,
  type Files,
  type ServerKind,
  SERVERS,
  serversOf,
  told,
  type Version,
  VERSIONS,
} from "../../support/relay/relay_faults.ts";

/** A far end: where each of its servers is. */
interface FarEnd {
  readonly name: string;
  readonly protocol: Protocol;
  url(server: ServerKind, version: Version): string;
}

async function openEmbedded(
  stack: AsyncDisposableStack,
  certs: TestCertificates,
  servers: Record<ServerKind, Pair>,
): Promise<FarEnd> {
  const urls = new Map<string, string>();
  for (const version of VERSIONS) {
    for (const server of SERVERS) {
      const { certificate: cert, key } = servers[server];
      const collector = stack.use(
        await startEmbedded({
          host: "127.0.0.1",
          port: 0,
          tls: {
            ca: [certs.ca.certificate],
            cert,
            key,
            version: `TLSv${version}`,
            demandsCertificate: server !== "open",
          },
        }),
      );
      urls.set(server + version, collector.url);
    }
  }
  return {
    name: "embedded Collector",
    protocol: "http/protobuf",
    url: (server, version) => urls.get(server + version)!,
  };
}

async function openReal(
  stack: AsyncDisposableStack,
  certs: TestCertificates,
  servers: Record<ServerKind, Pair>,
  protocol: Protocol,
): Promise<FarEnd> {
  const transport = protocol === "grpc" ? "grpc" : "http";
  const names = VERSIONS.flatMap((version) => SERVERS.map((server) => ({ server, version, name: server + version })));
  const receivers = names.map(({ server, version, name }) => `
  otlp/${name}:
    protocols:
      ${transport}:
        endpoint: 127.0.0.1:0
        tls:
          cert_file: ${servers[server].certificateFile}
          key_file: ${servers[server].keyFile}
          ${server === "open" ? "" : `client_ca_file: ${certs.ca.certificateFile}`}
          min_version: "${version}"
          max_version: "${version}"`);
  const list = ["otlp", ...names.map(({ name }) => `otlp/${name}`)].join(", ");
  const pipelines = ["traces", "metrics", "logs"].map((signal) => `    ${signal}: { receivers: [${list}] }`);
  const config = `receivers:${
    receivers.join("")
  }\nservice:\n  telemetry: { logs: { sampling: { enabled: false } } }\n  pipelines:\n${pipelines.join("\n")}\n`;
  const collector = stack.use(await startReal({ certsDir: certs.dir, config }));
  const urls = new Map<string, string>();
  for (const line of collector.logs().split("\n")) {
    const logged: Record<string, unknown> = line.startsWith("{") ? JSON.parse(line) : {};
    const id = String(logged["otelcol.component.id"] ?? "");
    const port = /:(\d+)$/.exec(String(logged["endpoint"] ?? ""))?.[1];
    if (
      logged["msg"] === `Starting ${transport.toUpperCase()} server` && id.startsWith("otlp/") && port !== undefined
    ) {
      urls.set(id.slice("otlp/".length), `https://localhost:${port}`);
    }
  }
  assert.equal(urls.size, names.length, collector.logs().slice(0, 2_000));
  return { name: `real Collector, ${protocol}`, protocol, url: (server, version) => urls.get(server + version)! };
}

async function openNginx(
  stack: AsyncDisposableStack,
  certs: TestCertificates,
  servers: Record<ServerKind, Pair>,
  upstream: string,
): Promise<FarEnd> {
  const nginx = stack.use(
    await startNginx({
      servers: VERSIONS.flatMap((version) =>
        SERVERS.map((server) => ({
          name: server + version,
          server: servers[server],
          clientCaFile: server === "open" ? "off" as const : certs.ca.certificateFile,
          version: `TLSv${version}` as const,
        }))
      ),
      upstream: { url: upstream, ca: certs.ca, client: certs.client },
    }),
  );
  return { name: "nginx", protocol: "http/protobuf", url: (server, version) => nginx.url(server + version) };
}

async function exporterSays(endpoint: string, { ca, cert, key }: Files, protocol: Protocol): Promise<string> {
  const text = (file: string) => readFile(file, "utf8");
  const identity: ClientIdentity = {
    caCerts: [await text(ca)],
    ...(cert === "" ? {} : { cert: await text(cert), key: await text(key) }),
  };
  const client = clientFor(endpoint, identity, 10_000, true, protocol);
  try {
    return client.diagnose(await client.send("traces", new Uint8Array(0), "identity")).code;
  } finally {
    client.close();
  }
}

/** Rows at once: the machine has few cores, and each waits for handshakes. */
const ROWS_AT_ONCE = 4;

async function inParallel<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: ROWS_AT_ONCE }, async () => {
    for (const item of rest) await work(item);
  }));
}

Deno.test("the fault matrix: every fault, TLS version and far end, named by doctor and by the exporter", async (t) => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const servers = await serversOf(certs);
  const embedded = await openEmbedded(stack, certs, servers);
  const farEnds = [
    embedded,
    await openReal(stack, certs, servers, "http/protobuf"),
    await openReal(stack, certs, servers, "grpc"),
    await openNginx(stack, certs, servers, embedded.url("good", "1.3")),
  ];
  const good: Files = {
    ca: certs.ca.certificateFile,
    cert: certs.client.certificateFile,
    key: certs.client.keyFile,
  };
  const produced = new Map<string, Report["checks"][number]>();
  let rows = 0;
  for (const farEnd of farEnds) {
    for (const version of VERSIONS) {
      await t.step(`${farEnd.name}, TLS ${version}`, async () => {
        const sound = await doctor(certs.dir, farEnd.url("good", version), good, {}, farEnd.protocol);
        assert.deepEqual([sound.faults, sound.warnings], [[], []], told(sound));
        assert(sound.checks.every(({ status }) => status === "ok"), told(sound));
        const wrong: string[] = [];
        await inParallel(FAULTS, async ({ fault, code, exporter, server = "good", files, tls }) => {
          const dir = join(certs.dir, `row-${rows++}`);
          await mkdir(dir);
          const used = await files?.(good, certs, dir) ?? good;
          const report = await doctor(dir, farEnd.url(server, version), used, tls, farEnd.protocol);
          const where = `${fault}, ${farEnd.name}, TLS ${version}`;
          if (report.faults.join() !== code) wrong.push(`${where}: ${report.faults.join()}\n${told(report)}`);
          for (const row of report.checks) {
            if (row.status === "fault") produced.set(row.fault ?? row.id, row);
            if (row.status === "fault" && !row.remedy) wrong.push(`${where}: ${row.id} says no remedy`);
            if (row.status === "skipped" && !row.finding.startsWith('Skipped: it needs "')) {
              wrong.push(`${where}: ${row.id} is skipped without a reason`);
            }
          }
          const url = farEnd.url(server, version);
          const said = exporter === undefined ? undefined : await exporterSays(url, used, farEnd.protocol);
          if (said !== exporter) wrong.push(`${where}: the exporter says ${said}`);
        });
        assert.deepEqual(wrong, [], `${wrong.join("\n")}`);
      });
    }
  }
  assert(rows >= 40, `${rows} rows`);
  console.log(`fault matrix: ${rows} rows, ${produced.size} names`);
  await t.step("the four of the example are known by their names", () => {
    const known = (name: string) =>
      NAMED_FAULTS.filter(({ knownAs }) => knownAs.includes(name)).map(({ code }) => code);
    for (
      const [name, code] of [
        ["certificate verify failed", "wrong_ca"],
        ["bad record MAC", "key_mismatch"],
        ["hostname mismatch", "server_name_mismatch"],
        ["unable to load certificate", "not_found"],
      ] as const
    ) {
      assert(known(name).includes(code), name);
      assert(produced.get(code)?.knownAs.includes(name), `${name}: ${JSON.stringify(produced.get(code))}`);
    }
  });
});

Deno.test("what is wrong with the way, named by doctor", async (t) => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const good: Files = { ca: certs.ca.certificateFile, cert: certs.client.certificateFile, key: certs.client.keyFile };
  const real = stack.use(await startReal({ certsDir: certs.dir }));
  const nginx = stack.use(
    await startNginx({
      servers: [
        { name: "old", server: certs.server, clientCaFile: certs.ca.certificateFile, version: "TLSv1.1" },
        { name: "good", server: certs.server, clientCaFile: certs.ca.certificateFile, version: "TLSv1.3" },
      ],
      upstream: { url: real.httpUrl, ca: certs.ca, client: certs.client },
    }),
  );
  const plain = createPlainServer((_request, response) => response.end());
  plain.listen(0, "127.0.0.1");
  await once(plain, "listening");
  stack.defer(async () => {
    plain.close();
    plain.closeAllConnections();
    await once(plain, "close");
  });
  const { ca, server: { certificate: cert, key } } = certs;
  const tls = { ca: [ca.certificate], cert, key };
  const embedded = stack.use(await startEmbedded({ host: "127.0.0.1", port: 0, tls }));
  const closed = createTcpServer();
  closed.listen(0, "127.0.0.1");
  await once(closed, "listening");
  const nobody = (closed.address() as AddressInfo).port;
  closed.close();
  await once(closed, "close");

  const rows: [string, string, string, Protocol?][] = [
    ["nothing listens", `https://localhost:${nobody}`, "connection_refused"],
    ["a name that is not known", "https://no-such-host.invalid:4318", "name_not_resolved"],
    ["a port without TLS", `https://localhost:${(plain.address() as AddressInfo).port}`, "not_tls"],
    ["TLS 1.1 alone", nginx.url("old"), "tls_version"],
    ["http:// to a port with TLS, of Go", real.httpUrl.replace("https:", "http:"), "tls_wanted"],
    ["http:// to a port with TLS, of nginx", nginx.url("good").replace("https:", "http:"), "tls_wanted"],
    ["the gRPC port", `https://localhost:${real.grpcPort}`, "wrong_protocol"],
    ["a path that is not there", `${real.httpUrl}/elsewhere`, "no_such_path"],
    ["gRPC: nothing listens", `https://localhost:${nobody}`, "connection_refused", "grpc"],
    ["gRPC: a name that is not known", "https://no-such-host.invalid:4317", "name_not_resolved", "grpc"],
    ["gRPC: a port without TLS", `https://localhost:${(plain.address() as AddressInfo).port}`, "not_tls", "grpc"],
    ["gRPC: TLS 1.1 alone", nginx.url("old"), "tls_version", "grpc"],
    ["gRPC: http:// to a gRPC port with TLS", `http://localhost:${real.grpcPort}`, "no_http2", "grpc"],
    ["gRPC: http:// to an HTTP port", `http://localhost:${(plain.address() as AddressInfo).port}`, "no_http2", "grpc"],
    ["gRPC: the HTTP port", real.httpUrl, "no_such_path", "grpc"],
    ["gRPC: a server of HTTP/1.1 alone", embedded.url, "no_http2", "grpc"],
  ];
  for (const [what, endpoint, code, protocol] of rows) {
    await t.step(what, async () => {
      const report = await doctor(certs.dir, endpoint, good, {}, protocol);
      assert.deepEqual(report.faults, [code], told(report));
    });
  }
});
