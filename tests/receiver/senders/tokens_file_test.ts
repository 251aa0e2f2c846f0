import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../../src/errors.ts";
import { digestOf } from "../../../src/receiver/senders/authenticator.ts";
import {
  addSigningKey,
  addToken,
  newSecret,
  readTokens,
  readTokensFile,
  removeTokens,
} from "../../../src/receiver/senders/tokens_file.ts";

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tokens-"));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const mode = async (file: string) => (await stat(file)).mode & 0o777;

Deno.test("a secret is 43 characters of base64url, never the same", () => {
  const secrets = Array.from({ length: 50 }, newSecret);
  for (const secret of secrets) assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
  assert.equal(new Set(secrets).size, 50);
});

Deno.test("a first token makes the file and its folder, for the owner alone, without the secret", () =>
  inFolder(async (folder) => {
    const file = join(folder, "config", "tokens.yaml");
    assert.deepEqual(await readTokens(file), []);
    await addToken(file, { id: "dev", secret: "s3cret" });
    assert.equal(await mode(file), 0o600);
    assert.deepEqual(await readTokens(file), [
      { id: "dev", sha256: digestOf("s3cret"), signals: ["traces", "metrics", "logs", "profiles"] },
    ]);
    const text = await readFile(file, "utf8");
    assert.ok(!text.includes("s3cret"));
    assert.match(text, /^# Who may send/);
    assert.deepEqual(await readdir(join(folder, "config")), ["tokens.yaml"], "no temporary file is left");
  }));

Deno.test("a token is appended, and people's comments and spelling stay", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    const before = `# ours\ntokens:\n  - id: a # the shop\n    sha256: "${digestOf("a")}"\n`;
    await writeFile(file, before, { mode: 0o644 });
    await addToken(file, { id: "b", secret: "b", signals: ["logs"] });
    await addToken(file, { id: "b", secret: "b2" });
    const text = await readFile(file, "utf8");
    assert.ok(text.startsWith(before));
    assert.deepEqual((await readTokens(file)).map(({ id, signals }) => [id, ...signals]), [
      ["a", "traces", "metrics", "logs", "profiles"],
      ["b", "logs"],
      ["b", "traces", "metrics", "logs", "profiles"],
    ]);
    assert.equal(await mode(file), 0o600);
  }));

Deno.test("a file of another shape is written anew, with every token", () =>
  inFolder(async (folder) => {
    const shapes = [
      "tokens: []\n",
      `tokens: [{ id: a, sha256: ${digestOf("a")} }]\n`,
      `{ "tokens": [{ "id": "a", "sha256": "${digestOf("a")}" }] }\n`,
      `tokens:\n- id: a\n  sha256: ${digestOf("a")}\n`,
      `tokens:\n    - id: a\n      sha256: ${digestOf("a")}\n`,
      `tokens:\n  - id: a\n    sha256: ${digestOf("a")}\n...\n`,
    ];
    for (const [index, shape] of shapes.entries()) {
      const file = join(folder, `${index}.yaml`);
      await writeFile(file, shape);
      const before = (await readTokens(file)).map(({ id }) => id);
      await addToken(file, { id: "b", secret: "b" });
      assert.deepEqual((await readTokens(file)).map(({ id }) => id), [...before, "b"], shape);
    }
  }));

Deno.test("every token of an id is removed, and of an unknown one none", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    assert.equal(await removeTokens(file, "a"), 0);
    assert.deepEqual(await readdir(folder), []);
    for (const secret of ["1", "2"]) await addToken(file, { id: "a", secret });
    await addToken(file, { id: "b", secret: "3", signals: ["metrics"] });
    const text = await readFile(file, "utf8");
    assert.equal(await removeTokens(file, "c"), 0);
    assert.equal(await readFile(file, "utf8"), text, "untouched");
    assert.equal(await removeTokens(file, "a"), 2);
    assert.deepEqual(await readTokens(file), [{ id: "b", sha256: digestOf("3"), signals: ["metrics"] }]);
    assert.equal(await removeTokens(file, "b"), 1);
    assert.deepEqual(await readTokens(file), []);
    await addToken(file, { id: "d", secret: "4" });
    assert.deepEqual((await readTokens(file)).map(({ id }) => id), ["d"]);
  }));

