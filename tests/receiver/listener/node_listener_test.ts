import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Agent as HttpAgent, get as httpGet } from "node:http";
import { Agent as HttpsAgent, createServer, get as httpsGet } from "node:https";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { DropReason, Refusal } from "../../../src/errors.ts";
import { decodeStatus } from "../../../src/otlp/response.ts";
import type { Answer, Inbound } from "../../../src/receiver/inbound.ts";
import {
  type ConnectionLimits,
  listenOnNode,
  type ListenOptions,
} from "../../../src/receiver/listener/node_listener.ts";
import { readLightly } from "../../../src/receiver/listener/tls_reading.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { openRaw, type RawAnswer, sendRaw } from "../../support/bodies/raw_http.ts";
import { waitWhile } from "../../support/wait_while.ts";

const limits: ConnectionLimits = {
  connectionsMax: 20,
  addressConnectionsMax: 0,
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

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

/** What a light request's app answers; it reads the body first. */
type Echo = (inbound: Inbound, body: () => Promise<Buffer>) => Promise<Answer> | Answer;

const plain = (status: number, text = ""): Answer => ({ status, headers: {}, body: new Uint8Array(Buffer.from(text)) });

/** The whole body of a request, however it comes. */
async function bodyOf({ body }: Inbound): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  await body.forEachPiece((piece) => void pieces.push(piece));
  return Buffer.concat(pieces);
}

const echo: Echo = async ({ url, headers }, body) => ({
  status: 201,
  headers: { "x-seen": `POST ${url.slice("http://localhost".length)} ${headers.get("x-a")}` },
  body: new Uint8Array(await body()),
});

