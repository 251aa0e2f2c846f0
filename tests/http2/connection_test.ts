import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import net, { type AddressInfo, type Socket } from "node:net";
import { Duplex } from "node:stream";
import {
  type ConnectionEnd,
  type ConnectionEvents,
  Http2Connection,
  type Http2Limits,
} from "../../src/http2/connection.ts";
import {
  ERROR_CODE,
  FLAG,
  frame,
  FRAME_TYPE,
  numbersFrame,
  PREFACE,
  SETTING,
  settingsFrame,
} from "../../src/http2/frame.ts";
import { encodeFields } from "../../src/http2/hpack.ts";
import type { Field } from "../../src/http2/hpack_tables.ts";
import type { Http2Stream, StreamCut, StreamEvents } from "../../src/http2/stream.ts";
import { Random } from "../support/bodies/requests.ts";
import { RawHttp2 } from "../support/far_end/raw_http2.ts";
import { waitWhile } from "../support/wait_while.ts";

const LIMITS: Http2Limits = {
  streamsMax: 10,
  streamWindowBytes: 65_535,
  windowBytes: 200_000,
  headerListBytesMax: 16_384,
  headerMs: 0,
  idleMs: 0,
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};
const REQUEST: readonly Field[] = [[":method", "POST"], [":scheme", "http"], [":path", "/"], [":authority", "x"]];
const OK = encodeFields([[":status", "200"]]);

interface Seen {
  readonly socket: Socket;
  readonly connection: Http2Connection;
  readonly end: Promise<ConnectionEnd>;
  readonly cuts: StreamCut[];
  readonly failures: unknown[];
}

/** A server whose connections send each body back, with a trailer of its length. */
async function echo(
  limits: Partial<Http2Limits> = {},
  handler?: (stream: Http2Stream, fields: readonly Field[], end: boolean) => StreamEvents,
  oversized?: (stream: Http2Stream) => void,
) {
  const seen: Seen[] = [];
  const waiting: ((one: Seen) => void)[] = [];
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    const ended = Promise.withResolvers<ConnectionEnd>();
    const cuts: StreamCut[] = [];
    const failures: unknown[] = [];
    const events: ConnectionEvents = {
      opened(stream, fields, end) {
        if (handler !== undefined) return handler(stream, fields, end);
        let bytes = 0;
        const answer = () => stream.sendTrailers(encodeFields([["x-bytes", String(bytes)]]));
        stream.sendHeaders(OK);
        if (end) answer();
        return {
          data(piece) {
            bytes += piece.length;
            stream.consumed(piece.length);
            stream.sendData(piece);
          },
          end: answer,
          cut: (cause) => void cuts.push(cause),
        };
      },
      ...(oversized === undefined ? {} : { oversized }),
      foreign: () => Buffer.from("HTTP/2 only"),
      closed: ended.resolve,
      failed: (error) => void failures.push(error),
    };
    const connection = new Http2Connection(socket, { side: "server", limits: { ...LIMITS, ...limits }, events });
    const one = { socket, connection, end: ended.promise, cuts, failures };
    seen.push(one);
    waiting.shift()?.(one);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    /** The next connection, as its server has it. */
    accepted: () => new Promise<Seen>((resolve) => waiting.push(resolve)),
    raw: () => RawHttp2.connect(port),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A client of ours, and what it is told. */
async function client(port: number, limits: Partial<Http2Limits> = {}, events: Partial<ConnectionEvents> = {}) {
  const socket = net.connect(port, "127.0.0.1");
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  const ended = Promise.withResolvers<ConnectionEnd>();
  const connection = new Http2Connection(socket, {
    side: "client",
    limits: { ...LIMITS, ...limits },
    events: {
      closed: ended.resolve,
      failed(error) {
        throw error;
      },
      ...events,
    },
  });
  return {
    connection,
    ended: ended.promise,
    async [Symbol.asyncDispose]() {
      connection.destroy();
      await ended.promise;
    },
  };
}

interface Answered {
  readonly fields: readonly Field[];
  readonly body: Buffer;
  readonly trailers: readonly Field[];
}

/** Asks, and resolves with the answer; rejects with the {@link StreamCut}. */
function ask(connection: Http2Connection, body: Uint8Array | undefined): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<Answered>();
  let fields: readonly Field[] = [];
  let trailers: readonly Field[] = [];
  const parts: Uint8Array[] = [];
  const stream = connection.request(encodeFields(REQUEST), {
    headers: (list) => void (fields = list),
    data(piece) {
      parts.push(piece);
      stream!.consumed(piece.length);
    },
    trailers: (list) => void (trailers = list),
    end: () => resolve({ fields, body: Buffer.concat(parts), trailers }),
    cut: reject,
  }, body === undefined);
  if (stream === undefined) reject(new Error("no room"));
  else if (body !== undefined) stream.sendData(body, true);
  return promise;
}

Deno.test("carries requests and answers of every size, side by side", async () => {
  await using server = await echo();
  await using one = await client(server.port);
  const random = new Random(1);
  const bodies = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 1_000_000].map((length) =>
    Buffer.from(Uint8Array.from({ length }, () => random.below(256)))
  );
  const answers = await Promise.all(bodies.map((body) => ask(one.connection, body)));
  answers.forEach(({ fields, body, trailers }, index) => {
    assert.deepEqual(fields, [[":status", "200"]]);
    assert(body.equals(bodies[index]!));
    assert.deepEqual(trailers, [["x-bytes", String(bodies[index]!.length)]]);
  });
  const { trailers } = await ask(one.connection, undefined);
  assert.deepEqual(trailers, [["x-bytes", "0"]]);
  assert.equal(one.connection.streams, 0);
});

Deno.test("a header larger than a frame arrives", async () => {
  const long: Field = ["x-long", "a".repeat(40_000)];
  const limits = { headerListBytesMax: 60_000 };
  const asked = Promise.withResolvers<readonly Field[]>();
  await using server = await echo(limits, (stream, fields) => {
    asked.resolve(fields);
    stream.sendHeaders(encodeFields([[":status", "200"], long]), true);
    return { data() {}, end() {}, cut() {} };
  });
  await using one = await client(server.port, limits);
  const answered = Promise.withResolvers<readonly Field[]>();
  one.connection.request(encodeFields([...REQUEST, long]), {
    headers: answered.resolve,
    data() {},
    end() {},
    cut: answered.reject,
  }, true);
  assert.deepEqual(await asked.promise, [...REQUEST, long]);
  assert.deepEqual(await answered.promise, [[":status", "200"], long]);
});

