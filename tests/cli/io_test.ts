import assert from "node:assert/strict";
import { fitted, newCommand, painted, table } from "../../src/cli/io.ts";
import { recorder } from "../support/recorder.ts";

Deno.test("a command prints its help to out, its complaints to err, and ends nothing", async () => {
  const { io, out, err } = recorder();
  const command = newCommand(io, "thing").option("--size <bytes>", "how large").action(() => {});
  await assert.rejects(command.parseAsync(["--help"], { from: "user" }), { exitCode: 0 });
  assert.match(out.join("\n"), /^Usage: thing \[options\]/);
  assert.deepEqual(err, []);
  await assert.rejects(command.parseAsync(["--sise", "3"], { from: "user" }), { code: "commander.unknownOption" });
  assert.match(err.join("\n"), /unknown option '--sise'/);
});

Deno.test("a table pads each column but the last", () => {
  assert.deepEqual(table([["A", "LONGER", "C"], ["aaa", "b", "c"], ["a", "", ""]]), [
    "A    LONGER  C",
    "aaa  b       c",
    "a",
  ]);
});

Deno.test("numbers are set to the right, and where a line would be too long its last cell goes on below itself", () => {
  const rows = [["id", "items", "reason"], ["7", "1,200", "one that is not short"], ["12", "3", "a"]];
  assert.deepEqual(table(rows), [
    "id  items  reason",
    " 7  1,200  one that is not short",
    "12      3  a",
  ]);
  assert.deepEqual(table([["id", "reason"], ["7", "one that is not short at all"]], 26), [
    "id  reason",
    " 7  one that is not short",
    "    at all",
  ]);
  assert.deepEqual(table([["name", "reason"], ["n".repeat(20), "one that is not short at all"]], 30), [
    "name                  reason",
    "nnnnnnnnnnnnnnnnnnnn",
    "    one that is not short at",
    "    all",
  ]);
});

Deno.test("colours are where they can be seen", () => {
  const { io } = recorder();
  assert.equal(painted(io, "bad", "FAULT"), "FAULT");
  assert.equal(painted({ ...io, colours: true }, "bad", "FAULT"), "\u001b[31mFAULT\u001b[39m");
});

Deno.test("a line that is too long goes on below, set in; one without spaces is cut; one that cannot be is left", () => {
  assert.deepEqual(fitted("ok    a line that is longer than the terminal", 30, 6), [
    "ok    a line that is longer",
    "      than the terminal",
  ]);
  assert.deepEqual(fitted("x".repeat(45), 30, 6), ["x".repeat(30), `      ${"x".repeat(15)}`]);
  assert.deepEqual(fitted("a line", 5, 2), ["a line"]);
  assert.deepEqual(fitted("a line"), ["a line"]);
});
