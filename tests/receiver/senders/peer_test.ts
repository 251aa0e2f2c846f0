import assert from "node:assert/strict";
import { soleValue } from "../../../src/receiver/senders/peer.ts";

Deno.test("fields of one name that say the same are one; what differs stays as it came", () => {
  for (
    const [field, value] of [
      ["a", "a"],
      ["", ""],
      ["a, a", "a"],
      ["Bearer x, Bearer x, Bearer x", "Bearer x"],
      ["a, b", "a, b"],
      ["a,a", "a,a"],
      ["a, A", "a, A"],
      ["a, ", "a, "],
    ] as const
  ) assert.equal(soleValue(field), value);
});
