/**
 * What the charts of the status page have drawn, kept beside the queue, so that a restart leaves no empty page.
 * @module
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { z } from "zod";
import type { HistorySnapshot, Step } from "./history.ts";

const KEYS = ["taken", "sent", "queueBytes", "oldestS", "p50S", "p99S"] as const satisfies readonly (keyof Step)[];
const NUMBER = z.number().min(0).nullable();
const ROWS = z.array(z.tuple([z.number().int(), NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER])).max(1_000);
const FILE = z.object({ version: z.literal(1), fine: ROWS, coarse: ROWS });

type Row = z.infer<typeof ROWS>[number];

/** The file that belongs to a queue's. */
export function historyFileOf(queuePath: string): string {
  return `${queuePath}.history`;
}

/** What the file says; undefined where there is none that can be used: charts are no loss. */
export async function readHistory(file: string): Promise<HistorySnapshot | undefined> {
  try {
    const { fine, coarse } = FILE.parse(JSON.parse(await readFile(file, "utf8")));
    return { fine: fine.map(stepOf), coarse: coarse.map(stepOf) };
  } catch {
    return undefined;
  }
}

/** Writes the file, by a temporary name, so that whoever reads sees the old one or the new one. @throws {Error} of the file system */
export async function writeHistory(file: string, { fine, coarse }: HistorySnapshot): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const text = JSON.stringify({ version: 1, fine: fine.map(rowOf), coarse: coarse.map(rowOf) });
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}

function rowOf([step, values]: HistorySnapshot["fine"][number]): Row {
  const [taken, sent, queueBytes, oldestS, p50S, p99S] = KEYS.map((key) => {
    const value = values[key];
    // More figures than a chart can show only make the file long.
    return value === undefined ? null : Number(value.toPrecision(4));
  });
  return [step, taken ?? null, sent ?? null, queueBytes ?? null, oldestS ?? null, p50S ?? null, p99S ?? null];
}

function stepOf([step, taken, sent, queueBytes, oldestS, p50S, p99S]: Row): HistorySnapshot["fine"][number] {
  const of = (value: number | null) => value ?? undefined;
  return [step, {
    taken: of(taken),
    sent: of(sent),
    queueBytes: of(queueBytes),
    oldestS: of(oldestS),
    p50S: of(p50S),
    p99S: of(p99S),
  }];
}
