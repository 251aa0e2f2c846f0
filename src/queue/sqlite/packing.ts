/**
 * The message of one transaction: what goes to the Worker by copy, what by transfer, and which payloads come back.
 * @module
 */
import { OwnedBytes } from "../../codec/owned_bytes.ts";
import type { Part, QueueRecord, TargetId } from "../queue.ts";
import type { AppendOp, SettleOp } from "./protocol.ts";
import { headOf } from "../record_head.ts";

/** Payloads up to this size, in bytes, are copied into one buffer a transaction: a transfer costs more than the copy then. */
export const PACKED_BYTES_MAX = 8 * 1024;

/** A record that is to be written, and its row but for what the transaction gives it. */
export interface Append {
  readonly op: Omit<AppendOp, "payload" | "giveBack">;
  readonly parts: readonly Part[];
  /** A large one is the Worker's from {@link packCommit} on. */
  readonly payload: OwnedBytes;
}

/**
 * The row of a record.
 * @param enqueuedAt ms since the Unix epoch
 * @param skipped Those of its targets that it does not go to.
 */
export function rowOf(
  record: Omit<QueueRecord, "payload">,
  enqueuedAt: number,
  skipped: readonly TargetId[] = [],
): Append["op"] {
  return { ...headOf(record, enqueuedAt, skipped), skipped };
}

/** What a `commit` asks the Worker for. */
export interface CommitMessage {
  readonly appends: readonly AppendOp[];
  readonly settles: readonly SettleOp[];
  readonly packed: ArrayBuffer;
  readonly now: number;
}

/**
 * @param keeps Whether the payload of a row is wanted back, so many bytes being asked back beside it.
 * @param now ms since the Unix epoch
 */
export function packCommit(
  appends: readonly Append[],
  settles: readonly SettleOp[],
  keeps: (row: Append["op"], besideBytes: number) => boolean,
  now: number,
): { readonly message: CommitMessage; readonly transfer: Transferable[] } {
  const packed = new Uint8Array(
    appends.reduce((sum, { op }) => op.bytes <= PACKED_BYTES_MAX ? sum + op.bytes : sum, 0),
  );
  const transfer: Transferable[] = [packed.buffer];
  let askedBackBytes = 0;
  let offset = 0;
  const ops = appends.map(({ op, payload: owned }): AppendOp => {
    if (op.bytes <= PACKED_BYTES_MAX) {
      packed.set(owned.bytes, offset);
      offset += op.bytes;
      return { ...op, payload: { offset: offset - op.bytes }, giveBack: false };
    }
    const payload = owned.take();
    transfer.push(payload.buffer);
    const giveBack = keeps(op, askedBackBytes);
    if (giveBack) askedBackBytes += op.bytes;
    return { ...op, payload, giveBack };
  });
  return { message: { appends: ops, settles, packed: packed.buffer, now }, transfer };
}

/** The payload of a row after its commit, where it is at hand: one that was copied, or the next of those that came back. */
export function payloadAfter(
  { op, payload }: Append,
  { giveBack }: AppendOp,
  returned: Iterator<Uint8Array<ArrayBuffer>, undefined>,
): OwnedBytes | undefined {
  if (op.bytes <= PACKED_BYTES_MAX) return payload;
  const back = giveBack ? returned.next().value : undefined;
  return back === undefined ? undefined : new OwnedBytes(back);
}
