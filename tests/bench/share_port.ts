/** Loaded before a relay: its listeners share their port with those of other relays (`SO_REUSEPORT`), which no setting of the relay has. */
import { Server } from "node:net";

const { listen } = Server.prototype;

Object.defineProperty(Server.prototype, "listen", {
  value(this: Server, port: unknown, host: unknown, ...rest: unknown[]): Server {
    return Reflect.apply(
      listen,
      this,
      typeof port === "number" ? [{ port, host, reusePort: true }, ...rest] : [port, host, ...rest],
    );
  },
});
