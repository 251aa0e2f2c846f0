/**
 * The way in by web objects: a `Request` of `Deno.serve`, of an app that embeds the receiver, or of a test.
 * @module
 */
import type { IncomingMessage } from "node:http";
import { discard } from "../codec/bytes.ts";
import { leaveGarbage } from "../codec/memory.ts";
import { Refusal } from "../errors.ts";
import { FLOOR_BYTES } from "./admission.ts";
import type { Answer, Inbound, InboundBody, InboundPeer } from "./inbound.ts";

/** What a server passes along with a `Request`, as the app's environment. */
export interface WebEnvironment {
  /** The request of `node:http`, by a server on it. */
  readonly incoming?: IncomingMessage;
  /** What `Deno.serve` knows of the peer. */
  readonly info?: { readonly remoteAddr: { readonly hostname: string } };
}

/** From this stated length on a body is read piece by piece, in bytes: taken in one piece it is held twice for a while. */
const WHOLE_BYTES_MAX = 256 * 1024;

/**
 * What is read at once, in bytes, into one buffer for all of a body. `Deno.serve` otherwise makes one of 64 KiB for each piece, however
 * short, and all of them are garbage: 24 senders of large bodies held up to 20 MiB of it.
 */
const READ_BYTES = 64 * 1024;
/** The same until so much has come at once: a body that trickles holds no more than the bound of bodies in flight counts for it. */
const FIRST_READ_BYTES = FLOOR_BYTES;

/** A `Request` as the receiver takes it. */
export function webInbound(request: Request, environment: WebEnvironment): Inbound {
  return { url: request.url, headers: request.headers, body: new WebBody(request), peer: new WebPeer(environment) };
}

/** An answer of the receiver as a web object. */
export function webAnswer({ status, headers, body }: Answer): Response {
  // A 204 is one without a body to `Response`.
  return new Response(status === 204 ? null : body, { status, headers });
}

/**
 * The refusal of a request of `Deno.serve` whose `Host` is no name: its URL cannot be read, and asking for it throws an error that
 * quotes it, query and all. Undefined for any other.
 */
export function unreadableTarget(request: { readonly url: string }): Refusal | undefined {
  try {
    if (request.url !== "") return undefined;
  } catch {
    // The error's text must not be shown to anybody.
  }
  return new Refusal("malformed", "Request line or Host is not valid", { remedy: "send a path and the relay's name" });
}

class WebPeer implements InboundPeer {
  readonly #environment: WebEnvironment;

  constructor(environment: WebEnvironment) {
    this.#environment = environment;
  }

  get socket() {
    return this.#environment.incoming?.socket;
  }

  address(): string | undefined {
    const { incoming, info } = this.#environment;
    return incoming?.socket.remoteAddress ?? info?.remoteAddr.hostname;
  }

  /** The host bounds its connections itself. */
  proved(): void {}
}

class WebBody implements InboundBody {
  readonly #request: Request;
  #reader: { cancel(): Promise<void> } | undefined;

  constructor(request: Request) {
    this.#request = request;
  }

  forEachPiece(take: (piece: Uint8Array, lent?: boolean) => void): Promise<void> | undefined {
    // A stated length is held to by HTTP itself (RFC 9112, 6.3), so a short body can be taken in one piece, at half the cost.
    const stated = Number(this.#request.headers.get("content-length") ?? Infinity);
    if (stated < WHOLE_BYTES_MAX) return this.#request.arrayBuffer().then((body) => take(new Uint8Array(body)));
    const { body } = this.#request;
    if (body === null) return undefined;
    const lending = lendingReader(body);
    return lending === undefined ? this.#readPieces(body.getReader(), take) : this.#readLent(lending, take);
  }

  cancel(): void {
    this.#reader?.cancel().catch(() => {});
  }

  async #readPieces(
    reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
    take: (piece: Uint8Array) => void,
  ): Promise<void> {
    this.#reader = reader;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      take(value);
    }
  }

  async #readLent(
    reader: ReadableStreamBYOBReader,
    take: (piece: Uint8Array, lent: boolean) => void,
  ): Promise<void> {
    this.#reader = reader;
    let buffer = new ArrayBuffer(FIRST_READ_BYTES);
    try {
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(buffer));
        // Undefined where the reading was cancelled: the host has the buffer, and leaves it to the collector.
        if (value !== undefined) ({ buffer } = value);
        if (done) return;
        take(value, true);
        if (value.length === buffer.byteLength && buffer.byteLength < READ_BYTES) {
          discard(value);
          buffer = new ArrayBuffer(READ_BYTES);
        }
      }
    } finally {
      if (buffer.detached) leaveGarbage(READ_BYTES);
      else discard(new Uint8Array(buffer));
    }
  }
}

/** A reader that fills the caller's buffers; undefined where the stream has none, as one that a program has made of its own. */
function lendingReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return undefined;
  }
}
