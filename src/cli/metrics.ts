/**
 * `metrics`: the reference of the relay's own instruments.
 * @module
 */
import type { Command } from "commander";
import { instrumentRows, renderInstruments } from "../telemetry/prometheus.ts";
import { type Io, newCommand, putEntry } from "./io.ts";

/** The command `metrics`. */
export function metricsCommand(io: Io): Command {
  return newCommand(io, "metrics")
    .description(
      "Every metric of the relay with its name at /metrics, unit, attributes and meaning: as a Markdown table where it is no terminal",
    )
    .option("--json", "print JSON")
    .action((options: { json?: true }) => {
      if (options.json) io.out(JSON.stringify(instrumentRows(), null, 2));
      else if (!io.isTerminal) io.out(renderInstruments().trimEnd());
      else {
        for (const { name, prometheus, kind, unit, attributes, description } of instrumentRows()) {
          const by = attributes.length === 0 ? "" : ` by ${attributes.join(", ")}`;
          putEntry(io, name, [
            description,
            `${kind} in ${unit}${by}`,
            ...prometheus === name ? [] : [`${prometheus} at /metrics`],
          ]);
        }
      }
    });
}
