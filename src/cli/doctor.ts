/**
 * `doctor`: examines the configured relay and its way to the Collector.
 * @module
 */
import process from "node:process";
import type { Command } from "commander";
import { readDotEnvFile } from "../config/load.ts";
import { type CheckResult, examine, type Report } from "../doctor/doctor.ts";
import type { Surroundings } from "./config.ts";
import { counted, FaultFound, fitted, type Io, newCommand, painted } from "./io.ts";
import { printable } from "./terminal.ts";

/** The command `doctor`. Throws {@link FaultFound} naming the faults. */
export function doctorCommand(io: Io, surroundings?: Surroundings): Command {
  return newCommand(io, "doctor")
    .description("Check the path of the data step by step, from the configuration to the Collector's answer")
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--json", "print JSON")
    .action(async (flags: { config?: string; json?: true }) => {
      const { env, cwd } = surroundings ?? { env: process.env, cwd: process.cwd() };
      const report = await examine({
        env,
        dotEnv: await readDotEnvFile(cwd),
        cwd,
        ...(flags.config === undefined ? {} : { file: flags.config }),
      });
      if (flags.json) io.out(JSON.stringify(report, null, 2));
      else for (const line of linesOf(io, report)) io.out(line);
      if (!report.ok) throw new FaultFound(summaryOf(report));
      if (!flags.json) io.out(painted(io, "good", passed(report)));
    });
}

/** `All 30 checks passed`; those that had nothing to look at are no checks. */
function passed({ checks }: Report): string {
  const of = (status: CheckResult["status"]) => checks.filter((check) => check.status === status).length;
  const all = `All ${of("ok") + of("warning")} checks passed`;
  return of("warning") === 0 ? all : `${all}, ${of("warning")} with a warning`;
}

/** The faults with their remedies, at the end of the output. */
function summaryOf({ checks, faults }: Report): string {
  const found = checks.filter(({ status }) => status === "fault");
  const once = found.filter((check, index) =>
    found.findIndex(({ fault, finding }) => fault === check.fault && finding === check.finding) === index
  );
  const lines = once.flatMap(({ fault, id, finding, remedy }) => [
    `  ${fault ?? id}: ${finding}`,
    ...(remedy === null ? [] : [`    To do: ${remedy}`]),
  ]);
  return [`Found ${counted(faults.length, "fault")}:`, ...lines.map(printable)].join("\n");
}

/** Steps that wait for a failed one are shown as a number, below it. */
function linesOf(io: Io, { checks }: Report): string[] {
  let endpoint: string | null = null;
  const key = (each: string | null, id: string) => JSON.stringify([each, id]);
  const waiting = new Map<string, number>();
  for (const { waitsFor, endpoint } of checks) {
    // All wait for the configuration, whatever they look at.
    const on = waitsFor === "config" ? key(null, waitsFor) : waitsFor === null ? undefined : key(endpoint, waitsFor);
    if (on !== undefined) waiting.set(on, (waiting.get(on) ?? 0) + 1);
  }
  return checks.filter(({ waitsFor }) => waitsFor === null).flatMap((check) => {
    const waits = waiting.get(key(check.endpoint, check.id));
    const heading = check.endpoint !== null && check.endpoint !== endpoint ? [check.endpoint] : [];
    endpoint = check.endpoint;
    const [first = "", ...more] = linesOfCheck(check).map(printable);
    const { colour } = LABELS[check.status];
    const [body = "", ...below] = fitted(first, io.width, LABEL_WIDTH);
    const label = body.slice(0, LABEL_WIDTH);
    const shown = colour === undefined ? label : painted(io, colour, label);
    return [
      ...heading.map((each) => painted(io, "heading", printable(each))),
      shown + body.slice(LABEL_WIDTH),
      ...below,
      ...more.flatMap((each) => fitted(each, io.width, DETAIL_INDENT)),
      ...(waits === undefined
        ? []
        : [`        ${counted(waits, "further check")} ${waits === 1 ? "waits" : "wait"} for this`]),
    ];
  });
}

const LABEL_WIDTH = 6;
const DETAIL_INDENT = 14;
const LABELS = {
  ok: { word: "ok", colour: "good" },
  warning: { word: "WARN", colour: "warning" },
  fault: { word: "FAULT", colour: "bad" },
  skipped: { word: "-", colour: undefined },
} as const satisfies Record<CheckResult["status"], unknown>;

function linesOfCheck({ status, title, finding, evidence, fault, knownAs, remedy }: CheckResult): string[] {
  const line = `${LABELS[status].word.padEnd(LABEL_WIDTH)}${title}: ${finding}`;
  if (status === "ok" || status === "skipped") return [line];
  return [
    line,
    ...(fault === null
      ? []
      : [`        name: ${fault}${knownAs.length === 0 ? "" : ` (elsewhere: ${knownAs.join("; ")})`}`]),
    ...evidence.map((each) => `        seen: ${each}`),
    ...(remedy === null ? [] : [`        do:   ${remedy}`]),
  ];
}
