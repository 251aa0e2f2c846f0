/** The procedure of certs/README.md, "Rotation", as it is written there, against the real Collector, while senders post. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Protocol } from "../../src/config/exporter_settings.ts";
import { shakeHands } from "../../src/diagnosis/handshake.ts";
import type { ClientIdentity } from "../../src/exporter/client/transport.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startCollector } from "../support/tools/collector.ts";
import { clientFor } from "../support/relay/exporting.ts";
import { identityRelay, postTrace } from "../support/relay/identity_relay.ts";
import { runProgram } from "../support/program/program.ts";
import { booksIn } from "../support/relay/relay.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const SENDERS = 4;
const PAUSE_MS = 20;
/** Longer than the Collector's reload_interval in config/collector.yaml. */
const RELOADED_MS = 30_000;

/** The commands of a section of certs/README.md, one block an entry. */
async function blocksOf(heading: string): Promise<string[]> {
  const page = await readFile(join(root, "certs/README.md"), "utf8");
  const start = page.indexOf(`\n### ${heading}\n`);
  assert(start >= 0, `certs/README.md has a section ${heading}`);
  const section = page.slice(start + 1).split(/\n##+ /, 2).slice(0, 1).join("");
  return [...section.matchAll(/^```bash\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
}

/** A folder in which `deno task certs …` runs this checkout's command. */
async function workplace() {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-rotation-"));
  await mkdir(join(dir, "bin"));
  const shim = `#!/usr/bin/env bash
[ "$1 $2" = "task certs" ] || { echo "not expected: deno $*" >&2; exit 2; }
shift 2
exec '${Deno.execPath()}' run -A '${join(root, "src/main.ts")}' certs "$@"
`;
  await writeFile(join(dir, "bin/deno"), shim);
  await chmod(join(dir, "bin/deno"), 0o755);
  const certs = join(dir, "certs");
  return {
    certs,
    run: (script: string) =>
      runProgram({
        command: "bash",
        args: ["-euo", "pipefail", "-c", script],
        cwd: dir,
        env: { PATH: `${join(dir, "bin")}:${process.env["PATH"]}` },
      }),
    pem: (name: string) => readFile(join(certs, name), "utf8"),
    async serial(name: string) {
      return new X509Certificate(await readFile(join(certs, name), "utf8")).serialNumber;
    },
    async identity(): Promise<ClientIdentity> {
      const [ca, cert, key] = await Promise.all(["ca.crt", "client.crt", "client.key"].map(this.pem));
      return { caCerts: [ca!], cert: cert!, key: key! };
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Waits until the Collector shows the certificate with this serial. */
async function shows(port: number, serial: string): Promise<void> {
  const deadline = Date.now() + RELOADED_MS;
  for (;;) {
    const { certificates } = await shakeHands({ host: "localhost", port, timeoutMs: 5_000 });
    if (certificates[0]?.serialNumber === serial) return;
    assert(Date.now() < deadline, `the Collector still shows ${certificates[0]?.serialNumber}`);
    await delay(100);
  }
}

async function says(url: string, identity: ClientIdentity, protocol: Protocol): Promise<string> {
  const client = clientFor(url, identity, 10_000, true, protocol);
  try {
    const answer = await client.send("traces", new Uint8Array(0), "identity");
    return answer.kind === "answer" ? String(answer.status) : client.diagnose(answer).code;
  } finally {
    client.close();
  }
}

for (const protocol of ["http/protobuf", "grpc"] as const) {
  Deno.test(`${protocol}: the real Collector's certificates and CA rotate by the written steps, and no request fails`, () =>
    rotate(protocol));
}

async function rotate(protocol: Protocol): Promise<void> {
  await using place = await workplace();
  await place.run("deno task certs init --days 20");
  await using collector = await startCollector({ certsDir: place.certs });
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const file = (name: string) => join(place.certs, name);
  const port = protocol === "grpc" ? collector.grpcPort : collector.httpPort;
  const url = `https://localhost:${port}`;
  const relay = await here.start(url, {
    exporter: {
      protocol,
      tls: {
        ca_file: file("ca.crt"),
        cert_file: file("client.crt"),
        key_file: file("client.key"),
        expiry_warning: "24h",
        expiry_error: "1h",
      },
    },
  });
  const stopping = new AbortController();
  const senders = Array.from({ length: SENDERS }, async (_, number) => {
    let sent = 0;
    while (!stopping.signal.aborted) {
      assert.equal(await postTrace(relay.url, [`s${number}-${sent}`]), 200);
      sent++;
      await delay(PAUSE_MS);
    }
    return sent;
  });

  const takenUp = () => here.log.entries.filter(({ message }) => message.startsWith("Took up")).length;
  try {
    // A certificate just made is not near its end: what is near is widened to its 20 days.
    const [renew] = await blocksOf("Renew certificates that end soon");
    const before = await place.serial("client.crt");
    const old = await place.identity();
    await place.run(`${renew!.trim()} --within 30`);
    assert.notEqual(await place.serial("client.crt"), before);
    await here.tookUp(await place.serial("client.crt"));
    await shows(port, await place.serial("server.crt"));

    const [addCa, renewAll, retireCa] = await blocksOf("Change the CA");
    let count = takenUp();
    await place.run(addCa!);
    await here.log.until(() => takenUp() > count, "both CAs");
    await place.run(renewAll!);
    await here.tookUp(await place.serial("client.crt"));
    await shows(port, await place.serial("server.crt"));
    count = takenUp();
    await place.run(retireCa!);
    await here.log.until(() => takenUp() > count, "the new CA alone");

    const now = await place.identity();
    assert.equal(await says(url, now, protocol), "200");
    // The Collector looks at its client_ca_file once a second at most, when somebody comes.
    const deadline = Date.now() + RELOADED_MS;
    let said: string;
    do {
      said = await says(url, { ...old, caCerts: now.caCerts }, protocol);
      if (said === "200") await delay(200);
    } while (said === "200" && Date.now() < deadline);
    assert.match(said, /^client_certificate_(unknown_ca|refused)$/, "who has the old CA's certificate is out");

    const [revoke] = await blocksOf("A key that was stolen");
    await place.run("deno task certs issue --client checkout-edge");
    await place.run(revoke!);
    const revoked = {
      caCerts: now.caCerts,
      cert: await place.pem("checkout-edge.crt"),
      key: await place.pem("checkout-edge.key"),
    };
    assert.equal(await says(url, revoked, protocol), "200", "as the page says, the Collector reads no list");
  } finally {
    stopping.abort();
  }
  const sent = (await Promise.all(senders)).reduce((sum, each) => sum + each, 0);
  await relay.stop();
  const { accepted, delivered } = booksIn(here.queuePath).traces;
  assert.deepEqual({ accepted, delivered }, { accepted: sent, delivered: sent });
  const troubled = here.log.entries.filter(({ level, message }) =>
    ["warn", "error"].includes(level) && !message.startsWith("Refused a changed")
  );
  assert.deepEqual(troubled, [], "no request to the Collector failed");
}