Deno.test("a client opens no more streams than the server takes, and is told of room", async () => {
  const open: Http2Stream[] = [];
  await using server = await echo({ streamsMax: 2 }, (stream) => {
    open.push(stream);
    return { data() {}, end() {}, cut() {} };
  });
  const ready = Promise.withResolvers<void>();
  const room = Promise.withResolvers<void>();
  await using one = await client(server.port, {}, { ready: ready.resolve, room: room.resolve });
  await ready.promise;
  const first = ask(one.connection, undefined);
  const second = ask(one.connection, undefined);
  await assert.rejects(ask(one.connection, undefined), /no room/);
  assert(one.connection.usable);
  await waitWhile(() => open.length < 2);
  open[0]!.sendHeaders(OK, true);
  await first;
  await room.promise;
  const third = ask(one.connection, undefined);
  await waitWhile(() => open.length < 3);
  for (const stream of open.slice(1)) stream.sendHeaders(OK, true);
  await Promise.all([second, third]);
});

Deno.test("a body waits for the peer's window, and goes on where it is opened", async () => {
  await using server = await echo({}, (stream) => {
    stream.sendHeaders(OK);
    stream.sendData(Buffer.alloc(100, 1));
    stream.sendTrailers(encodeFields([["a", "b"]]));
    return { data() {}, end() {}, cut() {} };
  });
  const peer = await server.raw();
  peer.begin([[4, 10]]);
  peer.headers(1, REQUEST, true);
  assert.equal((await peer.next(FRAME_TYPE.data)).length, 10);
  peer.numbers(FRAME_TYPE.window, 1, 50);
  assert.equal((await peer.next(FRAME_TYPE.data)).length, 50);
  // A change of the setting counts for streams that are open.
  peer.write(settingsFrame([[4, 50]]));
  assert.equal((await peer.next(FRAME_TYPE.data)).length, 40);
  assert.deepEqual((await peer.next(FRAME_TYPE.headers)).fields, [["a", "b"]]);
  peer.destroy();
});

Deno.test("a body is sent once the system has taken it, and not before", async () => {
  const written: { readonly bytes: Uint8Array; readonly done: () => void }[] = [];
  const socket = new Duplex({
    read() {},
    write: (bytes: Uint8Array, _, done) => void written.push({ bytes, done }),
  });
  const connection = new Http2Connection(socket as Socket, {
    side: "client",
    limits: LIMITS,
    events: {
      closed() {},
      failed(error) {
        throw error;
      },
    },
  });
  const take = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    const { bytes, done } = written.shift()!;
    done();
    return bytes.length;
  };
  await take();
  const stream = connection.request(encodeFields(REQUEST), { data() {}, end() {}, cut() {} })!;
  assert(stream.sent, "there is no body yet");
  const body = new Uint8Array(40_000);
  stream.sendData(body, true);
  assert.equal(stream.waitingBytes, 0, "the windows have room for all of it");
  assert(!stream.sent);
  let taken = 0;
  while (taken < body.length) {
    assert(!stream.sent, `${taken} bytes were taken`);
    taken += await take();
  }
  assert.equal(written.length, 0);
  assert(stream.sent);
  connection.destroy();
});

Deno.test("what is not consumed holds the peer back, and is held no further", async () => {
  let stream: Http2Stream | undefined;
  let received = 0;
  const full = Promise.withResolvers<void>();
  const whole = Promise.withResolvers<void>();
  await using server = await echo({}, (opened) => {
    stream = opened;
    return {
      data(piece) {
        received += piece.length;
        if (received === 65_535) full.resolve();
      },
      end: whole.resolve,
      cut() {},
    };
  });
  await using one = await client(server.port);
  const answered = ask(one.connection, Buffer.alloc(100_000));
  await full.promise;
  stream!.consumed(65_535);
  await whole.promise;
  assert.equal(received, 100_000);
  stream!.sendHeaders(OK, true);
  await answered;
});

Deno.test("an answer before the end of its request asks for no more of it, and the connection goes on", async () => {
  await using server = await echo({}, (stream, _, end) => {
    stream.sendHeaders(OK, true);
    return { data() {}, end() {}, cut: () => assert(end, "a stream that was answered is not cut") };
  });
  const peer = await server.raw();
  peer.begin();
  for (let id = 1; id < 100; id += 2) {
    peer.headers(id, REQUEST);
    peer.data(id, Buffer.alloc(10_000));
    assert.deepEqual((await peer.next(FRAME_TYPE.headers)).id, id);
    const reset = await peer.next(FRAME_TYPE.reset);
    assert.deepEqual([reset.id, reset.body.readUInt32BE()], [id, ERROR_CODE.none]);
  }
  peer.destroy();
});

Deno.test("drains in two steps: requests on their way are taken, later ones are not", async () => {
  await using server = await echo();
  const accepted = server.accepted();
  const peer = await server.raw();
  const { connection, end } = await accepted;
  peer.begin();
  peer.headers(1, REQUEST);
  await peer.next(FRAME_TYPE.headers);
  connection.drain();
  const first = await peer.next(FRAME_TYPE.goaway);
  assert.equal(first.body.readUInt32BE(0), 0x7fffffff);
  const ping = await peer.next(FRAME_TYPE.ping);
  peer.headers(3, REQUEST, true);
  peer.write(frame(FRAME_TYPE.ping, FLAG.ack, 0, ping.body));
  peer.headers(5, REQUEST, true);
  const second = await peer.next(FRAME_TYPE.goaway);
  assert.deepEqual([second.body.readUInt32BE(0), second.body.readUInt32BE(4)], [3, 0]);
  peer.data(1, "abc", true);
  assert.equal((await peer.next(FRAME_TYPE.data)).body.toString(), "abc");
  await peer.closed;
  assert.equal((await end).reason, "drained");
  assert(!peer.seen.some(({ id }) => id === 5));
});

Deno.test("drains without the answer to its PING", async () => {
  await using server = await echo();
  const accepted = server.accepted();
  const peer = await server.raw();
  const { connection } = await accepted;
  peer.begin();
  await peer.next(FRAME_TYPE.settings);
  // Its own SETTINGS have come when they are acknowledged.
  await peer.next(FRAME_TYPE.settings);
  connection.drain();
  assert.equal((await peer.next(FRAME_TYPE.goaway)).body.readUInt32BE(0), 0x7fffffff);
  assert.equal((await peer.next(FRAME_TYPE.goaway)).body.readUInt32BE(0), 0);
  await peer.closed;
});

