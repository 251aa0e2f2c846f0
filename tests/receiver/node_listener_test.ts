import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createServer } from "node:https";
import type { DropReason, Refusal } from "../../src/errors.ts";
import { decodeStatus } from "../../src/otlp/response.ts";
import { type ConnectionLimits, listenBounded, type ListenOptions } from "../../src/receiver/node_listener.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { openRaw, type RawAnswer, sendRaw } from "../support/bodies/raw_http.ts";

const limits: ConnectionLimits = {
  connectionsMax: 20,
  headerBytesMax: 8_192,
  headerMs: 500,
  bodyMs: 1_000,
  idleMs: 500,
};

interface Told {
  readonly refused: Refusal[];
  readonly failed: unknown[];
  readonly dropped: DropReason[];
}

/** A listener whose app echoes, unless told otherwise. */
async function listener(
  answer?: ListenOptions["answer"],
  more: Partial<ConnectionLimits> = {},
  server?: ListenOptions["server"],
) {
  const told: Told = { refused: [], failed: [], dropped: [] };
  const listening = await listenBounded({
    hostname: "127.0.0.1",
    port: 0,
    ...(server === undefined ? {} : { server }),
    limits: { ...limits, ...more },
    answer: answer ?? (async (request) => {
      const body = await request.arrayBuffer();
      const { pathname, search } = new URL(request.url);
      return new Response(body, {
        status: 201,
        headers: { "x-seen": `${request.method} ${pathname}${search} ${request.headers.get("x-a")}` },
      });
    }),
    events: {
      refused: (refusal) => void told.refused.push(refusal),
      failed: (error) => void told.failed.push(error),
      dropped: (reason) => void told.dropped.push(reason),
    },
  });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    told,
    listening,
    async [Symbol.asyncDispose]() {
      const closed = listening.close();
      listening.abandon();
      await closed;
    },
  };
}

function refused(answer: RawAnswer, status: number, message: RegExp): void {
  assert.equal(answer.status, status);
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.match(decodeStatus("application/json", answer.body), message);
  assert.equal(answer.headers.has("retry-after"), status === 503);
  assert.equal(answer.headers.get("connection"), "close");
}

Deno.test("method, target, headers and body reach the app, and its answer the sender", async () => {
  await using server = await listener();
  const answer = await sendRaw(
    server.url,
    "POST /v1/traces?a=b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc",
  );
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.get("x-seen"), "POST /v1/traces?a=b 1, 2");
  assert.equal(answer.body.toString(), "abc");
  const absolute = await sendRaw(server.url, "PUT http://elsewhere/p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  assert.equal(absolute.headers.get("x-seen"), "PUT /p null");
  const got = await fetch(`${server.url}/q`, { method: "GET" });
  assert.equal(got.headers.get("x-seen"), "GET /q null");
  await got.body?.cancel();
});

Deno.test("a body of any length arrives whole, chunked or not, while the app takes its time", async () => {
  await using server = await listener();
  const body = Buffer.alloc(3_000_000, "0123456789");
  const whole = await fetch(`${server.url}/`, { method: "POST", body });
  assert.deepEqual(Buffer.from(await whole.arrayBuffer()), body);
  const chunked = await fetch(`${server.url}/`, { method: "POST", body: ReadableStream.from([body, body]) });
  assert.equal((await chunked.arrayBuffer()).byteLength, 6_000_000);
});

Deno.test("requests follow each other on a connection, also when they are sent at once", async () => {
  await using server = await listener();
  using connection = await openRaw(server.url);
  const request = (a: number) => `POST / HTTP/1.1\r\nHost: x\r\nX-A: ${a}\r\nContent-Length: 1\r\n\r\n${a}`;
  connection.write(request(1) + request(2));
  assert.equal((await connection.answer()).body.toString(), "1");
  assert.equal((await connection.answer()).body.toString(), "2");
  connection.write(request(3));
  assert.equal((await connection.answer()).body.toString(), "3");
});

