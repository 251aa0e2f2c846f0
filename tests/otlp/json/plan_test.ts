import assert from "node:assert/strict";
import { type FieldPlan, REQUEST_PLAN } from "../../../src/otlp/json/plan.ts";
import { isMessage, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";

const encoder = new TextEncoder();

Deno.test("every field of every message is found by its name, in a string and in the bytes of a text", () => {
  const visited = new Set<string>();
  const visit = (message: keyof typeof MESSAGES, plan: FieldPlan["message"]): void => {
    assert(plan !== undefined);
    if (visited.has(message)) return;
    visited.add(message);
    for (const { name, number, kind, repeated } of MESSAGES[message]) {
      const text = encoder.encode(`{"${name}":`);
      const field = plan.find(text, 2, 2 + name.length);
      assert.equal(field, plan.named(name));
      if (number === 1000) {
        assert.equal(field, undefined);
        continue;
      }
      assert.equal(field?.name, name);
      assert.equal(field.repeated, repeated);
      assert.equal(field.kind, isMessage(kind) ? undefined : kind);
      // The tag's varint (protobuf, "Encoding"), from its bytes.
      const tag: number = field.tag < 0x100 ? field.tag : (field.tag & 0x7f) + (field.tag >> 8) * 128;
      assert.equal(tag >> 3, number);
      if (isMessage(kind)) visit(kind, field.message);
    }
  };
  for (const signal of SIGNAL_NAMES) visit(REQUEST_MESSAGE[signal], REQUEST_PLAN[signal]);
  assert.equal(visited.size, Object.keys(MESSAGES).length);
});

Deno.test("no other name is found", () => {
  for (
    const name of ["", "resourceSpan", "resourceSpanz", "ResourceSpans", "resource_Spans", "__proto__", "x".repeat(99)]
  ) {
    const bytes = encoder.encode(name);
    assert.equal(REQUEST_PLAN.traces.find(bytes, 0, bytes.length), undefined);
    assert.equal(REQUEST_PLAN.traces.named(name), undefined);
  }
});
