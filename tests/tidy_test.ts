/** The house rules that a program can check: layers, cycles, where `Deno.` stands, a test for each source, no loose ends. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

const root = join(import.meta.dirname!, "..");

/**
 * The rooms of `src`, floor by floor from the ground. A room is a folder, or a file that stands on a floor of its own; the
 * longest name that fits a source is its room. A source imports its own room and lower floors only.
 */
const FLOORS: readonly (readonly string[])[] = [
  ["errors.ts", "passing.ts", "signal.ts", "version.ts", "within.ts"],
  ["codec", "config", "files", "helper_thread.ts"],
  ["otlp", "http2"],
  ["otlp/json", "otlp/rewrite"],
  ["telemetry", "pki", "queue"],
  ["postgres"],
  // The thread boundary: what runs in the Worker knows of the relay's thread nothing but the protocol.
  ["queue/sqlite/injected_faults.ts"],
  ["queue/sqlite/protocol.ts"],
  ["queue/sqlite/file"],
  ["queue/sqlite", "queue/postgres"],
  ["queue/open.ts", "diagnosis"],
  ["receiver/senders", "exporter/recode"],
  ["receiver", "exporter/client"],
  ["receiver/listener", "exporter"],
  ["receiver/grpc"],
  ["admin", "doctor", "collector"],
  ["relay"],
  ["cli"],
  ["hosted", "mod.ts", "main.ts"],
  ["deploy.ts", "serve.ts"],
];

/** Files that may say `Deno.`: what has no Web or `node:` equivalent. */
const DENO_FILES = new Set([
  "cli/dev.ts",
  "exporter/client/grpc_socket.ts",
  "exporter/client/http_transport.ts",
  "files/lock.ts",
  "relay/listen.ts",
  "telemetry/telemetry.ts",
]);

