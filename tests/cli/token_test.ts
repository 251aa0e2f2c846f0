import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { main } from "../../src/main.ts";
import { digestOf, TokenAuthenticator } from "../../src/receiver/senders/authenticator.ts";
import { parseTokens, parseTokensFile } from "../../src/receiver/senders/tokens_schema.ts";
import { MintedVerifier } from "../../src/receiver/senders/minted.ts";
import { folder } from "../support/files/folder.ts";
import { runProgram } from "../support/program/program.ts";
import { recorder } from "../support/relay/recorder.ts";

async function run(...argv: string[]) {
  const { io, out, err } = recorder();
  return { code: await main(["token", ...argv], io), out, err };
}

/** Who the token is taken for, by the file as the relay reads it. */
async function senderOf(file: string, token: string) {
  const authenticator = new TokenAuthenticator(parseTokens(await readFile(file, "utf8"), file));
  return await authenticator.authenticate(new Headers({ authorization: `Bearer ${token}` }));
}

Deno.test("token new prints the token once and keeps its digest alone, in a file of its user's", async () => {
  await using at = await folder();
  const file = join(at.path, "config", "tokens.yaml");
  const { code, out, err } = await run("new", "--id", "web", "--file", file);
  assert.equal(code, 0);
  assert.equal(out.length, 1);
  const token = out[0]!;
  assert.match(token, /^[\w-]{43}$/);
  assert.match(err[0]!, /^Token for web: shown this once/);
  assert(!(await readFile(file, "utf8")).includes(token));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(await senderOf(file, token), {
    id: "web",
    proof: `token ${digestOf(token).slice(0, 8)}`,
    signals: new Set(["traces", "metrics", "logs", "profiles"]),
  });
});

Deno.test("token new as JSON, for some signals; a second one of an id is a rotation; comments stay", async () => {
  await using at = await folder();
  const file = join(at.path, "tokens.yaml");
  const first = await run("new", "--id", "web", "--signals", "traces, logs", "--file", file, "--json");
  assert.equal(first.code, 0);
  assert.deepEqual(first.err, []);
  const { id, token, file: told } = JSON.parse(first.out.join("\n"));
  assert.deepEqual([id, told], ["web", file]);
  await writeFile(file, (await readFile(file, "utf8")).replace("tokens:", "# The shop's own.\ntokens:"));
  const second = await run("new", "--id", "web", "--file", file);
  assert.match(await readFile(file, "utf8"), /# The shop's own\./);
  assert.deepEqual([...(await senderOf(file, token)).signals].sort(), ["logs", "traces"]);
  assert.equal((await senderOf(file, second.out[0]!)).id, "web");
});

Deno.test("token new with origins, an end and limits", async () => {
  await using at = await folder();
  const file = join(at.path, "tokens.yaml");
  const flags =
    "--resource-attributes tenant.id=acme,tier=gold --origins https://a.example,https://b.example --not-after 2099-01-31T12:00:00Z --requests-per-second 10 " +
    "--items-per-second 1000 --bytes-per-second 1MiB --concurrent-requests 4 --max-request-body-size 64KiB --queue-share 0.5";
  const { code, out } = await run("new", "--id", "web", "--file", file, ...flags.split(" "));
  assert.equal(code, 0);
  const authenticator = new TokenAuthenticator(parseTokens(await readFile(file, "utf8"), file));
  const { id, origins, limits, resourceAttributes } = await authenticator.authenticate(
    new Headers({ "x-api-key": out[0]! }),
  );
  assert.deepEqual([id, origins], ["web", ["https://a.example", "https://b.example"]]);
  assert.deepEqual(resourceAttributes!.keys.map((key) => new TextDecoder().decode(key)), ["tenant.id", "tier"]);
  assert.deepEqual(limits, {
    requestsPerSecond: 10,
    itemsPerSecond: 1000,
    bytesPerSecond: 1 << 20,
    concurrentRequests: 4,
    bodyBytesMax: 1 << 16,
    queueShare: 0.5,
  });
  const before = await readFile(file, "utf8");
  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ["--queue-share", "2", /It must be a number above 0, up to 1\./],
    ["--not-after", "soon", /It must be a time with its zone, such as 2027-01-31T12:00:00Z\./],
    ["--requests-per-second", "many", /It must be a number above 0\./],
    ["--requests-per-second", "", /It must be a number above 0\./],
    ["--items-per-second", "-1", /It must be a number above 0\./],
    ["--bytes-per-second", "fast", /It must be a size such as 1MiB\./],
    ["--concurrent-requests", "1.5", /It must be a whole number from 1 to 1000000\./],
    ["--max-request-body-size", "0", /It must be a size such as 64KiB\./],
    ["--origins", "https://a.example/path", /It must be origins such as https:\/\/app\.example, without a path/],
    ["--resource-attributes", "tenant", /tenant is no attribute; use key=value\./],
    ["--resource-attributes", `a=${"x".repeat(1_025)}`, /It must be 1 to 32 attributes such as tenant\.id=acme/],
    ["--id", "a b", /It must be 1 to 63 letters, digits/],
  ];
  for (const [option, value, told] of wrong) {
    const refused = await run("new", "--id", "web", "--file", file, option, value);
    assert.deepEqual([refused.code, refused.out], [2, []], option);
    const said = refused.err.join("\n");
    assert.match(said, told);
    assert.ok(said.includes(`option '${option} <`), said);
  }
  assert.equal(await readFile(file, "utf8"), before);
});

