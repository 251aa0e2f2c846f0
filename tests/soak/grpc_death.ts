/**
 * The smallest ways in which a peer ends a Deno process that uses `node:http2`: `deno run -A tests/soak/grpc_death.ts [--under deno]`. Each
 * runs in a child of its own, and the row says how that ended. What is read is freed memory, so a client may outlive a
 * run; a Deno that is free of them prints "exit 0" three times, each time.
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http2 from "node:http2";
import net, { type AddressInfo, type Socket } from "node:net";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: { under: { type: "string", default: process.execPath }, way: { type: "string" } },
});

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const frame = (type: number, flag: number, id: number, body: Uint8Array = new Uint8Array()) => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flag;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, body]);
};
const SETTINGS = frame(4, 0, 0);
const SETTINGS_ACK = frame(4, 1, 0);
const goaway = (last: number, code: number) => frame(7, 0, 0, Buffer.from([0, 0, 0, last, 0, 0, 0, code]));
const OK = Buffer.from([0x88]);
const TRAILERS = Buffer.concat([Buffer.from([0, 11]), Buffer.from("grpc-status"), Buffer.from([1, 0x30])]);
const ATTEMPTS = 20;
const CONNECTIONS = 200;
const CALLS = 13;

/** A peer sends GOAWAY with an error, and the acknowledgement of the settings, in one write: 59 bytes, and no request. */
async function goawayThenFrame(): Promise<void> {
  const server = http2.createServer();
  server.on("session", (session) => session.on("error", () => {}));
  server.on("sessionError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const socket = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume().write(Buffer.concat([PREFACE, SETTINGS, goaway(0, 2), SETTINGS_ACK]));
    await Promise.race([once(socket, "close"), pause(1000)]);
    socket.destroy();
  }
}

/** The far end answers 13 calls, and sends two frames in one write, of which the first is a GOAWAY without an error. */
async function calledByGoaway(second: Buffer): Promise<void> {
  const far = net.createServer((socket) => farEnd(socket, second));
  far.listen(0, "127.0.0.1");
  await once(far, "listening");
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const session = http2.connect(`http://127.0.0.1:${(far.address() as AddressInfo).port}`);
    session.on("error", () => {});
    const closed = new Promise((resolve) => session.once("close", resolve));
    for (let made = 0; made < CALLS; made++) {
      const stream = session.request({ ":method": "POST", ":path": "/a" });
      stream.on("error", () => {}).resume().end(Buffer.alloc(800));
      await new Promise((resolve) => stream.once("close", resolve));
    }
    session.ping(() => {}); // Asks this far end for its GOAWAY.
    await Promise.race([closed, pause(2000)]);
    session.destroy();
  }));
}

/** Answers each request with headers, an empty message and a grpc-status, and a PING with GOAWAY and what follows it. */
function farEnd(socket: Socket, second: Buffer): void {
  let bytes = Buffer.alloc(0);
  let preface = true;
  socket.on("error", () => {});
  socket.write(SETTINGS);
  socket.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (preface && bytes.length >= PREFACE.length) {
      preface = false;
      bytes = bytes.subarray(PREFACE.length);
    }
    while (!preface && bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const [type, flag, id] = [bytes[3]!, bytes[4]!, bytes.readUInt32BE(5)];
      bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3));
      if (type === 4 && flag === 0) socket.write(SETTINGS_ACK);
      if (type === 6) socket.end(Buffer.concat([goaway(225, 0), second]));
      if (type > 1 || (flag & 1) === 0) continue;
      socket.write(Buffer.concat([frame(1, 4, id, OK), frame(0, 0, id, Buffer.alloc(5)), frame(1, 5, id, TRAILERS)]));
    }
  });
}

const WAYS: Readonly<Record<string, () => Promise<void>>> = {
  "server: GOAWAY with an error and SETTINGS ACK in one write": goawayThenFrame,
  "client: GOAWAY and PING in one write, as gRPC servers send them": () =>
    calledByGoaway(frame(6, 0, 0, Buffer.alloc(8))),
  "client: two GOAWAY in one write": () => calledByGoaway(goaway(25, 0)),
};

if (flags.way !== undefined) {
  await WAYS[flags.way]?.();
  process.exit(0);
}
for (const way of Object.keys(WAYS)) {
  const child = spawn(flags.under, [
    "run",
    "-A",
    "--no-lock",
    "--v8-flags=--expose-gc",
    import.meta.filename!,
    "--way",
    way,
  ]);
  let said = "";
  child.stderr.on("data", (chunk) => said += chunk);
  const [code, signal] = await once(child, "close");
  console.log(`${way}: ${signal ?? `exit ${code}`} ${said.trim().slice(-160)}`);
}
