/**
 * `doctor`: examines the configured relay and its way to the Collector.
 * @module
 */
import process from "node:process";
import type { Command } from "commander";
import { readDotEnvFile } from "../config/load.ts";
import { type CheckResult, examine, type Report } from "../doctor/doctor.ts";
import type { Surroundings } from "./config.ts";
import { FaultFound, fitted, type Io, newCommand, painted } from "./io.ts";

/** The command `doctor`. Throws {@link FaultFound} naming the faults. */
export function doctorCommand(io: Io, surroundings?: Surroundings): Command {
  return newCommand(io, "doctor")
    .description("Check the way of the data step by step, from the configuration to the Collector's answer")
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
      if (!report.ok) {
        const { length } = report.faults;
        throw new FaultFound(`Found ${length} fault${length === 1 ? "" : "s"}: ${report.faults.join(", ")}`);
      }
    });
}

function linesOf(io: Io, { checks }: Report): string[] {
  let endpoint: string | null = null;
  return checks.flatMap((check) => {
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

/** A peer's words and a certificate's names may say anything, terminal escapes included. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