/** A listener whose app echoes, unless told otherwise: POST to `/` and `/v1/traces` comes light, all else as web objects. */
async function listener(
  answer: Echo = echo,
  more: Partial<ConnectionLimits> = {},
  server?: ListenOptions["server"],
  web: (request: Request) => Response | Promise<Response> = (request) => {
    const { pathname, search } = new URL(request.url);
    return new Response(null, {
      status: 201,
      headers: { "x-seen": `${request.method} ${pathname}${search} ${request.headers.get("x-a")}` },
    });
  },
) {
  const told: Told = { refused: [], failed: [], dropped: [] };
  const listening = await listenOnNode({
    hostname: "127.0.0.1",
    port: 0,
    ...(server === undefined ? {} : { server }),
    limits: { ...limits, ...more },
    lightPaths: new Set(["/", "/v1/traces"]),
    answer: async (request, { inbound }) =>
      inbound === undefined ? await web(request) : await answer(inbound, () => bodyOf(inbound)) as unknown as Response,
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
  const slashes = "POST //v1//traces?a=//b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  assert.equal((await sendRaw(server.url, slashes)).headers.get("x-seen"), "POST /v1/traces?a=//b null");
  const elsewhere = "POST http://elsewhere/v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  assert.equal((await sendRaw(server.url, elsewhere)).body.toString(), "abc");
  const got = await fetch(`${server.url}/q`, { method: "GET" });
  assert.equal(got.headers.get("x-seen"), "GET /q null");
  await got.body?.cancel();
});

Deno.test("a body of any length arrives whole, chunked or not, while the app takes its time", async () => {
  await using server = await listener();
  const body = Buffer.alloc(3_000_000, Uint8Array.from({ length: 256 }, (_, byte) => byte));
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
  // Without a word: a browser would take it for the answer to the request that it sends at that moment.
  assert.equal((await silent.answer()).body.length, 0);
  assert.deepEqual(server.told.refused, []);
  assert.deepEqual(server.told.dropped, ["idle", "idle"]);
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
  await waitWhile(() => server.listening.connections() > 0);
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

const small = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

Deno.test("one connection too many takes the place of the unproved one that was silent longest, or is closed", async () => {
  await using server = await listener((inbound) => {
    if (inbound.headers.get("x-a") === "known") inbound.peer.proved();
    return plain(200);
  }, { connectionsMax: 3, headerMs: 10_000, idleMs: 10_000 });
  const known = small.replace("Host", "X-A: known\r\nHost");
  using proved = await openRaw(server.url);
  proved.write(known);
  await proved.answer();
  using silent = await openRaw(server.url);
  using used = await openRaw(server.url);
  used.write(small);
  await used.answer();
  using third = await openRaw(server.url);
  await silent.closed;
  assert.deepEqual(server.told.dropped, ["max_connections"]);
  assert.equal(server.listening.connections(), 3);
  for (const one of [used, third]) {
    one.write(known);
    assert.equal((await one.answer()).status, 200);
  }
  // All have proved who they are: none of them goes.
  using late = await openRaw(server.url);
  await late.closed;
  assert.deepEqual(server.told.dropped, ["max_connections", "max_connections"]);
  used[Symbol.dispose]();
  await waitWhile(() => server.listening.connections() > 2);
  assert.equal((await sendRaw(server.url, small)).status, 200);
});

Deno.test("one address has so many without proof; who proves it is counted no longer", async () => {
  await using server = await listener((inbound) => {
    inbound.peer.proved();
    return plain(200);
  }, { addressConnectionsMax: 1, headerMs: 10_000, idleMs: 10_000 });
  using first = await openRaw(server.url);
  first.write(small);
  await first.answer();
  using silent = await openRaw(server.url);
  using second = await openRaw(server.url);
  await silent.closed;
  assert.deepEqual(server.told.dropped, ["max_connections_per_address"]);
  for (const one of [first, second]) {
    one.write(small);
    assert.equal((await one.answer()).status, 200);
  }
});

Deno.test("a connection whose sender has shown nothing good ends with the answer, the whole of it", async () => {
  await using server = await listener(() => plain(401, "who are you"));
  for (const rest of ["", "abc"]) {
    using connection = await openRaw(server.url);
    connection.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${rest === "" ? 0 : 100_000}\r\n\r\n${rest}`);
    const answer = await connection.answer();
    assert.deepEqual([answer.status, answer.body.toString(), answer.headers.get("connection")], [
      401,
      "who are you",
      "close",
    ]);
    await connection.closed;
  }
  assert.equal(server.listening.connections(), 0);
});

Deno.test("Upgrade is ignored, and any number of header fields is taken", async () => {
  await using server = await listener();
  for (const upgrade of ["h2c", "TLS/1.2", "websocket", "HTTP/2.0, h2c"]) {
    using connection = await openRaw(server.url);
    const head = `POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${upgrade}\r\n`;
    for (
      const framing of [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n000003;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
      ]
    ) {
      connection.write(head + framing);
      const answer = await connection.answer();
      assert.deepEqual([answer.status, answer.body.toString()], [201, "abc"], upgrade);
    }
  }
  const fields = Array.from({ length: 900 }, (_, index) => `A${index}: 1\r\n`).join("");
  await using large = await listener(echo, { headerBytesMax: 65_536 });
  const many = await sendRaw(large.url, `POST / HTTP/1.1\r\nHost: x\r\n${fields}X-A: 7\r\nContent-Length: 0\r\n\r\n`);
  assert.equal(many.headers.get("x-seen"), "POST / 7");
});

Deno.test("no Host, or two, is refused with a reason; HTTP/1.0 needs none", async () => {
  await using server = await listener();
  for (const host of ["", "Host: a\r\nHost: b\r\n"]) {
    refused(
      await sendRaw(server.url, `POST / HTTP/1.1\r\n${host}Content-Length: 0\r\n\r\n`),
      400,
      /^Host is missing or/,
    );
  }
  assert.equal((await sendRaw(server.url, "POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")).status, 201);
});

Deno.test("a sender that asks whether to go on is told so when its body is read, and not where it is refused", async () => {
  await using server = await listener((inbound, body) =>
    inbound.headers.get("x-a") === "no" ? plain(403) : echo(inbound, body)
  );
  const asking = (a: string) =>
    `POST / HTTP/1.1\r\nHost: x\r\nX-A: ${a}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n`;
  using connection = await openRaw(server.url);
  const first = Promise.withResolvers<string>();
  connection.socket.once("data", (bytes: Buffer) => first.resolve(bytes.toString()));
  connection.write(asking("yes"));
  assert.equal(await first.promise, "HTTP/1.1 100 Continue\r\n\r\n");
  connection.write("abc");
  assert.equal((await connection.answer()).body.toString(), "abc");
  using other = await openRaw(server.url);
  const answered = Promise.withResolvers<string>();
  other.socket.once("data", (bytes: Buffer) => answered.resolve(bytes.toString()));
  other.write(asking("no"));
  assert.match(await answered.promise, /^HTTP\/1\.1 403 /);
  // What nobody knows is no reason to lose data.
  const unknown = await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n");
  assert.equal(unknown.status, 201);
});

Deno.test("answers to requests that were sent at once stand in their order, whichever is ready first", async () => {
  const first = Promise.withResolvers<void>();
  await using server = await listener(async (inbound, body) => {
    if (inbound.headers.get("x-a") === "1") await first.promise;
    else first.resolve();
    return await echo(inbound, body);
  });
  using connection = await openRaw(server.url);
  const one = (a: number) => `POST / HTTP/1.1\r\nHost: x\r\nX-A: ${a}\r\nContent-Length: 1\r\n\r\n${a}`;
  connection.write(one(1) + one(2) + one(3));
  for (const a of ["1", "2", "3"]) assert.equal((await connection.answer()).body.toString(), a);
});

Deno.test("a kept connection gathers no listeners, and holds no more than its last request", async () => {
  const messages: WeakRef<object>[] = [];
  const sockets = new Set<Socket>();
  const count = (socket: Socket) => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0);
  const counts: number[] = [];
  await using server = await listener(async (inbound, body) => {
    messages.push(new WeakRef(inbound.body));
    sockets.add(inbound.peer.socket!);
    counts.push(count(inbound.peer.socket!));
    return await echo(inbound, body);
  });
  using connection = await openRaw(server.url);
  for (let index = 0; index < 200; index++) {
    connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert.equal((await connection.answer()).body.toString(), "abc");
  }
  assert.equal(sockets.size, 1);
  assert.equal(new Set(counts.slice(1)).size, 1, counts.join());
  // A turn of its own, so that nothing on the stack holds one.
  await new Promise((resolve) => setTimeout(resolve, 0));
  collectGarbage();
  const held = messages.filter((one) => one.deref() !== undefined).length;
  assert(held <= 20, `${held} of ${messages.length} requests are still held`);
});

Deno.test("a body of which nobody reads is not held beyond a bound, and arrives whole when somebody does", async () => {
  const go = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const sent = Buffer.alloc(40_000_000, "0123456789");
  await using server = await listener(async (_, body) => {
    asked.resolve();
    await go.promise;
    return plain(200, (await body()).equals(sent) ? "whole" : "damaged");
  }, { idleMs: 60_000, bodyMs: 60_000 });
  using connection = await openRaw(server.url);
  let flushed = false;
  connection.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${sent.length}\r\n\r\n`);
  await asked.promise;
  connection.socket.write(sent, () => flushed = true);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(flushed, false, "the sender is held up");
  go.resolve();
  assert.equal((await connection.answer()).body.toString(), "whole");
});

Deno.test("the same over TLS, where Deno's own sockets would read on", async () => {
  await using certs = await testCertificates();
  const { certificate: cert, key } = certs.server;
  const go = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const sent = Buffer.alloc(20_000_000, "0123456789");
  let below: Socket | undefined;
  await using server = await listener(
    async (_, body) => {
      asked.resolve();
      await go.promise;
      return plain(200, (await body()).equals(sent) ? "whole" : "damaged");
    },
    { idleMs: 60_000, bodyMs: 60_000 },
    (options, listener) => {
      const tls = createServer({ ...options, cert, key }, listener);
      readLightly(tls, true);
      tls.on("connection", (socket: Socket) => void (below = socket));
      return tls;
    },
  );
  const client = connect({ host: "localhost", port: server.listening.port, ca: certs.ca.certificate });
  client.write(`POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${sent.length}\r\n\r\n`);
  await asked.promise;
  client.write(sent);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const { bytesRead } = below!;
  assert.ok(bytesRead < 2_000_000, `${bytesRead} bytes were read`);
  go.resolve();
  let answer = "";
  for await (const piece of client) answer += piece;
  assert.match(answer, /^HTTP\/1.1 200 [^]*whole$/);
});

Deno.test("over TLS requests arrive whole that are sent at once, in small parts, or in chunks", async () => {
  await using certs = await testCertificates();
  const { certificate: cert, key } = certs.server;
  await using server = await listener(echo, { idleMs: 60_000 }, (options, listener) => {
    const tls = createServer({ ...options, cert, key }, listener);
    readLightly(tls, true);
    return tls;
  });
  const client = connect({ host: "localhost", port: server.listening.port, ca: certs.ca.certificate });
  const texts = [1, 100, 20_000, 70_000].map((length, index) => String(index).repeat(length));
  const requests = texts.map((text, index) => {
    const close = index === texts.length - 1 ? "Connection: close\r\n" : "";
    const head = `POST / HTTP/1.1\r\nHost: x\r\nX-A: ${index}\r\n${close}`;
    return index % 2 === 0
      ? `${head}Content-Length: ${text.length}\r\n\r\n${text}`
      : `${head}Transfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
  });
  const all = Buffer.from(requests.join(""));
  for (let at = 0; at < all.length;) {
    // The first requests in one write, then parts that end anywhere.
    const length = at === 0 ? 5_000 : 3_333;
    const part = all.subarray(at, at + length);
    await new Promise<void>((resolve) => client.write(part, () => resolve()));
    at += length;
  }
  let answer = "";
  for await (const piece of client) answer += piece;
  assert.deepEqual(answer.match(/(?<=x-seen: POST \S+ )\d/g), texts.map((_, index) => String(index)));
  assert.deepEqual(answer.match(/\r\n\r\n(\d+)/g)?.map((found) => found.length - 4), texts.map(({ length }) => length));
});

Deno.test("what the reader throws ends its reading, and neither the connection nor the parser", async () => {
  await using server = await listener(async (inbound) => {
    await assert.rejects(async () =>
      await inbound.body.forEachPiece(() => {
        throw new Error("enough");
      }), /enough/);
    return plain(413);
  });
  using connection = await openRaw(server.url);
  for (const length of [5, 400_000]) {
    connection.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`);
    connection.write(new Uint8Array(length));
    assert.equal((await connection.answer()).status, 413);
  }
});

Deno.test("an answer before the end of the body reaches the sender, and what still comes is forgotten", async () => {
  await using server = await listener(() => plain(413, "enough"));
  using connection = await openRaw(server.url);
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
  const answer = await connection.answer();
  assert.equal(answer.status, 413);
  // The rest never comes: the connection is closed, and no second answer is written to it.
  assert.equal((await connection.answer()).body.length, 0);
});

Deno.test("a body that stops: the app is told when the time is over, and the connection closed", async () => {
  const told = Promise.withResolvers<unknown>();
  await using server = await listener(async (_, body) => {
    await body().catch(told.resolve);
    return plain(200);
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
  await using server = await listener(async (_, body) => {
    await body().catch(told.resolve);
    return plain(200);
  });
  for (const chunk of ["ZZ\r\nab\r\n", "2 \r\nab\r\n", "1\r\nab\r\n"]) {
    const request = `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`;
    refused(await sendRaw(server.url, request), 400, /without a blank behind it/);
  }
  assert(await told.promise instanceof Error);
});

Deno.test("an app that throws closes the connection, and the fault is told", async () => {
  await using server = await listener(() => Promise.reject(new Error("defect")));
  assert.equal((await sendRaw(server.url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).status, 0);
  assert.match(String(server.told.failed[0]), /defect/);
});

Deno.test("it closes when the last request is answered, and an address that is taken is the system's error", async () => {
  const answering = Promise.withResolvers<Answer>();
  const asked = Promise.withResolvers<void>();
  await using server = await listener(() => {
    asked.resolve();
    return answering.promise;
  });
  using connection = await openRaw(server.url);
  connection.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  await asked.promise;
  const closed = server.listening.close();
  answering.resolve(plain(200, "last"));
  assert.equal((await connection.answer()).body.toString(), "last");
  connection[Symbol.dispose]();
  await closed;
  await using other = await listener();
  await assert.rejects(
    listenOnNode({
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
  await using listening = await listener(
    undefined,
    {},
    undefined,
    () => new Response(stream, { headers: { "content-type": "text/event-stream" } }),
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

Deno.test("a connection that has its age ends with the answer to its next request, plain or with TLS", async () => {
  await using certificates = await testCertificates();
  const { certificate: cert, key } = certificates.server;
  for (const secure of [false, true]) {
    let now = 0;
    const listening = await listenOnNode({
      hostname: "127.0.0.1",
      port: 0,
      limits: { ...limits, idleMs: 60_000, ageMs: 60_000 },
      now: () => now,
      ...(secure ? { server: (options, listener) => createServer({ ...options, cert, key }, listener) } : {}),
      answer: () => new Response("ok"),
      events: { refused: () => {}, failed: assert.fail, dropped: () => {} },
    });
    const kept = { keepAlive: true, maxSockets: 1 };
    const agent = secure ? new HttpsAgent({ ...kept, ca: certificates.ca.certificate }) : new HttpAgent(kept);
    const ask = () => {
      const { promise, resolve, reject } = Promise.withResolvers<{ connection: string | undefined; local: number }>();
      (secure ? httpsGet : httpGet)({ host: "localhost", port: listening.port, agent }, (response) => {
        const local = response.socket.localPort ?? 0;
        response.resume().on("end", () => resolve({ connection: response.headers.connection, local })).on(
          "error",
          reject,
        );
      }).on("error", reject);
      return promise;
    };
    const first = await ask();
    now = 53_000;
    const second = await ask();
    assert.equal(second.local, first.local);
    now = 67_000;
    const last = await ask();
    assert.deepEqual([last.local, last.connection], [first.local, "close"]);
    now = 68_000;
    const anew = await ask();
    assert.notEqual(anew.local, first.local);
    assert.notEqual(anew.connection, "close");
    agent.destroy();
    const closed = listening.close();
    listening.abandon();
    await closed;
  }
});