Deno.test("revoked tokens are remembered for 90 days, a thousand of them, whatever else becomes of the file", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    const revoked = async () => (await readTokensFile(file)).revoked.map(({ id, sha256, at }) => [id, sha256, at]);
    for (const id of ["a", "b"]) await addToken(file, { id, secret: id });
    await removeTokens(file, "a", new Date("2027-01-01T00:00:00Z"));
    const first = ["a", digestOf("a"), "2027-01-01T00:00:00.000Z"];
    assert.deepEqual(await revoked(), [first]);
    await addToken(file, { id: "c", secret: "c" });
    await addSigningKey(file, { id: "page", secret: newSecret(), origins: ["https://app.example"] });
    assert.deepEqual(await revoked(), [first]);
    await removeTokens(file, "b", new Date("2027-03-31T00:00:00Z"));
    assert.deepEqual((await revoked()).map(([id]) => id), ["a", "b"]);
    await removeTokens(file, "c", new Date("2027-04-01T00:00:00Z"));
    assert.deepEqual((await revoked()).map(([id]) => id), ["b", "c"], "after 90 days");
    assert.deepEqual(await readTokens(file), []);
    const many = Array.from({ length: 1_000 }, (_, index) => digestOf(`${index}`));
    const at = "2027-04-01T00:00:00Z";
    await writeFile(
      file,
      JSON.stringify({
        tokens: [{ id: "last", sha256: digestOf("last") }],
        revoked: many.map((sha256) => ({ id: "many", sha256, at })),
      }),
    );
    await removeTokens(file, "last", new Date(at));
    const kept = await revoked();
    assert.deepEqual([kept.length, kept[0]![1], kept.at(-1)![0]], [1_000, many[1], "last"]);
  }));

Deno.test("a file that cannot be used is left as it is", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    await writeFile(file, "tokens: [\n");
    await assert.rejects(addToken(file, { id: "a", secret: "a" }), ConfigError);
    await assert.rejects(removeTokens(file, "a"), ConfigError);
    await assert.rejects(readTokens(file), ConfigError);
    assert.equal(await readFile(file, "utf8"), "tokens: [\n");
    assert.deepEqual(await readdir(folder), ["tokens.yaml"]);
  }));

Deno.test("an id that the file may not have, and a secret that it has, are refused before anything is written", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    await assert.rejects(addToken(file, { id: "two words", secret: "a" }), ConfigError);
    assert.deepEqual(await readdir(folder), []);
    await addToken(file, { id: "a", secret: "a" });
    const text = await readFile(file, "utf8");
    await assert.rejects(addToken(file, { id: "b", secret: "a" }), ConfigError);
    assert.equal(await readFile(file, "utf8"), text);
  }));

Deno.test("what cannot be read is named", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    await mkdir(file);
    await assert.rejects(readTokens(file), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^Cannot read tokens file .*tokens\.yaml: /);
      return true;
    });
  }));

Deno.test("people's comments and spelling stay, whatever is made and revoked", () =>
  inFolder(async (folder) => {
    const file = join(folder, "tokens.yaml");
    const entry = (id: string, comment: string) =>
      `  # ${comment}\n  - id: ${id} # since May\n    sha256: '${digestOf(id)}'\n    signals: [traces, logs]\n\n`;
    const before = `# Ours.\ntokens:\n${entry("shop", "The shop's own.")}${entry("laptop", "Ada's.")}` +
      `# Pages.\nsigning_keys:\n  - {id: web, secret: "${newSecret()}", origins: ["https://app.example"]} # the app\n`;
    await writeFile(file, before);
    await removeTokens(file, "laptop", new Date("2027-01-01T00:00:00Z"));
    const revoked = `revoked:\n  - id: laptop\n    sha256: ${digestOf("laptop")}\n    at: 2027-01-01T00:00:00.000Z\n`;
    const after = before.replace(/\n {2}# Ada's[^]*?logs\]\n/, "") + revoked;
    assert.equal(await readFile(file, "utf8"), after);
    await addToken(file, { id: "new", secret: "s", signals: ["logs"] });
    await addSigningKey(file, { id: "other", secret: newSecret(), origins: ["https://b.example"] });
    const text = await readFile(file, "utf8");
    for (const line of after.split("\n")) assert.ok(text.includes(line), line);
    await removeTokens(file, "new");
    await removeTokens(file, "other");
    const left = (await readFile(file, "utf8")).replace(new RegExp(` {2}- id: new\n.*\n.*\n`), "");
    assert.equal(left, after);
  }));
