/**
 * Senders that prove themselves by a client certificate (mutual TLS): its first subject alternative name, or its common name
 * where it has none, is the sender.
 *
 * The listener asks for a certificate and lets the handshake pass without a good one, so that the sender can be told what is
 * wrong and the log can name it. That the client has the certificate's key is checked by the handshake in any case.
 * @module
 */
import { type DetailedPeerCertificate, TLSSocket } from "node:tls";
import { senderId } from "../../config/sender_id.ts";
import { Refusal } from "../../errors.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import type { Authenticator } from "./authenticator.ts";
import type { HeaderFields, Peer } from "./peer.ts";
import type { Sender } from "./sender.ts";

/** Visible ASCII without what separates or quotes names in Node's text of them. */
const SENDER_ID = /^[\x21\x23-\x2b\x2d-\x7e]{1,255}$/;

const NO_CERTIFICATE = refusal("no client certificate", {
  remedy: "send one of a CA in receiver.http.tls.client_ca_file",
});

/** Lets in whoever has a certificate that the listener's CA stands for. */
export class CertificateAuthenticator implements Authenticator {
  /** One look at the certificate for each connection. */
  readonly #senders = new WeakMap<TLSSocket, Sender | Refusal>();
  readonly #now: () => number;
  readonly #otherwise: Authenticator | undefined;

  /**
   * @param now ms since the Unix epoch
   * @param otherwise Asked about who shows no certificate at all; one that is not good is refused, whatever else is shown.
   */
  constructor(now: () => number = Date.now, otherwise?: Authenticator) {
    this.#now = now;
    this.#otherwise = otherwise;
  }

  authenticate(
    headers: HeaderFields,
    peer?: Peer,
    request?: { readonly url: string },
  ): Sender | Promise<Sender> {
    const socket = peer?.socket;
    if (!(socket instanceof TLSSocket)) throw refusal("the connection is not TLS");
    let sender = this.#senders.get(socket);
    if (sender === undefined) {
      sender = senderOf(socket, this.#now());
      this.#senders.set(socket, sender);
    }
    if (sender === NO_CERTIFICATE && this.#otherwise !== undefined) {
      return this.#otherwise.authenticate(headers, peer, request);
    }
    if (sender instanceof Refusal) throw sender;
    return sender;
  }
}

function senderOf(socket: TLSSocket, now: number): Sender | Refusal {
  const certificate: Partial<DetailedPeerCertificate> = socket.getPeerCertificate(true) ?? {};
  const { subject, valid_from: from = "", valid_to: to = "" } = certificate;
  if (subject === undefined) return NO_CERTIFICATE;
  const name = shown(subject);
  if (socket.authorized !== true) {
    if (now > Date.parse(to)) {
      return refusal(`the client certificate of ${name} has expired, at ${to}`, { kind: "expired" });
    }
    if (now < Date.parse(from)) {
      return refusal(`the client certificate of ${name} is not valid before ${from}`, { kind: "not yet valid" });
    }
    return refusal(
      `the client certificate of ${name}, issued by ${shown(certificate.issuer)}, is not of a CA in ` +
        "receiver.http.tls.client_ca_file, or not for clients",
      { kind: "not of the CA" },
    );
  }
  const id = idOf(certificate);
  return id === undefined
    ? refusal(`the client certificate of ${name} has no name that can be a sender's`, { kind: "no name" })
    : { id: senderId("certificate", id), proof: "certificate", signals: new Set(SIGNAL_NAMES) };
}

function idOf({ subjectaltname, subject }: Partial<DetailedPeerCertificate>): string | undefined {
  const first = subjectaltname?.split(", ", 1)[0];
  const name = first === undefined || first === ""
    ? one(subject?.CN)
    : first.replace(/^(DNS|URI|IP Address|email):/, "");
  return name !== undefined && SENDER_ID.test(name) ? name : undefined;
}

const one = (text: string | string[] | undefined): string | undefined => Array.isArray(text) ? text[0] : text;

function shown(name: { CN?: string | string[]; O?: string | string[] } | undefined): string {
  return (one(name?.CN) ?? one(name?.O) ?? "no name").slice(0, 255);
}

/**
 * 401 MUST carry a challenge (RFC 9110, 15.5.2), and none is registered for certificates.
 * @param options The log limits it by `kind`, never by a name, which whoever makes a certificate chooses.
 */
function refusal(
  what: string,
  { kind = what, remedy }: { readonly kind?: string; readonly remedy?: string } = {},
): Refusal {
  return new Refusal("unauthenticated", `Not authenticated: ${what}`, {
    remedy,
    headers: { "www-authenticate": 'ClientCertificate realm="edgeferry"' },
    kind: `certificate: ${kind}`,
  });
}
