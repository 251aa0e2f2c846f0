/** The server of `grpc_server.ts`, on the framing in TypeScript in place of `node:http2`. Takes the same flags. */
import { Buffer } from "node:buffer";
import net, { type Socket } from "node:net";
import secure from "node:tls";
import { Http2Connection } from "../../src/http2/connection.ts";
import { fieldOf } from "../../src/http2/fields.ts";
import { encodeFields } from "../../src/http2/hpack.ts";
import { counter } from "./counter.ts";
import { LIMITS } from "./limits.ts";
import { BODY_BYTES_MAX, EMPTY_MESSAGE, messageIn } from "./message.ts";
import { flags, listen, TLS } from "./server_flags.ts";

const counts = counter();
const HEADERS = encodeFields([[":status", "200"], ["content-type", "application/grpc"]]);
const OK = encodeFields([["grpc-status", "0"]]);
const INTERNAL = encodeFields([["grpc-status", "13"]]);

function onSocket(socket: Socket): void {
  counts.connections++;
  socket.setNoDelay(true);
  const connection = new Http2Connection(socket, {
    side: "server",
    limits: LIMITS,
    events: {
      opened(stream, fields) {
        const parts: Uint8Array[] = [];
        let bytes = 0;
        return {
          data(piece) {
            bytes += piece.length;
            if (bytes > BODY_BYTES_MAX) return stream.reset();
            parts.push(piece);
            stream.consumed(piece.length);
          },
          end() {
            counts.calls++;
            const message = messageIn(Buffer.concat(parts), fieldOf(fields, "grpc-encoding"));
            const answer = () => {
              counts.answered++;
              stream.sendHeaders(HEADERS);
              if (message !== undefined) stream.sendData(EMPTY_MESSAGE);
              stream.sendTrailers(message === undefined ? INTERNAL : OK);
            };
            if (counts.calls % 4 === 0) setTimeout(answer, counts.calls % 5);
            else answer();
          },
          cut: () => void counts.aborted++,
        };
      },
      closed: () => void counts.closed++,
      failed: (error) => {
        throw error;
      },
    },
  });
  if (flags.ends && counts.connections % 3 === 0) setTimeout(() => connection.drain(), counts.connections % 20);
  if (flags.ends && counts.connections % 3 === 1) setTimeout(() => connection.destroy(), counts.connections % 20);
}

const server = TLS === undefined
  ? net.createServer(onSocket)
  : secure.createServer({ ...TLS, ALPNProtocols: ["h2"] }, onSocket);
server.on("tlsClientError", () => counts.failed++);
listen(server);
