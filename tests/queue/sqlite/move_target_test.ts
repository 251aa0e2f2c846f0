import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { TargetSettings } from "../../../src/queue/queue.ts";
import { queueStats } from "../../../src/queue/sqlite/inspect.ts";
import { abandonTarget, moveTarget } from "../../../src/queue/sqlite/move_target.ts";
import { assertBalanced } from "../contract.ts";
import { numberOf, record, settleAll, take } from "../records.ts";
import { inFolder } from "./scene.ts";

const EU: TargetSettings = { name: "eu", required: true };
const US: TargetSettings = { name: "us", required: true };

inFolder(
  "what waits for one target is moved to another, while a relay runs, and is given to none twice",
  async (place) => {
    const before = await place.open({ targets: [EU, US] });
    const [eu, us] = [before.target("eu"), before.target("us")];
    for (let number = 0; number < 300; number++) {
      const targets = [[us], [eu, us], [eu]][number % 3]!;
      await before.append(record(number, { targets, signal: number % 2 === 0 ? "traces" : "logs" }));
    }
    await settleAll(await take(before, { target: us, recordsMax: 1 }), { kind: "dead", reason: "bad" });
    await before[Symbol.asyncDispose]();

    await using queue = await place.open({ targets: [EU] });
    assert.deepEqual(await moveTarget(place.path, "us", "eu"), { records: 199, items: 597, deadLetters: 1 });
    const seen: number[] = [];
    while (seen.length < 299) {
      for (const signal of ["traces", "logs"] as const) {
        const abort = new AbortController();
        const taking = queue.take(
          { target: eu, signal, bytesMax: 1 << 20, inflatedBytesMax: 1 << 24, recordsMax: 1000 },
          abort.signal,
        );
        const timer = setTimeout(() => abort.abort(), 1_500);
        const deliveries = await taking;
        clearTimeout(timer);
        seen.push(...deliveries.map(numberOf));
        await settleAll(deliveries);
      }
    }
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 299 }, (_, index) => index + 1));
    const stats = await queue.stats();
    assert.deepEqual([stats.records, stats.bytes], [0, 0]);
    assert.deepEqual(stats.targets.map(({ name, deadLetters }) => [name, deadLetters.records]), [["eu", 1]]);
    assertBalanced(stats);
    assert.ok(queueStats(place.path).balanced);
  },
);

inFolder("what waits for a target is given up, and counted; what others wait for stays", async (place) => {
  const queue = await place.open({ targets: [EU, US] });
  const [eu, us] = [queue.target("eu"), queue.target("us")];
  for (let number = 0; number < 30; number++) {
    await queue.append(record(number, { targets: [[us], [eu, us], [eu]][number % 3]! }));
  }
  await queue[Symbol.asyncDispose]();
  assert.deepEqual(await abandonTarget(place.path, "us"), { records: 20, items: 60, deadLetters: 0 });
  const { targets, records, balanced } = queueStats(place.path);
  assert.deepEqual([records, balanced], [20, true]);
  const [left] = targets.filter(({ name }) => name === "us");
  assert.deepEqual([left!.records, left!.books.traces.abandoned, left!.books.traces.queued], [0, 60, 0]);
  await using again = await place.open({ targets: [EU, US] });
  const taken = [];
  while (taken.length < 20) taken.push(...await take(again, { target: eu }));
  await settleAll(taken);
  const stats = await again.stats();
  assert.deepEqual([stats.records, stats.bytes], [0, 0]);
  assertBalanced(stats);
});

inFolder("a target that the file does not know is told, with those that it knows; nothing is moved", async (place) => {
  const queue = await place.open({ targets: [EU] });
  await queue.append(record(1, { targets: [queue.target("eu")] }));
  await queue[Symbol.asyncDispose]();
  for (
    const work of [
      moveTarget(place.path, "ue", "eu"),
      moveTarget(place.path, "eu", "ue"),
      abandonTarget(place.path, "ue"),
    ]
  ) {
    await assert.rejects(work, {
      name: "StorageError",
      message: /Cannot find target ue: .*; name one of these: default, eu/,
    });
  }
  await assert.rejects(moveTarget(place.path, "eu", "eu"), /to itself/);
  const db = new DatabaseSync(place.path, { readOnly: true });
  assert.equal(db.prepare("SELECT count(*) AS n FROM records").get()?.["n"], 1);
  db.close();
});
