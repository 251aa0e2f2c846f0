/** What the bench uses of autocannon 9: its published types bring a second set of `node:` types with them. */
import type { Buffer } from "node:buffer";

interface Request {
  readonly method: "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface Result {
  readonly "2xx": number;
  readonly non2xx: number;
  readonly errors: number;
  /** Seconds. */
  readonly duration: number;
}

interface Client {
  setRequests(requests: readonly Request[]): void;
  /** With status, bytes, and how long it took from the request on, in ms. */
  on(event: "response", told: (status: number, bytes: number, ms: number) => void): void;
}

export default function autocannon(options: {
  readonly url: string;
  readonly connections: number;
  /** Seconds; not looked at where `amount` is given. */
  readonly duration?: number;
  /** Requests in all. */
  readonly amount?: number;
  /** Requests a second, of all connections together. */
  readonly overallRate?: number;
  readonly tlsOptions?: {
    readonly ca: Buffer;
    readonly cert: Buffer;
    readonly key: Buffer;
    readonly servername: string;
  };
  readonly method: "POST";
  readonly requests: readonly Request[];
  readonly setupClient: (client: Client) => void;
}): Promise<Result>;
