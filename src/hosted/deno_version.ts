/**
 * Whether this Deno will do. Imports next to nothing, so that it can be asked before what an older one cannot load.
 * @module
 */
import { ConfigError } from "../errors.ts";

/** The oldest Deno that this was run with, and works; 2.7.1 names the curves of keys otherwise, 2.5.0 has no `parseEnv`. */
const DENO_MIN = [2, 8, 1] as const;

/** @throws {ConfigError} A host that has its own Deno may have an older one; what then goes wrong names something else. */
export function checkDeno(version: string | undefined): void {
  const parts = (version ?? "").split(".").map((part) => parseInt(part, 10));
  for (const [index, least] of DENO_MIN.entries()) {
    const part = parts[index] ?? NaN;
    if (part > least) return;
    if (!(part < least)) continue;
    throw new ConfigError(
      {
        what: `Cannot run on Deno ${version}`,
        state: "it is too old",
        remedy: `choose ${DENO_MIN.join(".")} or newer at the host`,
      },
    );
  }
}
