import assert from "node:assert/strict";
import { readFlags } from "./flags.ts";

const options = {
  seed: { type: "string", default: "1" },
  url: { type: "string" },
  collector: { type: "boolean" },
} as const;
const usage = "deno task fuzz [--seed 1] [--url …] [--collector]";

Deno.test("options of a task are read; --help lists them, and a wrong one is told with them", () => {
  assert.deepEqual({ ...readFlags("fuzz", options, ["--url", "u", "--collector"]).values }, {
    seed: "1",
    url: "u",
    collector: true,
  });
  assert.deepEqual(readFlags("fuzz", options, ["--url", "u", "--help"]), { said: usage, code: 0 });
  for (const wrong of [["--sed", "2"], ["--collector=yes"], ["--url"], ["word"]]) {
    const { said, code } = readFlags("fuzz", options, wrong);
    assert.equal(code, 2);
    assert(said?.endsWith(`; usage: ${usage}`) && !said.includes("\n"), said);
  }
});
