import assert from "node:assert/strict";
import { decodeParts, encodeParts } from "../../src/queue/record_head.ts";

Deno.test("parts are read as they were written, whatever the sender's id", () => {
  const parts = [
    { sender: 'edge "1"\n', items: 3, bytes: 100, inflatedBytes: 400 },
    { sender: "", items: 0, bytes: 0, inflatedBytes: 0 },
  ];
  assert.deepEqual(decodeParts(encodeParts(parts)), parts);
});

Deno.test("what is no list of parts is refused", () => {
  for (const text of ["", "{}", "[]", "[1]", "[[1,2,3,4]]", '[["a",1,2]]', '[["a",1,2,"4"]]', '[["a",1,2,3']) {
    assert.throws(() => decodeParts(text), SyntaxError, text);
  }
});
