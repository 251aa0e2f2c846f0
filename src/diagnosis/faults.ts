/**
 * From the evidence of a failed attempt to a named fault and its remedy: one table, for the exporter's log and for people.
 *
 * Message texts are hints, never proof: they are what rustls, hyper and the peers' alerts say today. A fault that no row knows
 * keeps its own words.
 * @module
 */

/** What is known of a failed attempt. */
export interface Evidence {
  /** The status that came back; undefined when there was no answer. */
  readonly status?: number;
  /** The error's text with its causes, or the answer's own words. */
  readonly text: string;
  readonly timedOut?: boolean;
}

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

interface FaultRow extends Fault {
  readonly matches: (evidence: Evidence) => boolean;
}

function says(pattern: RegExp): (evidence: Evidence) => boolean {
  return ({ status, text }) => status === undefined && pattern.test(text);
}

function answered(...statuses: readonly number[]): (evidence: Evidence) => boolean {
  return ({ status }) => status !== undefined && statuses.includes(status);
}

/** Every fault that has a name, the more telling ones first. */
const FAULTS: readonly FaultRow[] = [
  {
    code: "wrong_ca",
    what: "The Collector's certificate is not signed by the CA that the relay trusts",
    remedy: "set exporter.tls.ca_file to the CA that issued the Collector's certificate",
    lasting: true,
    matches: says(/UnknownIssuer|self.signed|InvalidCertificate\(BadSignature/i),
  },
  {
    code: "server_name_mismatch",
    what: "The Collector's certificate is not for the host in exporter.endpoint",
    remedy: "issue the server certificate with this host among its subject alternative names, or use a host that is",
    lasting: true,
    matches: says(/not valid for name|NotValidForName/i),
  },
  {
    code: "server_certificate_expired",
    what: "The Collector's certificate has expired",
    remedy: "renew the Collector's certificate, and check the clock of this machine",
    lasting: true,
    matches: says(/peer certificate.*(expired|not valid yet)|certificate expired|NotValidYet/i),
  },
  {
    code: "client_certificate_expired",
    what: "The Collector refused the relay's client certificate: it has expired",
    remedy: "renew the client certificate (certs init --force makes new ones for development)",
    lasting: true,
    matches: says(/alert.*CertificateExpired/i),
  },
  {
    code: "client_certificate_unknown_ca",
    what: "The Collector refused the relay's client certificate: it is of another CA",
    remedy: "issue the client certificate with the CA in the Collector's client_ca_file",
    lasting: true,
    matches: says(/alert.*(UnknownCA|UnknownCa|DecryptError)/i),
  },
  {
    code: "client_certificate_refused",
    what: "The Collector refused the relay's client certificate",
    remedy: "check that it is of the CA in the Collector's client_ca_file, in date, and has the clientAuth usage",
    lasting: true,
    matches: says(/alert.*(BadCertificate|UnsupportedCertificate|CertificateUnknown|CertificateRevoked|AccessDenied)/i),
  },
  {
    code: "client_certificate_missing",
    what: "The Collector demands a client certificate and got none that it takes",
    remedy: "set exporter.tls.cert_file and exporter.tls.key_file to a certificate of the CA in its client_ca_file",
    lasting: true,
    matches: says(/alert.*(CertificateRequired|HandshakeFail)/i),
  },
  {
    code: "handshake_cut",
    what: "The Collector cut the connection, as some do when they refuse the client certificate",
    remedy: "check that it is of the CA in the Collector's client_ca_file, in date, and has the clientAuth usage",
    lasting: false,
    matches: says(/close_notify|broken pipe/i),
  },
  {
    code: "not_http",
    what: "The endpoint does not speak HTTP, or speaks TLS where exporter.endpoint says http://",
    remedy: "use https:// in exporter.endpoint, and the Collector's OTLP/HTTP port",
    lasting: true,
    matches: says(/invalid HTTP version/i),
  },
  {
    code: "not_tls",
    what: "The Collector's port does not speak TLS",
    remedy: "configure tls on the Collector's receiver, or set exporter.endpoint to the port that has it",
    lasting: true,
    matches: says(/InvalidContentType|corrupt message|InvalidMessage|WrongVersion/i),
  },
  {
    code: "connection_refused",
    what: "Nothing listens at exporter.endpoint",
    remedy: "start the Collector, or correct the host and port of exporter.endpoint",
    lasting: false,
    matches: says(/connection refused|os error 111|ECONNREFUSED/i),
  },
  {
    code: "name_not_resolved",
    what: "The host of exporter.endpoint is not known to DNS",
    remedy: "correct the host of exporter.endpoint, or the name server of this machine",
    lasting: false,
    matches: says(/dns error|failed to lookup|name or service not known|ENOTFOUND/i),
  },
  {
    code: "timeout",
    what: "The Collector did not answer in time",
    remedy: "check its load and the way to it; exporter.timeout sets the time",
    lasting: false,
    matches: ({ timedOut }) => timedOut === true,
  },
  {
    code: "not_permitted",
    what: "Deno may not connect to the Collector's host",
    remedy: "start the relay with --allow-net for this host",
    lasting: true,
    matches: says(/NotCapable|Requires net access/i),
  },
  {
    code: "unauthorized",
    what: "The Collector wants credentials that it did not get",
    remedy: "set exporter.headers to what its authenticator expects",
    lasting: true,
    matches: answered(401, 403, 407),
  },
  {
    code: "no_such_path",
    what: "The Collector does not take this signal at this path",
    remedy: "correct the path of exporter.endpoint, or add the signal's pipeline to the Collector",
    lasting: true,
    matches: answered(404, 405),
  },
  {
    code: "wrong_protocol",
    what: "The endpoint does not take OTLP over HTTP as protobuf",
    remedy: "set exporter.endpoint to the Collector's OTLP/HTTP port (4318 by default, not the gRPC port 4317)",
    lasting: true,
    matches: answered(415, 501),
  },
  {
    code: "redirected",
    what: "The endpoint redirects elsewhere, and the relay does not follow with the data",
    remedy: "set exporter.endpoint to the address that it redirects to",
    lasting: true,
    matches: ({ status }) => status !== undefined && status >= 300 && status < 400,
  },
  {
    code: "throttled",
    what: "The Collector asks to wait",
    remedy: "nothing to do here; give the Collector more room if this lasts",
    lasting: false,
    matches: answered(429, 502, 503, 504),
  },
  {
    code: "collector_failed",
    what: "The Collector failed on its own",
    remedy: "read the Collector's log",
    lasting: true,
    matches: ({ status }) => status !== undefined && status >= 500,
  },
];

/** Names the fault. */
export function diagnose(evidence: Evidence): Fault {
  const row = FAULTS.find(({ matches }) => matches(evidence));
  if (row !== undefined) return { code: row.code, what: row.what, remedy: row.remedy, lasting: row.lasting };
  return {
    code: "unknown",
    what: evidence.status === undefined
      ? `The Collector could not be reached: ${evidence.text}`
      : `The Collector answered ${evidence.status}: ${evidence.text}`,
    remedy: "see the Collector's log for its side",
    lasting: evidence.status !== undefined,
  };
}
