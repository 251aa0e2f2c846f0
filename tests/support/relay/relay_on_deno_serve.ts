/** The command `run`, with `Deno.serve` before the relay, as hosts have it that start a program by that call. */
import process from "node:process";
import { loadConfig } from "../../../src/config/load.ts";
import { startRelayWith } from "../../../src/relay/relay.ts";
import { createLog } from "../../../src/telemetry/log.ts";

const stopped = new Promise<void>((resolve) => process.once("SIGTERM", () => resolve()));
const { config } = await loadConfig({ env: {}, file: process.argv.at(-1)! });
const relay = await startRelayWith(config, createLog(config.telemetry.log), { way: "deno_serve" });
await Promise.race([stopped, relay.failed]);
await relay.stop();
process.exit(0);
