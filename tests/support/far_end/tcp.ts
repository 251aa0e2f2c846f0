/** A TCP server that does one thing with each connection. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** A TCP server that does this with each connection. */
export async function tcp(
  stack: AsyncDisposableStack,
  answer: (socket: Socket) => void,
  at: { readonly port: number; readonly host: string } = { port: 0, host: "127.0.0.1" },
): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    answer(socket);
  });
  server.listen(at.port, at.host);
  await once(server, "listening");
  stack.defer(async () => {
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return (server.address() as AddressInfo).port;
}
