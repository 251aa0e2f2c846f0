import assert from "node:assert/strict";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";
import { decodeAll } from "../../support/tools/decoder.ts";
import { encodeProtobuf, Random, randomRequest, type TestMessage } from "../../support/bodies/requests.ts";

const names = Object.keys(MESSAGES) as MessageName[];

Deno.test("the Collector reads every field of the table, and writes each again under its number", async () => {
  const random = new Random(9);
  const seen = new Set<string>();
  const cases = SIGNAL_NAMES.flatMap((signal) =>
    Array.from({ length: 400 }, () => {
      const request = randomRequest(random, signal);
      note(REQUEST_MESSAGE[signal], request, seen);
      return {
        form: { signal, json: false } as const,
        content: true,
        body: encodeProtobuf(REQUEST_MESSAGE[signal], request),
      };
    })
  );
  const every = names.flatMap((name) => MESSAGES[name].map((field) => `${name}.${field.name}`));
  assert.deepEqual(every.filter((field) => !seen.has(field)), [], "fields that the generator never made");

  // What the Collector has written is, read and written once more, the same: nothing of it is unknown to it.
  const first = await decodeAll(cases);
  const again = await decodeAll(cases.map(({ form }, index) => {
    const verdict = first[index]!;
    assert.ok(verdict.ok);
    return {
      form,
      content: true,
      body: Uint8Array.from(verdict.content.match(/../g) ?? [], (byte) => parseInt(byte, 16)),
    };
  }));
  assert.deepEqual(again, first);
});

function note(name: MessageName, message: TestMessage, seen: Set<string>): void {
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    if (value === undefined) continue;
    seen.add(`${name}.${field.name}`);
    if (isMessage(field.kind)) { for (const one of [value].flat()) note(field.kind, one as TestMessage, seen); }
  }
}
