/** An OTLP/HTTP endpoint over mutual TLS, on `node:https`: it decodes what it is sent and answers what the test says. */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { gunzipSync } from "node:zlib";
import { type DecodedMessage, decodeRequest } from "../../../src/otlp/decode.ts";
import { type SignalName, SIGNALS } from "../../../src/signal.ts";
import type { Pair } from "../files/certificates.ts";

/** One request as it arrived. */
export interface EndpointRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Common name of the client's certificate. */
  readonly peer: string;
  /** SHA-256 of that certificate, as `X509Certificate.fingerprint256` has it. */
  readonly fingerprint: string;
  readonly httpVersion: string;
  /** The export request in the shape of OTLP/JSON. */
  readonly message: DecodedMessage;
}

export interface EndpointAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

export interface MtlsEndpoint extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly requests: readonly EndpointRequest[];
  /** Answers the next requests, one each (what cannot be decoded is 400, and no request here); `hang` never answers. After them, and by default, all are answered 200. */
  answer(...answers: (EndpointAnswer | "hang")[]): void;
  /** Resolves when `count` requests in all have arrived. */
  arrived(count: number): Promise<void>;
}

export async function startMtlsEndpoint(
  certificates: { readonly ca: Pair; readonly server: Pair },
  port = 0,
): Promise<MtlsEndpoint> {
  const requests: EndpointRequest[] = [];
  const answers: (EndpointAnswer | "hang")[] = [];
  let waiting: { count: number; resolve: () => void }[] = [];
  const server = createServer({
    ca: certificates.ca.certificate,
    cert: certificates.server.certificate,
    key: certificates.server.key,
    requestCert: true,
    rejectUnauthorized: true,
  }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const path = request.url ?? "";
    const certificate = (request.socket as TLSSocket).getPeerCertificate();
    const signal = SIGNALS.find((row) => path.endsWith(row.path))?.name ?? "traces";
    const message = decoded(signal, request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body);
    if (message === undefined) return void response.writeHead(400).end();
    requests.push({
      method: request.method ?? "",
      path,
      headers: request.headers,
      peer: String(certificate.subject.CN),
      fingerprint: certificate.fingerprint256,
      httpVersion: request.httpVersion,
      message,
    });
    const answer = answers.shift() ?? { status: 200 };
    if (answer !== "hang") {
      response.writeHead(answer.status, { "content-type": "application/x-protobuf", ...answer.headers });
      response.end(answer.body ?? "");
    }
    waiting = waiting.filter(({ count, resolve }) => requests.length < count || resolve());
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = server.address() as AddressInfo;
  return {
    url: `https://localhost:${address.port}`,
    port: address.port,
    requests,
    answer: (...next) => void answers.push(...next),
    arrived: (count) =>
      requests.length >= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ count, resolve })),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Undefined for what no decoder takes, as the relay's question whether every gzip member is read. */
function decoded(signal: SignalName, body: Uint8Array): DecodedMessage | undefined {
  try {
    return decodeRequest(signal, body);
  } catch {
    return undefined;
  }
}
