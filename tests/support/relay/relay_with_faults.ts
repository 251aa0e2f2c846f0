/** The command `run`, with faults in the queue's transactions: RELAY_FAULTS is their JSON. */
import process from "node:process";
import { loadConfig } from "../../../src/config/load.ts";
import type { Fault } from "../../../src/queue/sqlite/file/injected_faults.ts";
import { startRelayWith } from "../../../src/relay/relay.ts";
import { createLog } from "../../../src/telemetry/log.ts";

const stopped = new Promise<void>((resolve) => process.once("SIGTERM", () => resolve()));
const { config } = await loadConfig({ env: {}, file: process.argv.at(-1)! });
const faults: readonly Fault[] = JSON.parse(process.env["RELAY_FAULTS"]!);
const relay = await startRelayWith(config, createLog({ level: "info", format: "text" }), { faults });
await Promise.race([stopped, relay.failed]);
await relay.stop();
