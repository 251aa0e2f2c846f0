/**
 * Why there is no connection to the database, by name.
 * Source of the codes: PostgreSQL 15, Appendix A "PostgreSQL Error Codes".
 * @module
 */
import { codeOf, messageOf, StatedError } from "../errors.ts";
import { DatabaseError } from "./driver.ts";

interface Row {
  readonly state: string;
  readonly remedy: string;
  /** What psql and libpq say of it. */
  readonly knownAs: readonly string[];
  /** It may pass without anybody's work on the relay: a relay starts all the same, and waits. A stopped container has no name, either. */
  readonly passes: boolean;
}

const SECTION = "sending_queue.postgres";

/** Every reason; the doctor has a fault for each. */
export const CONNECT_FAULTS = {
  unknown_host: {
    state: "its name has no address",
    remedy: `correct the host in ${SECTION}.url, or the name server of this machine`,
    knownAs: ["could not translate host name", "ENOTFOUND"],
    passes: true,
  },
  unreachable: {
    state: "it cannot be reached",
    remedy: "start it, and let this machine through to its port: listen_addresses, firewall, security group",
    knownAs: ["connection to server failed: Connection refused", "timeout expired"],
    passes: true,
  },
  not_permitted: {
    state: "Deno may not connect to it",
    remedy: "start with --allow-net for this host and port",
    knownAs: ["Requires net access", "EPERM"],
    passes: false,
  },
  no_tls: {
    state: "it serves no TLS",
    remedy: `set ssl = on there, or ${SECTION}.tls.insecure: true on a network that nobody else can read`,
    knownAs: ["server does not support SSL, but SSL was required"],
    passes: false,
  },
  untrusted: {
    state: "its certificate is not to be trusted",
    remedy:
      `set ${SECTION}.tls.ca_file to the CA that issued it, name the host in the URL as the certificate does, and see that it has not expired`,
    knownAs: ["SSL error: certificate verify failed", "server certificate does not match host name"],
    passes: false,
  },
  client_certificate: {
    state: "it does not take the client certificate",
    remedy:
      `set ${SECTION}.tls.cert_file and key_file to a certificate of the CA in its ssl_ca_file, with the role as its common name`,
    knownAs: ["connection requires a valid client certificate"],
    passes: false,
  },
  wrong_password: {
    state: "it refuses the role's password",
    remedy: `correct ${SECTION}.password or what password_file names; ` +
      "where it asks for client certificates, too, their common name must be the role",
    knownAs: ["password authentication failed for user"],
    passes: false,
  },
  no_password: {
    state: "it asks for a password, and none is set",
    remedy: `set ${SECTION}.password_file, or EDGEFERRY_SENDING_QUEUE_POSTGRES_PASSWORD`,
    knownAs: ["fe_sendauth: no password supplied"],
    passes: false,
  },
  role_refused: {
    state: "it does not let the role in",
    remedy: "add the role, this machine and the database to its pg_hba.conf, and GRANT CONNECT ON DATABASE to the role",
    knownAs: ["no pg_hba.conf entry for host", "permission denied for database"],
    passes: false,
  },
  no_database: {
    state: "it has no such database",
    remedy: `create it (createdb), or correct the name in ${SECTION}.url`,
    knownAs: ["database does not exist"],
    passes: false,
  },
  too_many_connections: {
    state: "it takes no more connections",
    remedy: "raise max_connections there, or put PgBouncer in transaction mode before it",
    knownAs: ["sorry, too many clients already"],
    passes: true,
  },
  starting: {
    state: "it is starting or stopping",
    remedy: "wait; the relay tries again by itself",
    knownAs: ["the database system is starting up"],
    passes: true,
  },
  read_only: {
    state: "it is a standby, or set to read only, and takes no writes",
    remedy: `name the primary in ${SECTION}.url, or all of them joined by commas`,
    knownAs: ["cannot execute INSERT in a read-only transaction", "session is read-only"],
    passes: true,
  },
  not_durable: {
    state: "it answers before its data is on a disk: fsync is off, and no synchronous standby is named",
    remedy:
      `set fsync = on there; for a service with storage of its own that reports it so, set ${SECTION}.durability: managed`,
    knownAs: ["fsync = off"],
    passes: false,
  },
  failed: {
    state: "the connection failed",
    remedy: "see the cause",
    knownAs: ["server closed the connection unexpectedly"],
    passes: true,
  },
} as const satisfies Record<string, Row>;

/** The name of a reason. */
export type ConnectFault = keyof typeof CONNECT_FAULTS;

/** There is no connection to be had: the statement names the server, its state and the remedy. */
export class ConnectError extends StatedError {
  override readonly name = "ConnectError";
  readonly code: ConnectFault;

  constructor(code: ConnectFault, server: string, options?: ErrorOptions & { readonly detail?: string }) {
    const { state, remedy } = CONNECT_FAULTS[code];
    super({
      what: `Cannot use PostgreSQL ${server}`,
      state: options?.detail === undefined ? state : `${state} (${options.detail})`,
      remedy,
    }, options);
    this.code = code;
  }
}

const SQLSTATES: Readonly<Record<string, ConnectFault>> = {
  "28P01": "wrong_password",
  "28000": "role_refused",
  "42501": "role_refused",
  "3D000": "no_database",
  "53300": "too_many_connections",
  "57P01": "starting",
  "57P02": "starting",
  "57P03": "starting",
};

const SYSTEM: Readonly<Record<string, ConnectFault>> = {
  ENOTFOUND: "unknown_host",
  EAI_AGAIN: "unknown_host",
  ECONNREFUSED: "unreachable",
  ECONNRESET: "unreachable",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ETIMEDOUT: "unreachable",
  EPIPE: "unreachable",
  EPERM: "not_permitted",
};

/** What `node:tls` says of a certificate that it does not trust ("X509 certificate error codes" in the reference of Node's `tls`). */
const UNTRUSTED =
  /^(?:UNABLE_TO_(?:GET|VERIFY|DECRYPT|DECODE)_|CERT_|CRL_|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT|ERROR_IN_CERT_|INVALID_(?:CA|PURPOSE)$|PATH_LENGTH_EXCEEDED$|HOSTNAME_MISMATCH$|ERR_TLS_CERT_ALTNAME_)/;

/** The name of what a failed attempt met. The driver's own errors have no code, so that their words decide. */
export function connectFault(error: unknown): ConnectFault {
  const text = messageOf(error);
  if (error instanceof DatabaseError) {
    if (/client certificate|certificate authentication failed/.test(text)) return "client_certificate";
    return SQLSTATES[error.code ?? ""] ?? "failed";
  }
  if (/Requires net access/.test(text)) return "not_permitted";
  if (/does not support SSL/.test(text)) return "no_tls";
  if (/password must be a (?:non-empty )?string/.test(text)) return "no_password";
  if (/alert.*(certificate|AccessDenied|UnknownCA)/i.test(text)) return "client_certificate";
  if (UNTRUSTED.test(codeOf(error) ?? "") || /peer certificate|altnames|UnknownIssuer|NotValidForName/i.test(text)) {
    return "untrusted";
  }
  if (/timeout expired|timed? ?out/i.test(text)) return "unreachable";
  return SYSTEM[codeOf(error) ?? ""] ?? "failed";
}
