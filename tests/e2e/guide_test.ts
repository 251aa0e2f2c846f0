/**
 * The programs of docs/senders.md: each program and each line as it stands there, with the relay's address and ports of this test
 * put in, through a relay to the real Collector. The page in a browser is in browser_test.ts.
 */
import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { testCertificates } from "../support/files/certificates.ts";
import { freePort, startCollector } from "../support/tools/collector.ts";
import { folder } from "../support/files/folder.ts";
import { type Program, startProgram } from "../support/program/program.ts";
import { python } from "../support/tools/python.ts";
import { docBlock } from "../support/files/docs.ts";
import { startRelayProcess } from "../support/relay/relay.ts";
import { startSink } from "../support/far_end/sink.ts";
import { everyField } from "./senders/every_field.ts";

const senders = fileURLToPath(new URL("senders/", import.meta.url));
const requirements = fileURLToPath(new URL("../support/tools/requirements.txt", import.meta.url));
const RELAY = "http://127.0.0.1:4319";
const RELAY_GRPC = "http://127.0.0.1:4327";

Deno.test("the senders' guide", async (t) => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certs.dir, sink }));
  const relay = stack.use(
    await startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certs.dir,
      config: { receiver: { grpc: { endpoint: "127.0.0.1:0" } } },
    }),
  );
  const grpcUrl = await relay.grpcUrl();
  const here = (text: string) => text.replaceAll(RELAY, relay.url).replaceAll(RELAY_GRPC, grpcUrl);
  const variables = here(await docBlock("senders.md", "bash", /^export OTEL_EXPORTER_OTLP_PROTOCOL=http/m));
  const path = [dirname(Deno.execPath()), dirname(await python()), Deno.env.get("PATH")].join(":");

  /** Runs lines of the guide after its variables. */
  const shell = (lines: string, cwd: string, env: Record<string, string> = {}): Program =>
    startProgram({
      command: "bash",
      args: ["-euc", `${variables}\n${lines}`],
      cwd,
      env: { PATH: path, TOKEN: relay.token, PYTHONDONTWRITEBYTECODE: "1", OTEL_BSP_SCHEDULE_DELAY: "100", ...env },
    });
  const toEnd = async (program: Program) => {
    await using _program = program;
    const { code } = await program.ended;
    assert.equal(code, 0, program.lines.join("\n"));
  };
  const arrives = (service: string, name: RegExp) =>
    sink.waitFor(() =>
      sink.spans().some((span) => span.resource.attributes["service.name"] === service && name.test(span.name))
    );
  /** The line of a block that starts the program. */
  const lineOf = async (test: RegExp) => {
    const line = (await docBlock("senders.md", "bash", test)).split("\n").find((each) => test.test(each));
    return line ?? assert.fail(`docs/senders.md has no line ${test}`);
  };

  await t.step("Deno", async () => {
    await using dir = await folder();
    const port = await freePort();
    await writeFile(
      join(dir.path, "app.ts"),
      (await docBlock("senders.md", "ts", /^\/\/ app\.ts/)).replace("8080", String(port)),
    );
    await using program = shell(`exec env ${await lineOf(/OTEL_DENO=true .*app\.ts/)}`, dir.path);
    await program.line(/Listening on/);
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), "hello\n");
    await arrives("my-deno", /GET/);
  });

  await t.step("Node", async () => {
    await using dir = await folder();
    await writeFile(join(dir.path, "app.mjs"), await docBlock("senders.md", "js", /^\/\/ app\.mjs/));
    const lines = await docBlock("senders.md", "bash", /node app\.mjs/);
    await toEnd(shell(lines, dir.path));
    await arrives("my-node", /^hello$/);
    const byGrpc = here(await docBlock("senders.md", "bash", /^export OTEL_EXPORTER_OTLP_PROTOCOL=grpc/m));
    await toEnd(shell(`${byGrpc}\n${lines.replace("my-node", "my-node-by-grpc")}`, dir.path));
    await arrives("my-node-by-grpc", /^hello$/);
  });

  await t.step("Python", async () => {
    await using dir = await folder();
    await writeFile(join(dir.path, "app.py"), await docBlock("senders.md", "python", /^# app\.py/));
    await toEnd(shell(await lineOf(/python app\.py/), dir.path));
    await arrives("my-python", /^hello$/);
    const installed = await readFile(requirements, "utf8");
    for (const name of (await lineOf(/^pip install/)).split(" ").slice(2)) {
      assert.match(installed, new RegExp(`^${name}==`, "m"));
    }
  });

  await t.step("FastAPI", async () => {
    await using dir = await folder();
    const parts = [
      await docBlock("senders.md", "python", /^# app\.py/),
      await docBlock("senders.md", "python", /FastAPIInstrumentor/),
    ];
    await writeFile(join(dir.path, "app.py"), parts.join("\n"));
    await using program = shell(`exec env ${await lineOf(/uvicorn app:app/)} --port 0`, dir.path);
    const url = /http:\/\/[\d.:]+/.exec(await program.line(/Uvicorn running on/))![0];
    assert.equal(await (await fetch(`${url}/hello`)).json(), "hello");
    await arrives("my-fastapi", /^GET \/hello$/);
  });

  await t.step("Go", async () => {
    await using dir = await folder();
    await writeFile(join(dir.path, "main.go"), await docBlock("senders.md", "go", /^\/\/ main\.go/));
    // In place of go mod init and tidy: those versions, whatever is the newest.
    for (const name of ["go.mod", "go.sum"]) await copyFile(join(senders, "go", name), join(dir.path, name));
    const go = Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => /^GO|^SSL_/.test(name)));
    await toEnd(shell(await lineOf(/go run \./), dir.path, go));
    await arrives("my-go", /^hello$/);
  });

  for (const exporter of ["otlp_http", "otlp_grpc"]) {
    await t.step(`another Collector, ${exporter}`, async () => {
      const exporters = here(await docBlock("senders.md", "yaml", new RegExp(`^exporters:\\n {2}${exporter}:`)));
      await using agent = await startCollector({
        certsDir: certs.dir,
        env: { TOKEN: relay.token },
        config: [
          "receivers: { otlp: { protocols: { http: { tls: null } } } }",
          exporters,
          `service: { pipelines: { traces: { exporters: [${exporter}] }, metrics: { exporters: [${exporter}] }, logs: { exporters: [${exporter}] } } }`,
        ],
      });
      await everyField.send(async (to, body) => {
        const headers = { "content-type": "application/json" };
        const answer = await fetch(`http://127.0.0.1:${agent.httpPort}${to}`, { method: "POST", headers, body });
        assert.equal(answer.status, 200, await answer.text());
      }, `my-agent ${exporter}`);
      await arrives(`my-agent ${exporter}`, /./);
    });
  }

  await t.step("a Worker", async () => {
    await using dir = await folder();
    const file = join(dir.path, "worker.mjs");
    await writeFile(file, await docBlock("senders.md", "js", /^\/\/ worker\.js/));
    const worker = (await import(pathToFileURL(file).href)).default as {
      fetch(
        request: Request,
        env: { RELAY: string; TOKEN: string },
        context: { waitUntil(work: Promise<unknown>): void },
      ): Promise<Response>;
    };
    // What the host gives it. The first answer is a refusal that asks to come again.
    let refused = 0;
    await using busy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const { method, headers } = request;
      const body = await request.arrayBuffer();
      if (refused++ === 0) return new Response(null, { status: 503, headers: { "retry-after": "0" } });
      return await fetch(relay.url + new URL(request.url).pathname, { method, headers, body });
    });
    const work: Promise<unknown>[] = [];
    const env = { RELAY: `http://127.0.0.1:${busy.addr.port}`, TOKEN: relay.token };
    const answer = await worker.fetch(new Request("https://worker.example/"), env, {
      waitUntil: (each) => work.push(each),
    });
    assert.equal(await answer.text(), "hello");
    await Promise.all(work);
    assert.equal(refused, 2);
    await arrives("my-worker", /^GET \/$/);
  });

  await t.step("curl", async () => {
    await using dir = await folder();
    await mkdir(join(dir.path, "data"));
    await writeFile(join(dir.path, "data/dev.token"), `${relay.token}\n`);
    const program = shell(here(await docBlock("senders.md", "bash", /^curl -i /)), dir.path);
    await toEnd(program);
    assert.match(program.out.join("\n"), /^HTTP\/1\.1 200 OK[^]*\n\{\}$/);
    await arrives("by-hand", /^hello$/);
  });

  await t.step("nothing was refused", async () => {
    const { code } = await relay.stop();
    assert.equal(code, 0, relay.log().join("\n"));
    assert.deepEqual(relay.log().filter((line) => /"level":"(warn|error)"/.test(line)), []);
  });
});
