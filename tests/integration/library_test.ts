/** docs/library.md in a project of its own, which knows nothing of this one's configuration. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { testCertificates } from "../support/files/certificates.ts";
import { docBlock } from "../support/files/docs.ts";
import { folder } from "../support/files/folder.ts";
import { startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { runProgram, startProgram } from "../support/program/program.ts";
import { requestOf } from "../support/relay/exporting.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = (language: string, test: RegExp) => docBlock("library.md", language, test);

for (const way of ["a clone beside it", "a copy within it"]) {
  Deno.test(`the library in another project: ${way}`, async (t) => {
    await using at = await folder();
    await using certs = await testCertificates();
    await using endpoint = await startMtlsEndpoint(certs);
    const project = join(at.path, "project");
    await mkdir(project);
    await cp(certs.dir, join(project, "certs"), { recursive: true });
    let manifest = await page("json", /"links"/);
    if (way === "a clone beside it") await symlink(root, join(at.path, "edgeferry"));
    else {
      await symlink(root, join(at.path, "edgeferry"));
      await promisify(execFile)("bash", ["-euc", await page("bash", /^cp -r/m)], { cwd: project });
      manifest = manifest.replace("../edgeferry", "./vendor/edgeferry");
    }
    await writeFile(join(project, "deno.json"), manifest);
    const here = (text: string) =>
      text.replace("https://localhost:4318", endpoint.url).replace("port: 8080", "port: 0");
    for (const name of ["app.ts", "relay.ts"]) {
      await writeFile(join(project, name), here(await page("ts", new RegExp(`^// ${name}`))));
    }
    const deno = (...args: string[]) => ({
      command: Deno.execPath(),
      args,
      cwd: project,
      env: { DENO_TLS_CA_STORE: "" },
    });

    await t.step("its types hold by Deno's own compiler options", async () => {
      await runProgram(deno("check", "app.ts", "relay.ts"));
    });

    const start = async (name: string, env: Record<string, string> = {}) => {
      const [, ...words] = (await page("bash", new RegExp(`deno run .*${name}$`, "m"))).trim().split(" ");
      const program = startProgram({ ...deno(...words.slice(1)), env: { DENO_TLS_CA_STORE: "", ...env } });
      const url = /http:\/\/[\w.:]+/.exec(await program.line(/Listening on/))![0].replace("0.0.0.0", "127.0.0.1");
      return { program, url };
    };

    await t.step("an app that traces itself", async () => {
      const { program, url } = await start("app.ts");
      await using _program = program;
      assert.equal(await (await fetch(`${url}/hello/Ada`)).text(), "Hello Ada\n");
      program.signal("SIGINT");
      assert.equal((await program.ended).code, 0, program.lines.join("\n"));
      assert(endpoint.requests.some(({ path }) => path === "/v1/traces"));
      assert(endpoint.requests.some(({ path }) => path === "/v1/metrics"));
    });

    await t.step("an app that holds a relay", async () => {
      const before = endpoint.requests.length;
      const { program, url } = await start("relay.ts", { SENDER_TOKEN: "a-token-of-this-test" });
      await using _program = program;
      const post = (token: string) =>
        fetch(`${url}/otlp/v1/traces`, {
          method: "POST",
          headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${token}` },
          body: requestOf("traces", ["a"]),
        });
      const answers = [await post("a-token-of-this-test"), await post("another")];
      for (const answer of answers) await answer.body?.cancel();
      assert.deepEqual(answers.map(({ status }) => status), [200, 401]);
      program.signal("SIGINT");
      assert.equal((await program.ended).code, 0, program.lines.join("\n"));
      assert(endpoint.requests.slice(before).some(({ path }) => path === "/v1/traces"));
    });
  });
}
