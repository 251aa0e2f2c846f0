/** A TCP proxy whose open connections can go silent, as behind a NAT that forgot them, while new ones go through. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface FreezingProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections taken so far. */
  readonly connections: number;
  /** From now on nothing passes on the connections that are open; they stay open, and what is sent on them is acknowledged. */
  freeze(): void;
}

/** Starts it on loopback, before a port of loopback. */
export async function startFreezingProxy(targetPort: number): Promise<FreezingProxy> {
  const open = new Set<Socket>();
  const frozen = new WeakSet<Socket>();
  let connections = 0;
  const server = createServer((near) => {
    connections++;
    const far = connect(targetPort, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]] as const) {
      open.add(from);
      from.on("data", (chunk) => {
        if (!frozen.has(from)) to.write(chunk);
      });
      from.on("end", () => {
        if (!frozen.has(from)) to.end();
      });
      from.on("error", () => from.destroy());
      from.on("close", () => {
        open.delete(from);
        if (!frozen.has(from)) to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    freeze() {
      for (const socket of open) frozen.add(socket);
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
