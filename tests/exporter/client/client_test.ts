import assert from "node:assert/strict";
import { once } from "node:events";
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { deflateSync, gzipSync } from "node:zlib";
import { type Answer, causeOf, CollectorClient } from "../../../src/exporter/client/client.ts";
import { encodeStatus, encodeSuccess } from "../../../src/otlp/response.ts";
import { ANSWER_BYTES_MAX } from "../../../src/otlp/http_answer.ts";
import { type TestCertificates, testCertificates } from "../../support/files/certificates.ts";
import { clientFor, requestOf } from "../../support/relay/exporting.ts";
import { startFreezingProxy } from "../../support/far_end/freezing_proxy.ts";
import { startMtlsEndpoint } from "../../support/far_end/mtls_endpoint.ts";

const BODY = requestOf("traces", ["a"]);
const PROTOBUF = "application/x-protobuf";

function identity({ ca, client }: TestCertificates) {
  return { caCerts: [ca.certificate], cert: client.certificate, key: client.key };
}

/** The answer, without what differs from run to run. */
function told(answer: Answer) {
  assert(answer.durationMs >= 0);
  if (answer.kind === "none") return { cause: answer.cause, timedOut: answer.timedOut, aborted: answer.aborted };
  const { status, message, retryAfterMs, partialSuccess } = answer;
  return { status, message, retryAfterMs, partialSuccess };
}

const ACCEPTED = { status: 200, message: "", retryAfterMs: undefined, partialSuccess: undefined };

Deno.test("a request is a POST of protobuf to the signal's URL, with its headers and who sends it", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const client = clientFor(endpoint.url, identity(certs));
  try {
    for (const signal of ["traces", "metrics", "logs"] as const) {
      assert.deepEqual(told(await client.send(signal, requestOf(signal, ["a"]), "identity")), ACCEPTED);
    }
    const [traces, metrics, logs] = endpoint.requests;
    assert.deepEqual([traces?.method, traces?.path, metrics?.path, logs?.path], [
      "POST",
      "/v1/traces",
      "/v1/metrics",
      "/v1/logs",
    ]);
    assert.equal(traces?.peer, "client-app");
    assert.equal(traces?.headers["content-type"], PROTOBUF);
    assert.equal(traces?.headers["content-encoding"], undefined);
    assert.equal(traces?.headers["user-agent"], "OTel-OTLP-Exporter-test/1");
    assert.equal(metrics?.headers["x-test"], "metrics");
    assert.equal(client.target("logs").url, `${endpoint.url}/v1/logs`);
  } finally {
    client.close();
  }
});

Deno.test("answers are read: words, waits, partial successes, in either encoding", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const client = clientFor(endpoint.url, identity(certs));
  const json = { "content-type": "application/json; charset=utf-8" };
  const none = { retryAfterMs: undefined, partialSuccess: undefined };
  try {
    const ask = async (answer: Parameters<typeof endpoint.answer>[0]) => {
      endpoint.answer(answer);
      return told(await client.send("traces", BODY, "identity"));
    };
    assert.deepEqual(
      await ask({ status: 400, body: encodeStatus(PROTOBUF, { code: 3, message: "bad id" }) }),
      { status: 400, message: "bad id", ...none },
    );
    assert.deepEqual(
      await ask({ status: 400, headers: json, body: '{"code":3,"message":"bad id"}' }),
      { status: 400, message: "bad id", ...none },
    );
    assert.deepEqual(
      await ask({ status: 502, headers: { "content-type": "text/html" }, body: "<h1>Bad Gateway</h1>" }),
      { status: 502, message: "<h1>Bad Gateway</h1>", ...none },
    );
    assert.deepEqual(
      await ask({ status: 429, headers: { "retry-after": "3", "content-type": "text/plain" } }),
      { status: 429, message: "", ...none, retryAfterMs: 3_000 },
    );
    assert.deepEqual(
      await ask({ status: 200, body: encodeSuccess("traces", PROTOBUF, { rejected: 2, message: "old" }) }),
      { ...ACCEPTED, partialSuccess: { rejected: 2, message: "old" } },
    );
    assert.deepEqual(
      await ask({ status: 200, headers: json, body: '{"partialSuccess":{"rejectedSpans":"2","errorMessage":"old"}}' }),
      { ...ACCEPTED, partialSuccess: { rejected: 2, message: "old" } },
    );
    assert.deepEqual(
      await ask({ status: 200, headers: json, body: '{"partialSuccess":{}}' }),
      ACCEPTED,
    );
    assert.deepEqual(
      await ask({ status: 308, headers: { location: "https://elsewhere.example/v1/traces" } }),
      { status: 308, message: "redirected to https://elsewhere.example/v1/traces", ...none },
    );
    assert.deepEqual(await ask({ status: 204 }), { ...ACCEPTED, status: 204 });
  } finally {
    client.close();
  }
});

