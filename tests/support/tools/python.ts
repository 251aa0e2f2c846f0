/**
 * The Python that the senders of the end-to-end tests run on: a virtual environment with the packages of requirements.txt,
 * made once and kept under tests/.cache.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toolOutput } from "./tool.ts";

const requirementsFile = fileURLToPath(new URL("./requirements.txt", import.meta.url));
const cacheFolder = fileURLToPath(new URL("../../.cache/", import.meta.url));
const environmentFolder = join(cacheFolder, "python");
const interpreter = join(environmentFolder, "bin/python");
const stampFile = join(environmentFolder, "requirements.sha256");
const lockFile = join(cacheFolder, "python.lock");

/** The path of the environment's interpreter; made first where it is missing or requirements.txt has changed: ten seconds. */
export async function python(): Promise<string> {
  await mkdir(cacheFolder, { recursive: true });
  const stamp = createHash("sha256").update(await readFile(requirementsFile)).digest("hex");
  if (await isMade(stamp)) return interpreter;
  using lock = await Deno.open(lockFile, { create: true, write: true });
  await lock.lock(true);
  if (await isMade(stamp)) return interpreter;
  await rm(environmentFolder, { recursive: true, force: true });
  await run(
    "python3",
    ["-m", "venv", environmentFolder],
    "install Python 3.10 or newer with venv (apt-get install python3-venv)",
  );
  await run(
    interpreter,
    // No resolving: what is not in the file is not installed, and the check says so.
    ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", requirementsFile],
    "see that the package index can be reached",
  );
  await run(
    interpreter,
    ["-m", "pip", "check", "--disable-pip-version-check"],
    "pin what is missing in requirements.txt",
  );
  await writeFile(stampFile, stamp);
  return interpreter;
}

/** Made from this file, by a Python that is still there. */
async function isMade(stamp: string): Promise<boolean> {
  const found = await readFile(stampFile, "utf8").catch(() => "");
  if (found !== stamp) return false;
  const { success } = await new Deno.Command(interpreter, { args: ["-c", ""], stdout: "null", stderr: "null" }).output()
    .catch(() => ({ success: false }));
  return success;
}

async function run(command: string, args: string[], remedy: string): Promise<void> {
  const failed = (why: string) => new Error(`Cannot make the Python environment of the tests: ${why}; ${remedy}`);
  const { success, stdout, stderr } = await toolOutput(command, args);
  if (!success) throw failed(`${command} ${args.join(" ")} said:\n${stdout}${stderr}`);
}
