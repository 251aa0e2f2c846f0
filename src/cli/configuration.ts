/**
 * The configuration of a command: its file, the environment and `.env`.
 * @module
 */
import process from "node:process";
import type { Environment } from "../config/environment.ts";
import { loadConfig, readDotEnvFile } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { type Io, warn } from "./io.ts";

/**
 * The configuration of a file and the environment; its warnings are printed.
 * @param flags Variables that the command's own flags stand for; they win.
 * @throws {ConfigError}
 */
export async function configOf(io: Io, file: string | undefined, flags: Environment = {}): Promise<Config> {
  const { config, warnings } = await loadConfig({
    env: { ...process.env, ...flags },
    dotEnv: await readDotEnvFile(),
    ...(file === undefined ? {} : { file }),
  });
  for (const warning of warnings) warn(io, warning);
  return config;
}
