/**
 * The URL of a PostgreSQL, as libpq writes it: `postgres://user:password@host:5432,other:5432/database?name=value`. It may name
 * several hosts, which no other URL may. Source: PostgreSQL 15, 34.1.1.2 "Connection URIs".
 * @module
 */

/** One server. */
export interface PostgresHost {
  readonly host: string;
  readonly port: number;
}

/** What the URL says. */
export interface PostgresUrl {
  /** At least one, in the order of their trial. */
  readonly hosts: readonly PostgresHost[];
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  /** Only such as {@link PARAMETERS} lists. */
  readonly parameters: Readonly<Record<string, string>>;
}

const PORT_DEFAULT = 5432;
const HOSTS_MAX = 16;

/** What may stand behind `?`, and the words that it takes. They ask for what the relay does anyway. */
const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  sslmode: ["require", "verify-ca", "verify-full"],
  target_session_attrs: ["read-write", "primary"],
  channel_binding: ["prefer", "require"],
};

/** For errors: in brackets, for what stands before the `@` of a URL is a secret there, and is left out. */
export const POSTGRES_URL_FORM = "postgres://<user>@host:5432/database";

/** What {@link parsePostgresUrl} takes, for errors. */
export const POSTGRES_URL_WANTED = `a URL such as ${POSTGRES_URL_FORM}, several hosts joined by commas; ` +
  `behind it only ${Object.entries(PARAMETERS).map(([name, words]) => `${name}=${words.join("|")}`).join(", ")}`;

/** Undefined for what is no such URL, names no user, host or database, or has another parameter. */
export function parsePostgresUrl(text: string): PostgresUrl | undefined {
  const match = /^postgres(?:ql)?:\/\/([^@/?#]*)@([^@/?#]+)\/([^@/?#]+)(?:\?([^#]*))?$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, credentials = "", authority = "", path = "", query = ""] = match;
  const [, user = "", password] = /^([^:]*)(?::(.*))?$/.exec(credentials) ?? [];
  const hosts = authority.split(",").map(hostOf);
  const parameters = [...new URLSearchParams(query)];
  const [name, secret, database] = [decoded(user), decoded(password ?? ""), decoded(path)];
  if (name === undefined || secret === undefined || database === undefined || name === "") return undefined;
  if (hosts.length > HOSTS_MAX || !hosts.every((host) => host !== undefined)) return undefined;
  if (!parameters.every(([key, value]) => PARAMETERS[key]?.includes(value))) return undefined;
  return {
    hosts,
    user: name,
    password: secret === "" ? undefined : secret,
    database,
    parameters: Object.fromEntries(parameters),
  };
}

function hostOf(text: string): PostgresHost | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[3] ?? PORT_DEFAULT);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}

/** Percent-encoding undone; undefined where it is damaged, or holds what no name may. */
function decoded(text: string): string | undefined {
  try {
    const plain = decodeURIComponent(text);
    return /[\0\r\n]/.test(plain) ? undefined : plain;
  } catch {
    return undefined;
  }
}

/** `host:port`, in brackets where it is an IPv6 address. */
export function formatHost({ host, port }: PostgresHost): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The URL without its password, and without its user, who may be one. */
export function shownPostgresUrl(text: string): string {
  const url = parsePostgresUrl(text);
  return url === undefined ? "(no such URL)" : shownDatabase(url);
}

/** The same of what has been read. */
export function shownDatabase({ hosts, database }: Pick<PostgresUrl, "hosts" | "database">): string {
  return `postgres://${hosts.map(formatHost).join(",")}/${database}`;
}
