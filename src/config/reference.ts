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

/** The options as they are printed: what is there for each signal alike is one row, with `<signal>` in its names. */
export function printedRows(): ReferenceRow[] {
  return referenceRows().filter(({ key }) => !/^exporter\.signals\.(?!traces\.)/.test(key)).map((row) => {
    if (!row.key.startsWith("exporter.signals.")) return row;
    const named = (name: string) => name.replace("signals.traces", "signals.<signal>").replace("TRACES", "<SIGNAL>");
    return { ...row, key: named(row.key), environment: row.environment.map(named) };
  });
}

/** The reference as one Markdown table. */
export function renderReference(): string {
  const lines = ["| key | value | default | variables | meaning |", "| --- | --- | --- | --- | --- |"];
  for (const row of printedRows()) {
    const cells = [
      `\`${row.key}\``,
      valueOf(row),
      row.default === undefined ? "unset" : `\`${written(row.default)}\``,
      row.environment.map((name) => `\`${name}\``).join("<br>"),
      row.help.replaceAll("<signal>", "`<signal>`"),
    ];
    lines.push(`| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

/** What a value is: `size: 1KiB to 256MiB`, `flag`. */
export const valueOf = ({ type, bounds }: ReferenceRow): string => bounds === undefined ? type : `${type}: ${bounds}`;

/** A default as one writes it. */
export const written = (value: unknown): string => typeof value === "object" ? JSON.stringify(value) : String(value);