Deno.test("token revoke removes every token of an id, and says when there is none", async () => {
  await using at = await folder();
  const file = join(at.path, "tokens.yaml");
  const tokens = [];
  for (const id of ["web", "web", "shop"]) tokens.push((await run("new", "--id", id, "--file", file)).out[0]!);
  const revoked = await run("revoke", "web", "--file", file);
  assert.deepEqual([revoked.code, revoked.out], [0, [`Removed 2 tokens of web from ${file}`]]);
  assert.equal((await senderOf(file, tokens[2]!)).id, "shop");
  await assert.rejects(senderOf(file, tokens[0]!), { code: "unauthenticated" });
  const again = await run("revoke", "web", "--file", file);
  assert.deepEqual([again.code, again.err], [1, [`No token of web is in ${file}; token usage lists those that are`]]);
  assert.equal((await run("revoke", "shop", "--file", file)).out[0], `Removed 1 token of shop from ${file}`);
});

Deno.test("wrong use is 2, a file that cannot be used is 1", async () => {
  await using at = await folder();
  const file = join(at.path, "tokens.yaml");
  assert.equal((await run("new", "--file", file)).code, 2);
  const signals = await run("new", "--id", "web", "--signals", "spans", "--file", file);
  assert.equal(signals.code, 2);
  assert.match(signals.err.join("\n"), /spans is no signal; use traces, metrics, logs, profiles\./);
  assert.equal((await run("revoke", "--file", file)).code, 2);
  assert.equal((await run("mint")).code, 2);
  assert.equal((await run("key", "--id", "web")).code, 2);
  const id = await run("new", "--id", "a b\n", "--file", file);
  assert.equal(id.code, 2);
  assert.equal(id.out.length, 0, "no token is shown that was not kept");
  await writeFile(file, "tokens: nonsense\n");
  const broken = await run("new", "--id", "web", "--file", file);
  assert.equal(broken.code, 1);
  assert.equal(broken.out.length, 0);
  assert.equal(await readFile(file, "utf8"), "tokens: nonsense\n");
});

/** Runs the work with a variable set. */
async function withKey<T>(value: string, work: () => Promise<T>): Promise<T> {
  process.env["EDGEFERRY_SIGNING_KEY"] = value;
  try {
    return await work();
  } finally {
    delete process.env["EDGEFERRY_SIGNING_KEY"];
  }
}