/** Sources that a test of another name covers: which one. */
const TESTED_ELSEWHERE: Readonly<Record<string, string>> = {
  "admin/page_script.ts": "e2e/status_page_test.ts",
  "admin/page_style.ts": "e2e/status_page_test.ts",
  "cli/queue_migrate.ts": "e2e/fleet_test.ts",
  "cli/cli_progress.d.ts": "cli/terminal_test.ts",
  "cli/certs_show.ts": "cli/certs_test.ts",
  "cli/certs_words.ts": "cli/certs_test.ts",
  "config/check_keys.ts": "config/load_test.ts",
  "config/tokens.ts": "config/schema_test.ts",
  "config/types.ts": "docs/pages_test.ts",
  "deploy.ts": "e2e/deploy_test.ts",
  "diagnosis/database_faults.ts": "integration/doctor/database_faults_test.ts",
  "doctor/checks/database.ts": "integration/doctor/database_faults_test.ts",
  "doctor/checks/host.ts": "doctor/doctor_test.ts",
  "doctor/checks/identity.ts": "integration/doctor/matrix_test.ts",
  "doctor/checks/storage.ts": "doctor/doctor_test.ts",
  "doctor/checks/way.ts": "integration/doctor/matrix_test.ts",
  "doctor/finding.ts": "doctor/doctor_test.ts",
  "doctor/way.ts": "doctor/doctor_test.ts",
  "files/events.ts": "pki/identity_watch_test.ts",
  "files/watch.ts": "pki/identity_watch_test.ts",
  "exporter/client/trial.ts": "relay/client_identity_test.ts",
  "http2/frame_writer.ts": "http2/connection_test.ts",
  "http2/hpack_tables.ts": "http2/hpack_test.ts",
  "http2/stream.ts": "http2/connection_test.ts",
  "otlp/small_message.ts": "otlp/response_test.ts",
  "exporter/client/grpc_socket.ts": "exporter/client/grpc_transport_test.ts",
  "exporter/client/http_transport.ts": "exporter/client/client_test.ts",
  "exporter/client/transport.ts": "exporter/client/client_test.ts",
  "exporter/recode/recode_protocol.ts": "exporter/recode/recoder_test.ts",
  "exporter/recode/recode_thread.ts": "exporter/recode/recoder_test.ts",
  "otlp/json/error.ts": "otlp/json/transcode_test.ts",
  "postgres/connect_error.ts": "integration/postgres/connector_test.ts",
  "postgres/driver.ts": "integration/postgres/support_test.ts",
  "postgres/pg.d.ts": "integration/postgres/support_test.ts",
  "postgres/trust.ts": "integration/postgres/connector_test.ts",
  "queue/inspection.ts": "queue/sqlite/inspect_test.ts",
  "queue/postgres/move.ts": "integration/queue/postgres/inspect_test.ts",
  "queue/sqlite/inspector.ts": "cli/queue_test.ts",
  "relay/queue.ts": "e2e/fleet_test.ts",
  "queue/queue.ts": "queue/sqlite/queue_test.ts",
  "queue/postgres/appender.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/books.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/codes.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/connections.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/lease.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/ledger.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/partial.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/payload.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/pending_settle.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/reader.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/room.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/schema.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/settings.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/settler.ts": "queue/postgres/queue_test.ts",
  "queue/postgres/statements.ts": "queue/postgres/queue_test.ts",
  "queue/settlement.ts": "queue/sqlite/file/transaction_test.ts",
  "queue/sqlite/protocol.ts": "queue/sqlite/connection_test.ts",
  "queue/totals.ts": "queue/sqlite/file/store_test.ts",
  "queue/sqlite/file/statements.ts": "queue/sqlite/queue_test.ts",
  "queue/sqlite/file/worker.ts": "queue/sqlite/queue_test.ts",
  "receiver/listener/gate.ts": "receiver/listener/node_listener_test.ts",
  "receiver/grpc/call.ts": "receiver/grpc/listener_test.ts",
  "receiver/grpc/health.ts": "receiver/grpc/listener_test.ts",
  "receiver/grpc/message.ts": "receiver/grpc/listener_test.ts",
  "receiver/answer.ts": "receiver/receive_test.ts",
  "receiver/inbound.ts": "receiver/receive_test.ts",
  "receiver/listener/node_request.ts": "receiver/listener/node_listener_test.ts",
  "receiver/preparation_protocol.ts": "receiver/preparer_test.ts",
  "receiver/preparation_thread.ts": "receiver/preparer_test.ts",
  "receiver/listener/tls_identity.ts": "relay/server_identity_test.ts",
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

/** Whether `source` stands in `room`. */
function standsIn(source: string, room: string): boolean {
  return source === room || source.startsWith(`${room}/`);
}

function roomOf(source: string): { readonly name: string; readonly floor: number } {
  const rooms = FLOORS.flatMap((names, floor) => names.map((name) => ({ name, floor })))
    .filter(({ name }) => standsIn(source, name));
  assert(rooms.length > 0, `src/${source} has no room; give it one in tests/tidy_test.ts`);
  return rooms.reduce((longest, room) => room.name.length > longest.name.length ? room : longest);
}

Deno.test("each file imports its own room and lower floors only", () => {
  for (const source of sources) {
    const own = roomOf(source);
    for (const imported of importsOf(source)) {
      const other = roomOf(imported);
      assert(
        other.name === own.name || other.floor < own.floor,
        `src/${source} (${own.name}, floor ${own.floor}) imports src/${imported} (${other.name}, floor ${other.floor})`,
      );
    }
  }
});

Deno.test("each room has a source", () => {
  for (const room of FLOORS.flat()) {
    assert(
      sources.some((source) => standsIn(source, room)),
      `tests/tidy_test.ts lists the room ${room}, which is gone`,
    );
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
    assert(
      tests.has(test) || tests.has(`integration/${test}`),
      `src/${source} has no test: neither tests/${test} nor tests/integration/${test}`,
    );
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

Deno.test("each source with JSX says whose it is, for programs with a configuration of their own", () => {
  for (const source of sources.filter((source) => source.endsWith(".tsx"))) {
    assert.match(text(source), /^\/\*\* @jsxImportSource hono\/jsx \*\/$/m, `src/${source} has no @jsxImportSource`);
  }
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
