/**
 * Connections to the database: of its hosts the one that takes writes, with TLS and password as they are now, and only to a server
 * that keeps what it has answered. What a server says of that is asked at each connection, and once a minute; one that no longer
 * keeps the promise loses its connections at once.
 * @module
 */
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { formatHost, type PostgresHost } from "../config/postgres_url.ts";
import { shownPath } from "../config/shown.ts";
import { codeOf, ConfigError, messageOf } from "../errors.ts";
import type { Expiry } from "../pki/expiry.ts";
import type { Log } from "../telemetry/log.ts";
import { VERSION } from "../version.ts";
import { ConnectError, connectFault } from "./connect_error.ts";
import { Client, type ClientConfig } from "./driver.ts";
import { durabilityOf, durabilityWarnings, readServerFacts, type ServerFacts } from "./server_facts.ts";
import type { DatabaseSettings } from "./settings.ts";
import { DatabaseTrust } from "./trust.ts";

/** Between two questions to the server, in ms. */
const CHECK_MS = 60_000;
/** The server is told by the system that a connection is dead within about this time, in ms. */
const KEEP_ALIVE_MS = 10_000;
/** A name may have many addresses; so many are tried. */
const ADDRESSES_MAX = 8;
/** What holds a password is no larger, in characters. */
const PASSWORD_MAX = 4_096;
/** A warning is told again after this time, in ms. */
const WARNED_MS = 86_400_000;

/** Where a connection leads, and what was found there. */
export interface Server {
  readonly host: PostgresHost;
  readonly facts: ServerFacts;
}

/** Makes connections, and ends all of them when it is disposed of. */
export class Connector implements AsyncDisposable {
  readonly #settings: DatabaseSettings;
  readonly #log: Log;
  readonly #trust: DatabaseTrust | undefined;
  readonly #open = new Set<Client>();
  #server: Server | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(settings: DatabaseSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.#trust = settings.tls === undefined ? undefined : new DatabaseTrust(settings.tls, log);
  }

  /** What the last connection found; undefined before the first. */
  get server(): Server | undefined {
    return this.#server;
  }

  /** Whether connections use TLS. */
  get encrypted(): boolean {
    return this.#trust !== undefined;
  }

  /** The end of each certificate in use. */
  expiries(now = new Date()): Expiry[] {
    return this.#trust?.expiries(now) ?? [];
  }

  /**
   * A new connection to the host that takes writes, which is the caller's to end.
   * @throws {ConnectError} of the host whose answer tells most
   * @throws {CertificateError} {@link ConfigError} for files that cannot be used
   */
  async connect(): Promise<Client> {
    let told: ConnectError | undefined;
    for (const host of this.#inOrder()) {
      try {
        return await this.#connectTo(host);
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error;
        // Among several servers a standby is expected, and another server's fault is news.
        if (told === undefined || told.code === "read_only") told = error;
      }
    }
    throw told ?? new ConnectError("failed", "without a host");
  }

  /** Asks once a minute from now on. */
  watch(): void {
    const again = () => {
      this.#timer = setTimeout(() => void this.check().then(() => this.#ended || again()), CHECK_MS);
    };
    again();
  }

  /** Asks now. A server that lost its durability loses its connections; one that is away is the engine's to notice. */
  async check(): Promise<void> {
    try {
      const client = await this.connect();
      await client.end();
    } catch (error) {
      if (this.#ended) return;
      this.#log.limited("database check", WARNED_MS).error("The check of the database failed", {
        cause: messageOf(error),
      });
      if (error instanceof ConnectError && error.code === "not_durable") this.#cut();
    }
  }

  /** Ends every connection at once: what is under way on them is unknown to who asked. */
  #cut(): void {
    for (const client of this.#open) client.connection.stream.destroy();
  }

  /** The one that took writes last, first. */
  #inOrder(): readonly PostgresHost[] {
    const { hosts } = this.#settings;
    const last = this.#server?.host;
    return last === undefined ? hosts : [last, ...hosts.filter((host) => host !== last)];
  }

  async #connectTo(host: PostgresHost): Promise<Client> {
    const name = formatHost(host);
    let failed: ConnectError | undefined;
    for (const address of await addressesOf(host, name)) {
      const client = new Client(await this.#configOf(host, address, name));
      // For a connection that nobody waits on; a caller that waits hears of it by the rejection.
      client.on("error", () => {});
      try {
        await client.connect();
        await this.#judge(client, host, name);
        this.#open.add(client);
        client.on("end", () => void this.#open.delete(client));
        return client;
      } catch (error) {
        client.connection.stream.destroy();
        if (error instanceof ConfigError) throw error;
        failed = error instanceof ConnectError
          ? error
          : new ConnectError(connectFault(error), name, { cause: error, detail: messageOf(error) });
      }
    }
    throw failed ?? new ConnectError("unknown_host", name);
  }

  async #judge(client: Client, host: PostgresHost, name: string): Promise<void> {
    const { managed, connectMs } = this.#settings;
    const timer = setTimeout(() => client.connection.stream.destroy(), connectMs);
    const facts = await readServerFacts(client).finally(() => clearTimeout(timer));
    if (facts.standby || facts.readOnly) throw new ConnectError("read_only", name);
    if (durabilityOf(facts, managed) === undefined) throw new ConnectError("not_durable", name);
    for (const warning of durabilityWarnings(facts, managed)) {
      this.#log.limited(`database ${warning.slice(0, 40)}`, WARNED_MS).warn(warning, { server: name });
    }
    this.#server = { host, facts };
  }

  async #configOf({ host, port }: PostgresHost, address: string, name: string): Promise<ClientConfig> {
    const { user, database, password, channelBinding, connectMs } = this.#settings;
    return {
      host: address,
      port,
      user,
      database,
      // Asked for where the server wants one. Without it the driver would look into PGPASSWORD and ~/.pgpass, which nobody has named.
      password: () => {
        if (password === undefined) throw new ConnectError("no_password", name);
        return passwordOf(password);
      },
      ssl: this.#trust === undefined ? false : await this.#trust.options(host),
      enableChannelBinding: channelBinding,
      application_name: `edgeferry ${VERSION}`,
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    await Promise.allSettled([...this.#open].map((client) => client.end()));
  }
}

/** Its addresses in the order of the system. @throws {ConnectError} */
async function addressesOf({ host }: PostgresHost, name: string): Promise<string[]> {
  try {
    return (await lookup(host, { all: true })).slice(0, ADDRESSES_MAX).map(({ address }) => address);
  } catch (error) {
    // Deno may connect by the name alone (--allow-net=host:port); then it is the driver that looks it up.
    if (codeOf(error) === "EPERM") return [host];
    throw new ConnectError("unknown_host", name, { cause: error });
  }
}

/** The password as it is now. @throws {ConfigError} */
async function passwordOf(source: NonNullable<DatabaseSettings["password"]>): Promise<string> {
  if ("text" in source) return source.text;
  const named = `sending_queue.postgres.password_file ${shownPath(source.file)}`;
  let text: string;
  try {
    text = await readFile(source.file, "utf8");
  } catch (error) {
    throw new ConfigError({
      what: `Cannot read ${named}`,
      state: codeOf(error) ?? messageOf(error),
      remedy: "correct the path, or its mode",
    });
  }
  // Editors end a file with a line break.
  const password = text.replace(/\r?\n$/, "");
  if (password === "" || password.length > PASSWORD_MAX || /[\r\n\0]/.test(password)) {
    throw new ConfigError({
      what: `Cannot use ${named}`,
      state: "it is empty, too long, or has several lines",
      remedy: "write the password alone, on one line",
    });
  }
  return password;
}
