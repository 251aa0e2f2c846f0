import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { main, program } from "../src/main.ts";
import { VERSION } from "../src/version.ts";
import { folder } from "./support/files/folder.ts";
import { recorder } from "./support/relay/recorder.ts";

async function run(...argv: string[]) {
  const { io, out, err } = recorder();
  return { code: await main(argv, io), out: out.join("\n"), err: err.join("\n") };
}

/** Every command with the words that lead to it. */
function commands(command: Command, words: readonly string[] = []): { words: readonly string[]; command: Command }[] {
  return [
    { words, command },
    ...command.commands.flatMap((child) => commands(child, [...words, child.name()])),
  ];
}

Deno.test("the commands are those that are promised", async () => {
  const names = commands(await program(recorder().io)).map(({ words }) => words.join(" "));
  for (
    const name of [
      "run",
      "dev",
      "collector",
      "certs init",
      "certs show",
      "config check",
      "config reference",
      "send",
      "token new",
      "token revoke",
      "queue stats",
      "queue dead-letters",
      "queue replay",
    ]
  ) {
    assert(names.includes(name), `${name} is missing among ${names.join(", ")}`);
  }
});

Deno.test("every command has --help, which is 0 and says what it does and each option", async () => {
  for (const { words, command } of commands(await program(recorder().io))) {
    const { code, out, err } = await run(...words, "--help");
    assert.deepEqual([code, err], [0, ""], words.join(" "));
    assert.match(out, /^Usage: edgeferry/m);
    assert(command.description().length > 0, `${words.join(" ")} has no description`);
    assert(out.replaceAll(/\s+/g, " ").includes(command.description()), words.join(" "));
    for (const option of command.options) {
      assert(option.description.length > 0, `${words.join(" ")} ${option.flags} has no description`);
      assert(out.includes(option.flags), `${words.join(" ")} ${option.flags}`);
    }
    assert(!out.includes("[object") && !out.includes('{"'), `${words.join(" ")} shows an object`);
  }
});

Deno.test("every command that reads the configuration has --config", async () => {
  const without = ["", "collector", "send", "config reference", "metrics"];
  for (const { words, command } of commands(await program(recorder().io))) {
    const name = words.join(" ");
    if (command.commands.length > 0 || without.includes(name) || /^(certs|token)/.test(name)) continue;
    assert(command.options.some(({ long }) => long === "--config"), `${name} has no --config`);
  }
});

Deno.test("--version is the version", async () => {
  assert.deepEqual(await run("--version"), { code: 0, out: VERSION, err: "" });
});

Deno.test("wrong use is 2 and says what is wrong", async () => {
  for (
    const [argv, says] of [
      [["nonsense"], /unknown command 'nonsense'/],
      [["run", "--nonsense"], /unknown option '--nonsense'/],
      [["run", "extra"], /too many arguments/],
      [["token", "new"], /required option '--id <id>'/],
      [["collector", "--endpoint", "nonsense"], /not of the form host:port/],
      [["config", "check", "--config"], /argument missing/],
    ] as const
  ) {
    const { code, out, err } = await run(...argv);
    assert.deepEqual([code, out], [2, ""], argv.join(" "));
    assert.match(err, says);
  }
  // Without a command it shows its help: that is no use of it either.
  assert.equal((await run()).code, 2);
});

Deno.test("a fault is 1, one message for a person and no trace", async () => {
  await using at = await folder();
  const file = join(at.path, "relay.yaml");
  await writeFile(file, "exporter:\n  endpiont: https://localhost:4318\n");
  for (const argv of [["run", "--config", file], ["queue", "stats", "--config", file]]) {
    const { code, err } = await run(...argv);
    assert.equal(code, 1);
    assert.match(err, /relay\.yaml:2:3: Unknown key exporter\.endpiont; did you mean exporter\.endpoint\?$/);
    assert(!/^\s+at /m.test(err), err);
  }
  const none = await run("run", "--config", join(at.path, "none.yaml"));
  assert.equal(none.code, 1);
  assert.match(none.err, /none\.yaml/);
});

Deno.test("a defect is 1 too, with its trace for the report", async () => {
  const { io, err } = recorder();
  const broken = {
    ...io,
    out: () => {
      throw new TypeError("no such paper");
    },
  };
  assert.equal(await main(["config", "reference"], broken), 1);
  assert.equal(err[0], "no such paper");
  assert.match(err[1]!, /TypeError: no such paper\n\s+at /);
});

Deno.test("queue reads the configuration for its path", async () => {
  await using at = await folder();
  const file = join(at.path, "relay.yaml");
  await writeFile(file, `sending_queue:\n  path: ${join(at.path, "elsewhere.db")}\n`);
  const { code, err } = await run("queue", "stats", "--config", file);
  assert.equal(code, 1);
  assert.match(err, /elsewhere\.db/);
});