Deno.test("a client that drains ends what is open, and takes no more", async () => {
  await using server = await echo();
  const one = await client(server.port);
  const answered = ask(one.connection, Buffer.from("abc"));
  one.connection.drain();
  assert.equal(one.connection.usable, false);
  await assert.rejects(ask(one.connection, undefined), /no room/);
  assert.equal((await answered).body.toString(), "abc");
  assert.equal((await one.ended).reason, "drained");
});

/** A server, frame by frame. */
async function rawServer() {
  const accepted = Promise.withResolvers<RawHttp2>();
  const server = net.createServer((socket) => accepted.resolve(new RawHttp2(withoutPreface(socket))));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    accepted: accepted.promise,
    async [Symbol.asyncDispose]() {
      (await accepted.promise).destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The socket, whose first data lose the preface. */
function withoutPreface(socket: Socket): Socket {
  const emit = socket.emit.bind(socket);
  let skipped = false;
  socket.emit = (name: string | symbol, ...values: unknown[]): boolean => {
    const [first] = values;
    if (name !== "data" || skipped || !Buffer.isBuffer(first)) return emit(name, ...values);
    skipped = true;
    assert(first.subarray(0, PREFACE.length).equals(PREFACE), "the preface comes whole");
    return emit(name, first.subarray(PREFACE.length));
  };
  return socket;
}

Deno.test("a client knows what a GOAWAY, a reset and an end leave undone", async () => {
  await using server = await rawServer();
  const went = Promise.withResolvers<unknown>();
  const one = await client(server.port, {}, { goaway: (code, debug) => went.resolve([code, debug]) });
  const [first, second, third, fourth, fifth] = [1, 2, 3, 4, 5].map(() =>
    ask(one.connection, undefined).catch((cause: StreamCut) => cause)
  );
  const peer = await server.accepted;
  peer.write(settingsFrame([]));
  peer.numbers(FRAME_TYPE.reset, 1, ERROR_CODE.refused);
  peer.numbers(FRAME_TYPE.reset, 3, ERROR_CODE.cancel);
  peer.write(
    frame(FRAME_TYPE.goaway, 0, 0, Buffer.concat([numbersFrame(0, 0, 5, 11).subarray(9), Buffer.from("calm")])),
  );
  peer.headers(5, [[":status", "200"]], true);
  const told = (cause: unknown) => {
    const { reason, code, unprocessed } = cause as StreamCut;
    return [reason, code, unprocessed];
  };
  assert.deepEqual(told(await first), ["reset", 7, true]);
  assert.deepEqual(told(await second), ["reset", 8, false]);
  assert.deepEqual(told(await fourth), ["goaway", 11, true]);
  assert.deepEqual(told(await fifth), ["goaway", 11, true]);
  assert.deepEqual(await third, { fields: [[":status", "200"]], body: Buffer.alloc(0), trailers: [] });
  assert.deepEqual(await went.promise, [11, "calm"]);
  assert.equal(one.connection.usable, false);
  assert.equal((await one.ended).reason, "closed");
});

const BAD_ANSWERS: Readonly<Record<string, (peer: RawHttp2) => void>> = {
  "no :status": (peer) => peer.headers(1, [["a", "b"]], true),
  "DATA before the header": (peer) => peer.data(1, "abc"),
  "a body longer than stated": (peer) => {
    peer.headers(1, [[":status", "200"], ["content-length", "2"]]);
    peer.data(1, "abc");
  },
  "a body shorter than stated": (peer) => {
    peer.headers(1, [[":status", "200"], ["content-length", "4"]]);
    peer.data(1, "abc", true);
  },
  "trailers that do not end": (peer) => {
    peer.headers(1, [[":status", "200"]]);
    peer.headers(1, [["a", "b"]]);
  },
  "trailers with a pseudo field": (peer) => {
    peer.headers(1, [[":status", "200"]]);
    peer.headers(1, [[":status", "200"]], true);
  },
  "a provisional answer at the end": (peer) => peer.headers(1, [[":status", "100"]], true),
  "a header over the limit": (peer) => {
    // Small on the wire, and more than its limit as a list.
    const indexed = Buffer.concat([encodeFields([[":status", "200"]]), Buffer.alloc(500, 0x8f)]);
    peer.write(frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, indexed));
  },
};

for (const [name, answer] of Object.entries(BAD_ANSWERS)) {
  Deno.test(`a client cuts the stream of ${name}, and the connection goes on`, async () => {
    await using server = await rawServer();
    await using one = await client(server.port);
    const first = ask(one.connection, undefined).catch((cause: StreamCut) => cause);
    const second = ask(one.connection, undefined);
    const peer = await server.accepted;
    peer.write(settingsFrame([]));
    answer(peer);
    const { reason } = await first as StreamCut;
    assert.equal(reason, "malformed");
    peer.headers(3, [[":status", "103"]]);
    peer.headers(3, [[":status", "200"]], true);
    assert.deepEqual((await second).fields, [[":status", "200"]]);
  });
}

/** What ends a connection, and with which code. */
const FAULTS: Readonly<Record<string, readonly [code: number, act: (peer: RawHttp2) => void]>> = {
  "another first frame than SETTINGS": [
    1,
    (peer) => peer.write(PREFACE, frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8))),
  ],
  "an ACK as the first frame": [
    1,
    (peer) => peer.write(PREFACE, frame(FRAME_TYPE.settings, FLAG.ack, 0, Buffer.alloc(0))),
  ],
  "a frame that is too large": [6, (peer) => peer.write(frame(FRAME_TYPE.headers, 0, 1, Buffer.alloc(16_385)))],
  "DATA on stream 0": [1, (peer) => peer.data(0, "a")],
  "DATA on a stream that is not open": [1, (peer) => peer.data(5, "a")],
  "HEADERS on stream 0": [1, (peer) => peer.headers(0, REQUEST)],
  "HEADERS on an even stream": [1, (peer) => peer.headers(2, REQUEST)],
  "HEADERS with a padding longer than them": [
    1,
    (peer) => peer.write(frame(FRAME_TYPE.headers, FLAG.padded | FLAG.endHeaders, 1, Buffer.from([9, 0]))),
  ],
  "HEADERS too short for their priority": [
    6,
    (peer) => peer.write(frame(FRAME_TYPE.headers, FLAG.priority | FLAG.endHeaders, 1, Buffer.from([0, 0]))),
  ],
  "a header block that is none": [
    9,
    (peer) => peer.write(frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, Buffer.from([0x80]))),
  ],
  "a header block that is interrupted": [
    1,
    (peer) =>
      peer.write(frame(FRAME_TYPE.headers, 0, 1, encodeFields(REQUEST)), frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8))),
  ],
  "a header block continued by another stream": [1, (peer) =>
    peer.write(
      frame(FRAME_TYPE.headers, 0, 1, encodeFields(REQUEST)),
      frame(FRAME_TYPE.continuation, FLAG.endHeaders, 3, Buffer.alloc(0)),
    )],
  "CONTINUATION behind nothing": [1, (peer) => peer.write(frame(FRAME_TYPE.continuation, 0, 1, Buffer.alloc(0)))],
  "a header block without end": [11, (peer) => {
    peer.write(frame(FRAME_TYPE.headers, 0, 1, Buffer.alloc(16_384, 0x82)));
    peer.write(frame(FRAME_TYPE.continuation, 0, 1, Buffer.alloc(16_384, 0x82)));
    peer.write(frame(FRAME_TYPE.continuation, 0, 1, Buffer.alloc(1, 0x82)));
  }],
  "PUSH_PROMISE": [1, (peer) => peer.write(frame(FRAME_TYPE.push, 0, 1, Buffer.alloc(4)))],
  "RST_STREAM of 3 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.reset, 0, 1, Buffer.alloc(3)))],
  "RST_STREAM on stream 0": [1, (peer) => peer.numbers(FRAME_TYPE.reset, 0, 0)],
  "RST_STREAM of a stream that is not open": [1, (peer) => peer.numbers(FRAME_TYPE.reset, 5, 0)],
  "SETTINGS of 5 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.settings, 0, 0, Buffer.alloc(5)))],
  "SETTINGS on a stream": [1, (peer) => peer.write(frame(FRAME_TYPE.settings, 0, 1, Buffer.alloc(0)))],
  "an ACK with a body": [6, (peer) => peer.write(frame(FRAME_TYPE.settings, FLAG.ack, 0, Buffer.alloc(6)))],
  "a window setting that is too large": [3, (peer) => peer.write(settingsFrame([[4, 0x80000000]]))],
  "a frame size setting that is too small": [1, (peer) => peer.write(settingsFrame([[5, 100]]))],
  "a push setting of 2": [1, (peer) => peer.write(settingsFrame([[2, 2]]))],
  "PING of 7 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(7)))],
  "PING on a stream": [1, (peer) => peer.write(frame(FRAME_TYPE.ping, 0, 1, Buffer.alloc(8)))],
  "GOAWAY of 7 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.goaway, 0, 0, Buffer.alloc(7)))],
  "WINDOW_UPDATE of 0 for the connection": [1, (peer) => peer.numbers(FRAME_TYPE.window, 0, 0)],
  "a window of the connection that is too large": [3, (peer) => peer.numbers(FRAME_TYPE.window, 0, 0x7fffffff)],
  "DATA over the connection's window": [3, (peer) => {
    for (const id of [1, 3, 5, 7]) {
      peer.headers(id, REQUEST);
      for (let sent = 0; sent < 60_000; sent += 15_000) peer.data(id, Buffer.alloc(15_000));
    }
  }],
  "a flood of PING": [11, (peer) => flood(peer, frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8)))],
  "a flood of SETTINGS": [11, (peer) => flood(peer, settingsFrame([]))],
  "a frame of a thousand SETTINGS": [
    11,
    (peer) => peer.write(settingsFrame(Array.from({ length: 1_020 }, (_, at) => [SETTING.streamWindow, at]))),
  ],
  "a flood of PRIORITY": [11, (peer) => flood(peer, frame(FRAME_TYPE.priority, 0, 1, Buffer.alloc(5)))],
  "a flood of unknown frames": [11, (peer) => flood(peer, frame(200, 0, 1, Buffer.alloc(5)))],
  "a flood of WINDOW_UPDATE": [11, (peer) => flood(peer, numbersFrame(FRAME_TYPE.window, 0, 1))],
  "a flood of empty DATA": [11, (peer) => {
    peer.headers(1, REQUEST);
    flood(peer, frame(FRAME_TYPE.data, 0, 1, Buffer.alloc(0)));
  }],
  "a flood of DATA that is padding alone": [11, (peer) => {
    peer.headers(1, REQUEST);
    flood(peer, frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.of(0)));
  }],
  "a flood of CONTINUATION": [11, (peer) => {
    peer.write(frame(FRAME_TYPE.headers, 0, 1, encodeFields(REQUEST)));
    flood(peer, frame(FRAME_TYPE.continuation, 0, 1, Buffer.alloc(0)));
  }],
  "a flood of streams that are reset": [11, (peer) => {
    const block = encodeFields(REQUEST);
    for (let id = 1; id < 4_000; id += 2) {
      peer.write(frame(FRAME_TYPE.headers, FLAG.endHeaders, id, block), numbersFrame(FRAME_TYPE.reset, id, 8));
    }
  }],
  "a flood of streams that the server is made to reset": [11, (peer) => {
    const block = encodeFields(REQUEST);
    for (let id = 1; id < 4_000; id += 2) {
      peer.write(frame(FRAME_TYPE.headers, FLAG.endHeaders, id, block), numbersFrame(FRAME_TYPE.window, id, 0));
    }
  }],
  "a flood of DATA on a stream that has ended": [11, (peer) => {
    peer.headers(1, REQUEST, true);
    flood(peer, frame(FRAME_TYPE.data, 0, 1, Buffer.from("a")));
  }],
  "a flood of headers of a stream that is over": [11, (peer) => {
    peer.headers(3, REQUEST);
    peer.numbers(FRAME_TYPE.reset, 3, ERROR_CODE.cancel);
    flood(peer, frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, encodeFields(REQUEST)));
  }],
  "a flood of GOAWAY": [11, (peer) => {
    peer.headers(1, REQUEST);
    flood(peer, numbersFrame(FRAME_TYPE.goaway, 0, 0, 0));
  }],
  "HEADERS whose padding takes their priority": [
    6,
    (peer) =>
      peer.write(
        frame(FRAME_TYPE.headers, FLAG.padded | FLAG.priority | FLAG.endHeaders, 1, Buffer.from([2, 0, 0, 0, 0])),
      ),
  ],
  "an ACK on a stream": [1, (peer) => peer.write(frame(FRAME_TYPE.settings, FLAG.ack, 1, Buffer.alloc(0)))],
  "GOAWAY on a stream": [1, (peer) => peer.write(frame(FRAME_TYPE.goaway, 0, 1, Buffer.alloc(8)))],
  "PRIORITY of 4 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.priority, 0, 1, Buffer.alloc(4)))],
  "PRIORITY on stream 0": [1, (peer) => peer.write(frame(FRAME_TYPE.priority, 0, 0, Buffer.alloc(5)))],
  "WINDOW_UPDATE of 3 bytes": [6, (peer) => peer.write(frame(FRAME_TYPE.window, 0, 0, Buffer.alloc(3)))],
  "WINDOW_UPDATE of a stream that is not open": [1, (peer) => peer.numbers(FRAME_TYPE.window, 7, 1)],
  "a window setting that makes an open stream's too large": [3, (peer) => {
    peer.headers(1, REQUEST);
    peer.numbers(FRAME_TYPE.window, 1, 0x7fffffff - 65_535);
    peer.write(settingsFrame([[SETTING.streamWindow, 65_536]]));
  }],
  "a frame size setting that is too large": [1, (peer) => peer.write(settingsFrame([[5, 0x1000000]]))],
  "a change of the table's size behind a field": [
    9,
    (peer) =>
      peer.write(
        frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, Buffer.concat([encodeFields(REQUEST), Buffer.of(0x20)])),
      ),
  ],
  "a table that is larger than allowed": [
    9,
    (peer) => peer.write(frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, Buffer.of(0x3f, 0xe2, 0x1f))),
  ],
  "a flood of streams over the bound": [11, (peer) => {
    for (let id = 1; id < 4_000; id += 2) peer.headers(id, REQUEST);
  }],
};

