/**
 * OTLP/HTTP: one POST a request, by HTTP/2 where it is offered and the server agrees by ALPN, by HTTP/1.1 otherwise.
 * @module
 */
import { discard } from "../../codec/bytes.ts";
import { ANSWER_BYTES_MAX, readAnswer, retryAfterMs } from "../../otlp/http_answer.ts";
import { decodeStatus, readSuccess } from "../../otlp/response.ts";
import type { SignalName } from "../../signal.ts";
import { BytesBlob, largeBody } from "./bytes_blob.ts";
import type { Answered, Carried, ClientIdentity, Place, Transport } from "./transport.ts";

/** Settings of a transport. */
export interface HttpTransportOptions {
  readonly identity: ClientIdentity;
  readonly userAgent: string;
  /** Connections kept ready for each Collector. */
  readonly idleConnectionsMax: number;
  readonly http2: boolean;
  /** Goes to this place, whatever the name in a URL resolves to; the name is the one that is asked for and verified all the same. */
  readonly at?: Place | undefined;
}

/** From this size on a body is read by `fetch` piece by piece, in bytes. */
const STREAMED_BYTES_MIN = 256 * 1024;

export class HttpTransport implements Transport {
  readonly #userAgent: string;
  /** For code that sends something else by the same connections. */
  readonly http: Deno.HttpClient;

  constructor({ identity: { caCerts, cert, key }, userAgent, idleConnectionsMax, http2, at }: HttpTransportOptions) {
    this.#userAgent = userAgent;
    this.http = Deno.createHttpClient({
      caCerts: [...caCerts],
      ...(cert !== undefined && key !== undefined ? { cert, key } : {}),
      poolMaxIdlePerHost: idleConnectionsMax,
      http1: true,
      http2,
      ...(at === undefined ? {} : { proxy: proxyTo(at) }),
    });
  }

  async post({ signal, url, headers, body, encoding, abort }: Carried): Promise<Answered> {
    const sent = body.length < STREAMED_BYTES_MIN ? body : await largeBody(body);
    const response = await fetch(url, {
      method: "POST",
      client: this.http,
      headers: {
        ...headers,
        "content-type": "application/x-protobuf",
        ...(encoding === "identity" ? {} : { "content-encoding": encoding }),
        "user-agent": this.#userAgent,
      },
      body: sent,
      // A redirect would take the data elsewhere, perhaps without TLS: it is a fault of the configuration.
      redirect: "manual",
      signal: abort,
    });
    // For a small one this cannot be known: it is handed over in one piece.
    const early = sent instanceof BytesBlob && !sent.isRead;
    return await read(signal, response, early);
  }

  close(): void {
    this.http.close();
  }
}

/** Behind a proxy of the kind `tcp`, Deno 2.9.6 speaks no TLS, whatever the URL says. */
function proxyTo({ address, port, tunnel }: Place): Deno.Proxy {
  return tunnel === undefined
    ? { transport: "tcp", hostname: address, port }
    : { transport: "http", url: tunnel.url, basicAuth: { ...tunnel.basicAuth } };
}

/** @param early Whether it came before the request's last byte had been sent. */
async function read(signal: SignalName, response: Response, early: boolean): Promise<Answered> {
  const body = await readAnswer(response);
  try {
    return meaningOf(signal, response, body, early);
  } finally {
    discard(body);
  }
}

function meaningOf(signal: SignalName, response: Response, body: Uint8Array, early: boolean): Answered {
  const contentType = response.headers.get("content-type");
  const { status } = response;
  const answered = { kind: "answer", status, retryAfterMs: retryAfterMs(response.headers.get("retry-after")) } as const;
  if (status >= 200 && status < 300) {
    const reading = readSuccess(signal, {
      status,
      contentType,
      body,
      early,
      whole: body.length < ANSWER_BYTES_MAX && (body.length === 0 || isDecoded(response)),
    });
    return reading.kind === "success"
      ? { ...answered, message: "", foreign: false, partialSuccess: reading.partialSuccess }
      : { ...answered, message: reading.why, foreign: true, partialSuccess: undefined };
  }
  const location = response.headers.get("location");
  const message = location !== null ? `redirected to ${location.slice(0, 200)}` : decodeStatus(contentType, body);
  return { ...answered, message, foreign: false, partialSuccess: undefined };
}

/** What `fetch` asks for and undoes; the header stays. */
const CODINGS: ReadonlySet<string> = new Set(["", "identity", "gzip", "br"]);

function isDecoded({ headers }: Response): boolean {
  return CODINGS.has((headers.get("content-encoding") ?? "").trim().toLowerCase());
}
