/** Figures of several rounds as a table: medians with the least and the most, and ratios to one subject. */
import type { Figures } from "./measure.ts";

const COLUMNS: readonly { key: keyof Figures; title: string; digits: number }[] = [
  { key: "cpuUs", title: "us CPU a request", digits: 0 },
  { key: "spanCpuUs", title: "a span", digits: 1 },
  { key: "requestsPerSecond", title: "requests/s", digits: 0 },
  { key: "p50Ms", title: "p50 ms", digits: 1 },
  { key: "p99Ms", title: "p99 ms", digits: 1 },
  { key: "rssMiB", title: "peak RSS MiB", digits: 0 },
  { key: "wireBytes", title: "wire bytes a request", digits: 0 },
];

/** Whose figures the ratios are to. */
const BASE = "sqlite";
const RATIOS: readonly { key: keyof Figures; title: string }[] = [
  { key: "cpuUs", title: "CPU" },
  { key: "p99Ms", title: "p99" },
  { key: "wireBytes", title: "wire bytes" },
];

/** The middle one; of an even number the upper of the two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Markdown, a row a subject. */
export function table(rounds: Readonly<Record<string, readonly Figures[]>>): string {
  const base = rounds[BASE];
  const titles = [
    ...COLUMNS.map(({ title }) => title),
    ...(base === undefined ? [] : RATIOS.map(({ title }) => `${title} to ${BASE}'s`)),
  ];
  const rows = Object.entries(rounds).map(([name, figures]) => {
    const medianOf = (of: readonly Figures[], key: keyof Figures) => median(of.map((one) => one[key]));
    const cells = COLUMNS.map(({ key, digits }) => {
      const all = figures.map((figure) => figure[key]);
      return `${median(all).toFixed(digits)} (${Math.min(...all).toFixed(digits)}-${Math.max(...all).toFixed(digits)})`;
    });
    const ratios = base === undefined
      ? []
      : RATIOS.map(({ key }) => `${(medianOf(figures, key) / medianOf(base, key)).toFixed(2)}x`);
    return `| ${[name, ...cells, ...ratios].join(" | ")} |`;
  });
  return [`| | ${titles.join(" | ")} |`, `| ---${" | ---".repeat(titles.length)} |`, ...rows].join("\n");
}
