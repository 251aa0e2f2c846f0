import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { PassingMap, UnderWay } from "../src/passing.ts";

setFlagsFromString("--expose-gc");
const collectAll: () => void = runInNewContext("gc");

Deno.test("a passing map has what was set and not deleted, in the order of insertion", () => {
  const map = new PassingMap<{ name: string }>();
  for (const [key, name] of [[3, "a"], [1, "b"], [2, "c"]] as const) map.set(key, { name });
  assert.equal(map.delete(1), true);
  assert.equal(map.delete(1), false);
  map.set(3, { name: "d" });
  assert.deepEqual([map.size, map.has(1), map.has(2), map.get(1), map.get(3)?.name], [2, false, true, undefined, "d"]);
  assert.deepEqual([...map.values()].map(({ name }) => name), ["d", "c"]);
});

Deno.test("while a passing map is walked any may be deleted, and what is set comes last", () => {
  const map = new PassingMap<{ key: number }>();
  for (let key = 0; key < 4; key++) map.set(key, { key });
  const walked: number[] = [];
  for (const { key } of map.values()) {
    walked.push(key);
    map.delete(key);
    if (key === 0) map.delete(1);
    if (key === 2) map.set(9, { key: 9 });
  }
  assert.deepEqual([walked, map.size], [[0, 2, 3, 9], 0]);
});

/** Has V8 collect what is young, several times: so much garbage is made. */
async function collectYoung(): Promise<void> {
  for (let time = 0; time < 2; time++) {
    // What a WeakRef was made of lives until the turn ends.
    await new Promise((resolve) => setTimeout(resolve, 0));
    let length = 0;
    for (let made = 0; made < 1_500_000; made++) length += [made, made, made, made].length;
    assert.equal(length, 6_000_000);
  }
  await new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("what a passing map had is garbage at a cheap collection, though tables of it have grown old; with a Map nothing is", async () => {
  const left = async (map: Pick<Map<number, object>, "delete"> & { set(key: number, value: object): unknown }) => {
    let key = 0;
    const comeAndGo = (count: number) =>
      Array.from({ length: count }, () => {
        const value = {};
        map.set(++key, value);
        map.delete(key - 64);
        return new WeakRef(value);
      });
    comeAndGo(1_000);
    collectAll();
    const refs: WeakRef<object>[] = [];
    for (let turn = 0; turn < 50; turn++) {
      refs.push(...comeAndGo(100));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await collectYoung();
    return refs.filter((ref) => ref.deref() !== undefined).length;
  };
  const [byMap, byPassingMap] = [await left(new Map<number, object>()), await left(new PassingMap<object>())];
  assert.equal(byMap, 5_000, "V8 has mended its Map: a passing one is not needed any more");
  assert(byPassingMap < 2_500, `${byPassingMap} of 5,000`);
});

Deno.test("what is under way is waited for, whatever comes of it, and nothing that comes later", async () => {
  const underWay = new UnderWay();
  await underWay.settled();
  const [first, second, later] = [1, 2, 3].map(() => Promise.withResolvers<void>());
  void underWay.track(first!.promise);
  underWay.track(second!.promise).catch(() => {});
  let settled = false;
  const waiting = underWay.settled().then(() => settled = true);
  void underWay.track(later!.promise);
  first!.resolve();
  await first!.promise;
  assert.equal(settled, false);
  second!.reject(new Error("on purpose"));
  await waiting;
  later!.resolve();
  await underWay.settled();
});
