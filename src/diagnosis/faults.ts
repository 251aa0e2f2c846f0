/**
 * From evidence to a named fault and its remedy: one table, for the exporter's log and for `doctor`.
 *
 * Message texts are hints, never proof: they are what rustls, hyper and the peers' alerts say today, and several peers say the
 * same of different faults. So where a text only tells that the client certificate was refused, what is known of that certificate
 * decides. A fault that no row knows keeps its own words.
 * @module
 */
import type { CertificateErrorCode } from "../errors.ts";
import { DATABASE_FAULTS } from "./database_faults.ts";
import type { ClientFacts } from "./client_facts.ts";

/** What is known of a failed attempt, or of a file that cannot be used. */
export interface Evidence {
  /** The status that came back; undefined when there was no answer. */
  readonly status?: number;
  /** The name of the gRPC code that `status` stands for. */
  readonly grpc?: string | undefined;
  /** The error's text with its causes, or the answer's own words. */
  readonly text: string;
  readonly timedOut?: boolean;
  /** It was a 2xx, and no success of OTLP. */
  readonly foreign?: boolean;
  /** What the relay shows of itself; asked only where it matters, since certificates are read for it. */
  readonly client?: (() => ClientFacts) | undefined;
  /** A certificate that the Collector sends has a key which TLS here does not take, so that no signature of it counts. */
  readonly serverKeyWeak?: boolean;
  /** The file was refused before any attempt. */
  readonly refused?: { readonly code: CertificateErrorCode; readonly role: RefusedRole };
}

/** What a refused file is to the relay: `receiver` is what it shows to its senders, the others are for the Collector. */
export type RefusedRole = "ca" | "certificate" | "key" | "receiver";

/** A fault by its name. */
export interface Fault {
  /** Stable, for metrics and tests. */
  readonly code: string;
  /** What it is, in a sentence without a period. */
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
  /** Time alone does not mend it: a person is needed. */
  readonly lasting: boolean;
}

/** A fault of the table. */
export interface NamedFault extends Fault {
  /** What other programs call it: OpenSSL, rustls, Go, nginx. */
  readonly knownAs: readonly string[];
}

interface FaultRow extends NamedFault {
  readonly matches: (evidence: Evidence) => boolean;
}

function says(pattern: RegExp): (evidence: Evidence) => boolean {
  return ({ status, text, refused }) => status === undefined && refused === undefined && pattern.test(text);
}

function answered(...statuses: readonly number[]): (evidence: Evidence) => boolean {
  return ({ status }) => status !== undefined && statuses.includes(status);
}

/** The file was refused for one of these, as one of these. */
function refused(
  codes: readonly CertificateErrorCode[],
  ...roles: readonly RefusedRole[]
): (evidence: Evidence) => boolean {
  return ({ refused }) =>
    refused !== undefined && codes.includes(refused.code) && (roles.length === 0 || roles.includes(refused.role));
}

function anyOf(...tests: readonly ((evidence: Evidence) => boolean)[]): (evidence: Evidence) => boolean {
  return (evidence) => tests.some((test) => test(evidence));
}

function never(): boolean {
  return false;
}

/** Alerts by which a peer refuses a client certificate; which one stands for what differs between peers. */
const REFUSAL_ALERT =
  /alert.*(BadCertificate|UnsupportedCertificate|CertificateUnknown|CertificateRevoked|CertificateExpired|CertificateRequired|AccessDenied|UnknownCA|DecryptError|HandshakeFail)/i;