function flood(peer: RawHttp2, bytes: Uint8Array): void {
  peer.write(...Array.from({ length: 2_000 }, () => bytes));
}

for (const [name, [code, act]] of Object.entries(FAULTS)) {
  Deno.test(`${name} ends the connection with code ${code}`, async () => {
    await using server = await echo({}, () => ({ data() {}, end() {}, cut() {} }));
    const accepted = server.accepted();
    const peer = await server.raw();
    const { end, failures } = await accepted;
    // Those that are about the beginning bring their own.
    if (!/first frame/.test(name)) peer.begin();
    act(peer);
    assert.equal(await peer.goaway(), code);
    await peer.closed;
    assert.equal((await end).reason, code === ERROR_CODE.calm ? "flood" : "protocol");
    assert.deepEqual(failures, []);
    peer.destroy();
  });
}

/** What ends a stream, and with which code; another stream of the connection is answered all the same. */
const STREAM_FAULTS: Readonly<Record<string, readonly [code: number, act: (peer: RawHttp2) => void]>> = {
  "a request without :path": [1, (peer) => peer.headers(1, REQUEST.filter(([name]) => name !== ":path"))],
  "a request with a field of connections": [1, (peer) => peer.headers(1, [...REQUEST, ["connection", "close"]])],
  "trailers that do not end": [1, (peer) => {
    peer.headers(1, REQUEST);
    peer.headers(1, [["a", "b"]]);
  }],
  "a content-length that is none": [1, (peer) => peer.headers(1, [...REQUEST, ["content-length", "x"]])],
  "a body that is missing": [1, (peer) => peer.headers(1, [...REQUEST, ["content-length", "1"]], true)],
  "a body longer than stated": [1, (peer) => {
    peer.headers(1, [...REQUEST, ["content-length", "1"]]);
    peer.data(1, "ab");
  }],
  "DATA over the stream's window": [3, (peer) => {
    peer.headers(1, REQUEST);
    for (let sent = 0; sent < 80_000; sent += 16_000) peer.data(1, Buffer.alloc(16_000));
  }],
  "a window update of 0": [1, (peer) => {
    peer.headers(1, REQUEST);
    peer.numbers(FRAME_TYPE.window, 1, 0);
  }],
  "a stream's window that is too large": [3, (peer) => {
    peer.headers(1, REQUEST);
    peer.numbers(FRAME_TYPE.window, 1, 0x7fffffff);
  }],
  "a header over the limit": [11, (peer) =>
    peer.write(
      frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, Buffer.concat([encodeFields(REQUEST), Buffer.alloc(500, 0x90)])),
    )],
};

