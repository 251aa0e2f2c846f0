/**
 * Which targets a record is for, as an engine looks them up.
 * @module
 */
import type { QueueRecord, TargetId } from "./queue.ts";

/** What an engine knows of each target. @throws {RangeError} if there is no target, one comes twice, or `find` does not know it */
export function findTargets<Target>(ids: readonly TargetId[], find: (id: TargetId) => Target): Target[] {
  if (ids.length === 0) throw new RangeError("A record must have a target");
  if (new Set(ids).size < ids.length) throw new RangeError("A record's targets must differ");
  return ids.map(find);
}

/** The targets of a record that is to be appended. @throws {RangeError} as {@link findTargets}, or where its parts are not its payload */
export function targetsOfNew<Target>(
  { parts, payload, targets }: QueueRecord,
  find: (id: TargetId) => Target,
): Target[] {
  if (parts.length === 0 || parts.reduce((sum, part) => sum + part.bytes, 0) !== payload.length) {
    throw new RangeError("A record's parts must add up to its payload");
  }
  return findTargets(targets, find);
}

/** How much of the queue may wait for a target: all of it if it is the only one, and half if there are several. */
export function shareOf({ share }: { readonly share?: number }, targets: number): number {
  return share ?? (targets === 1 ? 1 : 0.5);
}

/** Room for the dead letters of one target, in bytes: each has its own, so that a poisoned one makes no other wait. */
export function deadLetterShareOf(bytesMax: number, targets: number): number {
  return Math.floor(bytesMax / Math.max(1, targets));
}
