/** What a run of the bench leaves behind, and the tables that are printed from it. */
import type { Figures } from "./measure.ts";
import { median } from "./table.ts";

/** Medians of all rounds, by subject. */
export type Column = Readonly<Record<string, Figures>>;

/** One run. */
export interface Results {
  /** The day, as YYYY-MM-DD. */
  readonly measured: string;
  readonly cores: number;
  readonly connections: number;
  readonly rounds: number;
  readonly warmRequests: number;
  readonly countedRequests: number;
  readonly coldRequests: number;
  /** By shape and spans, such as `gzip:10`. */
  readonly columns: Readonly<Record<string, Column>>;
}

/** Each figure's median, to three digits. */
export function summary(rounds: Readonly<Record<string, readonly Figures[]>>): Column {
  return Object.fromEntries(
    Object.entries(rounds).map(([name, figures]) => [
      name,
      Object.fromEntries(
        (Object.keys(figures[0]!) as (keyof Figures)[]).map((key) => [
          key,
          Number(median(figures.map((one) => one[key])).toPrecision(3)),
        ]),
      ) as unknown as Figures,
    ]),
  );
}

/** A row of a table: a title, the way in, and its subject. */
export interface Row {
  readonly title: string;
  readonly wayIn: string;
}

const COLUMN_TITLES: Readonly<Record<string, string>> = {
  "gzip:10": "10 spans, gzip",
  "gzip:100": "100 spans, gzip",
  "json:10": "10 spans, JSON",
  "gzip:1": "1 span, gzip",
  "gzip:512": "512 spans, gzip",
  "plain:10": "10 spans, plain",
};

/** CPU of a request in us, a row a subject; with `details` also the way in, p99 and memory. */
export function costTable(
  { columns }: Results,
  rows: Readonly<Record<string, Row>>,
  details: boolean,
): string {
  const names = Object.keys(columns);
  const titles = names.map((name) => COLUMN_TITLES[name] ?? name);
  const header = [
    "us of CPU a request",
    ...(details ? ["way in"] : []),
    ...titles,
    ...(details ? ["p99 ms", "peak RSS MiB"] : []),
  ];
  const lines = Object.entries(rows).filter(([subject]) => names.some((name) => columns[name]![subject] !== undefined))
    .map(
      ([subject, { title, wayIn }]) => {
        const bold = title.startsWith("**");
        const shown = (value: number | undefined) =>
          value === undefined ? "-" : bold ? `**${Math.round(value)}**` : `${Math.round(value)}`;
        const figures = names.map((name) => columns[name]![subject]);
        const range = (key: "p99Ms" | "rssMiB") => {
          const values = figures.filter((one) => one !== undefined).map((one) => Math.round(one[key]));
          const [least, most] = [Math.min(...values), Math.max(...values)];
          return least === most ? `${least}` : `${least} - ${most}`;
        };
        return [
          title,
          ...(details ? [wayIn] : []),
          ...figures.map((one) => shown(one?.cpuUs)),
          ...(details ? [range("p99Ms"), range("rssMiB")] : []),
        ];
      },
    );
  return [header, header.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
