/**
 * One TLS handshake with the Collector that verifies nothing, so that what is wrong can be seen: the certificates sent, the
 * version and the protocol agreed. It carries no request and decides nothing.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect, type DetailedPeerCertificate } from "node:tls";
import { messageOf } from "../errors.ts";
import { RSA_BITS_MIN } from "../pki/certificate.ts";
import { whenAborted } from "../within.ts";

/** Where to, and what to show. */
export interface HandshakeOptions {
  readonly host: string;
  readonly port: number;
  /** PEM; shown when the peer asks. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly timeoutMs: number;
  /** Gives it up. */
  readonly abort?: AbortSignal;
}

/** What was seen. */
export interface Handshake {
  /** The handshake ended well, as far as this end can tell: under TLS 1.3 a refusal comes after it. */
  readonly secured: boolean;
  /** `TLSv1.3`, `TLSv1.2`; undefined when it was not agreed. */
  readonly version: string | undefined;
  /** The protocol that ALPN agreed (RFC 7301): `h2`, `http/1.1`; undefined for none. */
  readonly alpn: string | undefined;
  /** What the peer sent, the leaf first. Under TLS 1.2 a peer that refuses the client ends before they can be seen. */
  readonly certificates: readonly X509Certificate[];
  /** Why it failed. */
  readonly error: string | undefined;
  readonly timedOut: boolean;
}

/** Certificates read of a chain at most. */
const CHAIN_MAX = 10;

/** Shakes hands once and closes. Never rejects. */
export function shakeHands(options: HandshakeOptions): Promise<Handshake> {
  const { host, port, cert, key, timeoutMs, abort } = options;
  const { promise, resolve } = Promise.withResolvers<Handshake>();
  let seen: Handshake = {
    secured: false,
    version: undefined,
    alpn: undefined,
    certificates: [],
    error: undefined,
    timedOut: false,
  };
  const socket = connect({
    host,
    port,
    // An address is no server name (RFC 6066, 3).
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: ["h2", "http/1.1"],
    rejectUnauthorized: false,
    // Without any, Deno verifies all the same where it has no roots of its own (DENO_TLS_CA_STORE=), and fails.
    ca: [],
    ...(cert !== undefined && key !== undefined ? { cert, key } : {}),
  });
  const timer = setTimeout(() => {
    seen = { ...seen, error: `no handshake within ${timeoutMs} ms`, timedOut: true };
    socket.destroy();
  }, timeoutMs);
  const goOn = abort && whenAborted(abort, () => {
    seen = { ...seen, error: "given up" };
    socket.destroy();
  });
  socket.once("secureConnect", () => {
    seen = {
      ...seen,
      secured: true,
      version: socket.getProtocol() ?? undefined,
      alpn: typeof socket.alpnProtocol === "string" ? socket.alpnProtocol : undefined,
      certificates: chainSent(socket.getPeerCertificate(true)),
    };
    socket.destroy();
  });
  socket.once("error", (error) => {
    if (!seen.secured && !seen.timedOut) seen = { ...seen, error: messageOf(error) };
  });
  socket.once("close", () => {
    clearTimeout(timer);
    goOn?.();
    resolve(
      seen.secured || seen.error !== undefined ? seen : { ...seen, error: "the connection was closed: unexpected eof" },
    );
  });
  return promise;
}

/** Deno's words for a handshake whose signature does not hold for the key of the certificate, though nothing is verified. */
const KEY_REFUSED = /unable to (?:get local issuer|verify the first) certificate|BadSignature/;

/**
 * Whether a certificate that the server sends has an RSA key of less than 2048 bits. With such a key of the server's own TLS here
 * does not end the handshake, and none of its certificates is seen.
 */
export async function sendsWeakKey(options: HandshakeOptions): Promise<boolean> {
  const { secured, error = "", certificates } = await shakeHands(options);
  if (!secured) return KEY_REFUSED.test(error);
  return certificates.some(({ publicKey }) =>
    (publicKey.asymmetricKeyDetails?.modulusLength ?? RSA_BITS_MIN) < RSA_BITS_MIN
  );
}

function chainSent(leaf: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let current: DetailedPeerCertificate | undefined = leaf;
  while (current?.raw !== undefined && chain.length < CHAIN_MAX) {
    const { raw }: DetailedPeerCertificate = current;
    // A root is its own issuer.
    if (chain.some((each) => each.raw.equals(raw))) break;
    try {
      chain.push(new X509Certificate(raw));
    } catch {
      break; // Nothing behind an unreadable message can be reported.
    }
    current = current.issuerCertificate;
  }
  return chain;
}
