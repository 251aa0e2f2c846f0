/** The lines that docs/tokens.md gives a backend for minting tokens, run as they stand there. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TokenAuthenticator } from "../../src/receiver/senders/authenticator.ts";
import { MintedVerifier } from "../../src/receiver/senders/minted.ts";
import { newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { docBlock } from "../support/files/docs.ts";
import { runTool } from "../support/tools/tool.ts";
import { folder } from "../support/files/folder.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

async function linesFor(language: string): Promise<string> {
  return await docBlock("tokens.md", language, /EDGEFERRY_SIGNING_KEY/);
}

async function letsIn(secret: string, token: string): Promise<void> {
  const key = { id: "web", secret, origins: ["https://app.example"], max_age: "15m", max_age_ms: 900_000 };
  const authenticator = new TokenAuthenticator([], Date.now, [new MintedVerifier([key])]);
  const sender = await authenticator.authenticate(new Headers({ authorization: `Bearer ${token}` }));
  assert.deepEqual([sender.id, sender.origins], ["key:web", ["https://app.example"]]);
}

Deno.test("the lines for a backend on JavaScript mint a token", async () => {
  await using at = await folder();
  const secret = newSecret();
  const program = join(at.path, "backend.mjs");
  // What Node gives every program.
  const globals = 'import { Buffer } from "node:buffer";\nimport process from "node:process";\n';
  await writeFile(program, `${globals}${await linesFor("js")}console.log(token);\n`);
  const { stdout } = await runTool(
    Deno.execPath(),
    ["run", "--no-check", "--allow-env", "--config", join(root, "deno.json"), program],
    { env: { EDGEFERRY_SIGNING_KEY: secret } },
  );
  await letsIn(secret, stdout.trim());
});

Deno.test("the lines for a backend on Python mint a token", async () => {
  await using at = await folder();
  const secret = newSecret();
  const program = join(at.path, "backend.py");
  await writeFile(program, `${await linesFor("python")}print(token)\n`);
  const { stdout } = await runTool("python3", [program], { env: { EDGEFERRY_SIGNING_KEY: secret } });
  await letsIn(secret, stdout.trim());
});