for (const [name, [code, act]] of Object.entries(STREAM_FAULTS)) {
  Deno.test(`${name} ends its stream with code ${code}`, async () => {
    await using server = await echo({}, (stream, _, end) => {
      if (end) stream.sendHeaders(OK, true);
      return { data() {}, end() {}, cut() {} };
    });
    const peer = await server.raw();
    peer.begin();
    act(peer);
    const reset = await peer.next(FRAME_TYPE.reset);
    assert.deepEqual([reset.id, reset.body.readUInt32BE()], [1, code]);
    peer.headers(3, REQUEST, true);
    assert.equal((await peer.next(FRAME_TYPE.headers)).id, 3);
    peer.destroy();
  });
}

Deno.test("streams over the bound are refused as not processed, those within it go on", async () => {
  await using server = await echo({ streamsMax: 2 });
  const peer = await server.raw();
  peer.begin();
  for (const id of [1, 3, 5]) peer.headers(id, REQUEST);
  const reset = await peer.next(FRAME_TYPE.reset);
  assert.deepEqual([reset.id, reset.body.readUInt32BE()], [5, ERROR_CODE.refused]);
  peer.data(1, "abc", true);
  assert.equal((await peer.next(FRAME_TYPE.data)).body.toString(), "abc");
  peer.destroy();
});

