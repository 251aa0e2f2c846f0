import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { configFrom } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { ConfigError, Refusal } from "../../src/errors.ts";
import { Shares } from "../../src/queue/shares.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import type { Authenticator } from "../../src/receiver/senders/authenticator.ts";
import { openLimiter, openRedactor, openSenders } from "../../src/relay/senders.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { Journal } from "../support/relay/exporting.ts";
import { folder } from "../support/files/folder.ts";

const tokens = (...secrets: string[]) =>
  `tokens:\n${secrets.map((secret) => `  - { id: ${secret}, sha256: ${digestOf(secret)} }\n`).join("")}`;

async function scene(receiver: (file: string) => ConfigInput["receiver"], text: string | undefined = tokens("old")) {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await folder());
  const file = join(at.path, "tokens.yaml");
  if (text !== undefined) await writeFile(file, text);
  const lines = new Journal<{ level: string; message: string; cause?: string }>();
  const log = createLog({ format: "json", write: (line) => lines.push(JSON.parse(line)) });
  const config = configFrom({ receiver: receiver(file) ?? {} });
  const senders = await openSenders(config, log, stack);
  const limiter = openLimiter(config, { shares: new Shares(Date.now) });
  const running = stack.move();
  return { ...senders, limiter, file, lines, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

const watched = (file: string) => ({ auth: { tokens_file: file, reload_interval: "50ms" } });

const knows = async (authenticator: Authenticator, secret: string): Promise<boolean> => {
  try {
    return (await authenticator.authenticate(new Headers({ "x-api-key": secret }))).id === secret;
  } catch (error) {
    assert.ok(error instanceof Refusal);
    return false;
  }
};

Deno.test("a changed tokens file counts without a restart; a bad one is refused, and the old goes on", async () => {
  await using at = await scene(watched);
  assert.equal(await knows(at.authenticator, "old"), true);
  await writeFile(at.file, tokens("old", "new"));
  await at.lines.until(() => at.lines.entries.length >= 1, "the change");
  assert.equal(await knows(at.authenticator, "old") && await knows(at.authenticator, "new"), true);
  await writeFile(at.file, "tokens: [");
  await at.lines.until(() => at.lines.entries.length >= 2, "the refusal");
  assert.equal(await knows(at.authenticator, "old") && await knows(at.authenticator, "new"), true);
  await writeFile(at.file, tokens("new"));
  await at.lines.until(() => at.lines.entries.length >= 3, "the revocation");
  assert.deepEqual([await knows(at.authenticator, "old"), await knows(at.authenticator, "new")], [false, true]);
  assert.deepEqual(at.lines.entries.map(({ level, message }) => [level, message]), [
    ["info", "Took up changed tokens"],
    ["error", "Refused changed tokens; the previous ones stay in force"],
    ["info", "Took up changed tokens"],
  ]);
  assert.match(at.lines.entries[1]!.cause!, /^Cannot read tokens file .*tokens\.yaml:1:10: Not YAML: /);
});

Deno.test("tokens given as text, and none asked for", async () => {
  await using given = await scene(() => ({ auth: { tokens: tokens("text") } }));
  assert.equal(await knows(given.authenticator, "text"), true);
  await using open = await scene(() => ({ auth: { insecure: true } }));
  assert.equal((await open.authenticator.authenticate(new Headers())).id, "anonymous");
});

Deno.test("a file without a token is a warning, where nothing else lets anybody in", async () => {
  await using at = await scene(watched, "tokens: []\n");
  assert.deepEqual(at.lines.entries.map(({ level, message }) => [level, message]), [
    ["warn", "Nobody may send: there is no token; make one with 'token new --id NAME'"],
  ]);
  await using by = await scene((file) => ({
    http: { tls: { cert_file: "a", key_file: "b", client_ca_file: "c", require_client_certificate: false } },
    ...watched(file),
  }), "tokens: []\n");
  assert.deepEqual(by.lines.entries, []);
});

Deno.test("a tokens file that is missing or broken is an error that names it", async () => {
  await assert.rejects(scene(watched, "tokens: ["), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^Cannot read tokens file /);
    return true;
  });
  await using at = await scene(watched);
  await rm(at.file);
  await assert.rejects(scene(() => ({ auth: { tokens_file: at.file } }), undefined), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^Cannot read receiver\.auth\.tokens_file .*; make one with 'token new --id NAME'$/);
    return true;
  });
});

Deno.test("limits of the configuration are for every sender without its own", async () => {
  await using at = await scene((file) => ({ ...watched(file), limits: { requests_per_second: 1 } }));
  const sender = await at.authenticator.authenticate(new Headers({ "x-api-key": "old" }));
  at.limiter.enter(sender).leave(true);
  assert.throws(() => at.limiter.enter(sender), { code: "throttled" });
});

Deno.test("without actions there is no redactor; a dry run is a warning", () => {
  const lines: string[] = [];
  const log = createLog({ format: "json", write: (line) => void lines.push(line) });
  assert.equal(openRedactor(configFrom({ redaction: { salt: "salt" } }), log), undefined);
  const actions = [{ key: "user.*", action: "hash" as const }];
  assert.deepEqual(openRedactor(configFrom({ redaction: { actions, salt: "salt" } }), log)?.settings.rules, actions);
  assert.deepEqual(lines, []);
  assert.equal(
    openRedactor(configFrom({ redaction: { actions, salt: "salt", dry_run: true } }), log)?.settings.dryRun,
    true,
  );
  assert.match(lines[0]!, /"level":"warn".*redaction.dry_run is true/);
});
