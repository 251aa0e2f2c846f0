/**
 * Charts of a range up to now, as SVG drawn by the server, each with what it shows in words.
 * @module
 */
// Said here too: a program that uses the library has a configuration of its own.
/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
import type { Child } from "hono/jsx";
import { duration } from "./format.ts";

/** One line; undefined where nothing is known. */
export interface Series {
  readonly name: string;
  /** A step each; the last is now. */
  readonly values: readonly (number | undefined)[];
}

/** What a chart goes up to, and how its values are said. */
export interface Axis {
  readonly format: (value: number) => string;
  /** The smallest maximum of the axis, so that noise does not look like load. */
  readonly topMin: number;
  /** Where it ends, for a highest value: a round number at or above it. */
  readonly top: (highest: number) => number;
}

/** Counts, rates. */
export const DECIMAL = (highest: number): number => roundUp(highest, [1, 2, 5, 10]);
/** Bytes: powers of two. */
export const BINARY = (highest: number): number => 2 ** Math.ceil(Math.log2(highest));
/** Seconds: round minutes and hours from a minute on. */
export const TEMPORAL = (highest: number): number =>
  highest <= 60
    ? [15, 30, 60].find((each) => highest > 10 && each >= highest) ?? DECIMAL(highest)
    : [120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200].find((each) => each >= highest) ??
      DECIMAL(highest / 86_400) * 86_400;

function roundUp(value: number, steps: readonly number[]): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return steps.map((each) => each * power).find((each) => each >= value * 0.999) ?? value;
}

/** A chart. */
export interface ChartOptions {
  readonly title: string;
  /** What it is now. */
  readonly now: Child;
  /** One or two. */
  readonly series: readonly [Series, Series?];
  /** The two are mostly the same: the first is drawn broad, so that it is seen on both sides of the second. */
  readonly overlaid?: boolean;
  readonly axis: Axis;
  /** The length of a step, in ms. */
  readonly stepMs: number;
}

const HEIGHT = 96;

/** How far back a chart may go, in minutes: a relay that has just started is not a line at the edge. */
const SPANS_MIN = [5, 10, 15, 20, 30, 45, 60, 120, 180, 240, 360, 720, 1_440] as const;

/** The last steps: those since something is known, and the time before it up to a round number of minutes. */
export function sinceKnown<Step>(
  steps: readonly Step[],
  stepMs: number,
  isKnown: (step: Step) => boolean,
): readonly Step[] {
  const first = steps.findIndex(isKnown);
  const known = first === -1 ? 0 : steps.length - first;
  const span = SPANS_MIN.map((minutes) => Math.ceil(minutes * 60_000 / stepMs)).find((each) => each >= known);
  return span === undefined ? steps : steps.slice(-Math.max(span, 2));
}

/** What stands in a `figure`. */
export function Chart(
  { title, now, series, overlaid = false, axis: { format, topMin, top: topOf }, stepMs }: ChartOptions,
) {
  const lines = series.filter((line) => line !== undefined);
  const highest = Math.max(0, ...lines.flatMap(({ values }) => values.filter((value) => value !== undefined)));
  const top = topOf(Math.max(highest, topMin));
  const end = Math.max(1, series[0].values.length - 1);
  const length = duration(Math.round(series[0].values.length * stepMs / 1_000));
  const words = lines.map(({ name, values }) => `${name}: ${inWords(values, format)}`).join(". ");
  return (
    <>
      <figcaption>
        <h3>{title}</h3>
        {lines.length > 1 && (
          <span class="legend" aria-hidden="true">
            {lines.map(({ name }, index) => (
              <span class={index === 1 ? "second" : overlaid ? "under" : ""}>{name}</span>
            ))}
          </span>
        )}
        <span class="now">{now}</span>
      </figcaption>
      <div class="top" aria-hidden="true">{format(top)}</div>
      <svg
        viewBox={`0 0 ${end} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title} over the last ${length}. ${words}`}
      >
        <path class="grid" d={`M0 0H${end}M0 ${HEIGHT / 2}H${end}M0 ${HEIGHT}H${end}`} />
        <path class="area" d={areaOf(lines[0]!.values, top)} />
        <path class={overlaid ? "line broad" : "line"} d={pathOf(lines[0]!.values, top)} />
        {lines[1] !== undefined && <path class="line2" d={pathOf(lines[1].values, top)} />}
      </svg>
      <div class="scale" aria-hidden="true">
        <span>{length} ago</span>
        <span>now</span>
      </div>
    </>
  );
}

function inWords(values: readonly (number | undefined)[], format: (value: number) => string): string {
  const known = values.filter((value) => value !== undefined);
  if (known.length === 0) return "nothing yet";
  return `now ${format(known.at(-1)!)}, lowest ${format(Math.min(...known))}, highest ${format(Math.max(...known))}`;
}

const y = (value: number, top: number): string => (HEIGHT * (1 - value / top)).toFixed(1);

/** Runs of steps that are known. */
function runsOf(values: readonly (number | undefined)[]): { from: number; values: number[] }[] {
  const runs: { from: number; values: number[] }[] = [];
  values.forEach((value, index) => {
    if (value === undefined) return;
    const run = runs.at(-1);
    if (run !== undefined && run.from + run.values.length === index) run.values.push(value);
    else runs.push({ from: index, values: [value] });
  });
  return runs;
}

/** A run of one step is drawn as long as the step is. */
function pathOf(values: readonly (number | undefined)[], top: number): string {
  return runsOf(values).map(({ from, values }) => {
    if (values.length === 1) return `M${from - 1} ${y(values[0]!, top)}h1`;
    return `M${from} ${y(values[0]!, top)}` +
      values.slice(1).map((value, index) => `L${from + index + 1} ${y(value, top)}`).join("");
  }).join("");
}

function areaOf(values: readonly (number | undefined)[], top: number): string {
  return runsOf(values).map(({ from, values }) =>
    `M${from} ${HEIGHT}` + values.map((value, index) => `L${from + index} ${y(value, top)}`).join("") +
    `L${from + values.length - 1} ${HEIGHT}Z`
  ).join("");
}
