import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configCommand } from "../../src/cli/config.ts";
import { FaultFound, type Io } from "../../src/cli/io.ts";
import { printedRows, renderReference } from "../../src/config/reference.ts";

/** Runs `config …` in a folder with these files. */
async function run(
  args: string[],
  files: Record<string, string> = {},
  env: Record<string, string> = {},
  terminal: Partial<Io> = {},
) {
  const cwd = await mkdtemp(join(tmpdir(), "config-cli-"));
  const [out, err]: [string[], string[]] = [[], []];
  let fault: unknown;
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(cwd, name), text);
    const io: Io = { out: (line) => out.push(line), err: (line) => err.push(line), isTerminal: false, ...terminal };
    await configCommand(io, { env, cwd }).parseAsync(args, { from: "user" });
  } catch (error) {
    fault = error;
  } finally {
    await rm(cwd, { recursive: true });
  }
  return { out: out.join("\n"), err: err.join("\n"), fault };
}

Deno.test("check prints what is in use and where it came from, and warnings apart", async () => {
  const { out, err, fault } = await run(
    ["check", "--config", "my.yaml"],
    { "my.yaml": "exporter: { headers: { Authorization: hunter2 } }\n", ".env": "OTEL_EXPORTER_OTLP_TIMEOUT=1500\n" },
    { OTEL_EXPORTER_OTLP_INSECURE: "true" },
  );
  assert.equal(fault, undefined);
  assert.match(
    out,
    /^# file: my\.yaml\n# variables: OTEL_EXPORTER_OTLP_TIMEOUT\n# everything: default\nrole: both\nreceiver:\n/,
  );
  assert.match(out, /timeout: 1s500ms/);
  assert.match(out, /Authorization: \(hidden\)/);
  assert.match(err, /^Warning: OTEL_EXPORTER_OTLP_INSECURE=true has no effect/);
  assert.ok(!(out + err).includes("hunter2"));
});

Deno.test("check on a narrow terminal is still YAML", async () => {
  const { out } = await run(
    ["check"],
    {},
    { EDGEFERRY_SHUTDOWN_GRACE: "3s", EDGEFERRY_SENDING_QUEUE_STORAGE: "none" },
    {
      isTerminal: true,
      width: 60,
    },
  );
  assert.match(
    out,
    /^# file: none\n# variables: .*,\n# {3}EDGEFERRY_\w+\n# everything: default\nrole: both\nreceiver:\n/,
  );
});

Deno.test("check --json is data", async () => {
  const good = await run(["check", "--json"], {}, { EDGEFERRY_SHUTDOWN_GRACE: "3s" });
  const data = JSON.parse(good.out);
  assert.equal(data.ok, true);
  assert.deepEqual(data.sources, { file: null, environment: ["EDGEFERRY_SHUTDOWN_GRACE"] });
  assert.equal(data.config.shutdown.grace, "3s");
  assert.deepEqual(data.warnings, []);

  const bad = await run(["check", "--json", "--config", "my.yaml"], { "my.yaml": "a: 1\nb: 2\n" });
  assert.ok(bad.fault instanceof FaultFound);
  const faults = JSON.parse(bad.out);
  assert.equal(faults.ok, false);
  assert.equal(faults.faults.length, 2);
  assert.match(faults.faults[0], /^my\.yaml:1:1: Unknown key a/);
});

Deno.test("check of a bad or missing file is a fault that names it", async () => {
  const bad = await run(["check", "--config", "my.yaml"], { "my.yaml": "exporter:\n  timeout: soon\n" });
  assert.ok(bad.fault instanceof FaultFound);
  assert.match(bad.fault.message, /^my\.yaml:2:12: Cannot use exporter\.timeout "soon"/);
  assert.equal(bad.out, "");
  const missing = await run(["check", "--config", "none.yaml"]);
  assert.ok(missing.fault instanceof FaultFound);
  assert.match(missing.fault.message, /^Cannot read configuration none\.yaml: it does not exist/);
});

Deno.test("reference prints the table, or JSON", async () => {
  assert.equal((await run(["reference"])).out, renderReference().trimEnd());
  const rows = JSON.parse((await run(["reference", "--json"])).out);
  assert.ok(rows.some((row: { key: string }) => row.key === "receiver.http.endpoint"));
  const terminal = (await run(["reference"], {}, {}, { isTerminal: true, width: 80 })).out.split("\n");
  assert.deepEqual(terminal.filter((line) => !line.startsWith(" ")), printedRows().map(({ key }) => key));
  const at = terminal.indexOf("exporter.timeout");
  assert.deepEqual(terminal.slice(at + 1, at + 5), [
    "    Time for one attempt, connecting included",
    "    duration: 1ms to 10m; default 10s",
    "    EDGEFERRY_EXPORTER_TIMEOUT",
    "    OTEL_EXPORTER_OTLP_TIMEOUT",
  ]);
});

Deno.test("check prints whose data goes where", async () => {
  const file = `exporters:
  eu-1: { endpoint: "https://eu-1.example:4318" }
  eu-2: { endpoint: "https://eu-2.example:4318" }
  audit: { endpoint: "https://audit.example:4318", required: false }
groups: { eu: { failover: [eu-1, eu-2] }, all: { balance: { eu-1: 2, eu-2: 1 } } }
routes:
  - { signals: [traces], senders: ["checkout-*"], exporters: [eu, audit] }
  - { signals: [logs], exporters: [all] }
  - { exporters: [eu] }
`;
  const { out, fault } = await run(["check", "--config", "my.yaml"], { "my.yaml": file });
  assert.equal(fault, undefined);
  assert.match(
    out,
    /\n# traces of checkout-\*: eu \(eu-1, else eu-2\), and audit \(not required\)\n# logs: all \(eu-1 2 : eu-2 1\)\n# everything else: eu \(eu-1, else eu-2\)\n/,
  );
  assert.match(out, /\nexporters:\n {2}eu-1:\n {4}endpoint: https:\/\/eu-1\.example:4318\n/);
  const { out: json } = await run(["check", "--json", "--config", "my.yaml"], { "my.yaml": file });
  const { routes } = JSON.parse(json);
  assert.deepEqual(routes[0].targets.map(({ name }: { name: string }) => name), ["eu", "audit"]);
});
