/** The client of `grpc_client.ts`, on the framing in TypeScript in place of `node:http2`. Takes the same flags. */
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import secure from "node:tls";
import { Http2Connection } from "../../src/http2/connection.ts";
import { fieldOf } from "../../src/http2/fields.ts";
import { encodeFields } from "../../src/http2/hpack.ts";
import type { Field } from "../../src/http2/hpack_tables.ts";
import { CALL_MS, callsEach, flags, MESSAGES, openAll, TLS } from "./client_flags.ts";
import { counter } from "./counter.ts";
import { LIMITS } from "./limits.ts";
import { EXPORT_PATH } from "./message.ts";

const counts = counter();
const requests = MESSAGES.map(({ encoding, bytes: message }) => ({
  block: encodeFields([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", EXPORT_PATH],
    [":authority", "localhost"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ["grpc-encoding", encoding],
  ]),
  message,
}));

async function oneConnection(): Promise<void> {
  const address = { port: Number(flags.port), host: "127.0.0.1" };
  const socket = TLS === undefined
    ? net.connect(address)
    : secure.connect({ ...address, ...TLS, ALPNProtocols: ["h2"] });
  socket.setNoDelay(true);
  let tellClosed: () => void = () => {};
  const closed = new Promise<void>((resolve) => tellClosed = resolve);
  const connected = new Promise<boolean>((resolve) => {
    socket.once(TLS === undefined ? "connect" : "secureConnect", () => resolve(true));
    void closed.then(() => resolve(false));
  });
  const connection = new Http2Connection(socket, {
    side: "client",
    limits: LIMITS,
    events: {
      closed: () => tellClosed(),
      failed: (error) => {
        throw error;
      },
    },
  });
  if (!await connected) {
    counts.failed++;
    await pause(20); // The far end is being started anew.
    return;
  }
  counts.connections++;
  async function call(): Promise<boolean> {
    const { block, message } = requests[counts.calls++ % 2]!;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let status: string | undefined;
    const took = (fields: readonly Field[]) => void (status = fieldOf(fields, "grpc-status") ?? status);
    const made = connection.request(block, {
      headers: took,
      data: (piece) => made?.consumed(piece.length),
      trailers: took,
      end: () => resolve(status === "0"),
      cut() {
        counts.aborted++;
        resolve(false);
      },
    });
    if (made === undefined) return false;
    made.sendData(message, true);
    const timer = setTimeout(() => {
      counts.failed++;
      made.reset();
    }, CALL_MS);
    const answered = await promise;
    clearTimeout(timer);
    if (answered) counts.answered++;
    return answered;
  }
  if (flags.load) {
    await Promise.all(Array.from({ length: 6 }, async () => {
      while (connection.usable) await call();
    }));
  } else if (callsEach > 0) {
    for (let made = 0; made < callsEach && connection.usable; made++) await call();
    await closed;
  } else {
    while (connection.usable && await call()) await Promise.race([closed, pause(counts.calls % 4)]);
  }
  if (counts.connections % 2 === 0) connection.drain();
  else connection.destroy();
  await Promise.race([closed, pause(CALL_MS).then(() => counts.failed++)]);
  connection.destroy();
  counts.closed++;
}

await openAll(oneConnection);
