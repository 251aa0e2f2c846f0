/**
 * A task of deno.json as users start it.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Folder } from "../files/folder.ts";
import { type Program, startProgram } from "./program.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const manifest: { tasks: Record<string, { command: string }> } = JSON.parse(
  await readFile(join(root, "deno.json"), "utf8"),
);

/** A task as users start it, permissions and all, but that it does not watch its files. */
export function startTask(
  task: string,
  cwd: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Program {
  const words = manifest.tasks[task]!.command.split(" ");
  const deno = words.indexOf("deno");
  const variables = words.slice(0, deno).map((word) => word.split("=") as [string, string]);
  const rest = words.slice(deno + 1).filter((word) => !word.startsWith("--watch"));
  return startProgram({
    command: Deno.execPath(),
    args: [...rest.map((word) => word === "src/main.ts" ? join(root, word) : word), ...args],
    cwd,
    env: { ...Object.fromEntries(variables), ...env },
  });
}

/** Writes relay.yaml with free ports, a Collector's port on this machine and further lines; its path. */
export async function writeConfig({ path }: Folder, collectorPort: number, more = ""): Promise<string> {
  const file = join(path, "relay.yaml");
  await writeFile(
    file,
    `receiver: { http: { endpoint: "127.0.0.1:0" } }
telemetry: { admin: { endpoint: "127.0.0.1:0" } }
exporter: { endpoint: "https://localhost:${collectorPort}" }
${more}`,
  );
  return file;
}
