/** A file system of a few MiB in memory, mounted for one test; needs root. */
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SmallDisk extends AsyncDisposable {
  readonly dir: string;
  /** Mounts it anew with other options, such as `ro` or `size=8m`; what is on it stays. */
  remount(options: string): Promise<void>;
}

/** @param options as `mount -t tmpfs -o` has them */
export async function mountSmallDisk(options: string): Promise<SmallDisk> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-disk-"));
  await run("mount", ["-t", "tmpfs", "-o", options, "edgeferry-test", dir]);
  return {
    dir,
    remount: (other) => run("mount", ["-o", `remount,${other}`, dir]),
    async [Symbol.asyncDispose]() {
      await run("umount", [dir]);
      await rmdir(dir);
    },
  };
}

async function run(command: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")} failed: ${new TextDecoder().decode(stderr)}`);
}
