/**
 * A real PostgreSQL of Debian's package, on a port of loopback, in a folder of its own, under a user that is not root. It syncs
 * what it commits unless a test says otherwise, and can be stopped, killed, frozen, copied to a standby and promoted.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chown, copyFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { Client, type ClientConfig, type QueryResult } from "../../../src/postgres/driver.ts";
import type { Pair } from "../files/certificates.ts";
import { type Program, runProgram, startProgram } from "../program/program.ts";
import { freePort } from "../tools/collector.ts";
import { MissingTool, toolOutput } from "../tools/tool.ts";
import { type ServerFolder, serverFolder } from "./account.ts";
import { send, signalTree } from "./processes.ts";

/** `owner` has the database `edgeferry`; `relay` may connect to it and no more; `postgres` is the superuser. */
export type Role = "owner" | "relay" | "postgres";

export interface PostgresOptions {
  /** Settings of the server, as `postgresql.conf` names them, e.g. `{ fsync: "off" }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Serves TLS, and nothing else to the role `relay`. With `clientCa` a client must show a certificate whose common name is its role. */
  readonly tls?: {
    readonly server: Pick<Pair, "certificateFile" | "keyFile">;
    readonly clientCa?: Pick<Pair, "certificateFile">;
  };
  /** Where the folder with its data is made, e.g. a small disk. */
  readonly parent?: string;
}

export interface StandbyOptions {
  /** Its `application_name`, by which the primary knows it. */
  readonly name: string;
  /** The primary's commits wait for it. */
  readonly synchronous?: boolean;
  /** As {@link PostgresOptions.parent}. */
  readonly parent?: string;
}

export interface Postgres extends AsyncDisposable {
  readonly port: number;
  /** Of the process above all of the server's. */
  readonly pid: number;
  /** All that it has logged. */
  readonly lines: readonly string[];
  /** `postgres://ROLE:PASSWORD@127.0.0.1:PORT/edgeferry`. */
  url(role: Role): string;
  password(role: Role): string;
  /** As {@link Postgres.url}, for the driver. */
  config(role: Role): ClientConfig;
  /** Runs statements on a connection of their own; the rows of the last. */
  query(
    sql: string,
    values?: readonly unknown[],
    role?: Role,
    database?: string,
  ): Promise<readonly Record<string, unknown>[]>;
  /** Changes a setting that needs no restart, and resolves when new connections see it. */
  set(name: string, value: string): Promise<void>;
  /** Ends it in order: connections are closed, transactions under way are rolled back. */
  stop(): Promise<void>;
  /** Ends all its processes by SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again, on its data and its port. */
  start(): Promise<void>;
  /** All its processes stand still, until {@link Postgres.thaw}. */
  freeze(): void;
  thaw(): void;
  /** A copy that follows it. */
  standby(options: StandbyOptions): Promise<Postgres>;
  /** Makes a standby a primary, which waits for nobody. */
  promote(): Promise<void>;
}

const DATABASE = "edgeferry";
const PASSWORDS: Readonly<Record<Role, string>> = {
  owner: "owner-Pw7",
  relay: "relay-Pw7",
  postgres: "postgres-Pw7",
};

/** Where the server's programs are: Debian keeps them off PATH, one folder a version. */
function programOf(name: string): string {
  const base = "/usr/lib/postgresql";
  const versions = existsSync(base) ? readdirSync(base).sort((one, other) => Number(other) - Number(one)) : [];
  const path = versions.map((version) => join(base, version, "bin", name)).find(existsSync);
  if (path === undefined) throw new MissingTool("postgres");
  return path;
}

