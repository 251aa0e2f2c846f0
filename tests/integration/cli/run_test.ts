import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { initCertificates } from "../../../src/pki/init.ts";
import { folder } from "../../support/files/folder.ts";
import { startTask, writeConfig } from "../../support/program/task.ts";

Deno.test("run: what is missing is a message and 1; SIGINT and SIGTERM end it with 0", async () => {
  await using at = await folder();
  const config = await writeConfig(at, 1, "sending_queue: { storage: none }\n");
  await using none = startTask("start", at.path, ["--config", "none.yaml"]);
  assert.equal((await none.ended).code, 1);
  assert.match(none.lines.join("\n"), /none\.yaml/);
  await using bare = startTask("start", at.path, ["--config", config]);
  assert.equal((await bare.ended).code, 1);
  assert.match(
    bare.lines.at(-1)!,
    /config\/tokens\.yaml: there is no such file; make one with 'token new --id NAME'$/,
  );
  await mkdir(join(at.path, "config"), { recursive: true });
  await writeFile(
    join(at.path, "config", "tokens.yaml"),
    `tokens:\n  - { id: web, sha256: ${"ab".repeat(32)} }\n`,
  );
  await using open = startTask("start", at.path, ["--config", config]);
  assert.equal((await open.ended).code, 1);
  assert.match(open.lines.at(-1)!, /certs\/(ca|client)\.(crt|key)/);
  await initCertificates({ dir: join(at.path, "certs") });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using relay = startTask("start", at.path, ["--config", config]);
    await relay.line(
      /Ready receiving=http:\/\/127\.0\.0\.1:\d+ sending=https:\/\/localhost:1 page=http:\/\/127\.0\.0\.1:\d+\/$/,
    );
    relay.signal(signal);
    // As `deno task` passes on what its command has had from the terminal.
    await relay.line(/Stopping/);
    relay.signal(signal);
    assert.equal((await relay.ended).code, 0, relay.lines.join("\n"));
    assert(relay.lines.some((line) => line.includes("Stopped")));
    assert(!relay.lines.some((line) => line.startsWith("Warning: trusted beside")), "the task trusts the CA alone");
  }
});

Deno.test("run: what is trusted beside the CA is said at the start", async () => {
  await using at = await folder();
  const config = await writeConfig(at, 1, "sending_queue: { storage: none }\n");
  await using relay = startTask("start", at.path, ["--config", config], { DENO_TLS_CA_STORE: "mozilla" });
  await relay.line(/^Warning: trusted beside exporter\.tls\.ca_file: Deno's default roots /);
  await relay.ended;
});
