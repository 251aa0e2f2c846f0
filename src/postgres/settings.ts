/**
 * What the configuration says of the database, as the connections need it.
 * @module
 */
import { parsePostgresUrl, POSTGRES_URL_FORM, type PostgresHost } from "../config/postgres_url.ts";
import type { Config } from "../config/schema.ts";
import { isLoopback } from "../config/units.ts";
import { ConfigError } from "../errors.ts";
import type { ExpiryLimits } from "../pki/expiry.ts";

const SECTION = "sending_queue.postgres";

/** CA, certificate and key: each a path or PEM text. */
export interface DatabaseTls {
  readonly ca: string | undefined;
  readonly identity:
    | { readonly cert: string; readonly key: string; readonly keyPassphrase: string | undefined }
    | undefined;
  readonly exposedKeyAllowed: boolean;
  readonly expiry: ExpiryLimits;
}

/** How a connection is made. */
export interface DatabaseSettings {
  /** In the order of their trial. */
  readonly hosts: readonly PostgresHost[];
  readonly user: string;
  readonly database: string;
  /** The password itself, or the file that each connection reads it from. */
  readonly password: { readonly text: string } | { readonly file: string } | undefined;
  /** Undefined: no TLS. */
  readonly tls: DatabaseTls | undefined;
  /** The password's proof is tied to this TLS connection, or there is none. */
  readonly channelBinding: boolean;
  /** The server's own word on fsync is not asked for. */
  readonly managed: boolean;
  /** For one connection to one address, in ms. */
  readonly connectMs: number;
}

/** @throws {ConfigError} where `sending_queue.postgres.url` is unset */
export function databaseSettings(config: Pick<Config, "sending_queue">): DatabaseSettings {
  const { url: written, password, password_file: file, durability, connect_timeout, tls } =
    config.sending_queue.postgres;
  const url = written === undefined ? undefined : parsePostgresUrl(written);
  if (url === undefined) {
    throw new ConfigError({
      what: "Cannot use PostgreSQL",
      state: `${SECTION}.url is not set`,
      remedy: `set it, or EDGEFERRY_SENDING_QUEUE_POSTGRES_URL, to ${POSTGRES_URL_FORM}`,
    });
  }
  const text = password ?? url.password;
  const [ca, cert, key] = [tls.ca_pem ?? tls.ca_file, tls.cert_pem ?? tls.cert_file, tls.key_pem ?? tls.key_file];
  const plain = tls.insecure ||
    (ca === undefined && url.parameters["sslmode"] === undefined && url.hosts.every(({ host }) => isLoopback(host)));
  return {
    hosts: url.hosts,
    user: url.user,
    database: url.database,
    password: text !== undefined ? { text } : file !== undefined ? { file } : undefined,
    tls: plain ? undefined : {
      ca,
      identity: cert === undefined || key === undefined ? undefined : { cert, key, keyPassphrase: tls.key_passphrase },
      exposedKeyAllowed: tls.key_readable_by_others,
      expiry: { warningMs: tls.expiry_warning, errorMs: tls.expiry_error },
    },
    channelBinding: url.parameters["channel_binding"] === "require",
    managed: durability === "managed",
    connectMs: connect_timeout,
  };
}
