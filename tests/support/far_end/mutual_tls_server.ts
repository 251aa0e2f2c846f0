/** A server that demands a client certificate, and a client that may show one. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Identity } from "../../../src/pki/identity.ts";
/** A server that asks for a client certificate of its CA, and answers with the name it finds there. */
export async function withMutualTls(server: Identity, test: (url: string) => Promise<void>): Promise<void> {
  const https = createServer({
    cert: server.cert,
    key: server.key,
    ca: server.caCerts,
    requestCert: true,
    rejectUnauthorized: true,
  }, (request, response) => {
    const socket = request.socket;
    const peer = "getPeerCertificate" in socket && typeof socket.getPeerCertificate === "function"
      ? socket.getPeerCertificate(true)
      : undefined;
    response.end(String(peer?.subject?.CN));
  });
  https.on("tlsClientError", () => {});
  https.listen(0, "127.0.0.1");
  await once(https, "listening");
  const { port } = https.address() as AddressInfo;
  try {
    await test(`https://localhost:${port}/`);
  } finally {
    https.closeAllConnections();
    https.close();
    await once(https, "close");
  }
}

export async function ask(
  url: string,
  options: Deno.CreateHttpClientOptions | Deno.CreateHttpClientOptions & Deno.TlsCertifiedKeyPem,
) {
  using client = Deno.createHttpClient(options);
  const response = await fetch(url, { client, signal: AbortSignal.timeout(10_000) });
  return await response.text();
}
