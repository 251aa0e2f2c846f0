/**
 * The reference of every option, rendered from the schema.
 * @module
 */
import { environmentName, otelName } from "./environment.ts";
import { OPTIONS } from "./schema.ts";

/** One option for the reference. */
export interface ReferenceRow {
  /** Dotted, e.g. `receiver.http.endpoint`. */
  readonly key: string;
  readonly type: string;
  /** Unit of the number in the parsed configuration. */
  readonly unit: string | undefined;
  readonly bounds: string | undefined;
  /** As one writes it in the file; undefined where the option is unset by default. */
  readonly default: unknown;
  /** The variables that set it; the first wins. */
  readonly environment: readonly string[];
  /** What a value must be. */
  readonly wanted: string;
  readonly help: string;
}

/** Every option, in the order of the file. */
export function referenceRows(): ReferenceRow[] {
  return OPTIONS.map((option) => {
    const otel = otelName(option);
    return {
      key: option.path.join("."),
      type: option.type,
      unit: option.unit,
      bounds: option.bounds,
      default: option.default,
      environment: [environmentName(option.path), ...(otel === undefined ? [] : [otel])],
      wanted: option.wanted,
      help: option.help,
    };
  });
}

/** The reference as one Markdown table. What is there for each signal alike is one row, with `<signal>` in its names. */
export function renderReference(): string {
  const lines = ["| key | value | default | variables | meaning |", "| --- | --- | --- | --- | --- |"];
  for (const row of referenceRows()) {
    if (/^exporter\.signals\.(?!traces\.)/.test(row.key)) continue;
    const perSignal = row.key.startsWith("exporter.signals.");
    const named = (name: string) =>
      perSignal ? name.replace("signals.traces", "signals.<signal>").replace("TRACES", "<SIGNAL>") : name;
    const cells = [
      `\`${named(row.key)}\``,
      row.bounds === undefined ? row.type : `${row.type}: ${row.bounds}`,
      row.default === undefined ? "unset" : `\`${written(row.default)}\``,
      row.environment.map((name) => `\`${named(name)}\``).join("<br>"),
      row.help.replaceAll("<signal>", "`<signal>`"),
    ];
    lines.push(`| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

const written = (value: unknown): string => typeof value === "object" ? JSON.stringify(value) : String(value);
