import assert from "node:assert/strict";
import { findTargets, shareOf } from "../../src/queue/targets.ts";

Deno.test("a record has at least one target, none twice, and only those that are known", () => {
  const find = (id: number) => {
    if (id > 2) throw new RangeError(`No target has the number ${id}`);
    return `target ${id}`;
  };
  assert.deepEqual(findTargets([2, 1], find), ["target 2", "target 1"]);
  assert.throws(() => findTargets([], find), RangeError);
  assert.throws(() => findTargets([1, 1], find), RangeError);
  assert.throws(() => findTargets([3], find), RangeError);
});

Deno.test("a target alone may have the whole queue, one of several half of it, unless it says otherwise", () => {
  assert.deepEqual([shareOf({}, 1), shareOf({}, 2), shareOf({ share: 0.9 }, 2)], [1, 0.5, 0.9]);
});
