import assert from "node:assert/strict";
import { newCommand, table } from "../../src/cli/io.ts";
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