Deno.test("what is odd and allowed is borne: settings, priorities, paddings, frames of streams that are over", async () => {
  await using server = await echo();
  const peer = await server.raw();
  peer.begin([
    [SETTING.tableBytes, 0xffffffff],
    [SETTING.streamsMax, 0],
    [SETTING.headerListBytesMax, 0],
    [SETTING.frameBytesMax, 0xffffff],
    [0, 1],
    [0xffff, 0xffffffff],
  ]);
  // A stream that depends on itself, and two on each other: RFC 9113 has taken priorities away.
  for (const [id, on] of [[1, 1], [3, 5], [5, 3]] as const) {
    const body = Buffer.alloc(5);
    body.writeUInt32BE(0x80000000 + on);
    peer.write(frame(FRAME_TYPE.priority, 0, id, body));
  }
  const block = Buffer.concat([Buffer.of(3, 0, 0, 0, 1, 255), encodeFields(REQUEST), Buffer.alloc(3)]);
  peer.write(frame(FRAME_TYPE.headers, FLAG.padded | FLAG.priority | FLAG.endHeaders, 1, block));
  peer.write(
    frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.concat([Buffer.of(255), Buffer.from("ab"), Buffer.alloc(255)])),
  );
  peer.write(frame(FRAME_TYPE.data, FLAG.padded | FLAG.endStream, 1, Buffer.of(0)));
  peer.write(frame(200, 255, 1, Buffer.from("what a later RFC adds")));
  const answered = async (id: number) => {
    assert.equal((await peer.next(FRAME_TYPE.headers)).id, id);
    const trailers = await peer.next(FRAME_TYPE.headers);
    assert.deepEqual(trailers.fields, [["x-bytes", "2"]]);
  };
  await answered(1);
  // It is over: these were on their way.
  peer.data(1, "abc", true);
  peer.numbers(FRAME_TYPE.window, 1, 0x7fffffff);
  peer.numbers(FRAME_TYPE.reset, 1, ERROR_CODE.cancel);
  peer.headers(1, REQUEST, true);
  peer.headers(3, REQUEST);
  peer.data(3, "ab", true);
  await answered(3);
  peer.destroy();
});

Deno.test("DATA that nobody takes counts for the connection's window, which is given back", async () => {
  await using server = await echo();
  const peer = await server.raw();
  peer.begin();
  peer.headers(1, REQUEST, true);
  // More than the window, as much of it as may be on its way at a time.
  for (let sent = 0; sent < 3 * LIMITS.windowBytes;) {
    for (let way = 0; way < LIMITS.windowBytes / 2; way += 10_000) {
      peer.data(1, Buffer.alloc(10_000));
      sent += 10_000;
    }
    while ((await peer.next(FRAME_TYPE.window)).id !== 0);
  }
  peer.headers(3, REQUEST, true);
  while ((await peer.next(FRAME_TYPE.headers)).id !== 3);
  peer.destroy();
});

Deno.test("an empty end of a body leaves where a window is below 0", async () => {
  await using server = await rawServer();
  const went = Promise.withResolvers<void>();
  await using one = await client(server.port, {}, { ready: () => went.resolve() });
  const answered = Promise.withResolvers<void>();
  const stream = one.connection.request(encodeFields(REQUEST), {
    data() {},
    end: () => answered.resolve(),
    cut: answered.reject,
  })!;
  const peer = await server.accepted;
  stream.sendData(Buffer.alloc(1_000));
  while ((await peer.next(FRAME_TYPE.data)).length !== 1_000);
  peer.write(settingsFrame([[SETTING.streamWindow, 0]]));
  await went.promise;
  stream.sendData(new Uint8Array(0), true);
  const last = await peer.next(FRAME_TYPE.data);
  assert.deepEqual([last.length, last.flags & FLAG.endStream], [0, FLAG.endStream]);
  peer.headers(1, [[":status", "200"]], true);
  await answered.promise;
});

Deno.test("a preface in parts begins a connection, half of one does not", async () => {
  await using patient = await echo();
  const whole = await patient.raw();
  for (const byte of PREFACE) whole.write(Buffer.of(byte));
  whole.write(settingsFrame([]));
  whole.headers(1, REQUEST, true);
  assert.equal((await whole.next(FRAME_TYPE.headers)).id, 1);
  whole.destroy();
  await using server = await echo({ headerMs: 200 });
  const accepted = server.accepted();
  const half = await server.raw();
  half.write(PREFACE.subarray(0, 12));
  const { end, connection } = await accepted;
  assert.equal(await half.goaway(), ERROR_CODE.settingsTimeout);
  assert.equal((await end).reason, "late");
  assert.equal(connection.streams, 0);
  half.destroy();
  const gone = server.accepted();
  const short = await server.raw();
  short.write(PREFACE.subarray(0, 23));
  short.end();
  assert.equal((await (await gone).end).reason, "closed");
  short.destroy();
});

Deno.test("padding is no content, and its window is given back", async () => {
  await using server = await echo();
  const peer = await server.raw();
  peer.begin();
  peer.headers(1, REQUEST);
  for (let sent = 0; sent < 2_000; sent++) {
    peer.write(frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.concat([Buffer.from([255, 0x61]), Buffer.alloc(255)])));
    if (sent % 100 === 99) await peer.next(FRAME_TYPE.data);
  }
  peer.data(1, "", true);
  const { fields } = await lastHeaders(peer);
  assert.deepEqual(fields, [["x-bytes", "2000"]]);
  peer.destroy();
});

async function lastHeaders(peer: RawHttp2) {
  for (;;) {
    const headers = await peer.next(FRAME_TYPE.headers);
    if (headers.flags & FLAG.endStream) return headers;
  }
}

Deno.test("what an owner throws resets its stream alone, and is told", async () => {
  await using server = await echo({}, (stream, _, end) => {
    if (!end) throw new Error("a defect");
    stream.sendHeaders(OK, true);
    return { data() {}, end() {}, cut() {} };
  });
  const accepted = server.accepted();
  const peer = await server.raw();
  const { failures } = await accepted;
  peer.begin();
  peer.headers(1, REQUEST);
  assert.equal((await peer.next(FRAME_TYPE.reset)).body.readUInt32BE(), ERROR_CODE.internal);
  peer.headers(3, REQUEST, true);
  assert.equal((await peer.next(FRAME_TYPE.headers)).id, 3);
  assert.match(String(failures), /a defect/);
  peer.destroy();
});

