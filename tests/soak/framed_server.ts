/** The server of `grpc_server.ts`, on the framing in TypeScript in place of `node:http2`. Takes the same flags. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import net, { type AddressInfo, type Socket } from "node:net";
import process from "node:process";
import secure from "node:tls";
import { parseArgs } from "node:util";
import { counter } from "./counter.ts";
import { type Call, Framing } from "./framing.ts";
import { encodeHeaders } from "./hpack.ts";
import { BODY_BYTES_MAX, EMPTY_MESSAGE, messageIn } from "./message.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    port: { type: "string", default: "0" },
    ca: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    mutual: { type: "boolean", default: false },
    ends: { type: "boolean", default: false },
  },
});

const counts = counter();
const HEADERS = encodeHeaders([[":status", "200"], ["content-type", "application/grpc"]]);
const OK = encodeHeaders([["grpc-status", "0"]]);
const INTERNAL = encodeHeaders([["grpc-status", "13"]]);

function onSocket(socket: Socket): void {
  counts.connections++;
  socket.setNoDelay(true);
  const framing = new Framing(socket, "server", {
    bodyBytesMax: BODY_BYTES_MAX,
    whole(call: Call) {
      counts.calls++;
      const message = messageIn(Buffer.concat(call.parts), call.fields.find(([name]) => name === "grpc-encoding")?.[1]);
      const answer = () => {
        if (!framing.calls.has(call.id)) return;
        counts.answered++;
        framing.respond(
          call,
          HEADERS,
          message === undefined ? Buffer.alloc(0) : EMPTY_MESSAGE,
          message === undefined ? INTERNAL : OK,
        );
      };
      if (counts.calls % 4 === 0) setTimeout(answer, counts.calls % 5);
      else answer();
    },
    cut: () => counts.aborted++,
    ended: () => counts.closed++,
  });
  if (flags.ends && counts.connections % 3 === 0) setTimeout(() => framing.close(), counts.connections % 20);
  if (flags.ends && counts.connections % 3 === 1) setTimeout(() => framing.end(), counts.connections % 20);
}

const server = flags.cert === undefined || flags.key === undefined || flags.ca === undefined
  ? net.createServer(onSocket)
  : secure.createServer({
    cert: readFileSync(flags.cert),
    key: readFileSync(flags.key),
    ca: readFileSync(flags.ca),
    requestCert: flags.mutual,
    rejectUnauthorized: flags.mutual,
    ALPNProtocols: ["h2"],
  }, onSocket);
server.on("tlsClientError", () => counts.failed++);
server.listen(Number(flags.port), "127.0.0.1", 2048, () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));
});