Deno.test("an answer of any length is read up to 4 MiB, and its connection serves the next request", async () => {
  await using certs = await testCertificates();
  let written = 0;
  await using server = await plainServer((request, response) => {
    request.resume();
    if (request.headers["x-test"] === "logs") return void response.end();
    response.writeHead(400, { "content-type": "text/plain" });
    // Without a length, and without an end.
    const chunk = new Uint8Array(1 << 20).fill(0x61);
    const more = () => {
      while (!response.destroyed) {
        written += chunk.length;
        if (!response.write(chunk)) return;
      }
    };
    response.on("drain", more);
    more();
  });
  const client = clientFor(server.url, { caCerts: [] });
  try {
    const answer = await client.send("traces", BODY, "identity");
    assert(answer.kind === "answer" && answer.message.length <= 2_000);
    assert(answer.message.startsWith("aaaa"));
    assert(written < ANSWER_BYTES_MAX * 8, `${written} bytes were taken`);
    assert.deepEqual(told(await client.send("logs", BODY, "identity")), ACCEPTED);
  } finally {
    client.close();
  }
  assert(certs.dir.length > 0);
});

Deno.test("every body is read, so that one connection serves request after request", async () => {
  const sockets = new Set<unknown>();
  await using server = await plainServer((request, response) => {
    sockets.add(request.socket);
    request.resume();
    response.writeHead(request.headers["x-test"] === "traces" ? 503 : 400, { "content-type": "text/plain" });
    response.end("x".repeat(100_000));
  });
  const client = clientFor(server.url, { caCerts: [] });
  try {
    for (let count = 0; count < 20; count++) {
      await client.send(count % 2 === 0 ? "traces" : "logs", BODY, "identity");
    }
  } finally {
    client.close();
  }
  // Now and then a connection is not back in the pool when the next request goes.
  assert(sockets.size <= 4, `${sockets.size} connections`);
});

Deno.test("no answer in time, a cut, nobody there: no answer, and why", async () => {
  const hung = Promise.withResolvers<void>();
  await using server = await plainServer((request, response) => {
    request.resume();
    if (request.headers["x-test"] === "traces") hung.resolve();
    else if (request.headers["x-test"] === "metrics") request.socket.destroy();
    else {
      response.writeHead(200, { "content-type": PROTOBUF, "content-length": "10" });
      response.write("half");
    }
  });
  const client = clientFor(server.url, { caCerts: [] }, 120);
  const patient = clientFor(server.url, { caCerts: [] }, 60_000);
  try {
    const late = { cause: "no answer within 120 ms", timedOut: true, aborted: false };
    assert.deepEqual(told(await client.send("traces", BODY, "identity")), late);
    assert.deepEqual(told(await client.send("logs", BODY, "identity")), late, "the last byte counts, not the first");
    const cut = await patient.send("metrics", BODY, "identity");
    assert(cut.kind === "none" && !cut.timedOut && !cut.aborted && cut.cause.length > 0);
    const abort = new AbortController();
    const given = patient.send("traces", BODY, "identity", { abort: abort.signal });
    await hung.promise;
    abort.abort();
    assert.deepEqual(told(await given), { cause: "given up", timedOut: false, aborted: true });
    assert.deepEqual(told(await patient.send("traces", BODY, "identity", { abort: abort.signal })), {
      cause: "given up",
      timedOut: false,
      aborted: true,
    });
  } finally {
    client.close();
    patient.close();
  }
});

