/** OTLP/gRPC against a far end that answers as it is told to. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { gzipMember } from "../../../src/codec/gzip.ts";
import { GrpcTransport } from "../../../src/exporter/client/grpc_transport.ts";
import { fieldOf } from "../../../src/http2/fields.ts";
import { signalOf } from "../../../src/signal.ts";
import { type GrpcReply, startGrpcEnd } from "../../support/far_end/grpc_end.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { clientFor } from "../../support/relay/exporting.ts";
import { waitWhile } from "../../support/wait_while.ts";

const MESSAGE = { kind: "message" } as const;
const BODY = gzipMember(new Uint8Array(100));
const NOBODY = { caCerts: [] };
const grpc = (url: string, timeoutMs = 10_000, identity: Parameters<typeof clientFor>[1] = NOBODY) =>
  clientFor(url, identity, timeoutMs, true, "grpc");

Deno.test("a call as the specification has it: path, fields, one message in its coding", async () => {
  await using end = await startGrpcEnd(() => MESSAGE);
  const client = grpc(end.url);
  const zipped = await client.send("logs", BODY, "gzip");
  assert.deepEqual([zipped.kind, zipped.kind === "answer" && zipped.status], ["answer", 200]);
  await client.send("metrics", new Uint8Array(0), "identity");
  client.close();
  const [first, second] = end.calls;
  assert.equal(first?.path, signalOf("logs").grpcPath);
  assert.equal(second?.path, signalOf("metrics").grpcPath);
  assert.deepEqual([...first?.message ?? []], [...BODY]);
  assert.deepEqual([first?.encoding, second?.encoding, second?.message.length], ["gzip", "identity", 0]);
  const field = (name: string) => fieldOf(first?.header ?? [], name);
  assert.deepEqual(
    [":method", ":scheme", "te", "content-type", "x-test", "user-agent", "grpc-timeout"].map(field),
    ["POST", "http", "trailers", "application/grpc", "logs", "OTel-OTLP-Exporter-test/1", "10000m"],
  );
  assert.equal(fieldOf(second?.header ?? [], "grpc-encoding"), undefined);
  assert.equal(end.connections, 1);
});

Deno.test("fields of the configuration are sent as HTTP/2 takes them: small letters, no blanks around a value, one user-agent", async () => {
  await using end = await startGrpcEnd(() => MESSAGE);
  const transport = new GrpcTransport({ identity: NOBODY, userAgent: "ours/1" });
  const answer = await transport.post({
    signal: "traces",
    url: `${end.url}${signalOf("traces").grpcPath}`,
    headers: { "X-Scope-OrgID": " 7\t", "Authorization": "Bearer a b ", "User-Agent": "theirs" },
    body: BODY,
    encoding: "gzip",
    timeoutMs: 10_000,
    abort: new AbortController().signal,
  });
  transport.close();
  assert.equal(answer.status, 200);
  const sent = end.calls[0]!.header;
  assert.deepEqual(sent.filter(([name]) => /^(?:x-scope-orgid|authorization|user-agent)$/i.test(name)), [
    ["x-scope-orgid", "7"],
    ["authorization", "Bearer a b"],
    ["user-agent", "ours/1"],
  ]);
});

Deno.test("a large message goes through windows that are smaller than it", async () => {
  await using end = await startGrpcEnd(() => MESSAGE);
  const client = grpc(end.url);
  const body = crypto.getRandomValues(new Uint8Array(65_536));
  const large = new Uint8Array(4 << 20);
  for (let at = 0; at < large.length; at += body.length) large.set(body, at);
  const answers = await Promise.all([1, 2, 3].map(() => client.send("traces", large, "identity")));
  client.close();
  assert.deepEqual(answers.map((answer) => answer.kind === "answer" && answer.status), [200, 200, 200]);
  for (const { message } of end.calls) assert.equal(new Uint8Array(message).length, large.length);
  assert.deepEqual(end.calls[2]?.message.subarray(65_536, 131_072), body);
});

const CUT: readonly [what: string, reply: GrpcReply, cause: RegExp][] = [
  ["RST_STREAM", { kind: "reset", code: 2 }, /./],
  ["a connection that is cut", { kind: "disconnect" }, /clos|reset/i],
  ["half a message", { kind: "half" }, /no answer within/],
  ["silence", { kind: "silence" }, /no answer within/],
];

for (const [what, reply, cause] of CUT) {
  Deno.test(`${what} is no answer, and the next call is answered`, async () => {
    await using end = await startGrpcEnd(({ number }) => number === 1 ? reply : MESSAGE);
    const client = grpc(end.url, 300);
    const answer = await client.send("traces", BODY, "gzip");
    assert(answer.kind === "none", JSON.stringify(answer));
    assert.match(answer.cause, cause);
    const next = await client.send("traces", BODY, "gzip");
    assert(next.kind === "answer" && next.status === 200, JSON.stringify(next));
    assert.equal(client.renewed, /within/.test(answer.cause) ? 1 : 0, "a silent connection is given up");
    client.close();
  });
}

Deno.test("what the peer says that it has not looked at is sent again at once, on another connection", async () => {
  for (const unprocessed of [{ kind: "goaway" }, { kind: "reset", code: 7 }] satisfies GrpcReply[]) {
    await using end = await startGrpcEnd(({ number }) => number === 1 ? unprocessed : MESSAGE);
    const client = grpc(end.url);
    const answer = await client.send("traces", BODY, "gzip");
    assert(answer.kind === "answer" && answer.status === 200, JSON.stringify(answer));
    assert.equal(end.calls.length, 2);
    client.close();
  }
  await using never = await startGrpcEnd(() => ({ kind: "reset", code: 7 }));
  const client = grpc(never.url);
  assert.equal((await client.send("traces", BODY, "gzip")).kind, "none", "and not for ever");
  assert.equal(never.calls.length, 3);
  client.close();
});

Deno.test("answers that are none of gRPC are held, and named", async () => {
  const rows: [GrpcReply, number, string][] = [
    [{ kind: "http", status: 200, type: "text/html", body: "<html>log in" }, 200, "wrong_protocol"],
    [{ kind: "http", status: 502, type: "text/html", body: "<html>bad gateway" }, 502, "throttled"],
    [{ kind: "no_trailers" }, 200, "wrong_protocol"],
    [{ kind: "status", code: 12, message: "unknown service" }, 404, "no_such_path"],
    [{ kind: "status", code: 16 }, 401, "unauthorized"],
  ];
  for (const [reply, status, code] of rows) {
    await using end = await startGrpcEnd(() => reply);
    const client = grpc(end.url);
    const answer = await client.send("traces", BODY, "gzip");
    assert(answer.kind === "answer");
    assert.deepEqual([answer.status, client.diagnose(answer).code], [status, code]);
    client.close();
  }
});

Deno.test("OK before the whole message was sent is no success", async () => {
  const ask = async (early?: GrpcReply) => {
    await using end = await startGrpcEnd(() => MESSAGE, early === undefined ? {} : { early });
    const client = grpc(end.url);
    const answer = await client.send("traces", new Uint8Array(1 << 20), "identity");
    client.close();
    assert(answer.kind === "answer", JSON.stringify(answer));
    return [answer.status, answer.foreign, answer.message.slice(0, 32)];
  };
  assert.deepEqual(await ask(MESSAGE), [200, true, "answered 200 before it had the w"]);
  assert.deepEqual(await ask(), [200, false, ""]);
  // Any other code says the same, early or not.
  assert.deepEqual(await ask({ kind: "status", code: 8, message: "larger than max" }), [413, false, "larger than max"]);
});

Deno.test("words that end with a blank, as grpc-go and the C core send them, are an answer", async () => {
  await using end = await startGrpcEnd(() => ({ kind: "status", code: 3, message: "bad data " }));
  const client = grpc(end.url);
  const answer = await client.send("traces", BODY, "gzip");
  client.close();
  assert(answer.kind === "answer", JSON.stringify(answer));
  assert.deepEqual([answer.status, answer.message], [400, "bad data"]);
});

Deno.test("a server of HTTP/1.1, and one that speaks something else, are named", async () => {
  for (const words of ["HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "220 mail.example ESMTP\r\n"]) {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.end(words);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = grpc(`http://localhost:${(server.address() as AddressInfo).port}`);
    const answer = await client.send("traces", BODY, "gzip");
    assert(answer.kind === "none");
    assert.equal(client.diagnose(answer).code, "no_http2", answer.cause);
    client.close();
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  }
});

Deno.test("where the peer takes few calls at once, more connections take the others", async () => {
  const gate = Promise.withResolvers<void>();
  await using end = await startGrpcEnd(async () => {
    await gate.promise;
    return MESSAGE;
  }, { streamsMax: 1 });
  const client = grpc(end.url);
  const first = client.send("traces", BODY, "gzip");
  await waitWhile(() => end.calls.length < 1);
  const others = [client.send("traces", BODY, "gzip"), client.send("logs", BODY, "gzip")];
  await waitWhile(() => end.calls.length < 3);
  gate.resolve();
  for (const answer of await Promise.all([first, ...others])) assert(answer.kind === "answer");
  assert.equal(end.connections, 3);
  client.close();
});

Deno.test("many calls at once to a peer that takes one at a time a connection: none of them fails", async () => {
  await using end = await startGrpcEnd(() => MESSAGE, { streamsMax: 1 });
  const client = grpc(end.url);
  const answers = await Promise.all(Array.from({ length: 12 }, () => client.send("traces", BODY, "gzip")));
  assert.deepEqual(answers.map((answer) => answer.kind === "answer" && answer.status), Array(12).fill(200));
  assert.equal(end.calls.length, 12);
  client.close();
});

Deno.test("a peer that takes no calls is told of, and not asked for ever", async () => {
  await using end = await startGrpcEnd(() => MESSAGE, { streamsMax: 0 });
  const client = grpc(end.url);
  const answer = await client.send("traces", BODY, "gzip");
  assert(answer.kind === "none");
  assert.match(answer.cause, /takes no calls/);
  assert.equal(end.connections, 1);
  client.close();
});

Deno.test("given up: the call ends, and the connection serves the others", async () => {
  await using end = await startGrpcEnd(({ number }) => number === 1 ? { kind: "silence" } : MESSAGE);
  const client = grpc(end.url);
  const abort = new AbortController();
  const given = client.send("traces", BODY, "gzip", { abort: abort.signal });
  await waitWhile(() => end.calls.length < 1);
  abort.abort();
  const answer = await given;
  assert(answer.kind === "none" && answer.aborted);
  assert.equal((await client.send("traces", BODY, "gzip")).kind, "answer");
  assert.equal(end.connections, 1);
  client.close();
});

Deno.test("mutual TLS: another identity is shown on a new connection, and what is under way ends on the old one", async () => {
  await using certs = await testCertificates();
  const gate = Promise.withResolvers<void>();
  await using end = await startGrpcEnd(async ({ number }) => {
    if (number === 1) await gate.promise;
    return MESSAGE;
  }, { certs });
  const identity = { caCerts: [certs.ca.certificate], cert: certs.client.certificate, key: certs.client.key };
  const client = grpc(end.url, 10_000, identity);
  const old = client.send("traces", BODY, "gzip");
  await waitWhile(() => end.calls.length < 1);
  client.replaceIdentity(identity);
  assert.equal((await client.send("traces", BODY, "gzip")).kind, "answer");
  gate.resolve();
  assert.equal((await old).kind, "answer");
  const [first, second] = end.calls.map(({ connection }) => connection);
  assert.notEqual(first, second);
  await waitWhile(() => end.open > 1);
  client.close();
  await waitWhile(() => end.open > 0);
});

Deno.test("a place is gone to whatever the name in the URL resolves to, and the name is the one that is asked for", async () => {
  await using end = await startGrpcEnd(() => MESSAGE);
  const { port } = new URL(end.url);
  const at = { address: "127.0.0.1", port: Number(port) };
  const transport = new GrpcTransport({ identity: NOBODY, userAgent: "test", at });
  const answer = await transport.post({
    signal: "traces",
    url: `http://collector.invalid:${port}`,
    headers: {},
    body: BODY,
    encoding: "gzip",
    timeoutMs: 10_000,
    abort: new AbortController().signal,
  });
  transport.close();
  assert.equal(answer.status, 200);
  assert.equal(fieldOf(end.calls[0]?.header ?? [], ":authority"), `collector.invalid:${port}`);
});
