/** The house rules that a program can check: layers, cycles, where `Deno.` stands, a test for each source, no loose ends. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

const root = join(import.meta.dirname!, "..");

/** A folder or file of `src`, and how high it stands. A file imports its own folder and lower layers only. */
const LAYERS: Readonly<Record<string, number>> = {
  "errors.ts": 0,
  "version.ts": 0,
  "within.ts": 0,
  "otlp": 1,
  "config": 1,
  "telemetry": 2,
  "pki": 2,
  "queue": 2,
  "diagnosis": 3,
  "receiver": 4,
  "exporter": 4,
  "admin": 5,
  "doctor": 5,
  "collector.ts": 5,
  "relay_clients.ts": 6,
  "relay_events.ts": 6,
  "relay_senders.ts": 6,
  "relay_expiry.ts": 6,
  "relay_identity.ts": 6,
  "relay_listen.ts": 6,
  "relay_server_identity.ts": 6,
  "relay.ts": 6,
  "cli": 7,
  "deno_version.ts": 1,
  "deploy_relay.ts": 8,
  "deploy.ts": 9,
  "serve.ts": 9,
  "mod.ts": 8,
  "main.ts": 8,
};

/** Files that may say `Deno.`: what has no Web or `node:` equivalent. */
const DENO_FILES = new Set([
  "admin/admin.ts",
  "cli/dev.ts",
  "exporter/client.ts",
  "relay_listen.ts",
  "telemetry/telemetry.ts",
]);

/** Sources that a test of another name covers: which one. */
const TESTED_ELSEWHERE: Readonly<Record<string, string>> = {
  "admin/page_script.ts": "e2e/status_page_test.ts",
  "admin/page_style.ts": "e2e/status_page_test.ts",
  "cli/cli_progress.d.ts": "cli/terminal_test.ts",
  "cli/certs_show.ts": "cli/certs_test.ts",
  "cli/certs_words.ts": "cli/certs_test.ts",
  "deploy.ts": "e2e/deploy_test.ts",
  "doctor/checks.ts": "doctor/matrix_test.ts",
  "doctor/finding.ts": "doctor/doctor_test.ts",
  "doctor/way.ts": "doctor/doctor_test.ts",
  "exporter/trial.ts": "relay_identity_test.ts",
  "otlp/json_error.ts": "otlp/json_test.ts",
  "queue/queue.ts": "queue/sqlite_queue_test.ts",
  "queue/sqlite_statements.ts": "queue/sqlite_queue_test.ts",
  "queue/sqlite_store.ts": "queue/sqlite_queue_test.ts",
  "queue/sqlite_worker.ts": "queue/sqlite_queue_test.ts",
  "receiver/tls_identity.ts": "relay_server_identity_test.ts",
  "relay_clients.ts": "relay_test.ts",
  "serve.ts": "e2e/deploy_test.ts",
  "version.ts": "tidy_test.ts",
};

const sources = [...filesBelow(join(root, "src"), ".ts"), ...filesBelow(join(root, "src"), ".tsx")].map((path) =>
  relative(join(root, "src"), path)
);

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(folder).sort().flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return name.startsWith(".") ? [] : filesBelow(path, ending);
    return name.endsWith(ending) ? [path] : [];
  });
}

function text(source: string): string {
  return readFileSync(join(root, "src", source), "utf8");
}

/** The source without comments, so that prose about `Deno.` is no use of it. */
function code(source: string): string {
  return text(source).replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
}

