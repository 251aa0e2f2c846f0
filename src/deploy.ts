/**
 * What such a host starts that `hosted/relay.ts` is for: `deno run --allow-net --allow-env --allow-read=src src/deploy.ts`.
 * @module
 */
import process from "node:process";
import { checkDeno } from "./hosted/deno_version.ts";
import { messageOf } from "./errors.ts";

if (import.meta.main) {
  const err = (line: string) => console.error(line);
  try {
    checkDeno(process.versions["deno"]);
    // After the check: in a Deno that is too old these imports themselves fail, and say nothing of it.
    const { runDeployed } = await import("./hosted/relay.ts");
    await runDeployed({ out: (line) => console.log(line), err, isTerminal: false });
    process.exit(0);
  } catch (error) {
    err(messageOf(error));
    process.exit(1);
  }
}
