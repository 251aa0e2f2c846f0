/** Finds buffers that nobody has released. */
import assert from "node:assert/strict";
import { watchOwners } from "../../src/codec/owned_bytes.ts";

/** Runs a test, and fails where the source holds bytes after it. What a test made for itself and handed to nobody does not count. */
export async function releasesAll(test: () => Promise<void>): Promise<void> {
  using watch = watchOwners();
  await test();
  assert.deepEqual(watch.held.filter(isOfSource), [], "somebody holds bytes, and has not released them");
}

/** Whether it was the source that came to hold them. */
function isOfSource(stack: string): boolean {
  const frame = stack.split("\n").slice(1).find((line) => !line.includes("/src/codec/owned_bytes.ts"));
  return frame?.includes("/src/") === true;
}
