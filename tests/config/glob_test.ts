import assert from "node:assert/strict";
import { matchesGlob } from "../../src/config/glob.ts";

Deno.test("globs", () => {
  const table: [string, string, boolean][] = [
    ["", "", true],
    ["", "a", false],
    ["*", "", true],
    ["*", "any\nthing", true],
    ["user.*", "user.email", true],
    ["user.*", "user", false],
    ["user.*", "superuser.x", false],
    ["*token*", "x-token", true],
    ["*token*", "tokens.n", true],
    ["*.id", "a.id.id", true],
    ["*.id", "a.idx", false],
    ["a?c", "abc", true],
    ["a?c", "ac", false],
    ["a.c", "abc", false],
    ["User", "user", false],
    ["a*b*c", "a-b-b-c", true],
    ["a*b*c", "a-c-b", false],
    ["**a", "ba", true],
  ];
  for (const [glob, key, expected] of table) assert.equal(matchesGlob(glob, key), expected, `${glob} ${key}`);
});

Deno.test("globs of senders", () => {
  for (
    const [glob, text] of [["*", ""], ["*", "x"], ["a*c", "abbc"], ["a*c", "ac"], ["a?c", "abc"], ["*b*", "abc"], [
      "**",
      "x",
    ], ["a.c", "a.c"]]
  ) {
    assert.ok(matchesGlob(glob!, text!), `${glob} ${text}`);
  }
  for (const [glob, text] of [["a", "ab"], ["a?", "a"], ["a*c", "abcd"], ["a.c", "abc"], ["", "x"], ["A", "a"]]) {
    assert.ok(!matchesGlob(glob!, text!), `${glob} ${text}`);
  }
  assert.ok(!matchesGlob("*a".repeat(200), "a".repeat(150)), "no glob takes longer than the product of the lengths");
});
