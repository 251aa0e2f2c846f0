/**
 * Whether a listener still accepts connections. When a process runs out of files its server stops accepting for good, and nothing
 * reports it: neither an event, nor `listening`, nor the connections that are open, which go on (Deno 2.9.6).
 * @module
 */
import { connect, type Server, Server as NetServer } from "node:net";
import { reachableHost } from "../../config/units.ts";

/** What is checked, and what is told. */
export interface SelfCheckOptions {
  readonly server: Server;
  readonly hostname: string;
  /** Between two checks, and how long one may take, in ms. */
  readonly intervalMs: number;
  /** It had not accepted for two checks and listens anew; connections that are open go on. */
  readonly onListenedAnew: () => void;
  /** It cannot listen anew; that is tried again at the next check. */
  readonly onFailed: (error: unknown) => void;
}

/** A busy machine may be late once. */
const FAILURES_DEAD = 2;

/** Connects to a listener of this process now and then, where nobody else does. */
export class SelfCheck implements Disposable {
  readonly #options: SelfCheckOptions;
  #timer: ReturnType<typeof setInterval> | undefined;
  #port = 0;
  /** Connections accepted, and as many as there were at the last look. */
  #accepted = 0;
  #seen = 0;
  #failures = 0;
  #waiting: (() => void) | undefined;
  #disposed = false;

  constructor(options: SelfCheckOptions) {
    this.#options = options;
  }

  /** Begins, once the server listens. */
  start(port: number): void {
    this.#port = port;
    this.#timer = setInterval(() => void this.#check(), this.#options.intervalMs);
    this.#options.server.on("error", (error) => this.#disposed || this.#options.onFailed(error));
  }

  /** Whether it accepts, as far as anybody has looked. */
  get accepting(): boolean {
    return this.#failures < FAILURES_DEAD;
  }

  /** Whether a connection that comes now is likely the check's own. */
  get checking(): boolean {
    return this.#waiting !== undefined;
  }

  /** To be called for each connection. */
  accepted(): void {
    this.#accepted++;
    this.#waiting?.();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearInterval(this.#timer);
    this.#waiting?.();
  }

  async #check(): Promise<void> {
    // A connection that was accepted is proof enough.
    if (this.#accepted > this.#seen || await this.#isAccepted()) {
      this.#seen = this.#accepted;
      this.#failures = 0;
      return;
    }
    if (this.#disposed || ++this.#failures < FAILURES_DEAD) return;
    const { server, hostname, onListenedAnew } = this.#options;
    // Not that of `node:http`, which would close idle connections too. The same object keeps answering those that are open.
    NetServer.prototype.close.call(server);
    server.listen(this.#port, hostname, onListenedAnew);
  }

  #isAccepted(): Promise<boolean> {
    if (this.#waiting !== undefined) return Promise.resolve(false);
    const { hostname, intervalMs } = this.#options;
    return new Promise((resolve) => {
      const before = this.#accepted;
      const socket = connect({ port: this.#port, host: reachableHost(hostname) });
      const done = () => {
        clearTimeout(timer);
        this.#waiting = undefined;
        socket.destroy();
        resolve(this.#accepted > before);
      };
      const timer = setTimeout(done, intervalMs / 2);
      this.#waiting = done;
      // Whatever is in the way: what counts is whether the listener saw it.
      socket.on("error", () => {});
    });
  }
}
