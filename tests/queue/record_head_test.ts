import assert from "node:assert/strict";
import { decodeParts, encodeParts, partsOfRow, UNKNOWN_SENDER } from "../../src/queue/record_head.ts";

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

Deno.test("a row whose parts are damaged, or do not add up to it, is one part of nobody", () => {
  const parts = [
    { sender: "a", items: 1, bytes: 10, inflatedBytes: 20 },
    { sender: "b", items: 2, bytes: 30, inflatedBytes: 40 },
  ];
  const row = { items: 3, bytes: 40, inflatedBytes: 60 };
  assert.deepEqual(partsOfRow({ ...row, parts: encodeParts(parts) }), parts);
  for (
    const damaged of [
      "",
      "[]",
      "null",
      '[["a"]]',
      '[["a",3,41,60]]',
      '[["a",1,50,1],["b",1,-10,1]]',
      '[["a",1.5,40,1]]',
    ]
  ) {
    assert.deepEqual(partsOfRow({ ...row, parts: damaged }), [{ sender: UNKNOWN_SENDER, ...row }], damaged);
  }
});
