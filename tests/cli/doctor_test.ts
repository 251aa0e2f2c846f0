import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { doctorCommand } from "../../src/cli/doctor.ts";
import { FaultFound } from "../../src/cli/io.ts";
import { startCollector } from "../../src/collector/server.ts";
import type { Report } from "../../src/doctor/doctor.ts";
import { main } from "../../src/main.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startProgram } from "../support/program/program.ts";
import { recorder } from "../support/relay/recorder.ts";

async function withRelay(test: (run: (...argv: string[]) => Promise<string[]>, dir: string) => Promise<void>) {
  await using certs = await testCertificates();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
  });
  for (const [name, pair] of [["good", certs.client], ["bad", certs.mismatchedClient]] as const) {
    await writeFile(
      join(certs.dir, `${name}.yaml`),
      JSON.stringify({
        exporter: {
          endpoint: collector.url,
          tls: { ca_file: certs.ca.certificateFile, cert_file: pair.certificateFile, key_file: pair.keyFile },
        },
        sending_queue: { path: join(certs.dir, "queue.db"), queue_size: "64MiB" },
      }),
    );
  }
  await test(async (...argv) => {
    const { io, out } = recorder();
    const command = doctorCommand(io, { env: { DENO_TLS_CA_STORE: "" }, cwd: certs.dir });
    try {
      await command.parseAsync(argv, { from: "user" });
    } catch (error) {
      assert(error instanceof FaultFound, String(error));
      out.push(error.message);
    }
    return out;
  }, certs.dir);
}

Deno.test("each step is a line; a fault has its name, what others call it, and what to do; exit code 1", () =>
  withRelay(async (run, dir) => {
    const good = await run("--config", "good.yaml");
    assert(good.slice(0, -1).every((line) => /^ok {4}\S/.test(line)), good.join("\n"));
    assert.match(good.at(-1)!, new RegExp(`^All ${good.length - 1} checks passed$`));
    const bad = (await run("--config", "bad.yaml")).join("\n");
    assert.match(bad, /^FAULT key and certificate: Cannot use client key \S+ it does not match/m);
    assert.match(bad, /^ {8}name: key_mismatch \(elsewhere: bad record MAC; key values mismatch; KeyMismatch\)$/m);
    assert.match(bad, /^ {8}do: {3}give the key that was made with this certificate/m);
    assert.match(bad, /^ {8}\d+ further checks wait for this$/m);
    assert.doesNotMatch(bad, /Skipped/);
    assert.match(
      bad,
      /\nFound 1 fault:\n {2}key_mismatch: Cannot use client key .*\n {4}To do: give the key that was made with .*$/,
    );
    const report = JSON.parse((await run("--config", "bad.yaml", "--json"))[0]!) as Report;
    const waiting = report.checks.filter(({ waitsFor }) => waitsFor !== null);
    assert.match(bad, new RegExp(`^ {8}${waiting.length} further checks wait for this$`, "m"));
    assert(waiting.every(({ status }) => status === "skipped"));
    const { io, err } = recorder();
    assert.equal(await main(["doctor", "--config", join(dir, "bad.yaml")], io), 1);
    assert.match(err.at(-1)!, /^Found 1 fault:\n {2}key_mismatch: /);
  }));

Deno.test("--json prints the whole report", () =>
  withRelay(async (run) => {
    const [text] = await run("--config", "bad.yaml", "--json");
    const report: Report = JSON.parse(text!);
    assert.deepEqual([report.ok, report.faults], [false, ["key_mismatch"]]);
    const check = report.checks.find(({ fault }) => fault === "key_mismatch");
    assert.deepEqual([check?.status, check?.endpoint, check?.knownAs[0]], ["fault", null, "bad record MAC"]);
  }));

Deno.test("wrong use is exit code 2", async () => {
  assert.equal(await main(["doctor", "--no-such"], recorder().io), 2);
});

Deno.test("as a task, where nothing else is trusted: a sound relay is found sound", () =>
  withRelay(async (_run, dir) => {
    const root = fileURLToPath(new URL("../../", import.meta.url));
    const { tasks } = JSON.parse(await readFile(join(root, "deno.json"), "utf8"));
    const [variable, deno, ...words] = tasks.doctor.command.split(" ") as string[];
    assert.deepEqual([variable, deno], ["DENO_TLS_CA_STORE=", "deno"]);
    const args = words.map((word) => word === "src/main.ts" ? join(root, word) : word);
    // A machine's own variables, such as NODE_EXTRA_CA_CERTS, are not in its environment.
    await using program = startProgram({
      command: Deno.execPath(),
      args: [...args, "--config", "good.yaml"],
      cwd: dir,
      env: { DENO_TLS_CA_STORE: "" },
    });
    const { code } = await program.ended;
    assert.deepEqual([
      code,
      program.lines.filter((line) => !/^ok {4}/.test(line)).map((line) => line.replace(/\d+/, "N")),
    ], [
      0,
      ["All N checks passed"],
    ]);
  }));
