/** A port that nobody has, and that nobody takes for a while. */
import { createServer as createTcpServer } from "node:net";

/**
 * A port for the Collector that is away: below those that systems give to connections and to listeners of port 0 (from 32,768 on
 * Linux), so that nobody takes it meanwhile.
 */
export async function quietPort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createTcpServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
