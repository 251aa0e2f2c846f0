/**
 * Services that hold the client certificate themselves and send straight to the real Collector, over mutual TLS: FastAPI with the
 * example's variables, word for word, and the Hono app of tests/examples by its task. With the files of `certs init` and with
 * those of the openssl steps.
 */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startCollector } from "../support/tools/collector.ts";
import { countsOf, held, sorted } from "../support/far_end/held.ts";
import { opensslCertificates } from "../support/tools/openssl.ts";
import { runProgram, startProgram } from "../support/program/program.ts";
import { startSink } from "../support/far_end/sink.ts";
import { checkFastApi, FASTAPI_SENDS, startFastApi, useFastApi } from "./senders/fastapi.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const ARRIVAL_MS = 30_000;

/** The example's .env. */
const DOT_ENV = `\
OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://localhost:4318/v1/metrics
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://localhost:4318/v1/traces
OTEL_EXPORTER_OTLP_CERTIFICATE=certs/ca.crt
OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=certs/client.crt
OTEL_EXPORTER_OTLP_CLIENT_KEY=certs/client.key
OTEL_EXPORTER_OTLP_INSECURE=false
`;

const IDENTITIES = {
  "the files of certs init": async (folder: string) => {
    // The task's own words, in another folder.
    const file: { tasks: { certs: { command: string } } } = JSON.parse(await readFile(join(root, "deno.json"), "utf8"));
    const [deno, ...args] = file.tasks.certs.command.split(" ").map((word) =>
      word === "src/main.ts" ? join(root, word) : word
    );
    assert.equal(deno, "deno");
    await runProgram({ command: Deno.execPath(), args: [...args, "init"], cwd: folder });
  },
  "the files of the openssl steps": async (folder: string) => {
    await cp(await opensslCertificates(), join(folder, "certs"), { recursive: true });
  },
};

/** The Collector's custom port where it is free, which the variables name; another where something else has it. */
function collectorPort(): number {
  try {
    using _listener = Deno.listen({ hostname: "127.0.0.1", port: 4318 });
    return 4318;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    return 0;
  }
}

for (const [name, make] of Object.entries(IDENTITIES)) {
  Deno.test(`straight to the Collector, with ${name}`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), "edgeferry-direct-"));
    stack.defer(() => rm(folder, { recursive: true }));
    await make(folder);
    const certsDir = join(folder, "certs");
    const sink = stack.use(startSink());
    const controlSink = stack.use(startSink());
    const collector = stack.use(await startCollector({ certsDir, sink, httpPort: collectorPort() }));
    const control = stack.use(
      await startCollector({
        certsDir,
        sink: controlSink,
        config: "receivers: { otlp: { protocols: { http: { tls: null } } } }",
      }),
    );

    await t.step("FastAPI, by the example's .env", async () => {
      await writeFile(join(folder, ".env"), DOT_ENV.replaceAll(":4318/", `:${collector.httpPort}/`));
      const env = { OTEL_SERVICE_NAME: "fastapi", CONTROL_URL: `http://127.0.0.1:${control.httpPort}` };
      await using app = await startFastApi(env, { cwd: folder, envFile: ".env" });
      await useFastApi(app);
      const ends = [sink, controlSink];
      await Promise.all(ends.map((end) => end.waitFor(() => end.spans().length > 0 && end.dataPoints().length > 0)));
      const [arrived, expected] = [held(sink, "fastapi"), held(controlSink, "fastapi")];
      assert.deepEqual(countsOf(arrived), FASTAPI_SENDS);
      assert.deepEqual(sorted(arrived.spans), sorted(expected.spans));
      assert.deepEqual(sorted(arrived.dataPoints), sorted(expected.dataPoints));
      checkFastApi(arrived);
    });

    await t.step("the Hono example, by its task", async () => {
      const file: { tasks: { example: { command: string } } } = JSON.parse(
        await readFile(join(root, "deno.json"), "utf8"),
      );
      const [store, deno, ...args] = file.tasks.example.command.split(" ");
      assert.deepEqual([store, deno], ["DENO_TLS_CA_STORE=", "deno"]);
      await using app = startProgram({
        command: Deno.execPath(),
        args: args.map((word) => word.startsWith("tests/") ? join(root, word) : word),
        cwd: folder,
        env: { DENO_TLS_CA_STORE: "", OTEL_EXPORTER_OTLP_ENDPOINT: collector.httpUrl, PORT: "0" },
      });
      const url = /http:\/\/[\d.:]+/.exec(await app.line(/Listening on/))![0];
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      const answer = await fetch(`${url}/hello/Ada?secret=1`, { headers: { traceparent } });
      assert.equal(await answer.text(), "Hello Ada\n");
      const { code } = await app.stop();
      assert.equal(code, 0, app.lines.join("\n"));

      await sink.waitFor(() => held(sink, "checkout").spans.length > 0, ARRIVAL_MS);
      const { spans, dataPoints } = held(sink, "checkout");
      assert.deepEqual(spans.map(({ name, kind, traceId, parentSpanId }) => ({ name, kind, traceId, parentSpanId })), [{
        name: "GET /hello/:name",
        kind: 2,
        traceId: "0af7651916cd43dd8448eb211c80319c",
        parentSpanId: "b7ad6b7169203331",
      }]);
      assert.equal(spans[0]?.attributes["http.response.status_code"], 200n);
      const duration = dataPoints.find(({ metric }) => metric.name === "http.server.request.duration");
      assert(duration?.kind === "histogram" && duration.count === 1n);
      assert.deepEqual([duration.attributes["http.route"], duration.attributes["env"]], ["/hello/:name", "dev"]);
    });
  });
}

Deno.test("the example's variables are those of .env.example", async () => {
  const lines = (await readFile(join(root, ".env.example"), "utf8")).split("\n");
  for (const line of DOT_ENV.trimEnd().split("\n")) assert(lines.includes(line), line);
});
