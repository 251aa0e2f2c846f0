import assert from "node:assert/strict";
import { Alarm } from "../../src/queue/alarm.ts";
import { TestClock, TestLog } from "./records.ts";

Deno.test("an alarm repeats at most twice a minute by key, and then tells how often it was raised", () => {
  const log = new TestLog();
  const clock = new TestClock();
  const alarm = new Alarm(log, clock.now);
  alarm.raise("a", "First", {}, 3);
  alarm.raise("a", "First", {}, 4);
  alarm.raise("b", "Other", { path: "x" });
  clock.ms += 29_999;
  alarm.raise("a", "First", {}, 5);
  clock.ms += 1;
  alarm.raise("a", "First", {}, 6);
  assert.deepEqual(log.lines.map(({ level, message, fields }) => [level, message, fields]), [
    ["error", "First", { count: 3 }],
    ["error", "Other", { path: "x", count: 1 }],
    ["error", "First", { count: 15 }],
  ]);
  clock.ms -= 86_400_000;
  alarm.raise("a", "First", {});
  assert.equal(log.lines.length, 4, "a clock set back silences nothing");
});