for (const kind of [[], ["--eddsa"]]) {
  Deno.test(`token key ${kind.join("")} and token mint: what one prints, the other signs with`, async () => {
    await using at = await folder();
    const file = join(at.path, "tokens.yaml");
    const token = (await run("new", "--id", "shop", "--file", file)).out[0]!;
    const flags = [
      "--origins",
      "https://app.example,https://b.example",
      "--max-request-body-size",
      "64KiB",
      "--max-age",
      "10m",
    ];
    const made = await run("key", "--id", "web", ...flags, ...kind, "--file", file);
    assert.deepEqual([made.code, made.out.length], [0, 1]);
    const secret = made.out[0]!;
    assert.match(made.err[0]!, /^Signing key web: shown this once, for the app's backend; never put it into a page$/);
    assert.equal(
      (await readFile(file, "utf8")).includes(secret),
      kind.length === 0,
      "a private key stays with the backend",
    );
    const minted = await withKey(
      secret,
      () => run("mint", "--id", "web", "--origins", "https://b.example", "--signals", "logs"),
    );
    assert.equal(minted.code, 0, minted.err.join());
    const { tokens, signingKeys } = parseTokensFile(await readFile(file, "utf8"), file);
    const authenticator = new TokenAuthenticator(tokens, Date.now, [new MintedVerifier(signingKeys)]);
    const sender = await authenticator.authenticate(new Headers({ "x-api-key": minted.out[0]! }));
    assert.deepEqual([sender.id, [...sender.signals], sender.origins, sender.limits], [
      "key:web",
      ["logs"],
      ["https://b.example"],
      { bodyBytesMax: 65_536 },
    ]);
    const again = await run("new", "--id", "second", "--file", file);
    assert.equal(again.code, 0);
    assert.equal(
      parseTokensFile(await readFile(file, "utf8"), file).signingKeys.length,
      1,
      "it stays when tokens are made",
    );
    assert.deepEqual((await run("revoke", "web", "--file", file)).out, [`Removed 1 token of web from ${file}`]);
    assert.equal((await senderOf(file, token)).id, "shop");
  });
}

Deno.test("token mint without a key, with a wrong one or a wrong time", async () => {
  assert.match((await run("mint", "--id", "web")).err[0]!, /EDGEFERRY_SIGNING_KEY is not set/);
  const wrong = await withKey('{"kty":"OKP"}', () => run("mint", "--id", "web"));
  assert.deepEqual([wrong.code, wrong.err], [1, [
    "Cannot mint a token: EDGEFERRY_SIGNING_KEY is not a key; set it to what token key printed",
  ]]);
  // As a signature these would do; no relay has a key so short.
  for (const short of ["garbage", "x".repeat(42), `${"x".repeat(43)}\n${"x".repeat(43)}`]) {
    assert.deepEqual((await withKey(short, () => run("mint", "--id", "web"))).err, wrong.err, short);
  }
  const late = await withKey("x".repeat(43), () => run("mint", "--id", "web", "--expires", "soon"));
  assert.equal(late.code, 2);
  assert.match(late.err[0]!, /option '--expires <duration>'.*It must be a time such as 5m, from 1s to 24h\./);
  const age = await run("key", "--id", "web", "--origins", "https://a.example", "--max-age", "25h");
  assert.equal(age.code, 2);
});

Deno.test("new, key and revoke use the file that the configuration names, as usage does", async () => {
  await using at = await folder();
  const config = join(at.path, "relay.yaml");
  const file = join(at.path, "own", "people.yaml");
  await writeFile(config, `receiver: { auth: { tokens_file: ${file} } }\n`);
  const from = ["--config", config];
  const made = await run("new", "--id", "web", ...from, "--json");
  assert.equal(JSON.parse(made.out.join("\n")).file, file);
  assert.equal((await run("key", "--id", "pages", "--origins", "https://app.example", ...from)).code, 0);
  const { tokens, signingKeys } = parseTokensFile(await readFile(file, "utf8"), file);
  assert.deepEqual([tokens.map(({ id }) => id), signingKeys.map(({ id }) => id)], [["web"], ["pages"]]);
  assert.deepEqual((await run("revoke", "web", ...from)).out, [`Removed 1 token of web from ${file}`]);
  assert.deepEqual(parseTokens(await readFile(file, "utf8"), file), []);

  await writeFile(config, "receiver: { auth: { tokens: '{ tokens: [] }' } }\n");
  for (const args of [["new", "--id", "web"], ["revoke", "web"]]) {
    const refused = await run(...args, ...from);
    assert.equal(refused.code, 1);
    assert.match(refused.err.join("\n"), /^Cannot change the tokens: receiver\.auth\.tokens has their text/);
  }
});

Deno.test("token commands that run at once leave what each of them has done", async () => {
  await using at = await folder();
  const file = join(at.path, "config", "tokens.yaml");
  // Commands of one process and of another.
  const atOnce = (...commands: readonly string[][]) =>
    Promise.all([commands.slice(0, 3), commands.slice(3)].map((some) =>
      runProgram({
        command: Deno.execPath(),
        args: [
          "run",
          "-A",
          "--no-check",
          new URL("../support/program/commands.ts", import.meta.url).pathname,
          ...some.map((words) => JSON.stringify(["token", ...words, "--file", file])),
        ],
        cwd: at.path,
      })
    ));
  const ids = ["a", "b", "c", "d", "e", "f"];
  await atOnce(...ids.map((id) => ["new", "--id", id]));
  const idsIn = async () => parseTokens(await readFile(file, "utf8"), file).map(({ id }) => id).sort();
  assert.deepEqual(await idsIn(), ids);
  await atOnce(
    ["revoke", "a"],
    ["new", "--id", "g"],
    ["revoke", "b"],
    ["key", "--id", "k", "--origins", "https://app.example"],
    ["revoke", "c"],
    ["new", "--id", "h"],
  );
  assert.deepEqual(await idsIn(), ["d", "e", "f", "g", "h"]);
  const { signingKeys, revoked } = parseTokensFile(await readFile(file, "utf8"), file);
  assert.deepEqual(signingKeys.map(({ id }) => id), ["k"]);
  assert.deepEqual(revoked.map(({ id }) => id).sort(), ["a", "b", "c"]);
});
