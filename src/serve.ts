/**
 * The same for `deno serve`, which has the port: `deno serve --allow-net --allow-env --allow-read=src --port 4319 src/serve.ts`.
 * @module
 */
import process from "node:process";
import { checkDeno } from "./hosted/deno_version.ts";
import type { Served } from "./hosted/relay.ts";
import { messageOf } from "./errors.ts";

const err = (line: string) => console.error(line);

function fail(error: unknown): never {
  err(messageOf(error));
  process.exit(1);
}

async function start(): Promise<Served> {
  try {
    checkDeno(process.versions["deno"]);
    const { serveDeployed } = await import("./hosted/relay.ts");
    return await serveDeployed({ out: (line) => console.log(line), err, isTerminal: false });
  } catch (error) {
    return fail(error);
  }
}

const served = await start();
served.ended.then(() => process.exit(0), fail);

export default { fetch: served.fetch };