Deno.test("another identity is shown from the next request on; the one under way finishes with the old one", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const next = await certs.issueClient("next", { days: 2 });
  const client = clientFor(endpoint.url, identity(certs));
  try {
    assert.equal(client.replaced, 0);
    const http = client.httpFor("traces");
    const underWay = client.send("traces", BODY, "identity");
    await endpoint.arrived(1);
    client.replaceIdentity({ ...identity(certs), cert: next.certificate, key: next.key });
    assert.notEqual(client.httpFor("traces"), http);
    assert.equal(client.replaced, 1);
    assert.deepEqual(told(await underWay), ACCEPTED);
    assert.deepEqual(told(await client.send("traces", BODY, "identity")), ACCEPTED);
    assert.notEqual(endpoint.requests[0]?.fingerprint, endpoint.requests[1]?.fingerprint);
  } finally {
    client.close();
  }
});

Deno.test("HTTP/2 where the server speaks it, HTTP/1.1 where it does not, with the client certificate either way", async () => {
  await using certs = await testCertificates();
  for (const allowHTTP1 of [false, true]) {
    const seen: { version: string; peer: string }[] = [];
    const server = createSecureServer({
      ca: certs.ca.certificate,
      cert: certs.server.certificate,
      key: certs.server.key,
      requestCert: true,
      rejectUnauthorized: true,
      allowHTTP1,
    }, (request: Http2ServerRequest, response: Http2ServerResponse) => {
      const socket = (request.stream.session?.socket ?? request.socket) as unknown as TLSSocket;
      seen.push({ version: request.httpVersion, peer: String(socket.getPeerCertificate().subject.CN) });
      request.resume();
      response.writeHead(200, { "content-type": PROTOBUF });
      response.end();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = clientFor(`https://localhost:${(server.address() as AddressInfo).port}`, identity(certs));
    try {
      for (let count = 0; count < 3; count++) {
        assert.deepEqual(told(await client.send("traces", BODY, "identity")), ACCEPTED);
      }
      assert.deepEqual(seen, Array.from({ length: 3 }, () => ({ version: "2.0", peer: "client-app" })));
    } finally {
      client.close();
      const closed = once(server, "close");
      server.close();
      await closed;
    }
  }
  await using endpoint = await startMtlsEndpoint(certs);
  const client = clientFor(endpoint.url, identity(certs));
  try {
    await client.send("traces", BODY, "identity");
    assert.deepEqual(endpoint.requests.map(({ httpVersion, peer }) => [httpVersion, peer]), [["1.1", "client-app"]]);
  } finally {
    client.close();
  }
});

Deno.test("a page with 200 is no success: it says what came", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const client = clientFor(endpoint.url, identity(certs));
  try {
    endpoint.answer({ status: 200, headers: { "content-type": "text/html" }, body: "<html>Please log in</html>" });
    const answer = await client.send("traces", BODY, "identity");
    assert(answer.kind === "answer" && answer.foreign);
    assert.match(causeOf(answer), /^answered 200 with text\/html/);
    assert.equal(client.diagnose(answer).code, "wrong_protocol");
    endpoint.answer({ status: 200 });
    const success = await client.send("traces", BODY, "identity");
    assert(success.kind === "answer" && !success.foreign);
  } finally {
    client.close();
  }
});

Deno.test("an answer in a coding that nobody asked for, and so cannot be read, is no success", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const client = clientFor(endpoint.url, identity(certs));
  try {
    const ask = async (coding: string, body: Uint8Array) => {
      endpoint.answer({ status: 200, headers: { "content-encoding": coding }, body });
      const answer = await client.send("traces", BODY, "identity");
      assert(answer.kind === "answer");
      return [answer.foreign, answer.partialSuccess?.rejected];
    };
    const partial = encodeSuccess("traces", PROTOBUF, { rejected: 5, message: "" });
    assert.deepEqual(await ask("gzip", gzipSync(partial)), [false, 5]);
    assert.deepEqual(await ask("identity", partial), [false, 5]);
    assert.deepEqual(await ask("x-unknown", partial), [true, undefined]);
    assert.deepEqual(await ask("deflate", deflateSync(partial)), [true, undefined]);
    assert.deepEqual(await ask("deflate", new Uint8Array(0)), [false, undefined]);
  } finally {
    client.close();
  }
});

