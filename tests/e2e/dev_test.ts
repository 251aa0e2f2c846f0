/** A newcomer's first minutes: a fresh copy of the repository, `deno task dev`, and the one line that it prints. */
import assert from "node:assert/strict";
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runProgram, startProgram } from "../support/program/program.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const SIGNALS = ["traces", "metrics", "logs"];

/** What a clone would hold, with the changes of the working tree. */
async function freshCopy(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "edgeferry-clone-"));
  const listed = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: root,
  }).output();
  assert(listed.success, new TextDecoder().decode(listed.stderr));
  for (const file of new TextDecoder().decode(listed.stdout).split("\0").filter((name) => name !== "")) {
    // Deleted in the working tree, not yet in the index.
    if (await stat(join(root, file)).catch(() => undefined) === undefined) continue;
    await mkdir(join(path, dirname(file)), { recursive: true });
    await cp(join(root, file), join(path, file));
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** Processes that run in a folder. */
async function processesIn(folder: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => "")));
  return pids.filter((_, index) => folders[index] === folder);
}

/** A port that is free now, for a process that is told where another one listens. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("dev in a fresh copy: one line sends a first trace, metric and log, over mutual TLS", async () => {
  await using copy = await freshCopy();
  // The newcomer has the ports to himself; the test does not.
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${freePort()}`,
    EDGEFERRY_RECEIVER_HTTP_ENDPOINT: `127.0.0.1:${freePort()}`,
    EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: "127.0.0.1:0",
  };
  await using dev = startProgram({ command: Deno.execPath(), args: ["task", "dev"], cwd: copy.path, env });
  const told = /^ {2}npx -y deno@(\S+) (task send.*)$/;
  const line = await dev.line(told);
  const [, version, words] = told.exec(line)!;
  assert.equal(version, Deno.version.deno);
  assert.equal(dev.out.filter((candidate) => candidate.startsWith("  ")).length, 1, dev.out.join("\n"));

  const modes = ["certs/ca.key", "certs/server.key", "certs/client.key", "data/dev.token", "config/tokens.yaml"];
  for (const file of modes) assert.equal((await stat(join(copy.path, file))).mode & 0o777, 0o600, file);

  /** Runs the line, by the Deno of this test, and sees all three come out at the embedded Collector. */
  const sendAndSee = async (times: number) => {
    // The same variables as above: they do not send it past the relay.
    const out = await runProgram({ command: Deno.execPath(), args: words!.split(" "), cwd: copy.path, env });
    const results = Object.fromEntries(out.map((text) => text.split(/\s+/)));
    assert.deepEqual(SIGNALS.map((signal) => results[signal]), ["accepted", "accepted", "accepted"]);
    const prints = [
      /^collector: traces {2}1 span of first-steps \(GET \/hello\), delivered by client-app$/,
      /^collector: metrics 1 data point of first-steps \(hello\.requests\) with env=dev, delivered by client-app$/,
      /^collector: logs {4}1 log record of first-steps \(Hello from edgeferry send\), delivered by client-app$/,
    ];
    for (const print of prints) await dev.line(print, times);
  };
  await sendAndSee(1);

  // A change of a source is taken up: the relay stops, starts again at the same address, and has lost nothing.
  await appendFile(join(copy.path, "src/version.ts"), "// changed\n");
  await dev.line(told, 2);
  await sendAndSee(2);

  assert.notDeepEqual(await processesIn(copy.path), []);
  dev.signal("SIGINT");
  assert.equal((await dev.ended).code, 0, dev.lines.join("\n"));
  assert.deepEqual(await processesIn(copy.path), []);
  // The token that it made is in one file only, and in no output.
  const token = (await readFile(join(copy.path, "data/dev.token"), "utf8")).trim();
  assert.match(token, /^[\w-]{43}$/);
  assert(!dev.lines.some((text) => text.includes(token)));
});