Deno.test("who does not speak HTTP/2 is answered what the owner says, and nothing else", async () => {
  await using server = await echo();
  const accepted = server.accepted();
  const socket = net.connect(server.port, "127.0.0.1");
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => void pieces.push(piece));
  socket.write("PRI");
  socket.write("SM / HTTP/1.1\r\n\r\n");
  await new Promise((resolve) => socket.once("end", resolve));
  assert.equal(Buffer.concat(pieces).toString(), "HTTP/2 only");
  assert.equal((await (await accepted).end).reason, "foreign");
  socket.destroy();
});

Deno.test("times: no SETTINGS, half a header, silence with and without a stream", async () => {
  await using late = await echo({ headerMs: 50 });
  const mute = await late.raw();
  await mute.closed;
  mute.destroy();
  const wordless = await late.raw();
  wordless.write(PREFACE);
  assert.equal(await wordless.goaway(), ERROR_CODE.settingsTimeout);
  wordless.destroy();
  const half = await late.raw();
  half.begin();
  half.write(frame(FRAME_TYPE.headers, 0, 1, encodeFields(REQUEST)));
  assert.equal(await half.goaway(), ERROR_CODE.settingsTimeout);
  half.destroy();
  const cut = await late.raw();
  cut.begin();
  cut.write(Buffer.from([0, 0]));
  assert.equal(await cut.goaway(), ERROR_CODE.settingsTimeout);
  cut.destroy();

  await using idle = await echo({ idleMs: 50 });
  const accepted = idle.accepted();
  const quiet = await idle.raw();
  quiet.begin();
  assert.equal(await quiet.goaway(), ERROR_CODE.none);
  await quiet.closed;
  assert.equal((await (await accepted).end).reason, "idle");
  quiet.destroy();
  // A request that is on its way meanwhile is taken.
  const crossing = await idle.raw();
  crossing.begin();
  assert.equal((await crossing.next(FRAME_TYPE.goaway)).body.readUInt32BE(0), 0x7fffffff);
  crossing.headers(1, REQUEST, true);
  assert.equal((await lastHeaders(crossing)).id, 1);
  crossing.destroy();

  await using asking = await echo({ pingMs: 30, pingAckMs: 1_000 });
  const next = asking.accepted();
  const dead = await asking.raw();
  dead.begin();
  dead.headers(1, REQUEST);
  const ping = await dead.next(FRAME_TYPE.ping);
  dead.write(frame(FRAME_TYPE.ping, FLAG.ack, 0, ping.body));
  await dead.next(FRAME_TYPE.ping);
  await dead.closed;
  const { end, cuts } = await next;
  assert.equal((await end).reason, "late");
  assert.deepEqual(cuts.map(({ reason }) => reason), ["closed"]);
  dead.destroy();
});

Deno.test("a stream of which the peer takes nothing is reset, and then the connection is idle", async () => {
  await using server = await echo({ takeMs: 30, idleMs: 50, pingMs: 60_000 });
  const accepted = server.accepted();
  const peer = await server.raw();
  peer.begin([[SETTING.streamWindow, 1]]);
  peer.headers(1, REQUEST);
  peer.data(1, "ab", true);
  assert.equal((await peer.next(FRAME_TYPE.data)).length, 1);
  assert.equal((await peer.next(FRAME_TYPE.reset)).body.readUInt32BE(0), ERROR_CODE.cancel);
  assert.equal(await peer.goaway(), ERROR_CODE.none);
  await peer.closed;
  const { end, cuts } = await accepted;
  assert.equal((await end).reason, "idle");
  assert.deepEqual(cuts.map(({ reason }) => reason), ["local"]);
  peer.destroy();
});

