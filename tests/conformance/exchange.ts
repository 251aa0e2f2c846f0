/** One HTTP exchange with the server under test, over node's own client: nothing is added to it and nothing decoded. */
import { Buffer } from "node:buffer";
import { Agent, request as plainRequest } from "node:http";
import { Agent as SecureAgent, request as secureRequest } from "node:https";
import type { Socket } from "node:net";

/** The server under test, and how to be let in. */
export interface Target {
  /** Base URL, without a path. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined;
  /** PEM texts for a server that asks for a client certificate. */
  readonly tls?:
    | { readonly ca: string; readonly cert?: string | undefined; readonly key?: string | undefined }
    | undefined;
}

export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** It came over the connection of the exchange before. */
  readonly reusedConnection: boolean;
}

/** How long an answer may take, in ms. */
const ANSWER_MS_MAX = 30_000;

/** A client of one server; its connections are kept from exchange to exchange. */
export class Client implements Disposable {
  readonly #target: Target;
  readonly #agent: Agent;
  readonly #seen = new WeakSet<Socket>();

  constructor(target: Target) {
    this.#target = target;
    const options = { keepAlive: true, maxSockets: 1 };
    const { tls } = target;
    this.#agent = target.url.startsWith("https:")
      ? new SecureAgent({
        ...options,
        ...(tls === undefined ? {} : { ca: tls.ca, ...(tls.cert && tls.key ? { cert: tls.cert, key: tls.key } : {}) }),
      })
      : new Agent(options);
  }

  async send({ method, path, headers, body }: Exchange): Promise<Answer> {
    const { url, token } = this.#target;
    const start = url.startsWith("https:") ? secureRequest : plainRequest;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const request = start(new URL(path, url), {
      method,
      agent: this.#agent,
      timeout: ANSWER_MS_MAX,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(method === "GET" || method === "HEAD" ? {} : { "content-length": String(body.length) }),
        ...headers,
      },
    });
    let reused = false;
    request.once("socket", (socket) => {
      reused = this.#seen.has(socket);
      this.#seen.add(socket);
    });
    request.once("error", reject);
    request.once("timeout", () => request.destroy(new Error(`no answer within ${ANSWER_MS_MAX} ms`)));
    request.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const fields: Record<string, string> = {};
        for (const [name, value] of Object.entries(response.headers)) fields[name] = String(value);
        resolve({
          status: response.statusCode ?? 0,
          headers: fields,
          body: Buffer.concat(chunks),
          reusedConnection: reused,
        });
      });
    });
    request.end(body.length === 0 ? undefined : body);
    return await promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
