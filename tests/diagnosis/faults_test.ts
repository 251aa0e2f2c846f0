/** Every named fault by its real cause, over real TLS. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createPlainServer } from "node:http";
import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { startCollector } from "../../src/collector/server.ts";
import { diagnose } from "../../src/diagnosis/faults.ts";
import { CLIENT, createAuthority, type Issued, type LeafOptions, SERVER } from "../../src/pki/authority.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { CLIENTS, faultOf, identityOf, withClient } from "../support/far_end/refused_clients.ts";

const YEAR_MS = 365 * 86_400_000;

async function listening(server: ReturnType<typeof createTcpServer>) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function tlsServer(server: Issued, ca: string) {
  const { certificate: cert, key } = server;
  return listening(
    createServer({ ca, cert, key, requestCert: true, rejectUnauthorized: true }, (request, response) => {
      request.resume();
      response.end();
    }),
  );
}

Deno.test("what is wrong with the server's certificate has a name", async (t) => {
  const authority = await createAuthority({ commonName: "MyRootCA" });
  const client = await authority.issue(CLIENT);
  const identity = { caCerts: [authority.certificate], cert: client.certificate, key: client.key };
  const issue = (more: Partial<LeafOptions>) => authority.issue({ ...SERVER, ...more });
  const other = async (commonName: string, rsaBits?: 2048) =>
    await (await createAuthority({ commonName, rsaBits })).issue({ ...SERVER, rsaBits });
  const cases: [string, Issued, string][] = [
    ["of another CA", await other("OtherCA"), "wrong_ca"],
    ["of another CA of the same name", await other("MyRootCA"), "wrong_ca"],
    ["of an RSA CA of the same name", await other("MyRootCA", 2048), "wrong_ca"],
    ["for other hosts", await issue({ subjectAltNames: ["otel.example"] }), "server_name_mismatch"],
    ["expired", await issue({ now: new Date(Date.now() - 2 * YEAR_MS), days: 30 }), "server_certificate_expired"],
    ["not valid yet", await issue({ now: new Date(Date.now() + YEAR_MS) }), "server_certificate_not_yet_valid"],
    ["for clients", await issue({ usages: ["clientAuth"] }), "server_certificate_usage"],
  ];
  for (const [what, server, code] of cases) {
    await t.step(what, async () => {
      await using endpoint = await tlsServer(server, authority.certificate);
      const fault = await faultOf(`https://localhost:${endpoint.port}`, identity);
      assert.equal(fault.code, code, fault.text);
      assert(fault.lasting);
    });
  }
});

Deno.test("what is wrong with the client's certificate has a name, at the embedded Collector", async (t) => {
  await using certs = await testCertificates();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
  });
  for (const [what, client, code] of CLIENTS) {
    await t.step(what, async () => {
      const fault = await faultOf(collector.url, withClient(certs, client(certs)));
      assert.equal(fault.code, code, fault.text);
    });
  }
});

Deno.test("what is wrong with the way has a name", async (t) => {
  await using certs = await testCertificates();
  const identity = identityOf(certs);
  const expect = async (url: string, code: string, timeoutMs?: number) => {
    const fault = await faultOf(url, identity, timeoutMs);
    assert.equal(fault.code, code, fault.text);
  };
  await t.step("plain HTTP where TLS is expected", async () => {
    await using plain = await listening(createPlainServer((_request, response) => response.end()));
    await expect(`https://localhost:${plain.port}`, "not_tls");
  });
  await t.step("TLS where plain HTTP is expected", async () => {
    await using tls = await tlsServer(certs.server, certs.ca.certificate);
    await expect(`http://localhost:${tls.port}`, "not_http");
  });
  await t.step("neither", async () => {
    await using other = await listening(createTcpServer((socket) => void socket.end("220 mail.example ESMTP\r\n")));
    await expect(`https://localhost:${other.port}`, "not_tls");
    await expect(`http://localhost:${other.port}`, "not_http");
  });
  await t.step("nobody there", async () => {
    const gone = await listening(createTcpServer());
    await gone[Symbol.asyncDispose]();
    await expect(`https://localhost:${gone.port}`, "connection_refused");
  });
  await t.step("a name that is not known", () => expect("https://no-such-host.invalid", "name_not_resolved"));
  await t.step("no answer in time", async () => {
    await using silent = await listening(createTcpServer());
    await expect(`https://localhost:${silent.port}`, "timeout", 100);
  });
  await t.step("cut at once", async () => {
    await using rude = await listening(createTcpServer((socket) => void socket.destroy()));
    await expect(`https://localhost:${rude.port}`, "handshake_cut");
  });
  await t.step("reset", async () => {
    await using rude = await listening(
      createTcpServer((socket) => void socket.once("data", () => socket.resetAndDestroy())),
    );
    await expect(`https://localhost:${rude.port}`, "handshake_cut");
  });
});

Deno.test("a host that Deno may not connect to has a name", async () => {
  const script = `
    try { await fetch("https://collector.example:4318"); }
    catch (error) { console.log(error.message); }`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "--no-prompt", `data:text/javascript,${encodeURIComponent(script)}`],
  }).output();
  const text = new TextDecoder().decode(stdout);
  const fault = diagnose({ text });
  assert.deepEqual([fault.code, fault.lasting], ["not_permitted", true], text);
});

Deno.test("answers have names, and a fault that no row knows keeps its own words", () => {
  const names: [number, string, boolean][] = [
    [301, "redirected", true],
    [401, "unauthorized", true],
    [403, "unauthorized", true],
    [404, "no_such_path", true],
    [405, "no_such_path", true],
    [407, "unauthorized", true],
    [415, "wrong_protocol", true],
    [429, "throttled", false],
    [500, "collector_failed", true],
    [501, "wrong_protocol", true],
    [502, "throttled", false],
    [503, "throttled", false],
    [504, "throttled", false],
    [511, "collector_failed", true],
  ];
  for (const [status, code, lasting] of names) {
    const fault = diagnose({ status, text: "certificate expired" });
    assert.deepEqual([fault.code, fault.lasting], [code, lasting], `${status}`);
  }
  assert.deepEqual(diagnose({ text: "something new" }), {
    code: "unknown",
    what: "The Collector could not be reached: something new",
    remedy: "see the Collector's log for its side",
    lasting: false,
  });
  assert.equal(diagnose({ status: 418, text: "teapot" }).what, "The Collector answered 418: teapot");
});

Deno.test("every fault says what it is and what to do, as a sentence without a period", () => {
  for (const status of [301, 401, 404, 415, 429, 500, 418]) {
    const { what, remedy } = diagnose({ status, text: "words" });
    assert.match(what, /^[A-Z].*[^.]$/);
    assert.match(remedy, /^[a-z].*[^.]$/);
  }
});
