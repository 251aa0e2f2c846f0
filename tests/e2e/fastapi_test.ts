/** docs/fastapi.md: its commands as they stand there, on ports of this test, in a folder with what they need of a clone. */
import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { docBlock, docText } from "../support/files/docs.ts";
import { folder } from "../support/files/folder.ts";
import { type Program, startProgram } from "../support/program/program.ts";
import { freePort } from "../support/tools/collector.ts";
import { python } from "../support/tools/python.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const example = "tests/examples/fastapi";
/** The example's own `.env`, as it was published. */
const DOT_ENV = `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://localhost:4318/v1/metrics
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://localhost:4318/v1/traces
OTEL_EXPORTER_OTLP_CERTIFICATE=certs/ca.crt
OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=certs/client.crt
OTEL_EXPORTER_OTLP_CLIENT_KEY=certs/client.key
OTEL_EXPORTER_OTLP_INSECURE=false
`;

Deno.test("the FastAPI example, by the commands of its page", async (t) => {
  await using at = await folder();
  const ports = {
    collector: await freePort(),
    relay: await freePort(),
    admin: await freePort(),
    app: await freePort(),
  };
  const here = (text: string) =>
    text.replaceAll(":4318", `:${ports.collector}`).replaceAll(":4319", `:${ports.relay}`)
      .replaceAll(":8000", `:${ports.app}`);
  await mkdir(join(at.path, example), { recursive: true });
  await copyFile(join(root, example, "app.py"), join(at.path, example, "app.py"));
  assert.equal(await readFile(join(root, example, ".env"), "utf8"), DOT_ENV);
  await writeFile(join(at.path, example, ".env"), here(DOT_ENV));

  const path = [join(at.path, "bin"), dirname(Deno.execPath()), dirname(await python()), Deno.env.get("PATH")].join(
    ":",
  );
  const manifest = JSON.parse(await readFile(join(root, "deno.json"), "utf8")) as {
    tasks: Record<string, { command: string }>;
  };
  // `deno task NAME` here is the task's own command in the checkout's program, since this folder is no checkout.
  await mkdir(join(at.path, "bin"));
  await writeFile(
    join(at.path, "bin/deno"),
    `#!/bin/bash
[ "$1" = task ] || exec ${Deno.execPath()} "$@"
case "$2" in
${
      ["certs", "collector", "dev", "token"].map((name) => {
        const words = manifest.tasks[name]!.command.replace("src/main.ts", join(root, "src/main.ts"))
          .replace(/ --watch\S*/g, "").replace("deno run", `exec ${Deno.execPath()} run`);
        return `${name}) shift 2; export ${words.slice(0, words.indexOf("exec")) || "LANG=C"}; ${
          words.slice(words.indexOf("exec"))
        } "$@";;`;
      }).join("\n")
    }
*) echo "no task $2" >&2; exit 2;;
esac
`,
    { mode: 0o755 },
  );
  const shell = (lines: string, env: Record<string, string> = {}): Program =>
    startProgram({
      command: "bash",
      args: ["-euc", lines],
      cwd: at.path,
      env: {
        PATH: path,
        PYTHONDONTWRITEBYTECODE: "1",
        OTEL_BSP_SCHEDULE_DELAY: "100",
        UVICORN_PORT: String(ports.app),
        ...env,
      },
    });
  const toEnd = async (lines: string) => {
    await using program = shell(lines);
    assert.equal((await program.ended).code, 0, program.lines.join("\n"));
  };
  const page = (language: string, test: RegExp) => docBlock("fastapi.md", language, test);
  const [direct, byRelay] = [
    await page("bash", /--env-file/),
    await page("bash", /OTLP_HEADERS/),
  ];
  const curl = (await docText("fastapi.md")).split("\n").find((line) => line.startsWith("curl "))!;
  const ask = async (app: Program) => {
    await app.line(/Uvicorn running on/);
    await toEnd(here(curl));
  };

  await t.step("each package that it names is one that the tests run", async () => {
    const ours = await readFile(join(root, "tests/support/tools/requirements.txt"), "utf8");
    for (const line of (await readFile(join(root, example, "requirements.txt"), "utf8")).trim().split("\n")) {
      assert(ours.split("\n").includes(line), line);
    }
  });

  await t.step("straight, over mutual TLS", async () => {
    const [init, start] = (await page("bash", /task collector/)).trim().split("\n");
    await toEnd(init!);
    await using collector = shell(`exec ${start} --endpoint 127.0.0.1:${ports.collector}`);
    await collector.line(/Collector at/);
    await using app = shell(
      here(direct).replace("uvicorn", "exec uvicorn").replace(/^(\w+=\w+) exec /m, "exec env $1 "),
    );
    await ask(app);
    await collector.line(/traces .* spans? of shop .*GET \/items\/\{item_id\}.*, delivered by client-app/);
    await app.stop();
    assert((await docText("fastapi.md")).includes(await collector.line(/metrics .*of shop/)));
  });

  await t.step("by the relay, with a token, while nothing but the relay has a certificate", async () => {
    await using dev = shell("exec deno task dev", {
      OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${ports.collector}`,
      EDGEFERRY_RECEIVER_HTTP_ENDPOINT: `127.0.0.1:${ports.relay}`,
      EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: `127.0.0.1:${ports.admin}`,
    });
    await dev.line(/^What passes through/);
    await using app = shell(
      here(byRelay).replace(/^(OTEL_SERVICE_NAME=\w+) uvicorn/m, "exec env $1 uvicorn"),
    );
    await ask(app);
    await dev.line(/traces .* spans? of shop .*GET \/items\/\{item_id\}.*, delivered by client-app/);
    await app.stop();
    assert((await docText("fastapi.md")).includes(await dev.line(/metrics .*of shop/)));
  });
});