/** Starts one with its roles and an empty database, and resolves when it takes connections. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("postgres", options.parent));
  const passwordFile = join(folder.path, "password");
  await writeFile(passwordFile, PASSWORDS.postgres);
  if (folder.run.user !== undefined) await chown(passwordFile, folder.run.user.uid, folder.run.user.gid);
  const data = join(folder.path, "data");
  await runProgram({
    command: programOf("initdb"),
    args: [
      `--pgdata=${data}`,
      "--username=postgres",
      `--pwfile=${passwordFile}`,
      "--auth=scram-sha-256",
      "--no-locale",
      "--encoding=UTF8",
      // What is made here can be made again.
      "--no-sync",
      "--no-instructions",
    ],
    ...folder.run,
  });
  await rm(passwordFile);
  await writeFile(join(data, "pg_hba.conf"), accessOf(options.tls));
  await writeSettings(folder, data, options);
  const server = stack.use(await Server.open(folder, data, options.tls !== undefined));
  await server.query(
    (["owner", "relay"] as const).map((role) => `CREATE ROLE ${role} LOGIN PASSWORD '${PASSWORDS[role]}';`).join("\n"),
    [],
    "postgres",
    "postgres",
  );
  await server.query(`CREATE DATABASE ${DATABASE} OWNER owner`, [], "postgres", "postgres");
  await server.query(`REVOKE ALL ON DATABASE ${DATABASE} FROM PUBLIC; GRANT CONNECT ON DATABASE ${DATABASE} TO relay`);
  const moved = stack.move();
  server.onDispose(() => moved.disposeAsync());
  return server;
}

function accessOf(tls: PostgresOptions["tls"]): string {
  const kind = tls === undefined ? "host" : "hostssl";
  const how = tls?.clientCa === undefined ? "scram-sha-256" : "scram-sha-256 clientcert=verify-full";
  return [
    // Who prepares a test does so with TLS or without.
    "host all postgres,owner 127.0.0.1/32 scram-sha-256",
    `${kind} all all 127.0.0.1/32 ${how}`,
    "host replication postgres 127.0.0.1/32 scram-sha-256",
  ].join("\n") + "\n";
}

async function writeSettings(folder: ServerFolder, data: string, { settings, tls }: PostgresOptions): Promise<void> {
  const files: Record<string, string> = {};
  for (
    const [setting, source] of [
      ["ssl_cert_file", tls?.server.certificateFile],
      ["ssl_key_file", tls?.server.keyFile],
      ["ssl_ca_file", tls?.clientCa?.certificateFile],
    ] as const
  ) {
    if (source === undefined) continue;
    const path = join(folder.path, setting);
    await copyFile(source, path);
    if (folder.run.user !== undefined) await chown(path, folder.run.user.uid, folder.run.user.gid);
    files[setting] = path;
  }
  const all: Record<string, string> = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    dynamic_shared_memory_type: "mmap",
    shared_buffers: "64MB",
    wal_level: "replica",
    log_line_prefix: "%p %u ",
    ...(tls === undefined ? {} : { ssl: "on" }),
    ...files,
    ...settings,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  await writeFile(join(data, "postgresql.conf"), lines.join("\n") + "\n");
}

class Server implements Postgres {
  readonly #past: string[] = [];
  readonly #folder: ServerFolder;
  readonly #data: string;
  readonly #tls: boolean;
  #program: Program | undefined;
  #frozen: (() => void) | undefined;
  #dispose: (() => Promise<void>) | undefined;

  private constructor(folder: ServerFolder, data: string, tls: boolean, readonly port: number) {
    this.#folder = folder;
    this.#data = data;
    this.#tls = tls;
  }

  static async open(folder: ServerFolder, data: string, tls: boolean): Promise<Server> {
    const server = new Server(folder, data, tls, await freePort());
    await server.start();
    return server;
  }

  /** What its end begins with; that ends it once more. */
  onDispose(dispose: () => Promise<void>): void {
    this.#dispose = dispose;
  }

  get pid(): number {
    if (this.#program === undefined) throw new Error("PostgreSQL has not been started");
    return this.#program.pid;
  }

  get lines(): readonly string[] {
    return [...this.#past, ...this.#program?.lines ?? []];
  }

  password(role: Role): string {
    return PASSWORDS[role];
  }

  url(role: Role): string {
    return `postgres://${role}:${PASSWORDS[role]}@127.0.0.1:${this.port}/${DATABASE}`;
  }

  config(role: Role): ClientConfig {
    return this.#config(role, DATABASE);
  }

  #config(role: Role, database: string): ClientConfig {
    return { host: "127.0.0.1", port: this.port, user: role, password: PASSWORDS[role], database };
  }

  async query(
    sql: string,
    values: readonly unknown[] = [],
    role: Role = "postgres",
    database = DATABASE,
  ): Promise<readonly Record<string, unknown>[]> {
    const client = new Client(this.#config(role, database));
    // A server that is killed meanwhile says so on its connections, too.
    client.on("error", () => {});
    await client.connect();
    try {
      // Several statements in one text have a result each; with values there is one.
      const result: QueryResult | QueryResult[] = values.length === 0
        ? await client.query(sql)
        : await client.query(sql, values);
      return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
    } finally {
      await client.end();
    }
  }

  async set(name: string, value: string): Promise<void> {
    await this.query(`ALTER SYSTEM SET ${name} = '${value.replaceAll("'", "''")}'`);
    const loadedAt = async () => (await this.query("SELECT pg_conf_load_time()::text AS at"))[0]?.["at"];
    const before = await loadedAt();
    await this.query("SELECT pg_reload_conf()");
    await this.#until(async () => await loadedAt() !== before, `${name} = ${value}`);
  }

  async start(): Promise<void> {
    const program = startProgram({
      command: programOf("postgres"),
      args: ["-D", this.#data, "-p", String(this.port)],
      ...this.#folder.run,
    });
    this.#past.push(...this.#program?.lines ?? []);
    this.#program = program;
    try {
      await program.line(/database system is ready to accept (read-only )?connections/);
    } catch (error) {
      await program.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.thaw();
    // The fast way: SIGTERM would wait for connections.
    try {
      this.#program?.signal("SIGINT");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    await this.#program?.ended;
  }

  async kill(): Promise<void> {
    if (this.#program === undefined) return;
    for (const pid of signalTree(this.#program.pid, "SIGKILL")) send(pid, "SIGKILL");
    this.#frozen = undefined;
    await this.#program.ended;
  }

  freeze(): void {
    if (this.#program === undefined || this.#frozen !== undefined) return;
    const pids = signalTree(this.#program.pid, "SIGSTOP");
    // What stands still does not see that its parent has died.
    const kill = () => pids.forEach((pid) => send(pid, "SIGKILL"));
    globalThis.addEventListener("unload", kill);
    this.#frozen = () => {
      globalThis.removeEventListener("unload", kill);
      pids.forEach((pid) => send(pid, "SIGCONT"));
    };
  }

  thaw(): void {
    this.#frozen?.();
    this.#frozen = undefined;
  }

  async standby({ name, synchronous = false, parent }: StandbyOptions): Promise<Postgres> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await serverFolder(`standby-${name}`, parent));
    const data = join(folder.path, "data");
    const source =
      `host=127.0.0.1 port=${this.port} user=postgres password=${PASSWORDS.postgres} application_name=${name}`;
    await runProgram({
      command: programOf("pg_basebackup"),
      args: [`--pgdata=${data}`, `--dbname=${source}`, "--checkpoint=fast", "--write-recovery-conf", "--no-sync"],
      ...folder.run,
    });
    const server = stack.use(await Server.open(folder, data, this.#tls));
    if (synchronous) {
      await this.set("synchronous_standby_names", name);
      await this.#until(async () => {
        const [row] = await this.query("SELECT sync_state FROM pg_stat_replication WHERE application_name = $1", [
          name,
        ]);
        return row?.["sync_state"] === "sync";
      }, `${name} as its synchronous standby`);
    }
    const moved = stack.move();
    server.onDispose(() => moved.disposeAsync());
    return server;
  }

  async promote(): Promise<void> {
    await this.query("ALTER SYSTEM RESET synchronous_standby_names");
    await this.query("SELECT pg_promote(true)");
  }

  async #until(test: () => Promise<boolean>, what: string): Promise<void> {
    for (let left = 600; left > 0; left--) {
      if (await test()) return;
      await after(50);
    }
    throw new Error(
      `PostgreSQL on port ${this.port} did not come to ${what}; it said:\n${this.#program?.lines.join("\n")}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const dispose = this.#dispose;
    if (dispose !== undefined) {
      this.#dispose = undefined;
      await dispose();
      return;
    }
    await this.stop();
    await this.#removeSegment();
  }

  /** What a killed server leaves in the kernel; its number is in the file that it left. */
  async #removeSegment(): Promise<void> {
    const file = join(this.#data, "postmaster.pid");
    if (!existsSync(file)) return;
    const id = readFileSync(file, "utf8").split("\n")[6]?.trim().split(/\s+/)[1];
    if (id !== undefined) await toolOutput("ipcrm", ["-m", id]);
  }
}