for (const http2 of [false, true]) {
  Deno.test(`a success before the whole request was sent is none, HTTP/${http2 ? 2 : 1.1}`, async () => {
    await using certs = await testCertificates();
    await using server = await earlyServer(certs);
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    const body = new Uint8Array(16 << 20);
    for (let at = 0; at < body.length; at += large.length) body.set(large, at);
    // On a connection of its own each: what is not read fills the first one.
    const ask = async (bytes: number) => {
      const client = clientFor(`https://localhost:${server.port}`, identity(certs), 10_000, http2);
      try {
        const answer = await client.send("traces", body.slice(0, bytes), "identity");
        assert(answer.kind === "answer", JSON.stringify(answer));
        return { answer, fault: client.diagnose(answer).code };
      } finally {
        client.close();
      }
    };
    const early = await ask(body.length);
    assert(early.answer.foreign);
    assert.match(early.answer.message, /^answered 200 before it had the whole request/);
    assert.equal(early.fault, "wrong_protocol");
    server.behave();
    const whole = await ask(1 << 20);
    assert(!whole.answer.foreign, whole.answer.message);
  });
}

/** Answers as soon as there is a header, and reads no further; once it is told to, it answers what it has read. */
async function earlyServer(certs: TestCertificates) {
  let behaves = false;
  const sockets = new Set<{ destroy(): void }>();
  const server = createSecureServer({
    cert: certs.server.certificate,
    key: certs.server.key,
    allowHTTP1: true,
  }, (request: Http2ServerRequest, response: Http2ServerResponse) => {
    const answer = () => {
      response.writeHead(200, { "content-type": PROTOBUF });
      response.end();
    };
    if (!behaves) return answer();
    request.resume();
    request.on("end", answer);
  });
  server.on("session", (session) => sockets.add(session));
  server.on("secureConnection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    behave: () => void (behaves = true),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** A server of both protocols over TLS, and what it saw. */
async function bothProtocols(certs: TestCertificates, allowHTTP1: boolean) {
  const versions: string[] = [];
  const sessions = new Set<{ destroy(): void }>();
  const server = createSecureServer({
    cert: certs.server.certificate,
    key: certs.server.key,
    allowHTTP1,
  }, (request: Http2ServerRequest, response: Http2ServerResponse) => {
    versions.push(request.httpVersion);
    request.resume();
    request.on("end", () => {
      response.writeHead(200, { "content-type": PROTOBUF });
      response.end();
    });
  });
  server.on("session", (session) => sessions.add(session));
  server.on("secureConnection", (socket) => sessions.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    versions,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}

for (const http2 of [true, false]) {
  Deno.test(`a connection that goes silent costs one attempt: the next goes by a new one, HTTP/${http2 ? 2 : 1.1}`, async () => {
    await using certs = await testCertificates();
    await using server = await bothProtocols(certs, true);
    await using proxy = await startFreezingProxy(server.port);
    const client = clientFor(`https://localhost:${proxy.port}`, identity(certs), 60_000, http2);
    try {
      assert.deepEqual(told(await client.send("traces", BODY, "identity")), ACCEPTED);
      assert.equal(proxy.connections, 1);
      proxy.freeze();
      const late = await client.send("traces", BODY, "identity", { timeoutMs: 300 });
      assert(late.kind === "none" && late.timedOut, JSON.stringify(late));
      for (let count = 0; count < 3; count++) {
        assert.deepEqual(told(await client.send("traces", BODY, "identity")), ACCEPTED);
      }
      assert.equal(proxy.connections, 2);
      assert.equal(client.renewed, 1);
      assert(server.versions.every((version) => version === (http2 ? "2.0" : "1.1")), server.versions.join());
    } finally {
      client.close();
    }
  });
}

Deno.test("after a timeout, requests under way on the old connection are let end", async () => {
  const slow = Promise.withResolvers<void>();
  await using server = await plainServer((request, response) => {
    request.resume();
    if (request.headers["x-test"] === "traces") return;
    void slow.promise.then(() => response.end());
  });
  const client = clientFor(server.url, { caCerts: [] }, 60_000);
  try {
    const underWay = client.send("logs", BODY, "identity");
    const late = await client.send("traces", BODY, "identity", { timeoutMs: 100 });
    assert(late.kind === "none" && late.timedOut && late.cause === "no answer within 100 ms");
    assert.equal(client.renewed, 1);
    slow.resolve();
    assert.deepEqual(told(await underWay), ACCEPTED);
  } finally {
    client.close();
  }
});

Deno.test("without HTTP/2 a server that speaks nothing else is spoken to in it all the same", async () => {
  await using certs = await testCertificates();
  await using server = await bothProtocols(certs, false);
  const client = clientFor(`https://localhost:${server.port}`, identity(certs), 10_000, false);
  try {
    for (let count = 0; count < 2; count++) {
      assert.deepEqual(told(await client.send("traces", BODY, "identity")), ACCEPTED);
    }
    assert.deepEqual(server.versions, ["2.0", "2.0"]);
    assert.equal(client.renewed, 1);
  } finally {
    client.close();
  }
});

Deno.test("Deno's client still waits for the peer over HTTP/2 (Nagle): where it does no more, `none` need not avoid HTTP/2", async () => {
  await using certs = await testCertificates();
  await using server = await bothProtocols(certs, true);
  const client = clientFor(`https://localhost:${server.port}`, identity(certs));
  try {
    const times: number[] = [];
    for (let count = 0; count < 9; count++) {
      times.push((await client.send("traces", requestOf("traces", ["x".repeat(1_200)]), "identity")).durationMs);
    }
    // A delayed acknowledgement comes after 40 ms. A busy machine makes it longer, never shorter.
    const median = times.toSorted((a, b) => a - b)[4]!;
    assert(median > 25, `${times.map(Math.round).join()} ms: drop CollectorClientOptions.http2, and this test`);
  } finally {
    client.close();
  }
});

async function plainServer(handle: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(handle);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

Deno.test("what carries nobody's data bears the name of the sender that it is asked for", async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers["x-scope-orgid"]?.toString());
    request.resume().once("end", () => response.writeHead(200, { "content-type": PROTOBUF }).end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const target = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`,
    headers: { "x-scope-orgid": "org-${sender}" },
    timeoutMs: 10_000,
  };
  const targets = { traces: target, metrics: target, logs: target, profiles: target };
  const client = new CollectorClient({ identity: { caCerts: [] }, targets, userAgent: "test", idleConnectionsMax: 1 });
  try {
    client.speakFor("checkout");
    await client.send("traces", new Uint8Array(0), "identity");
    await client.send("traces", BODY, "identity", { sender: "web" });
    await client.send("traces", new Uint8Array(0), "identity");
    assert.deepEqual(seen, ["org-checkout", "org-web", "org-checkout"]);
  } finally {
    client.close();
    server.close();
  }
});

Deno.test("a connection that is cut is no refusal of a certificate where none is shown, because nothing is encrypted", async () => {
  const cutting = createServer((request: IncomingMessage) => request.socket.destroy());
  cutting.listen(0, "127.0.0.1");
  await once(cutting, "listening");
  const client = clientFor(`http://127.0.0.1:${(cutting.address() as AddressInfo).port}`, { caCerts: [] });
  try {
    const answer = await client.send("traces", BODY, "identity");
    assert.equal(answer.kind, "none");
    assert.equal(client.diagnose(answer).code, "handshake_cut");
  } finally {
    client.close();
    cutting.close();
  }
});
