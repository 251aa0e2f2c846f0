/**
 * Which targets a record is for, as an engine looks them up.
 * @module
 */
import type { TargetId } from "./queue.ts";

/** What an engine knows of each. @throws {RangeError} where there is none, one comes twice, or `find` knows it not */
export function targetsOf<Target>(ids: readonly TargetId[], find: (id: TargetId) => Target): Target[] {
  if (ids.length === 0) throw new RangeError("A record must have a target");
  if (new Set(ids).size < ids.length) throw new RangeError("A record's targets must differ");
  return ids.map(find);
}

/** How much of the queue may wait for a target: all of it where it is the only one, and half where there are several. */
export function shareOf({ share }: { readonly share?: number }, targets: number): number {
  return share ?? (targets === 1 ? 1 : 0.5);
}
