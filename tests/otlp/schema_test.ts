import assert from "node:assert/strict";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
const names = Object.keys(MESSAGES) as MessageName[];

Deno.test("fields stand in ascending number, each number and name once, and every message is reached", () => {
  const reached = new Set<MessageName>(Object.values(REQUEST_MESSAGE));
  for (const name of reached) {
    for (const { kind } of MESSAGES[name]) if (isMessage(kind)) reached.add(kind);
  }
  assert.deepEqual([...reached].toSorted(), names.toSorted());
  for (const name of names) {
    const numbers = MESSAGES[name].map(({ number }) => number);
    assert.deepEqual(numbers, [...new Set(numbers)].toSorted((a, b) => a - b), name);
    assert.equal(new Set(MESSAGES[name].map((field) => field.name)).size, numbers.length, name);
    for (const field of MESSAGES[name]) assert.match(field.name, /^[a-z][A-Za-z]*$/);
  }
});

Deno.test("a scalar's kind is no message", () => {
  assert.equal(isMessage("string"), false);
  assert.equal(isMessage("Span"), true);
});
