/**
 * A connection to a Collector that is to speak HTTP/2: TCP, and TLS with the relay's identity where the URL says so.
 * @module
 */
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectSecure, type ConnectionOptions } from "node:tls";
import { bareHost } from "../../config/units.ts";
import { messageOf } from "../../errors.ts";
import { whenAborted } from "../../within.ts";
import type { ClientIdentity } from "./transport.ts";

/** Settings of a connection. */
export interface SocketOptions {
  /** Scheme, host and port count. */
  readonly url: URL;
  readonly identity: ClientIdentity;
  /** Goes to this address, whatever the URL's name resolves to. */
  readonly address?: string | undefined;
  /** Gives up connecting. */
  readonly abort: AbortSignal;
}

/**
 * Connects, and shakes hands.
 * @param take Called with the socket in the turn in which it is ready, so that nothing that happens to it goes unheard.
 * @returns what `take` does. Rejects with an error whose text says why there is no connection.
 */
export function openSocket<Taken>(
  { url, identity, address, abort }: SocketOptions,
  take: (socket: Socket) => Taken | PromiseLike<Taken>,
): Promise<Taken> {
  const secure = url.protocol === "https:";
  const hostname = bareHost(url.hostname);
  const port = portOf(url);
  const { promise, resolve, reject } = Promise.withResolvers<Taken>();
  let alpn: () => unknown = () => "h2";
  let socket: Socket;
  if (secure) {
    const tls = connectSecure({ host: address ?? hostname, port, ...tlsOptions(hostname, identity) });
    alpn = () => tls.alpnProtocol;
    socket = tls;
  } else socket = connectPlain({ host: address ?? hostname, port });
  // Nagle's algorithm holds the end of a small request back until the peer has acknowledged its beginning.
  socket.setNoDelay(true);
  // It may give up before whenAborted() returns: there is nothing to take back then.
  let goOn = () => {};
  const settle = () => {
    goOn();
    socket.off("close", onClose);
  };
  const fail = (why: string) => {
    settle();
    socket.destroy();
    reject(new Error(why));
  };
  const onError = (error: unknown) => {
    const said = messageOf(error);
    if (!UNVERIFIED.test(said)) return fail(said);
    settle();
    socket.destroy();
    whyUnverified(url, identity).then((why) => reject(new Error(why ?? said)));
  };
  const onClose = () => fail("the connection was closed: unexpected eof");
  socket.on("error", onError);
  socket.on("close", onClose);
  goOn = whenAborted(abort, () => fail("given up"));
  socket.once(secure ? "secureConnect" : "connect", () => {
    const agreed = alpn();
    if (agreed !== "h2") return fail(`${NO_HTTP2}: ALPN agreed ${typeof agreed === "string" ? agreed : "nothing"}`);
    settle();
    socket.off("error", onError);
    resolve(take(socket));
  });
  return promise;
}

/**
 * Connects and shakes hands as {@link openSocket} does, and closes. A socket of `node:tls` that fails before its handshake is done is held
 * for ever (Deno 2.9.6: some 20 KB each), so that none is made before this has gone well.
 */
export async function rehearse(options: SocketOptions): Promise<void> {
  const { url, address, abort } = options;
  if (url.protocol !== "https:") return;
  await reach(address ?? bareHost(url.hostname), portOf(url), abort);
  // Deno's own TLS takes the name to verify from where it connects to.
  if (address !== undefined) return;
  const connecting = connectByDeno(url, options.identity);
  const { promise: givenUp, reject } = Promise.withResolvers<never>();
  const goOn = whenAborted(abort, () => reject(new Error("given up")));
  try {
    await Promise.race([connecting.then((connection) => connection.handshake()), givenUp]);
  } catch (error) {
    throw new Error(messageOf(error));
  } finally {
    goOn();
    connecting.then((connection) => connection.close(), () => {});
  }
}

/** Opens a TCP connection, and closes it. */
function reach(host: string, port: number, abort: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connectPlain({ host, port });
  const goOn = whenAborted(abort, () => reject(new Error("given up")));
  socket.once("connect", resolve);
  socket.on("error", (error) => reject(new Error(messageOf(error))));
  return promise.finally(() => {
    goOn();
    socket.destroy();
  });
}

function connectByDeno(url: URL, { caCerts, cert, key }: ClientIdentity): Promise<Deno.TlsConn> {
  return Deno.connectTls({
    hostname: bareHost(url.hostname),
    port: portOf(url),
    caCerts: [...caCerts],
    alpnProtocols: ["h2"],
    ...(cert !== undefined && key !== undefined ? { cert, key } : {}),
  });
}

const portOf = ({ port, protocol }: URL): number => Number(port || (protocol === "https:" ? 443 : 80));

/** What `node:tls` says in Deno 2.9.6, whatever is wrong with the server's certificate, and what Node's own code says of its names. */
const UNVERIFIED = /unable to (?:get local issuer|verify the first) certificate|does not match certificate/;

/**
 * The same handshake by Deno's own TLS, which says what is wrong, in the words that it uses over HTTP, too; undefined where it finds
 * nothing. It carries no request.
 */
async function whyUnverified(url: URL, identity: ClientIdentity): Promise<string | undefined> {
  try {
    using connection = await connectByDeno(url, identity);
    await connection.handshake();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** The words by which a fault is known (`diagnosis/faults.ts`). */
const NO_HTTP2 = "the server does not offer HTTP/2";

function tlsOptions(host: string, { caCerts, cert, key }: ClientIdentity): ConnectionOptions {
  return {
    ca: [...caCerts],
    ...(cert !== undefined && key !== undefined ? { cert, key } : {}),
    // An address is no server name (RFC 6066, 3).
    ...(isIP(host) === 0 ? { servername: host } : {}),
    // gRPC over TLS is HTTP/2 or nothing.
    ALPNProtocols: ["h2"],
  };
}
