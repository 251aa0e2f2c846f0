/** Whom a database's server runs as: PostgreSQL and PgBouncer refuse root. */
import { chown, mkdtemp, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** The account `postgres` of Debian's package where the test runs as root; else none, which means the test's own. */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = readFileSync("/etc/passwd", "utf8").split("\n").find((entry) => entry.startsWith("postgres:")) ??
    "nobody::65534:65534";
  const [, , uid, gid] = line.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

export interface ServerFolder extends AsyncDisposable {
  readonly path: string;
  /** For {@link startProgram}. */
  readonly run: { readonly cwd: string; readonly user?: Account };
}

/** A folder of one server, which is that account's. @param parent where it is made */
export async function serverFolder(name: string, parent = tmpdir()): Promise<ServerFolder> {
  const path = await mkdtemp(join(parent, `edgeferry-${name}-`));
  const account = serverAccount();
  if (account !== undefined) await chown(path, account.uid, account.gid);
  return {
    path,
    run: { cwd: path, ...(account === undefined ? {} : { user: account }) },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
