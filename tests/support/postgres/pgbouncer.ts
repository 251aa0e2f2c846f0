/** PgBouncer in transaction mode before a PostgreSQL: each transaction may be on another connection of the server's. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startProgram } from "../program/program.ts";
import { freePort } from "../tools/collector.ts";
import { serverFolder } from "./account.ts";
import type { Postgres, Role } from "./postgres.ts";

export interface PgBouncer extends AsyncDisposable {
  readonly port: number;
  /** `postgres://ROLE:PASSWORD@127.0.0.1:PORT/edgeferry`. */
  url(role: Role): string;
  readonly lines: readonly string[];
}

/** @param poolSize most connections to the server, a role and database; fewer than the clients, so that they share them. */
export async function startPgBouncer(postgres: Postgres, poolSize = 2): Promise<PgBouncer> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("pgbouncer"));
  const port = await freePort();
  const users = join(folder.path, "users.txt");
  // The text of the passwords: it has to prove them to the server, too.
  const roles = ["owner", "relay", "postgres"] as const;
  await writeFile(users, roles.map((role) => `"${role}" "${postgres.password(role)}"\n`).join(""));
  const file = join(folder.path, "pgbouncer.ini");
  await writeFile(
    file,
    `[databases]
* = host=127.0.0.1 port=${postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
max_client_conn = 1000
default_pool_size = ${poolSize}
`,
  );
  const program = stack.use(startProgram({ command: "pgbouncer", args: [file], ...folder.run }));
  await program.line(/process up/);
  const end = stack.move();
  return {
    port,
    lines: program.lines,
    url(role) {
      const url = new URL(postgres.url(role));
      url.port = String(port);
      return url.href;
    },
    [Symbol.asyncDispose]: () => end.disposeAsync(),
  };
}