Deno.test("a header that is late, too large, or none", async () => {
  await using server = await listener();
  refused(await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\n"), 503, /did not arrive within 500 ms/);
  const large = `POST / HTTP/1.1\r\nHost: x\r\nX-A: ${"a".repeat(9_000)}\r\n\r\n`;
  refused(await sendRaw(server.url, large), 431, /over the limit of 8192 bytes/);
  refused(await sendRaw(server.url, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400, /not HTTP/);
  for (const line of ["TRACE / HTTP/1.1", "POST * HTTP/1.1", "POST http://[ HTTP/1.1"]) {
    refused(await sendRaw(server.url, `${line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n`), 400, /not valid|not HTTP/);
  }
  assert.deepEqual(server.told.refused.map(({ code }) => code), [
    "header_timeout",
    "header_too_large",
    "malformed",
    "malformed",
    "malformed",
    "malformed",
  ]);
  assert.deepEqual(server.told.failed, []);
});

Deno.test("a silent connection is closed, before its first request and after it", async () => {
  await using server = await listener();
  using silent = await openRaw(server.url);
  using used = await openRaw(server.url);
  used.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  assert.equal((await used.answer()).status, 201);
  await Promise.all([silent.closed, used.closed]);
  assert.deepEqual(server.told.refused.map(({ code }) => code), ["header_timeout"]);
  assert.deepEqual(server.told.dropped, ["idle"]);
});

Deno.test("a connection whose TLS does not come about is closed, and holds no place", async () => {
  await using certs = await testCertificates();
  const { certificate: cert, key } = certs.server;
  await using server = await listener(
    undefined,
    {},
    (options, listener) => createServer({ ...options, cert, key }, listener),
  );
  for (const said of ["", "\x16\x03\x01\x02\x00\x01", "POST / HTTP/1.1\r\nHost: x\r\n\r\n"]) {
    using connection = await openRaw(server.url);
    connection.write(said);
    await connection.closed;
  }
  while (server.listening.connections() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(server.told.dropped, ["handshake", "handshake", "handshake"]);
  assert.deepEqual(server.told.refused, []);
  using client = Deno.createHttpClient({ caCerts: [certs.ca.certificate] });
  const answer = await fetch(server.url.replace("http:", "https:").replace("127.0.0.1", "localhost"), {
    client,
    method: "POST",
    body: "a",
  });
  assert.equal(await answer.text(), "a");
});

Deno.test("one connection too many is closed at once, and there is room again when one goes", async () => {
  await using server = await listener(undefined, { connectionsMax: 2, headerMs: 10_000 });
  const first = await openRaw(server.url);
  using _second = await openRaw(server.url);
  using third = await openRaw(server.url);
  await third.closed;
  assert.deepEqual(server.told.dropped, ["max_connections"]);
  assert.equal(server.listening.connections(), 2);
  const gone = Promise.withResolvers<void>();
  first.socket.once("close", () => gone.resolve());
  first[Symbol.dispose]();
  await gone.promise;
  while (server.listening.connections() > 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).status, 201);
});

Deno.test("an answer before the end of the body reaches the sender, and what still comes is forgotten", async () => {
  await using server = await listener((request) => {
    void request.body?.cancel();
    return new Response("enough", { status: 413 });
  });
  using connection = await openRaw(server.url);
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
  const answer = await connection.answer();
  assert.equal(answer.status, 413);
  // The rest never comes: the connection is closed, and no second answer is written to it.
  assert.equal((await connection.answer()).body.length, 0);
});

Deno.test("a body that stops: the app is told when the time is over, and the connection closed", async () => {
  const told = Promise.withResolvers<unknown>();
  await using server = await listener(async (request) => {
    await request.arrayBuffer().catch(told.resolve);
    return new Response();
  });
  refused(
    await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"),
    503,
    /did not arrive/,
  );
  assert(await told.promise instanceof Error);
});

Deno.test("broken chunks are refused, and the app told", async () => {
  const told = Promise.withResolvers<unknown>();
  await using server = await listener(async (request) => {
    await request.arrayBuffer().catch(told.resolve);
    return new Response();
  });
  const request = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nab\r\n";
  refused(await sendRaw(server.url, request), 400, /not HTTP/);
  assert(await told.promise instanceof Error);
});

Deno.test("an app that throws closes the connection, and the fault is told", async () => {
  await using server = await listener(() => Promise.reject(new Error("defect")));
  assert.equal((await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).status, 0);
  assert.match(String(server.told.failed[0]), /defect/);
});

Deno.test("it closes when the last request is answered, and an address that is taken is the system's error", async () => {
  const answering = Promise.withResolvers<Response>();
  const asked = Promise.withResolvers<void>();
  await using server = await listener(() => {
    asked.resolve();
    return answering.promise;
  });
  using connection = await openRaw(server.url);
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  await asked.promise;
  const closed = server.listening.close();
  answering.resolve(new Response("last"));
  assert.equal((await connection.answer()).body.toString(), "last");
  connection[Symbol.dispose]();
  await closed;
  await using other = await listener();
  await assert.rejects(
    listenBounded({
      hostname: "127.0.0.1",
      port: other.listening.port,
      limits,
      answer: () => new Response(),
      events: { dropped() {}, refused() {}, failed() {} },
    }),
    /EADDRINUSE/,
  );
});

Deno.test("an event stream is sent as it comes, and its source is told when the client leaves", async () => {
  const left = Promise.withResolvers<void>();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const stream = new ReadableStream<Uint8Array>({
    start: (own) => void (controller = own),
    cancel: () => {
      controller = undefined;
      left.resolve();
    },
  });
  await using listening = await listener(() =>
    new Response(stream, { headers: { "content-type": "text/event-stream" } })
  );
  const abort = new AbortController();
  const answer = await fetch(listening.url, { signal: abort.signal });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
    controller!.enqueue(new TextEncoder().encode(event));
    assert.deepEqual(await reader.read(), { done: false, value: event });
  }
  abort.abort();
  // Deno's `node:http` notices when it writes.
  const writing = setInterval(() => controller?.enqueue(new TextEncoder().encode(": still here\n\n")), 20);
  await left.promise;
  clearInterval(writing);
  await reader.closed.catch(() => {});
  assert.deepEqual(listening.told.failed, []);
});
