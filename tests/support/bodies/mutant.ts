/** The relay with one line of its source changed: what shows that a test can fail. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../relay/restartable_relay.ts";

export interface Mutant extends AsyncDisposable {
  /** A checkout to run from. */
  readonly root: string;
}

/** Copies the source, with `from`, which must stand in `file` once, replaced by `to`. */
export async function makeMutant(file: string, from: string, to: string): Promise<Mutant> {
  const root = await mkdtemp(join(tmpdir(), "edgeferry-mutant-"));
  const remove = () => rm(root, { recursive: true, force: true });
  try {
    for (const name of ["src", "deno.json", "deno.lock"]) {
      await cp(join(ROOT, name), join(root, name), { recursive: true });
    }
    const text = await readFile(join(root, file), "utf8");
    if (text.split(from).length !== 2) throw new Error(`${JSON.stringify(from)} does not stand once in ${file}`);
    await writeFile(join(root, file), text.replace(from, to));
  } catch (error) {
    await remove();
    throw error;
  }
  return { root, [Symbol.asyncDispose]: remove };
}
