/** The table of faults, which is docs/faults.md: every row is one that doctor has produced here. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { type CollectorOptions, startCollector } from "../../../src/collector/server.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { NAMED_FAULTS } from "../../../src/diagnosis/faults.ts";
import { listenOnGrpc } from "../../../src/receiver/grpc/listener.ts";
import { examine, type Report } from "../../../src/doctor/doctor.ts";
import { createAuthority } from "../../../src/pki/authority.ts";
import { initCertificates } from "../../../src/pki/init.ts";
import { issueCertificate, revokeCertificate } from "../../../src/pki/folder.ts";
import { tcp } from "../../support/far_end/tcp.ts";
import { ending, type Pair, testCertificates } from "../../support/files/certificates.ts";
import { startCollector as startReal } from "../../support/tools/collector.ts";
import { startNginx } from "../../support/tools/nginx.ts";
import { ODD_FORMS, oddServers } from "../../support/tools/odd_servers.ts";
import { LIBRARY_ONLY } from "../../docs/pages.ts";
import { startProgram } from "../../support/program/program.ts";
import { isZstd } from "../../support/relay/exporting.ts";
import { doctor, FAULTS, type Files, SERVERS, serversOf } from "../../support/relay/relay_faults.ts";

const root = new URL("../../../", import.meta.url);

/** What only a relay that sends data comes to know. */
const WITH_DATA: ReadonlySet<string> = new Set([
  "connection_silent",
  "record_fails",
  "refusal_unproven",
  "refuses_everything",
]);