function importsOf(source: string): string[] {
  return [...text(source).matchAll(/(?:from|import|import\()\s*"(\.[^"]+)"/g)]
    .map((match) => normalize(join(dirname(source), match[1]!)));
}

function unitOf(source: string): string {
  return source.split("/")[0]!;
}

Deno.test("each file imports its own folder and lower layers only", () => {
  for (const source of sources) {
    const own = unitOf(source);
    assert(own in LAYERS, `${source}: ${own} has no layer; give it one in tests/tidy_test.ts`);
    for (const imported of importsOf(source)) {
      const other = unitOf(imported);
      if (other === own) continue;
      assert(
        LAYERS[other]! < LAYERS[own]! || (LAYERS[own]! >= 6 && LAYERS[other]! === LAYERS[own]!),
        `${source} (layer ${LAYERS[own]}) imports ${imported} (layer ${LAYERS[other]})`,
      );
    }
  }
});

Deno.test("no file imports itself by way of others", () => {
  const done = new Set<string>();
  const visit = (source: string, path: readonly string[]): void => {
    assert(!path.includes(source), `import cycle: ${[...path, source].join(" -> ")}`);
    if (done.has(source)) return;
    for (const imported of importsOf(source)) visit(imported, [...path, source]);
    done.add(source);
  };
  for (const source of sources) visit(source, []);
});

Deno.test("`Deno.` stands in the listed files only", () => {
  const using = sources.filter((source) => /\bDeno\.|typeof Deno\b/.test(code(source)));
  assert.deepEqual(using.sort(), [...DENO_FILES].sort());
});

Deno.test("each source has a test", () => {
  const tests = new Set(filesBelow(join(root, "tests"), "_test.ts").map((path) => relative(join(root, "tests"), path)));
  for (const source of sources) {
    const test = TESTED_ELSEWHERE[source] ?? source.replace(/\.tsx?$/, "_test.ts");
    assert(tests.has(test), `src/${source} has no test: tests/${test} is missing`);
  }
  for (const source of Object.keys(TESTED_ELSEWHERE)) assert(sources.includes(source), `${source} is listed and gone`);
});

Deno.test("no loose ends: ts-ignore, export *, marks of unfinished work", () => {
  const loose = [
    /@ts-(ignore|nocheck|expect-error)/,

    /^export \*/m,
    /\b(TODO|FIXME|XXX)\b/,
  ];
  for (
    const path of [...sources.map((source) => join(root, "src", source)), ...filesBelow(join(root, "tests"), ".ts")]
  ) {
    if (path.endsWith("tidy_test.ts")) continue;
    const content = readFileSync(path, "utf8");
    for (const pattern of loose) assert(!pattern.test(content), `${relative(root, path)} has ${pattern}`);
  }
});

Deno.test("each source begins by saying what it is for", () => {
  for (const source of sources) assert.match(text(source), /^\/\*\*/, `src/${source} has no module comment`);
});

Deno.test("the version is the same in deno.json and in the source", () => {
  const manifest: unknown = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  assert(typeof manifest === "object" && manifest !== null && "version" in manifest);
  assert.match(text("version.ts"), new RegExp(`VERSION = "${String(manifest.version).replaceAll(".", "\\.")}"`));
});

Deno.test("dependencies are pinned exactly, the OpenTelemetry packages on one line", () => {
  const manifest = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as { imports: Record<string, string> };
  for (const [name, target] of Object.entries(manifest.imports)) {
    assert.match(target, /^npm:(@[^/@]+\/)?[^/@]+@\d+\.\d+\.\d+$/, `${name} is not pinned exactly: ${target}`);
  }
  const versions = Object.entries(manifest.imports)
    .filter(([name]) => name.startsWith("@opentelemetry/") && !name.endsWith("/semantic-conventions"))
    .map(([, target]) => target.slice(target.lastIndexOf("@") + 1));
  assert.deepEqual([...new Set(versions)].sort(), ["0.223.0", "1.9.1", "2.12.0"]);
});

Deno.test("each task that README.md and docker-compose.yaml name is there", () => {
  const manifest = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as { tasks: Record<string, unknown> };
  for (const name of ["README.md", "docker-compose.yaml", "CONTRIBUTING.md"]) {
    const named = readFileSync(join(root, name), "utf8").matchAll(/deno(?:@[\d.]+)? task (\w+)/g);
    for (const [, task] of named) {
      assert(task! in manifest.tasks, `${name} names the task ${task}, which deno.json has not`);
    }
  }
});
