import assert from "node:assert/strict";
import { fitted, newCommand, painted, put, putEntry, table } from "../../src/cli/io.ts";
import { recorder } from "../support/relay/recorder.ts";

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
    "name",
    "nnnnnnnnnnnnnnnnnnnn",
    "    reason one that is not",
    "    short at all",
  ]);
});

Deno.test("columns that a terminal has no room for stand below each line by their headings, if they have a value", () => {
  const rows = [
    ["FILE", "NAME", "KIND", "ALSO CALLED", ""],
    ["certs/server.crt", "collector", "EC P-256", "localhost 127.0.0.1", "kept"],
    ["certs/ca.crt", "TestCA", "EC P-256", "-", ""],
  ];
  assert.deepEqual(table(rows, 40), [
    "FILE              NAME       KIND",
    "certs/server.crt  collector  EC P-256",
    "    ALSO CALLED localhost 127.0.0.1;",
    "    kept",
    "certs/ca.crt      TestCA     EC P-256",
  ]);
  assert.equal(table(rows, 10)[0], "FILE");
  assert.equal(table(rows, 65).length, 3, "it fits");
});

Deno.test("colours are where they can be seen", () => {
  const { io } = recorder();
  assert.equal(painted(io, "bad", "FAULT"), "FAULT");
  assert.equal(painted({ ...io, colours: true }, "bad", "FAULT"), "\u001b[31mFAULT\u001b[39m");
});

Deno.test("a line that is too long goes on below, set in; a word that is longer stays whole", () => {
  assert.deepEqual(fitted("ok    a line that is longer than the terminal", 30, 6), [
    "ok    a line that is longer",
    "      than the terminal",
  ]);
  const word = "x".repeat(45);
  assert.deepEqual(fitted(word, 30, 6), [word]);
  assert.deepEqual(fitted(`key   ${word}: EC P-256, matches`, 30, 6), [`key   ${word}:`, "      EC P-256, matches"]);
  assert.deepEqual(fitted(`in the file ${word} of it`, 30, 6), ["in the file", `      ${word}`, "      of it"]);
  assert.deepEqual(fitted("a line", 5, 2), ["a line"]);
  assert.deepEqual(fitted("a line"), ["a line"]);
});

Deno.test("what is printed for a person is as wide as the terminal is now", () => {
  const { io, out } = recorder();
  let width: number | undefined = 24;
  const terminal = {
    ...io,
    get width() {
      return width;
    },
  };
  put(terminal, "one two three four five six");
  width = undefined;
  put(terminal, "one two three four five six");
  width = 30;
  putEntry(terminal, "name", ["what is to be said of it, in full", "unset"]);
  assert.deepEqual(out, [
    "one two three four five",
    "six",
    "one two three four five six",
    "name",
    "    what is to be said of it,",
    "    in full",
    "    unset",
  ]);
});