/** A signature in the Collector's chain does not hold: of another CA of the same name, or by a key too weak to count. */
const SIGNATURE = /certificate: (InvalidCertificate\()?BadSignature/;
/** A connection that ended without a word; some peers refuse a client certificate so. */
const CUT =
  /close_notify|broken pipe|connection reset|unexpected.eof|BrokenPipe|connection closed|handshake eof|socket hang up|disconnected before secure|\bEPIPE\b|\bECONNRESET\b/i;
/** nginx and those like it finish the handshake and answer 400: the page has this title. */
const REFUSAL_PAGE = /^\s*<html>\s*<head><title>400 (No required SSL certificate was sent|The SSL certificate error)/;
/** An https port was spoken to in plain HTTP: nginx's page, and the words of Go's server. */
const PLAIN_HTTP_PAGE =
  /^\s*<html>\s*<head><title>400 The plain HTTP request was sent to HTTPS port|^Client sent an HTTP request to an HTTPS server/;

/** The client certificate was refused, as far as can be told, and the facts about it say why. */
function refusedFor(reason: (client: ClientFacts) => boolean): (evidence: Evidence) => boolean {
  return ({ status, text, client }) => {
    const alert = status === undefined && REFUSAL_ALERT.test(text);
    const told = alert || (status === undefined ? CUT.test(text) : status === 400 && REFUSAL_PAGE.test(text));
    const facts = told ? client?.() : undefined;
    if (facts === undefined || !reason(facts)) return false;
    // A peer that took this certificate before cuts connections for reasons of its own; only a date can have changed.
    return alert || status !== undefined || !facts.accepted || facts.dates !== "valid";
  };
}

/** Every fault that has a name, the more telling ones first. */
const FAULTS: readonly FaultRow[] = [
  {
    code: "not_found",
    what: "A certificate or key file is not there",
    remedy: "correct the path in the setting that the message names, or make the files with certs init",
    lasting: true,
    knownAs: ["unable to load certificate", "No such file or directory"],
    matches: refused(["not_found"]),
  },
  {
    code: "permissions",
    what: "A certificate or key file may not be read by the relay's user",
    remedy: "give the file and the folders above it to the user that runs the relay, and the folder to --allow-read",
    lasting: true,
    knownAs: ["unable to load certificate", "Permission denied"],
    matches: refused(["permissions", "unreadable"]),
  },
  {
    code: "key_exposed",
    what: "Every user of this machine can read a key",
    remedy: "chmod 600 it (Kubernetes: defaultMode: 0440), or set key_readable_by_others: true beside key_file",
    lasting: true,
    knownAs: ["UNPROTECTED PRIVATE KEY FILE"],
    matches: refused(["key_exposed"]),
  },
  {
    code: "not_pem",
    what: "A file or variable does not hold the PEM that it should",
    remedy: "give PEM text with its BEGIN line: the certificate in cert_file, the key in key_file, the CA in ca_file",
    lasting: true,
    knownAs: ["unable to load certificate", "no start line", "No certificates found"],
    matches: refused(["not_pem"]),
  },
  {
    code: "unparsable",
    what: "A PEM block is damaged",
    remedy: "copy the file again in full, from its BEGIN to its END line",
    lasting: true,
    knownAs: ["unable to load certificate", "bad base64 decode", "BadEncoding"],
    matches: refused(["unparsable"]),
  },
  {
    code: "key_encrypted",
    what: "A key is encrypted, and the passphrase is missing or wrong",
    remedy: "set key_passphrase beside key_file, in exporter.tls or receiver.http.tls",
    lasting: true,
    knownAs: ["bad decrypt", "No keys found", "Unable to decode key"],
    matches: refused(["key_encrypted"]),
  },
  {
    code: "key_too_weak",
    what: "A key is too short for TLS here",
    remedy: "issue the certificate again with an RSA key of 2048 bits or more, or with EC P-256",
    lasting: true,
    knownAs: ["key too small", "failed to parse private key"],
    matches: refused(["key_too_weak"]),
  },
  {
    code: "unsupported",
    what: "A certificate or key is of a kind that TLS here does not take",
    remedy: "issue it again: X.509 version 3, signed with SHA-256, key RSA, P-256, P-384, P-521 or Ed25519",
    lasting: true,
    knownAs: ["UnsupportedCertVersion", "ca md too weak"],
    matches: refused(["unsupported"]),
  },
  {
    code: "key_mismatch",
    what: "A key does not belong to its certificate",
    remedy: "give the key that was made with this certificate; certs show says which key fits which",
    lasting: true,
    knownAs: ["bad record MAC", "key values mismatch", "KeyMismatch"],
    matches: refused(["key_mismatch"]),
  },
  {
    code: "ca_unusable",
    what: "The CA that the relay is given cannot vouch for the Collector",
    remedy: "set exporter.tls.ca_file to the CA certificate that is in use, in date",
    lasting: true,
    knownAs: ["invalid CA certificate"],
    matches: refused(["expired", "not_yet_valid", "wrong_usage", "wrong_issuer"], "ca"),
  },
  {
    code: "receiver_certificate_unusable",
    what: "Senders cannot accept the receiver's certificate, or it cannot accept theirs, because of dates or usages",
    remedy: "renew what receiver.http.tls names (certs rotate); the relay takes the new files up by itself",
    lasting: true,
    knownAs: ["certificate has expired", "unsuitable certificate purpose"],
    matches: refused(["expired", "not_yet_valid", "wrong_usage", "wrong_issuer"], "receiver"),
  },
  {
    code: "server_certificate_weak_key",
    what: "The Collector's certificate, or one that it sends with it, has a key that is too weak for TLS here",
    remedy: "issue it again with an RSA key of 2048 bits or more, or with EC P-256",
    lasting: true,
    knownAs: ["ee key too small", "ca key too small"],
    matches: ({ serverKeyWeak, status, text }) =>
      serverKeyWeak === true && status === undefined && SIGNATURE.test(text),
  },
  {
    code: "server_certificate_weak_signature",
    what:
      "The Collector's certificate, or one that it sends with it, is signed with SHA-1 or another hash that is refused",
    remedy: "issue it again with SHA-256",
    lasting: true,
    knownAs: ["ca md too weak", "insecure algorithm SHA1-RSA"],
    matches: says(/certificate: (InvalidCertificate\()?UnsupportedSignatureAlgorithm(?!ForPublicKey)/),
  },
  {
    code: "server_certificate_is_ca",
    what: "The Collector shows the certificate of a CA as its own",
    remedy: "issue it a server certificate with basicConstraints CA:FALSE",
    lasting: true,
    knownAs: ["CaUsedAsEndEntity"],
    matches: says(/CaUsedAsEndEntity/),
  },
  {
    code: "server_certificate_issuer_no_ca",
    what: "The Collector's certificate was issued by a certificate that is not a CA",
    remedy: "issue it again by a CA, or give its issuer basicConstraints CA:TRUE",
    lasting: true,
    knownAs: ["invalid CA certificate", "EndEntityUsedAsCa"],
    matches: says(/EndEntityUsedAsCa/),
  },
  {
    code: "server_certificate_version",
    what: "The Collector's certificate, or one that it sends with it, is not X.509 version 3",
    remedy: "issue it again with extensions (openssl x509 -req needs -extfile)",
    lasting: true,
    knownAs: ["UnsupportedCertVersion"],
    matches: says(/UnsupportedCertVersion/),
  },
  {
    code: "server_certificate_extension",
    what: "The Collector's certificate has a critical extension that TLS here does not know",
    remedy: "issue it again without that extension, or with it marked as not critical",
    lasting: true,
    knownAs: ["unhandled critical extension", "UnsupportedCriticalExtension"],
    matches: says(/UnsupportedCriticalExtension/),
  },
  {
    code: "server_certificate_name_constraint",
    what: "The Collector's certificate has a name that its CA may not issue for",
    remedy: "issue it by a CA whose nameConstraints permit this host",
    lasting: true,
    knownAs: ["permitted subtree violation", "NameConstraintViolation"],
    matches: says(/NameConstraintViolation/),
  },
  {
    code: "server_certificate_path_length",
    what: "More CAs stand behind the Collector's certificate than its root allows",
    remedy: "issue it by the CA that may, or that CA again with a longer pathlen",
    lasting: true,
    knownAs: ["path length constraint exceeded", "PathLenConstraintViolated"],
    matches: says(/PathLenConstraintViolated/),
  },
  {
    code: "wrong_ca",
    what: "The Collector's certificate is not signed by the CA that the relay trusts",
    remedy: "set exporter.tls.ca_file to the CA that issued the Collector's certificate",
    lasting: true,
    knownAs: ["certificate verify failed", "unable to get local issuer certificate", "UnknownIssuer"],
    matches: says(
      /UnknownIssuer|self.signed|certificate: (InvalidCertificate\()?(BadSignature|UnsupportedSignatureAlgorithmForPublicKey)/i,
    ),
  },
  {
    code: "server_name_mismatch",
    what: "The Collector's certificate is not for the host in exporter.endpoint",
    remedy: "issue the server certificate with this host among its subject alternative names, or use a host that is",
    lasting: true,
    knownAs: ["hostname mismatch", "certificate not valid for name"],
    matches: says(/not valid for name|NotValidForName/i),
  },
  {
    code: "server_certificate_expired",
    what: "The Collector's certificate has expired",
    remedy: "renew the Collector's certificate, and check the clock of this machine",
    lasting: true,
    knownAs: ["certificate has expired"],
    matches: says(/peer certificate.*expired|certificate expired/i),
  },
  {
    code: "server_certificate_not_yet_valid",
    what: "The Collector's certificate is not yet valid by the clock of this machine",
    remedy: "set the clock of this machine, or issue the Collector's certificate again",
    lasting: true,
    knownAs: ["certificate is not yet valid"],
    matches: says(/not valid yet|NotValidYet/i),
  },
  {
    code: "server_certificate_usage",
    what: "The Collector's certificate may not be used by a server",
    remedy: "issue it again with the extended key usage serverAuth",
    lasting: true,
    knownAs: ["unsuitable certificate purpose", "InvalidPurpose"],
    matches: says(/peer certificate.*(InvalidPurpose|extended key usage)/i),
  },
  {
    code: "no_http2",
    what: "The Collector's port does not speak HTTP/2, which gRPC needs",
    remedy:
      "set exporter.endpoint to the Collector's OTLP/gRPC port (4317 by default), with https:// where it has TLS, or exporter.protocol to http/protobuf",
    lasting: true,
    knownAs: [],
    matches: says(/does not (?:offer|speak) HTTP\/2|NoApplicationProtocol/),
  },
  {
    code: "client_certificate_missing",
    what: "The Collector demands a client certificate and got none that it takes",
    remedy: "set exporter.tls.cert_file and exporter.tls.key_file to a certificate of the CA in its client_ca_file",
    lasting: true,
    knownAs: ["alert certificate required", "No required SSL certificate was sent"],
    matches: anyOf(
      refusedFor(({ shown }) => !shown),
      says(/alert.*CertificateRequired/i),
      ({ status, text }) => status === 400 && REFUSAL_PAGE.test(text) && text.includes("No required SSL certificate"),
    ),
  },
  {
    code: "client_certificate_not_yet_valid",
    what: "The relay's client certificate is not yet valid",
    remedy: "set the clock of this machine, or issue the client certificate again",
    lasting: true,
    knownAs: ["certificate is not yet valid"],
    matches: anyOf(refused(["not_yet_valid"], "certificate"), refusedFor(({ dates }) => dates === "not_yet_valid")),
  },
  {
    code: "client_certificate_expired",
    what: "The relay's client certificate has expired",
    remedy: "renew the client certificate (certs rotate); the relay takes the new files up by itself",
    lasting: true,
    knownAs: ["alert certificate expired"],
    matches: anyOf(
      refused(["expired"], "certificate"),
      refusedFor(({ dates }) => dates === "expired"),
      says(/alert.*CertificateExpired/i),
    ),
  },
  {
    code: "client_certificate_usage",
    what: "The relay's client certificate may not be used by a client",
    remedy: "issue it again with the extended key usage clientAuth (certs issue --client)",
    lasting: true,
    knownAs: ["unsuitable certificate purpose", "alert bad certificate"],
    matches: anyOf(refused(["wrong_usage"], "certificate"), refusedFor(({ clientAuth }) => !clientAuth)),
  },
  {
    code: "client_certificate_unknown_ca",
    what: "The Collector refused the relay's client certificate: it is of another CA",
    remedy: "issue the client certificate with the CA in the Collector's client_ca_file",
    lasting: true,
    knownAs: ["alert unknown ca", "The SSL certificate error"],
    matches: anyOf(
      refused(["wrong_issuer"], "certificate"),
      refusedFor(({ anchored }) => !anchored),
      says(/alert.*(UnknownCA|DecryptError)/i),
    ),
  },
  {
    code: "client_certificate_refused",
    what: "The Collector refused the relay's client certificate, and nothing here shows why",
    remedy: "see the Collector's log: it may be revoked, or of a CA that is not in the Collector's client_ca_file",
    lasting: true,
    knownAs: ["alert certificate revoked", "alert bad certificate", "The SSL certificate error"],
    matches: anyOf(says(REFUSAL_ALERT), ({ status, text }) => status === 400 && REFUSAL_PAGE.test(text)),
  },
  {
    code: "tls_version",
    what: "The Collector speaks no version of TLS that is safe",
    remedy: "let the Collector's side take TLS 1.2 or 1.3",
    lasting: true,
    knownAs: ["unsupported protocol", "alert protocol version"],
    matches: says(/ProtocolVersion|peer is incompatible/i),
  },
  {
    code: "handshake_cut",
    what: "The connection was cut; some servers do this when they refuse the client certificate",
    remedy: "see the Collector's log; check that the certificate's CA is in the Collector's client_ca_file",
    lasting: false,
    knownAs: ["unexpected eof while reading", "connection reset by peer"],
    matches: says(CUT),
  },
  {
    code: "tls_wanted",
    what: "The Collector's port speaks TLS, and exporter.endpoint says http://",
    remedy: "use https:// in exporter.endpoint",
    lasting: true,
    knownAs: ["The plain HTTP request was sent to HTTPS port", "Client sent an HTTP request to an HTTPS server"],
    matches: ({ status, text }) => status === 400 && PLAIN_HTTP_PAGE.test(text),
  },
  {
    code: "not_http",
    what: "The endpoint does not speak HTTP, or speaks TLS where exporter.endpoint says http://",
    remedy: "use https:// in exporter.endpoint, and the Collector's OTLP/HTTP port",
    lasting: true,
    knownAs: ["invalid HTTP version parsed"],
    matches: says(/invalid HTTP version/i),
  },
  {
    code: "not_tls",
    what: "The Collector's port does not speak TLS",
    remedy: "configure tls on the Collector's receiver, or set exporter.endpoint to the port that has it",
    lasting: true,
    knownAs: ["wrong version number", "InvalidContentType"],
    matches: says(/InvalidContentType|corrupt message|InvalidMessage|WrongVersion|packet length too long/i),
  },
  {
    code: "connection_refused",
    what: "Nothing listens at exporter.endpoint",
    remedy: "start the Collector, or correct the host and port of exporter.endpoint",
    lasting: false,
    knownAs: ["Connection refused", "ECONNREFUSED"],
    matches: says(/connection refused|os error 111|ECONNREFUSED/i),
  },
  {
    code: "name_not_resolved",
    what: "The host of exporter.endpoint is not known to DNS",
    remedy: "correct the host of exporter.endpoint, or the name server of this machine",
    lasting: false,
    knownAs: ["Name or service not known", "ENOTFOUND"],
    matches: says(/dns error|failed to lookup|name or service not known|ENOTFOUND/i),
  },
  {
    code: "timeout",
    what: "The Collector did not answer in time",
    remedy: "check its load and the way to it; exporter.timeout sets the time",
    lasting: false,
    knownAs: ["context deadline exceeded", "Connection timed out"],
    matches: ({ timedOut }) => timedOut === true,
  },
  {
    code: "not_permitted",
    what: "Deno may not connect to the Collector's host",
    remedy: "start the relay with --allow-net for this host",
    lasting: true,
    knownAs: [],
    matches: says(/NotCapable|Requires net access|\bEPERM\b/i),
  },
  {
    code: "unauthorized",
    what: "The Collector wants credentials that it did not get",
    remedy: "set exporter.headers to what its authenticator expects",
    lasting: true,
    knownAs: [],
    matches: answered(401, 403, 407),
  },
  {
    code: "no_such_path",
    what: "The Collector does not take this signal at this path",
    remedy: "correct the path of exporter.endpoint, or add the signal's pipeline to the Collector",
    lasting: true,
    knownAs: [],
    matches: answered(404, 405),
  },
  {
    code: "wrong_protocol",
    what: "The endpoint does not speak OTLP over HTTP as protobuf",
    remedy:
      "set exporter.endpoint to the Collector's OTLP/HTTP port (4318 by default, not the gRPC port 4317), and let no proxy answer for it",
    lasting: true,
    knownAs: [],
    matches: anyOf(answered(415, 501), ({ foreign }) => foreign === true),
  },
  {
    code: "redirected",
    what: "The endpoint redirects elsewhere, and the relay does not follow with the data",
    remedy: "set exporter.endpoint to the address that it redirects to",
    lasting: true,
    knownAs: [],
    matches: ({ status }) => status !== undefined && status >= 300 && status < 400,
  },
  {
    code: "throttled",
    what: "The Collector asks to wait",
    remedy: "nothing to do here; give the Collector more room if this lasts",
    lasting: false,
    knownAs: [],
    matches: answered(429, 502, 503, 504),
  },
  {
    code: "collector_failed",
    what: "The Collector failed on its own",
    remedy: "read the Collector's log",
    lasting: true,
    knownAs: [],
    matches: ({ status }) => status !== undefined && status >= 500,
  },
  // Found by asking, never from the text of a failure.
  {
    code: "client_certificate_not_demanded",
    what: "The Collector takes requests without a client certificate",
    remedy: "set client_ca_file in the tls section of the Collector's receiver (nginx: ssl_verify_client on)",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "first_member_only",
    what: "The endpoint reads the first gzip member of a body only, so merged requests would be lost",
    remedy: "nothing is lost: the relay sends every request by itself; set exporter.compression: gzip to merge again",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "zstd_unread",
    what: "The endpoint does not read zstd, so requests are compressed by gzip",
    remedy: "nothing is lost; set exporter.compression: gzip, or send to a Collector that reads zstd",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "connection_silent",
    what: "A connection to the Collector went silent, while a new one is answered",
    remedy:
      "nothing is lost: the relay goes on by a new one; look for a NAT, firewall, proxy or load balancer that forgets open connections",
    lasting: false,
    knownAs: [],
    matches: never,
  },
  {
    code: "refuses_everything",
    what: "The Collector refuses everything, so that nothing is wrong with the records",
    remedy:
      "read the Collector's log, that of a proxy before it and those of its back ends; what is queued is kept, and sent when data is taken again",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "refusal_unproven",
    what: "The Collector refused a request by itself, and it is not known yet whether it takes others",
    remedy:
      "nothing is lost: the request waits alone; it is set aside once others are taken and it is refused again, or after ten times max_interval",
    lasting: false,
    knownAs: [],
    matches: never,
  },
  {
    code: "record_fails",
    what: "The Collector fails on a sender's request by itself, and takes others",
    remedy:
      "read the Collector's log for what it fails on (a processor with error_mode: propagate, a back end); the request waits alone and is kept",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "address_dead",
    what: "An address of the Collector's name does not answer, and another does",
    remedy:
      "nothing is lost: the relay goes by one that answers; mend what stands at the address, or take it out of the name's records",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "clock_skew",
    what: "The clocks of this machine and of the Collector differ",
    remedy: "set both by NTP: certificates that are new or near their end fail on one side only",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "expires_soon",
    what: "A certificate is near its end",
    remedy: "renew it (certs rotate); the relay takes the new files up by itself",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "trusts_more",
    what: "More is trusted than the CA in exporter.tls.ca_file",
    remedy: "start the relay with DENO_TLS_CA_STORE= (empty), and without DENO_CERT and NODE_EXTRA_CA_CERTS",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "proxied",
    what: "A proxy variable sends the relay's requests another way",
    remedy: "add the Collector's host to NO_PROXY, or unset the variable",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "queue_unusable",
    what: "The folder of the queue cannot be written",
    remedy: "give the folder of sending_queue.path to the user that runs the relay",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "receiver_silent",
    what: "The relay's own listener does not answer",
    remedy: "look at its log and at /readyz; raise the limit on open files where it has run out of them",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "receiver_foreign",
    what: "Another program listens where the receiver is to",
    remedy: "stop that program, or set receiver.http.endpoint or receiver.grpc.endpoint to a free port",
    lasting: true,
    knownAs: ["Address already in use", "EADDRINUSE"],
    matches: never,
  },
  {
    code: "receiver_certificate_stale",
    what: "The relay that runs shows another certificate than its file has",
    remedy: "wait for receiver.http.tls.reload_interval; then read in the log why the new files are not taken",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "relay_not_ready",
    what: "The relay that runs is not ready",
    remedy: "read the reasons at /readyz or on the status page",
    lasting: false,
    knownAs: [],
    matches: never,
  },
  {
    code: "disk_low",
    what: "The disk has less room than the queue may need",
    remedy: "free the disk, or lower sending_queue.queue_size",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  {
    code: "bad_config",
    what: "The configuration cannot be used",
    remedy: "correct what the message names; config reference lists every option",
    lasting: true,
    knownAs: [],
    matches: never,
  },
  ...DATABASE_FAULTS.map((fault): FaultRow => ({ ...fault, lasting: true, matches: never })),
];

/** Every fault that has a name, as documentation prints it. */
export const NAMED_FAULTS: readonly NamedFault[] = FAULTS.map(({ matches: _matches, ...named }) => named);

/** Faults that an answer tells, of one path or of what was sent there; all others are of the endpoint, whichever signal met them. */
const OF_ONE_PATH: ReadonlySet<string> = new Set([
  "unauthorized",
  "no_such_path",
  "wrong_protocol",
  "redirected",
  "throttled",
  "collector_failed",
  "refuses_everything",
  "refusal_unproven",
  "record_fails",
  "unknown",
  "internal",
]);

/** Whether every signal that goes to the same endpoint meets this fault. */
export function concernsTheEndpoint(code: string): boolean {
  return !OF_ONE_PATH.has(code);
}

/** The fault of a name. */
export function faultNamed(code: string): NamedFault {
  const fault = NAMED_FAULTS.find((each) => each.code === code);
  if (fault === undefined) throw new TypeError(`No fault is called ${code}`);
  return fault;
}

/** Names the fault. */
export function diagnose(evidence: Evidence): Fault {
  const row = FAULTS.find(({ matches }) => matches(evidence));
  if (row !== undefined) return { code: row.code, what: row.what, remedy: row.remedy, lasting: row.lasting };
  return {
    code: "unknown",
    what: evidence.status === undefined
      ? `The Collector could not be reached: ${evidence.text}`
      : `The Collector answered ${evidence.grpc ?? evidence.status}: ${evidence.text}`,
    remedy: "see the Collector's log for its side",
    lasting: evidence.status !== undefined,
  };
}

/**
 * Whether an answer of 400 is about the way and not about what was sent: TLS ends at a proxy that answers so. What it carried
 * must be kept.
 */
export function concernsTheWay(status: number, text: string): boolean {
  return status === 400 && (REFUSAL_PAGE.test(text) || PLAIN_HTTP_PAGE.test(text));
}

/** Whether a failure leaves open if a key of the Collector is too weak: its certificates have to be looked at. */
export function asksForServerKey(text: string): boolean {
  return SIGNATURE.test(text);
}

/** What a Collector's certificate may be, beside its names, dates, usages and its CA. */
export const SERVER_FORM_FAULTS: ReadonlySet<string> = new Set(
  FAULTS.map(({ code }) => code).filter((code) =>
    /^server_certificate_(weak_key|weak_signature|is_ca|issuer_no_ca|version|extension|name_constraint|path_length)$/
      .test(code)
  ),
);
