/** Commands that pages name: each word and option is one that the program has. nginx takes the block that is meant for it. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BLOCKS } from "../../docs/blocks.ts";
import { docBlock } from "../../support/files/docs.ts";
import { folder } from "../../support/files/folder.ts";
import { runTool, toolOutput } from "../../support/tools/tool.ts";

const root = join(import.meta.dirname!, "../../..");
/** Tasks that are no command of src/main.ts. */
const OTHER_TASKS = /^(test|bench|conformance|fuzz|ok|check|docs|hooks|example|deploy)\b/;
/** Tasks that are called otherwise as a command. */
const COMMANDS: Readonly<Record<string, string>> = { start: "run" };

Deno.test("each command of a page has its words and options", async () => {
  const lines = BLOCKS.filter(({ language }) => language === "bash").flatMap(({ text }) =>
    [...text.replaceAll(/\\\n\s*/g, "").matchAll(/deno(?:@[\d.]+)? task ([a-z][^#\n)]*)/g)].map(([, line]) =>
      line!.trim()
    )
  ).filter((line) => !OTHER_TASKS.test(line));
  assert(lines.length > 20, `${lines.length} commands`);
  const helps = new Map<string, string>();
  for (const line of new Set(lines)) {
    const words = line.split(/\s+/);
    const [task, second] = words;
    const isFamily = second !== undefined && /^[a-z][a-z-]*$/.test(second);
    const command = [COMMANDS[task!] ?? task!, ...(isFamily ? [second] : [])];
    const name = command.join(" ");
    if (!helps.has(name)) {
      const args = ["run", "-A", "--cached-only", "--no-check", join(root, "src/main.ts"), ...command, "--help"];
      helps.set(name, (await runTool(Deno.execPath(), args)).stdout);
    }
    const help = helps.get(name)!;
    assert.match(help, new RegExp(`Usage: edgeferry ${name}\\b`), line);
    for (const option of words.filter((word) => word.startsWith("--"))) {
      assert(help.includes(option.split("=")[0]!), `${line}: ${name} has no option ${option}`);
    }
  }
});

Deno.test("nginx takes what docs/limits.md gives it", async () => {
  await using at = await folder();
  const server = await docBlock("limits.md", "nginx", /limit_conn_zone/);
  const file = join(at.path, "nginx.conf");
  const rest = `pid ${at.path}/pid; error_log stderr; events {}\nhttp { access_log off;\n${server}\n}\n`;
  await writeFile(file, rest);
  const said = await toolOutput("nginx", ["-t", "-e", "stderr", "-c", file]);
  assert.equal(said.code, 0, said.stderr);
});
