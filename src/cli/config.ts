/**
 * `config check` and `config reference`.
 * @module
 */
import process from "node:process";
import { stringify } from "@std/yaml";
import type { Command } from "commander";
import type { Environment } from "../config/environment.ts";
import { loadConfig, readDotEnvFile } from "../config/load.ts";
import { printedRows, referenceRows, renderReference, valueOf, written } from "../config/reference.ts";
import { describeRoutes, routesOf } from "../config/routes.ts";
import { shownConfig } from "../config/show.ts";
import { ConfigError } from "../errors.ts";
import { FaultFound, fitted, type Io, newCommand, putEntry, warn } from "./io.ts";

/** The process that a command is run in. */
export interface Surroundings {
  readonly env: Environment;
  readonly cwd: string;
}

/** The family `config`. `check` throws {@link FaultFound} with every fault, one a line, when the configuration is bad. */
export function configCommand(io: Io, surroundings?: Surroundings): Command {
  const family = newCommand(io, "config").description("Check the configuration, or list every option");

  family.command("check")
    .description(
      "Print the configuration as the relay would use it, secrets hidden; doctor checks the files and hosts it names",
    )
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--json", "print JSON")
    .action(async (options: { config?: string; json?: true }) => {
      const { env, cwd } = surroundings ?? { env: process.env, cwd: process.cwd() };
      await check(io, { env, cwd }, options);
    });

  family.command("reference")
    .description(
      "Every option with its default, its variables and its meaning: as a Markdown table where it is no terminal",
    )
    .option("--json", "print JSON")
    .action((options: { json?: true }) => {
      if (options.json) io.out(JSON.stringify(referenceRows(), null, 2));
      else if (!io.isTerminal) io.out(renderReference().trimEnd());
      else {
        for (const row of printedRows()) {
          const value = `${valueOf(row)}; ${row.default === undefined ? "unset" : `default ${written(row.default)}`}`;
          putEntry(io, row.key, [row.help, value, ...row.environment]);
        }
      }
    });

  return family;
}

async function check(io: Io, { env, cwd }: Surroundings, options: { config?: string; json?: true }): Promise<void> {
  try {
    const { config, warnings, sources } = await loadConfig({
      env,
      dotEnv: await readDotEnvFile(cwd),
      cwd,
      ...(options.config === undefined ? {} : { file: options.config }),
    });
    const shown = shownConfig(config);
    const routes = routesOf(config);
    if (options.json) {
      io.out(
        JSON.stringify(
          {
            ok: true,
            sources: { file: sources.file ?? null, environment: sources.environment },
            warnings,
            config: shown,
            routes,
          },
          null,
          2,
        ),
      );
      return;
    }
    const lines = [
      `file: ${sources.file ?? "none"}`,
      `variables: ${sources.environment.join(", ") || "none"}`,
      ...describeRoutes(routes),
    ];
    for (const line of lines) {
      // Each line of what is printed is YAML.
      for (const each of fitted(line, io.width === undefined ? undefined : io.width - 2, 2)) io.out(`# ${each}`);
    }
    io.out(stringify(shown).trimEnd());
    for (const warning of warnings) warn(io, warning);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (options.json) io.out(JSON.stringify({ ok: false, faults: error.faults }, null, 2));
    throw new FaultFound(error.message, { cause: error });
  }
}
