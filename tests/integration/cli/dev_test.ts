import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { initCertificates } from "../../../src/pki/init.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { clientFor, requestOf } from "../../support/relay/exporting.ts";
import { folder } from "../../support/files/folder.ts";
import { startTask, writeConfig } from "../../support/program/task.ts";

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const closed = once(server, "close");
  server.close();
  await closed;
  return port;
}

async function modeOf(...path: string[]): Promise<number> {
  return (await stat(join(...path))).mode & 0o777;
}

function urlIn(line: string): string {
  return /(https?:\/\/[\w.]+:\d+)/.exec(line)![1]!;
}

Deno.test("collector: prints what it receives and whom it refuses, until SIGTERM", async () => {
  await using at = await folder();
  await using certs = await testCertificates();
  await initCertificates({ dir: join(at.path, "certs") });
  await using collector = startTask("collector", at.path, ["--endpoint", "127.0.0.1:0"]);
  const url = urlIn(await collector.line(/^Collector at https:\/\/localhost:\d+, for clients with a certificate of /));
  const pem = (name: string) => readFile(join(at.path, "certs", name), "utf8");
  const ca = await pem("ca.crt");
  const client = clientFor(url, { caCerts: [ca], cert: await pem("client.crt"), key: await pem("client.key") });
  const stranger = clientFor(url, { caCerts: [ca], cert: certs.client.certificate, key: certs.client.key });
  try {
    const answer = await client.send("traces", requestOf("traces", ["GET /"]), "identity");
    assert(answer.kind === "answer" && answer.status === 200, JSON.stringify(answer));
    await collector.line(/^collector: traces {2}1 span of unnamed service \(GET \/\), delivered by client-app$/);
    assert.equal((await stranger.send("traces", requestOf("traces", ["a"]), "identity")).kind, "none");
    await collector.line(/^collector: refused a client: /);
  } finally {
    client.close();
    stranger.close();
  }
  assert.equal((await collector.stop()).code, 0);
});

Deno.test("collector: a port that is taken is one line, with how to use the Collector that is there", async () => {
  await using at = await folder();
  await initCertificates({ dir: join(at.path, "certs") });
  const taken = createServer();
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  try {
    await using collector = startTask("collector", at.path, ["--endpoint", `127.0.0.1:${port}`]);
    assert.equal((await collector.ended).code, 1);
    assert.equal(collector.lines.length, 1, collector.lines.join("\n"));
    assert.match(
      collector.lines[0]!,
      new RegExp(`port ${port} of 127\\.0\\.0\\.1 is taken; to use the Collector that is there, run .*--no-collector`),
    );
  } finally {
    taken.close();
    await once(taken, "close");
  }
});

Deno.test("collector: without certificates it says how to make them", async () => {
  await using at = await folder();
  await using collector = startTask("collector", at.path, []);
  assert.equal((await collector.ended).code, 1);
  assert.equal(collector.lines.length, 1, collector.lines.join("\n"));
  assert.match(
    collector.lines[0]!,
    /^Cannot read client CA certificate certs\/ca\.crt: there is no such file; make it with "deno task certs init"$/,
  );
});

Deno.test("dev: in an empty folder everything is made, kept from others, and used; the line it prints works", async () => {
  await using at = await folder();
  const config = await writeConfig(at, await freePort());
  const token = async () => (await readFile(join(at.path, "data", "dev.token"), "utf8")).trim();
  let first: string;
  {
    await using dev = startTask("dev", at.path, ["--config", config]);
    await dev.line(/^Made a CA, a server and a client certificate in certs\/$/);
    const url = urlIn(await dev.line(/^Relay at http:\/\/127\.0\.0\.1:\d+, sending to https:\/\/localhost:\d+ /));
    const hint = await dev.line(/^ {2}npx -y deno@\S+ task send/);
    assert.equal(hint, `  npx -y deno@${Deno.version.deno} task send --url ${url}`);
    for (
      const path of ["certs/ca.key", "certs/client.key", "certs/server.key", "data/dev.token", "config/tokens.yaml"]
    ) {
      assert.equal(await modeOf(at.path, path), 0o600, path);
    }
    assert.equal(await modeOf(at.path, "data"), 0o700);
    await using send = startTask("send", at.path, ["--url", url]);
    assert.equal((await send.ended).code, 0, send.lines.join("\n"));
    for (const signal of ["traces", "metrics", "logs"]) {
      await dev.line(new RegExp(`^collector: ${signal} .* of first-steps \\(.*, delivered by client-app$`));
    }
    first = await token();
    assert.equal((await dev.stop()).code, 0);
  }
  await using again = startTask("dev", at.path, ["--config", config, "--quiet"]);
  const url = urlIn(await again.line(/^Relay at /));
  assert(!again.lines.some((line) => line.startsWith("Made a CA")));
  assert.equal(await token(), first);
  await using send = startTask("send", at.path, ["--url", url, "--service", "quiet-one"]);
  assert.equal((await send.ended).code, 0, send.lines.join("\n"));
  assert.equal((await again.stop()).code, 0);
  assert(!again.lines.some((line) => line.includes("quiet-one")));
});

Deno.test("dev: with a Collector there already it says how to use it, and then does", async () => {
  await using at = await folder();
  await initCertificates({ dir: join(at.path, "certs") });
  await using collector = startTask("collector", at.path, ["--endpoint", "127.0.0.1:0"]);
  const collectorUrl = urlIn(await collector.line(/^Collector at /));
  const config = await writeConfig(at, Number(new URL(collectorUrl).port));
  await using clash = startTask("dev", at.path, ["--config", config]);
  assert.equal((await clash.ended).code, 1);
  assert.match(clash.lines.at(-1)!, /is taken; .*--no-collector/);
  await using dev = startTask("dev", at.path, ["--config", config, "--no-collector"]);
  const url = urlIn(await dev.line(/^Relay at /));
  await using send = startTask("send", at.path, ["--url", url]);
  assert.equal((await send.ended).code, 0, send.lines.join("\n"));
  await collector.line(/^collector: traces /);
  assert.equal((await dev.stop()).code, 0);
});

Deno.test("dev: for OTLP/gRPC it says that the embedded Collector does not speak it", async () => {
  await using at = await folder();
  const config = await writeConfig(at, await freePort());
  await writeFile(join(at.path, ".env"), "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc\n");
  await using dev = startTask("dev", at.path, ["--config", config]);
  assert.equal((await dev.ended).code, 1);
  assert.match(dev.lines.at(-1)!, /Collector of logs: exporter\.protocol is grpc, .*--no-collector/);
});

Deno.test("dev: a .env that comes while it runs is taken up, and so is each change of it", async () => {
  await using at = await folder();
  const config = await writeConfig(at, await freePort());
  await using dev = startTask("dev", at.path, ["--config", config, "--quiet"]);
  await dev.line(/^What passes through/);
  const texts = ["EDGEFERRY_TELEMETRY_LOG_LEVEL=debug\n", "EDGEFERRY_RECEIVER_AUTH_INSECURE=true\n"];
  for (const [index, text] of texts.entries()) {
    await writeFile(join(at.path, ".env"), text);
    await dev.line(/^Starting again with the changed \.env$/, index + 1);
    await dev.line(/^What passes through/, index + 2);
  }
  assert(dev.lines.some((line) => line.startsWith("Warning: receiver.auth.insecure is true")));
  assert.equal((await dev.stop()).code, 0);
});
