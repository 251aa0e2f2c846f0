/**
 * A record without its payload, as an engine keeps it, and the form of its parts.
 * @module
 */
import type { SignalName } from "../signal.ts";
import { costOf } from "./cost.ts";
import type { PayloadEncoding, QueueRecord, TargetId } from "./queue.ts";

/** A record without its payload. */
export interface RecordHead {
  readonly id: number;
  /** Its targets, in ascending order; those that are done with it included. */
  readonly targets: readonly TargetId[];
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  readonly mergeable: boolean;
  /** Sum over the parts. */
  readonly items: number;
  /** Length of the payload. */
  readonly bytes: number;
  /** What it costs the queue, in bytes: see `cost.ts`. */
  readonly cost: number;
  /** Sum over the parts. */
  readonly inflatedBytes: number;
  /** ms since the Unix epoch. */
  readonly enqueuedAt: number;
  /** The parts, as the JSON of `[sender, items, bytes, inflatedBytes][]`. */
  readonly parts: string;
}

/**
 * The head of a record that has no id yet.
 * @param skipped Those of its targets that it does not go to.
 */
export function headOf(
  record: Omit<QueueRecord, "payload">,
  enqueuedAt: number,
  skipped: readonly TargetId[] = [],
): Omit<RecordHead, "id"> {
  const { signal, encoding, mergeable, parts } = record;
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const targets = record.targets.length === 1
    ? record.targets
    : record.targets.filter((target) => !skipped.includes(target)).sort((a, b) => a - b);
  const written = encodeParts(parts);
  return {
    targets,
    signal,
    encoding,
    mergeable,
    items: parts.reduce((sum, part) => sum + part.items, 0),
    bytes,
    cost: costOfRow(bytes, written),
    inflatedBytes: parts.reduce((sum, part) => sum + part.inflatedBytes, 0),
    enqueuedAt,
    parts: written,
  };
}

/** The parts' JSON. */
export function encodeParts(
  parts: readonly { sender: string; items: number; bytes: number; inflatedBytes: number }[],
): string {
  return JSON.stringify(parts.map(({ sender, items, bytes, inflatedBytes }) => [sender, items, bytes, inflatedBytes]));
}

/** The cost of a record with these parts as text, in bytes: the file counts characters as SQLite does, not as JavaScript. */
export function costOfRow(payloadBytes: number, parts: string): number {
  return costOf(payloadBytes, /[\ud800-\udbff]/.test(parts) ? [...parts].length : parts.length);
}

/** Whose a part is of which nothing is known any more: no sender has this id. */
export const UNKNOWN_SENDER = "unknown:";

/**
 * The parts of a record as it is stored. Where their text is damaged, or does not add up to the record, it is one part of an unknown sender:
 * its data is there all the same, and no other's waits for it.
 */
export function partsOfRow(
  { parts, items, bytes, inflatedBytes }: Pick<RecordHead, "parts" | "items" | "bytes" | "inflatedBytes">,
): ReturnType<typeof decodeParts> {
  try {
    const decoded = decodeParts(parts);
    const counts = decoded.flatMap((part) => [part.items, part.bytes, part.inflatedBytes]);
    const sum = decoded.reduce((sum, part) => sum + part.bytes, 0);
    if (sum === bytes && counts.every((count) => Number.isSafeInteger(count) && count >= 0)) return decoded;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return [{ sender: UNKNOWN_SENDER, items, bytes, inflatedBytes }];
}

/** The parts of a row; throws where the text is not what {@link encodeParts} writes. */
export function decodeParts(
  text: string,
): { sender: string; items: number; bytes: number; inflatedBytes: number }[] {
  const rows: unknown = JSON.parse(text);
  if (!Array.isArray(rows) || rows.length === 0) throw new SyntaxError("A record has no parts");
  return rows.map((row: unknown) => {
    if (!Array.isArray(row)) throw new SyntaxError("A part is not a list");
    const [sender, items, bytes, inflatedBytes] = row as unknown[];
    if (
      typeof sender !== "string" || typeof items !== "number" || typeof bytes !== "number" ||
      typeof inflatedBytes !== "number"
    ) throw new SyntaxError("A part is not [sender, items, bytes, inflatedBytes]");
    return { sender, items, bytes, inflatedBytes };
  });
}
