import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openCollector } from "../../src/cli/embedded_collector.ts";
import type { Io } from "../../src/cli/io.ts";
import { openAuthority, SERVER } from "../../src/pki/authority.ts";
import { addAuthority, retireAuthority, rotateCertificates } from "../../src/pki/folder.ts";
import { initCertificates } from "../../src/pki/init.ts";
import { clientFor, Journal, requestOf } from "../support/relay/exporting.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";
import { folder } from "../support/files/folder.ts";

/** What is printed, to be waited for. */
function printed() {
  const lines = new Journal<string>();
  const io: Io = { isTerminal: false, out: (line) => lines.push(line), err: (line) => lines.push(line) };
  return { io, lines, line: (pattern: RegExp) => lines.find((line) => pattern.test(line), String(pattern)) };
}

const endpoint = { hostname: "127.0.0.1", port: 0 };

async function read(dir: string, name: string): Promise<string> {
  return await readFile(join(dir, name), "utf8");
}

/** The status that a client with the files of the folder is answered, or why it is answered nothing. */
async function deliver(url: string, dir: string): Promise<number | string> {
  const client = clientFor(url, {
    caCerts: [await read(dir, "ca.crt")],
    cert: await read(dir, "client.crt"),
    key: await read(dir, "client.key"),
  });
  try {
    const answer = await client.send("traces", requestOf("traces", ["a"]), "identity");
    return answer.kind === "answer" ? answer.status : answer.cause;
  } finally {
    client.close();
  }
}

Deno.test("every step of a change of the CA is taken up while it runs, and the folder's client is let in after each", async () => {
  await using at = await folder();
  await initCertificates({ dir: at.path });
  const { io, lines, line } = printed();
  await using collector = await openCollector(io, { endpoint, certs: at.path });
  assert.equal(await deliver(collector.url, at.path), 200);
  const steps: [name: string, step: () => Promise<unknown>][] = [
    ["renewed", () => rotateCertificates(at.path, Infinity)],
    ["both CAs", () => addAuthority(at.path)],
    ["of the new CA", () => rotateCertificates(at.path, Infinity)],
    ["the new CA alone", () => retireAuthority(at.path)],
    ["made anew", () => initCertificates({ dir: at.path, force: true })],
  ];
  for (const [name, step] of steps) {
    const from = lines.entries.length;
    await step();
    const { serialNumber } = new X509Certificate(await read(at.path, "server.crt"));
    await lines.until(
      () => lines.entries.slice(from).some((text) => text.endsWith(`(serial ${serialNumber})`)),
      `${name}: took up`,
    );
    assert.equal(await deliver(collector.url, at.path), 200, name);
  }
  await line(/^collector: took up changed certificates of /);
  assert.deepEqual(lines.entries.filter((text) => text.includes("refused")), []);
});

Deno.test("what does not fit together is told of, and the previous ones stay in force", async () => {
  await using at = await folder();
  await initCertificates({ dir: at.path });
  const { io, line } = printed();
  await using collector = await openCollector(io, { endpoint, certs: at.path, reloadIntervalMs: 100 });
  await writeFile(join(at.path, "server.key"), await read(at.path, "client.key"));
  const told = await line(/^collector: refused changed certificates, the previous ones stay in force: /);
  assert.match(told, /server\.key: it does not match server certificate .*server\.crt/);
  assert.equal(await deliver(collector.url, at.path), 200);
});

Deno.test("files that are not there, or that others can read, are one line with what to do", async () => {
  await using at = await folder();
  const { io } = printed();
  await assert.rejects(openCollector(io, { endpoint, certs: at.path }), {
    name: "CertificateError",
    message:
      /^Cannot read client CA certificate .*ca\.crt: there is no such file; make it with "deno task certs init"$/,
  });
  await initCertificates({ dir: at.path });
  await chmod(join(at.path, "server.key"), 0o644);
  await assert.rejects(openCollector(io, { endpoint, certs: at.path }), {
    name: "CertificateError",
    message: /mode 0644, so every user .*; run chmod 600 on it \(in a volume of Kubernetes: defaultMode: 0440\)$/,
  });
});

Deno.test("expired ones are told of and shown: renewed ones are taken up beside it", async () => {
  await using at = await folder();
  await initCertificates({ dir: at.path });
  const authority = await openAuthority(
    new X509Certificate(await read(at.path, "ca.crt")),
    createPrivateKey(await read(at.path, "ca.key")),
  );
  const past = await authority.issue({ ...SERVER, days: 1, now: new Date(Date.now() - 5 * 86_400_000) });
  await writeFile(join(at.path, "server.crt"), past.certificate);
  await writeFile(join(at.path, "server.key"), past.key);
  const { io, line } = printed();
  await using collector = await openCollector(io, { endpoint, certs: at.path });
  await line(/^collector: .*server\.crt: it expired 4 days ago/);
  assert.match(String(await deliver(collector.url, at.path)), /expired/);
  await rotateCertificates(at.path, 30);
  await line(/^collector: took up changed certificates/);
  assert.equal(await deliver(collector.url, at.path), 200);
});

Deno.test("the telemetry of the folded service is announced once, that of others is printed each time", async () => {
  await using at = await folder();
  await initCertificates({ dir: at.path });
  const { io, lines } = printed();
  await using collector = await openCollector(io, { endpoint, certs: at.path, foldedService: "edgeferry" });
  const identity = {
    caCerts: [await read(at.path, "ca.crt")],
    cert: await read(at.path, "client.crt"),
    key: await read(at.path, "client.key"),
  };
  const client = clientFor(collector.url, identity);
  try {
    for (const service of ["edgeferry", "shop", "edgeferry", "shop"]) {
      const body = encodeProtobuf(REQUEST_MESSAGE.logs, {
        resourceLogs: [{
          resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] },
          scopeLogs: [{ logRecords: [{ body: { stringValue: "x" } }] }],
        }],
      });
      await client.send("logs", body, "identity");
    }
  } finally {
    client.close();
  }
  assert.deepEqual(lines.entries.map((line) => line.replace(/, delivered by .*/, "")), [
    "collector: own     the relay's own telemetry (edgeferry) arrives too; it is not listed",
    "collector: logs    1 log record of shop (x)",
    "collector: logs    1 log record of shop (x)",
  ]);
});