Deno.test("who takes what waits, however slowly, is waited for", async () => {
  await using server = await echo({ takeMs: 2_000 });
  const peer = await server.raw();
  peer.begin([[SETTING.streamWindow, 0]]);
  peer.headers(1, REQUEST);
  const text = "taken byte by byte";
  peer.data(1, text, true);
  for (let at = 0; at < text.length; at++) {
    peer.numbers(FRAME_TYPE.window, 1, 1);
    assert.equal((await peer.next(FRAME_TYPE.data)).length, 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal((await peer.next(FRAME_TYPE.headers)).flags & FLAG.endStream, FLAG.endStream);
  peer.destroy();
});

Deno.test("a peer whose bytes always end within a frame is not late", async () => {
  await using server = await echo({ headerMs: 1_000 });
  const peer = await server.raw();
  peer.begin();
  const ping = (count: number) => frame(FRAME_TYPE.ping, 0, 0, Buffer.from(String(count).padStart(8)));
  await peer.next(FRAME_TYPE.settings);
  const from = performance.now();
  let count = 0;
  peer.write(ping(0).subarray(0, 5));
  for (; performance.now() < from + 2_000; count++) {
    peer.write(ping(count).subarray(5), ping(count + 1).subarray(0, 5));
    assert.equal((await peer.next(FRAME_TYPE.ping)).body.toString().trim(), String(count));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // The last one is not whole, and there it ends.
  assert.equal(await peer.goaway(), ERROR_CODE.settingsTimeout);
  peer.destroy();
});

Deno.test("a header is late by its first byte, whatever frames it comes in", async () => {
  await using server = await echo({ headerMs: 100 });
  const peer = await server.raw();
  peer.begin();
  await peer.next(FRAME_TYPE.settings);
  const code = peer.goaway();
  let late = false;
  code.then(() => late = true, () => late = true);
  const block = encodeFields([...REQUEST, ["x-long", "a".repeat(500)]]);
  peer.write(frame(FRAME_TYPE.headers, 0, 1, block.subarray(0, 1)));
  let at = 1;
  for (; at < block.length && !late; at++) {
    peer.write(frame(FRAME_TYPE.continuation, 0, 1, block.subarray(at, at + 1)));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(at < block.length);
  assert.equal(await code, ERROR_CODE.settingsTimeout);
  peer.destroy();
});

Deno.test("requests behind the last GOAWAY are not taken, and a flood of them ends the connection", async () => {
  await using server = await echo({}, () => ({ data() {}, end() {}, cut() {} }));
  const accepted = server.accepted();
  const peer = await server.raw();
  const { connection } = await accepted;
  peer.begin();
  peer.headers(1, REQUEST);
  await peer.next(FRAME_TYPE.settings);
  await waitWhile(() => connection.streams === 0);
  connection.drain();
  peer.write(frame(FRAME_TYPE.ping, FLAG.ack, 0, (await peer.next(FRAME_TYPE.ping)).body));
  assert.equal((await peer.next(FRAME_TYPE.goaway)).body.readUInt32BE(0), 1);
  const block = encodeFields(REQUEST);
  peer.write(
    ...Array.from({ length: 2_000 }, (_, at) => frame(FRAME_TYPE.headers, FLAG.endHeaders, 2 * at + 3, block)),
  );
  assert.equal(await peer.goaway(), ERROR_CODE.calm);
  peer.destroy();
});

Deno.test("a peer that keeps no table is told, once, that ours has no bytes", async () => {
  await using server = await echo();
  for (
    const settings of [[[SETTING.tableBytes, 0]], [[SETTING.tableBytes, 100], [SETTING.tableBytes, 8_192]]] as const
  ) {
    const peer = await server.raw();
    peer.begin(settings);
    peer.headers(1, REQUEST, true);
    const first = await peer.next(FRAME_TYPE.headers);
    assert.equal(first.body[0], 0x20);
    assert.deepEqual(first.fields, [[":status", "200"]]);
    assert.notEqual((await peer.next(FRAME_TYPE.headers)).body[0], 0x20);
    peer.destroy();
  }
  const peer = await server.raw();
  peer.begin([[SETTING.tableBytes, 65_536]]);
  peer.headers(1, REQUEST, true);
  assert.notEqual((await peer.next(FRAME_TYPE.headers)).body[0], 0x20);
  peer.destroy();
});

Deno.test("a header somewhat over the limit is its stream's fault, a larger one the connection's", async () => {
  const oversized: number[] = [];
  await using server = await echo({ headerListBytesMax: 4_096 }, undefined, (stream) => {
    oversized.push(stream.id);
    stream.sendHeaders(encodeFields([[":status", "431"]]), true);
  });
  const peer = await server.raw();
  peer.begin();
  peer.headers(1, [...REQUEST, ["x-long", "a".repeat(7_000)]], true);
  assert.deepEqual((await peer.next(FRAME_TYPE.headers)).fields, [[":status", "431"]]);
  peer.headers(3, REQUEST, true);
  assert.deepEqual((await peer.next(FRAME_TYPE.headers)).fields, [[":status", "200"]]);
  peer.headers(5, [...REQUEST, ["x-long", "a".repeat(9_000)]], true);
  assert.equal(await peer.goaway(), ERROR_CODE.calm);
  assert.deepEqual(oversized, [1]);
  peer.destroy();
});

Deno.test("a connection that drains before it has begun begins by SETTINGS all the same", async () => {
  await using server = await echo();
  const accepted = server.accepted();
  const peer = await server.raw();
  const { connection, end } = await accepted;
  connection.drain();
  peer.begin();
  peer.headers(1, REQUEST, true);
  assert.equal((await peer.next(FRAME_TYPE.headers)).id, 1);
  peer.write(frame(FRAME_TYPE.ping, FLAG.ack, 0, Buffer.alloc(8)));
  assert.equal((await end).reason, "drained");
  await peer.closed;
  assert.equal(peer.seen[0]!.type, FRAME_TYPE.settings);
  peer.destroy();
});

Deno.test("a peer that asks and does not read is not read on, until it reads", async () => {
  const block = encodeFields([[":status", "200"], ["x-long", "a".repeat(10_000)]]);
  let opened = 0;
  await using server = await echo({}, (stream) => {
    opened++;
    stream.sendHeaders(block, true);
    return { data() {}, end() {}, cut() {} };
  });
  const accepted = server.accepted();
  const peer = await server.raw();
  const { socket } = await accepted;
  peer.begin();
  peer.pause();
  // More answers than the system's buffers between the two hold.
  const count = 5_000;
  for (let asked = 0; asked < count; asked++) peer.headers(2 * asked + 1, REQUEST, true);
  await waitWhile(() => !socket.isPaused());
  assert(opened < count);
  peer.resume();
  for (let answered = 0; answered < count; answered++) await peer.next(FRAME_TYPE.headers);
  assert.equal(opened, count);
  peer.destroy();
});

Deno.test("frames from a seed: no crash, every connection ends or answers, and nothing is held", async () => {
  let heldMax = 0;
  await using server = await echo();
  const random = new Random(7);
  const failures: unknown[] = [];
  for (let round = 0; round < 300; round++) {
    const accepted = server.accepted();
    const peer = await server.raw();
    const { connection, end, failures: own } = await accepted;
    peer.begin();
    for (let count = 0; count < 60; count++) peer.write(randomFrame(random));
    // Whatever it made of them, it hears what follows, or has ended the connection.
    peer.write(frame(FRAME_TYPE.ping, 0, 0, Buffer.from("the last")));
    await Promise.race([peer.closed, answeredPing(peer)]);
    heldMax = Math.max(heldMax, connection.streams);
    peer.destroy();
    await end;
    failures.push(...own);
    assert.equal(connection.streams, 0);
  }
  assert.deepEqual(failures, []);
  assert(heldMax <= LIMITS.streamsMax);
});

async function answeredPing(peer: RawHttp2): Promise<void> {
  try {
    while ((await peer.next(FRAME_TYPE.ping)).body.toString() !== "the last");
  } catch {
    // The connection has ended.
  }
}

function randomFrame(random: Random): Buffer {
  const bytes = (length: number) => Buffer.from(Uint8Array.from({ length }, () => random.below(256)));
  const id = random.below(12);
  switch (random.below(8)) {
    case 0:
      return frame(random.below(12), random.below(256), id, bytes(random.below(40)));
    case 1:
      return frame(FRAME_TYPE.headers, FLAG.endHeaders | random.below(2), id, encodeFields(REQUEST));
    case 2:
      return frame(FRAME_TYPE.data, random.below(2), id | 1, bytes(random.below(2_000)));
    case 3:
      return numbersFrame(FRAME_TYPE.window, random.below(2) === 0 ? 0 : id | 1, 1 + random.below(70_000));
    case 4:
      return settingsFrame([[random.below(8), random.below(100_000)]]);
    case 5:
      return numbersFrame(FRAME_TYPE.reset, id | 1, random.below(14));
    case 6:
      return frame(FRAME_TYPE.headers, FLAG.endHeaders, id | 1, bytes(random.below(60)));
    default: {
      const head = FLAG.padded | random.below(2);
      return frame(
        FRAME_TYPE.data,
        head,
        id | 1,
        Buffer.concat([Buffer.from([random.below(20)]), bytes(random.below(60))]),
      );
    }
  }
}
