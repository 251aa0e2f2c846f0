import assert from "node:assert/strict";
import { StringTable } from "../../../src/otlp/rewrite/string_table.ts";

// Two dictionaries, which are one: of the strings "", "a" and "b".
const request = Uint8Array.of(0x12, 5, 0x2a, 0, 0x2a, 1, 0x61, 0x12, 3, 0x2a, 1, 0x62);

Deno.test("a string goes when what goes refers to it, and nothing that stays", () => {
  const table = new StringTable(request);
  const text = (index: number) => {
    const at = table.at(index);
    return at && new TextDecoder().decode(request.subarray(at.contentStart, at.end));
  };
  assert.deepEqual([text(0), text(1), text(2), text(3), text(-1)], ["", "a", "b", undefined, undefined]);
  table.remove(1);
  table.remove(2);
  table.keep(2);
  for (const outside of [-1, 3, 2 ** 31 - 1]) {
    table.remove(outside);
    table.keep(outside);
  }
  assert.deepEqual([0, 1, 2, 3].map((index) => table.isRemoved(index)), [false, true, false, false]);
});
