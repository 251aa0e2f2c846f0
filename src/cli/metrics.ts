/**
 * `metrics`: the reference of the relay's own instruments.
 * @module
 */
import type { Command } from "commander";
import { instrumentRows, renderInstruments } from "../telemetry/prometheus.ts";
import { type Io, newCommand } from "./io.ts";

/** The command `metrics`. */
export function metricsCommand(io: Io): Command {
  return newCommand(io, "metrics")
    .description(
      "Every metric of the relay with its name at /metrics, unit, attributes and meaning, as a Markdown table",
    )
    .option("--json", "print JSON")
    .action((options: { json?: true }) => {
      io.out(options.json ? JSON.stringify(instrumentRows(), null, 2) : renderInstruments().trimEnd());
    });
}
