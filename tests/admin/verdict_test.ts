import assert from "node:assert/strict";
import { faultNamed } from "../../src/diagnosis/faults.ts";
import { verdictOf } from "../../src/admin/verdict.ts";
import type { Status } from "../../src/admin/status.ts";
import { AT, oldLetters, outage, statusWith } from "./status_fixture.ts";

function verdict(parts: Partial<Status> = {}): readonly string[] {
  const { level, badge, sentence } = verdictOf(statusWith(parts));
  return [level, badge, sentence];
}

const { health, signals, ways: [way] } = statusWith();

Deno.test("good only while nothing is to be done", () => {
  assert.deepEqual(verdict(), ["good", "Ready", "What is answered 200 is on disk, and the Collector takes it."]);
  assert.deepEqual(verdict({ durable: false }), ["good", "Ready", "What is answered 200 is with the Collector."]);
  const idle = signals.map((row) => ({ ...row, accepted: 0 }));
  assert.deepEqual(verdict({ signals: idle }), ["good", "Ready", "Nobody has sent anything yet."]);
});

Deno.test("not ready stands before all else, with its first reason", () => {
  const unready = { ...health, ready: false, reasons: ["The queue is full", "another"] };
  assert.deepEqual(verdict({ ...outage(), health: unready }), ["bad", "Not ready", "The queue is full."]);
});

Deno.test("a Collector that is down is a warning, and a fault that lasts needs a person", () => {
  const sentence = "Nothing listens at exporter.endpoint. What was answered 200 waits in the queue; nothing is lost.";
  assert.deepEqual(verdict(outage()), ["warn", "Collector takes nothing", sentence]);
  const lasting = { ...outage().ways[0]!, signals: ["logs" as const] };
  const last = { ...lasting.last!, fault: faultNamed("no_such_path") };
  const [level, badge] = verdict({ ways: [way!, { ...lasting, last }] });
  assert.deepEqual([level, badge], ["bad", "Logs held up"]);
  assert.match(verdict({ ...outage(), durable: false })[2]!, /Senders are told to try again\.$/);
});

Deno.test("a signal of which nothing has been taken is named", () => {
  const refused = { ...way!, signals: ["logs" as const, "traces" as const], state: "refuses" as const };
  assert.deepEqual(verdict({ ways: [{ ...way!, signals: ["metrics"] }, refused] }).slice(0, 2), [
    "bad",
    "Traces and logs refused",
  ]);
});

Deno.test("dead letters that grow are bad, those of before a warning; where they cannot be read they may grow", () => {
  const { deadLetters } = oldLetters();
  assert.deepEqual(verdict({ deadLetters }), [
    "warn",
    "Ready",
    "Data flows; 3 dead letters from earlier wait to be replayed or dropped.",
  ]);
  const groups = deadLetters.groups!.map((group) => ({ ...group, lastAt: AT - 60_000 }));
  for (const more of [{ groups }, { groups: undefined }]) {
    assert.deepEqual(verdict({ deadLetters: { ...deadLetters, ...more } }).slice(0, 2), ["bad", "Dead letters grow"]);
  }
});

Deno.test("books that do not balance, and certificates that end", () => {
  const unbalanced = signals.map((row) => ({ ...row, balanced: row.signal !== "metrics" }));
  assert.deepEqual(verdict({ signals: unbalanced }).slice(0, 2), ["bad", "Books do not balance"]);
  assert.deepEqual(verdict({ health: { ...health, warnings: ["The CA certificate ends"] } }), [
    "warn",
    "Ready",
    "The CA certificate ends.",
  ]);
});
