/**
 * The command `run`, with faults in the queue's transactions: RELAY_FAULTS is their JSON. Its wall clock is off by as many ms as the file
 * RELAY_CLOCK says, which may change at any time, as by NTP or by hand.
 */
import { readFileSync, watchFile } from "node:fs";
import process from "node:process";
import { loadConfig } from "../../../src/config/load.ts";
import type { Fault } from "../../../src/queue/sqlite/injected_faults.ts";
import { startRelayWith } from "../../../src/relay/relay.ts";
import { createLog } from "../../../src/telemetry/log.ts";

const clockFile = process.env["RELAY_CLOCK"];
if (clockFile !== undefined) {
  const real = Date.now.bind(Date);
  let offsetMs = 0;
  const read = () => offsetMs = Number(readFileSync(clockFile, "utf8")) || 0;
  read();
  watchFile(clockFile, { interval: 50, persistent: false }, read);
  Date.now = () => real() + offsetMs;
}
const stopped = new Promise<void>((resolve) => process.once("SIGTERM", () => resolve()));
const { config } = await loadConfig({ env: {}, file: process.argv.at(-1)! });
const faults: readonly Fault[] = JSON.parse(process.env["RELAY_FAULTS"]!);
const relay = await startRelayWith(config, createLog({ level: "info", format: "text" }), { faults });
await Promise.race([stopped, relay.failed]);
await relay.stop();