Deno.test("each row of the table of faults is produced by doctor", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const produced = new Set<string>();
  const note = (report: Report) => {
    for (const code of [...report.faults, ...report.warnings]) produced.add(code);
    return report;
  };
  const servers = await serversOf(certs);
  const embedded = async (
    more: Partial<CollectorOptions> = {},
    server: Pair = certs.server,
    demandsCertificate = true,
  ) =>
    stack.use(
      await startCollector({
        host: "127.0.0.1",
        port: 0,
        tls: { ca: [certs.ca.certificate], cert: server.certificate, key: server.key, demandsCertificate },
        ...more,
      }),
    ).url;
  const good: Files = { ca: certs.ca.certificateFile, cert: certs.client.certificateFile, key: certs.client.keyFile };
  const sound = await embedded();

  // The faults of the matrix, once.
  const urls = new Map<string, string>();
  for (const kind of SERVERS) urls.set(kind, await embedded({}, servers[kind], kind !== "open"));
  for (const [index, { server = "good", files, tls }] of FAULTS.entries()) {
    const dir = join(certs.dir, `fault-${index}`);
    await mkdir(dir);
    note(await doctor(dir, urls.get(server)!, await files?.(good, certs, dir) ?? good, tls));
  }

  // Files of other kinds.
  const dir = certs.dir;
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  const oddKey = join(dir, "odd.key");
  await writeFile(oddKey, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  note(await doctor(dir, sound, { ...good, key: oddKey }));
  const past = await createAuthority({ commonName: "PastCA", now: new Date("2010-01-01"), days: 365 });
  await writeFile(join(dir, "past.crt"), past.certificate);
  note(await doctor(dir, sound, { ...good, ca: join(dir, "past.crt") }));
  note(await doctor(dir, sound, { ...good, key: dir }));
  const near = await certs.issueClient("near", ending(9));
  note(await doctor(dir, sound, { ...good, cert: near.certificateFile, key: near.keyFile }));

  // Answers.
  for (const status of [307, 401, 404, 415, 500, 503]) {
    note(await doctor(dir, await embedded({ misbehave: () => ({ kind: "status", status }) }), good));
  }
  note(await doctor(dir, await embedded({ misbehave: () => ({ kind: "first_member_only" }) }), good));

  // The way.
  note(await doctor(dir, "https://no-such-host.invalid:4318", good));
  const gone = await tcp(stack, (socket) => void socket.destroy());
  note(await doctor(dir, `https://localhost:${gone}`, good));
  const mail = await tcp(stack, (socket) => void socket.end("220 mail.example ESMTP\r\n"));
  note(await doctor(dir, `https://localhost:${mail}`, good));
  note(await doctor(dir, `http://localhost:${mail}`, good));
  const silent = await tcp(stack, () => {});
  const more: ConfigInput = { exporter: { endpoint: `https://localhost:${silent}`, timeout: "200ms" } };
  const examined = async (config: ConfigInput, options: Partial<Parameters<typeof examine>[0]> = {}) => {
    const { ca: ca_file, cert: cert_file, key: key_file } = good;
    const file = join(dir, "examined.yaml");
    const exporter = { endpoint: sound, ...config.exporter, tls: { ca_file, cert_file, key_file } };
    const { receiver } = config;
    const sending_queue = { path: join(dir, "queue.db"), queue_size: "64MiB", ...config.sending_queue };
    await writeFile(file, JSON.stringify({ receiver, exporter, sending_queue }));
    return note(await examine({ file, env: { DENO_TLS_CA_STORE: "" }, ...options }));
  };
  await examined(more);
  const unread = await embedded({
    misbehave: (_, __, body) => isZstd(body) ? { kind: "status", status: 415 } : undefined,
  });
  await examined({ exporter: { protocol: "grpc" } });
  await examined({ exporter: { endpoint: unread, compression: "zstd" } });
  const past9 = await certs.issueServer("past9", { days: 1, now: new Date(Date.now() - 10 * 86_400_000) });
  await examined({
    receiver: { http: { tls: { cert_file: past9.certificateFile, key_file: past9.keyFile } } },
  });
  // What listens at the relay's own addresses.
  const at = (port: number) => ({ endpoint: `127.0.0.1:${port}` });
  await examined({ receiver: { http: at(mail), grpc: at(silent) } });
  const other = await listenOnGrpc({
    hostname: "127.0.0.1",
    port: 0,
    limits: {
      connectionsMax: 10,
      addressConnectionsMax: 0,
      headerBytesMax: 16_384,
      headerMs: 10_000,
      bodyMs: 10_000,
      idleMs: 10_000,
    },
    streamsMax: 10,
    unreadBytesMax: 1 << 20,
    isReady: () => false,
    answer: () => Promise.reject(new Error("Nobody exports")),
    events: { refused() {}, dropped() {}, failed() {} },
    server: (_, listener) => {
      const { certificate: cert, key } = certs.server;
      return createTlsServer({ cert, key, ALPNProtocols: ["h2"] }, listener);
    },
  });
  stack.defer(() => other.close());
  for (const { certificateFile: cert_file, keyFile: key_file } of [certs.server, await certs.issueServer("next")]) {
    await examined({ receiver: { http: { tls: { cert_file, key_file } }, grpc: at(other.port) } });
  }
  await examined({ exporter: { endpoint: "https://localhost:1" } });
  await examined({ sending_queue: { path: join(good.key, "queue.db") } });
  await examined({ sending_queue: { queue_size: "16TiB" } });
  await tcp(stack, () => {}, { port: Number(new URL(sound).port), host: "127.0.0.9" });
  const resolve = () => Promise.resolve(["127.0.0.1", "127.0.0.8", "127.0.0.9"]);
  const several = await examined({}, { resolve });
  assert.deepEqual(
    several.checks.find(({ id }) => id === "addresses")?.evidence,
    ["127.0.0.1 answers", "127.0.0.8 refuses", "127.0.0.9 is silent"],
  );
  assert.ok(several.ok, "nothing is wrong but that");
  await examined({}, { env: { HTTPS_PROXY: "http://proxy.example:3128" } });
  await examined({}, { now: () => new Date(Date.now() + 3_600_000) });
  note(await examine({ file: join(dir, "no-such.yaml"), env: {} }));

  // What a Collector of Go and an nginx say.
  const real = stack.use(await startReal({ certsDir: certs.dir }));
  note(await doctor(dir, real.httpUrl.replace("https:", "http:"), good));
  const issued = join(dir, "issued");
  await initCertificates({ dir: issued });
  const { certificateFile, keyFile } = await issueCertificate({ dir: issued, usage: "clientAuth", name: "revoked" });
  await revokeCertificate(issued, certificateFile);
  const pairOf = async (name: string): Promise<Pair> => ({
    certificate: await readFile(join(issued, `${name}.crt`), "utf8"),
    key: await readFile(join(issued, `${name}.key`), "utf8"),
    certificateFile: join(issued, `${name}.crt`),
    keyFile: join(issued, `${name}.key`),
  });
  const server = await pairOf("server");
  const clientCaFile = join(issued, "ca.crt");
  const nginx = stack.use(
    await startNginx({
      servers: [
        { name: "front", server, clientCaFile, version: "TLSv1.3", crlFile: join(issued, "ca.crl") },
        { name: "old", server, clientCaFile, version: "TLSv1.1" },
      ],
      upstream: { url: real.httpUrl, ca: certs.ca, client: certs.client },
    }),
  );
  note(await doctor(dir, nginx.url("front"), { ca: clientCaFile, cert: certificateFile, key: keyFile }));
  note(await doctor(dir, nginx.url("old"), { ca: clientCaFile, cert: certificateFile, key: keyFile }));
  note(await withoutNetwork(dir));

  // Certificates of an odd form.
  const odd = stack.use(await oddServers());
  for (const [, name] of ODD_FORMS) {
    await using server = await odd.serve(name, "1.3");
    note(await doctor(dir, server.url, { ...good, ca: odd.caFile }));
  }

  // A relay always has a certificate to show: who exports with the library alone may have none.
  // Those of a database have a test of their own.
  const named = NAMED_FAULTS.filter(({ code }) => !LIBRARY_ONLY.has(code) && !code.startsWith("database_"));
  assert.deepEqual(
    [...produced].sort(),
    named.map(({ code }) => code).filter((code) => !WITH_DATA.has(code)).sort(),
    "every named fault was produced, and nothing without a name",
  );
});

/** Doctor in a process that may read, but not connect. */
async function withoutNetwork(dir: string): Promise<Report> {
  const file = join(dir, "examined.yaml");
  const args = ["run", "--allow-read", "--allow-env", "--allow-sys", "--deny-net"];
  await using program = startProgram({
    command: Deno.execPath(),
    args: [...args, new URL("src/main.ts", root).pathname, "doctor", "--json", "--config", file],
    cwd: dir,
    env: { DENO_TLS_CA_STORE: "" },
  });
  await program.ended;
  return JSON.parse(program.out.join("\n"));
}
