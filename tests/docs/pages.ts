/** The pages of docs and the types that are printed from the tables of the source: `deno task docs` writes them, a test compares them. */
import { renderReference } from "../../src/config/reference.ts";
import { NAMED_FAULTS } from "../../src/diagnosis/faults.ts";
import { costTable, type Results } from "../bench/results.ts";
import { ROWS } from "../bench/subjects.ts";
import { typesModule } from "./types.ts";
import { renderInstruments } from "../../src/telemetry/prometheus.ts";

/** What only a program that exports with the library alone can meet. */
export const LIBRARY_ONLY: ReadonlySet<string> = new Set(["client_certificate_missing"]);

const CONFIGURATION = `# Configuration

The defaults and the environment suffice. [config/relay.yaml](../config/relay.yaml) has every option with its default,
under the Collector's own key names. \`deno task config check\` prints the configuration in use.
\`deno task config reference\` prints this page's table. A value in the environment beats the one in the file. Unknown
keys are an error.

## The way to the Collector

The variables of the OpenTelemetry specification set it. \`dev\`, \`start\`, \`send\` and the other commands read them from
the environment and from \`.env\` in the working folder:

| variable | purpose |
| --- | --- |
| \`OTEL_EXPORTER_OTLP_ENDPOINT\` | the Collector's base URL; \`v1/<signal>\` is appended (\`v1development/profiles\`) |
| \`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT\`, \`…_METRICS_ENDPOINT\`, \`…_LOGS_ENDPOINT\`, \`…_PROFILES_ENDPOINT\` | one signal's URL, used as it is |
| \`OTEL_EXPORTER_OTLP_CERTIFICATE\` | the CA that the Collector's certificate must lead to: a path, or PEM text |
| \`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE\` | the client certificate: a path, or PEM text |
| \`OTEL_EXPORTER_OTLP_CLIENT_KEY\` | its key: a path, or PEM text |
| \`OTEL_EXPORTER_OTLP_INSECURE\` | none: an endpoint without a scheme is \`https://\`, and verification is never switched off |
| \`OTEL_EXPORTER_OTLP_HEADERS\` | \`key=value,key2=value2\`, percent-encoded |
| \`OTEL_EXPORTER_OTLP_COMPRESSION\` | \`gzip\` or \`none\`; \`zstd\` only by \`exporter.compression\` |
| \`OTEL_EXPORTER_OTLP_TIMEOUT\` | milliseconds for one attempt; 10000 |
| \`OTEL_EXPORTER_OTLP_PROTOCOL\` | \`http/protobuf\` or \`grpc\`; any other value draws a warning, and the relay speaks \`http/protobuf\` |

Each has its form for one signal, such as \`OTEL_EXPORTER_OTLP_TRACES_HEADERS\`. Hosts that refuse names in \`OTEL_\` use
\`EDGEFERRY_\` instead: \`EDGEFERRY_EXPORTER_OTLP_ENDPOINT\`. Every other key has a variable too:
\`receiver.http.endpoint\` is \`EDGEFERRY_RECEIVER_HTTP_ENDPOINT\`.

Blanks around a value do not matter, nor do capitals in words such as \`GZIP\`. PEM text may stand on one line with \`\\n\` for
its line ends, or as base64 of the PEM. The relay warns of a line of \`.env\` that it does not
understand, with its number.

## Several Collectors

\`exporter\` alone is one Collector, called \`default\`. Several have names; \`routes\` say which data goes to which of them:

\`\`\`yaml
exporters:
  eu-1: { endpoint: https://eu-1.example:4318 }
  eu-2: { endpoint: https://eu-2.example:4318, headers: { X-Scope-OrgID: "$\${sender}" } }
  audit: { endpoint: https://audit.example:4318, required: false }
groups:
  eu: { failover: [eu-1, eu-2] } # or balance: { eu-1: 2, eu-2: 1 }
routes: # the first that matches counts, and the last one is for all
  - { signals: [traces], senders: ["checkout-*"], exporters: [eu, audit] }
  - { exporters: [eu] }
\`\`\`

What a route names in \`exporters\`, an exporter or a group, is a **target**: each record has an outcome of its own at each
of its targets. Each exporter has the keys of \`exporter\`. \`required: false\` is for one that may miss data: it holds
nobody up. In the value of a header, \`\${sender}\` (in YAML \`$\${sender}\`) stands for the id of the sender whose data the
request carries. The variables of an exporter set the one
called \`default\`; \`EDGEFERRY_EXPORTERS\`, \`EDGEFERRY_GROUPS\` and \`EDGEFERRY_ROUTES\` take YAML. \`config check\` prints whose
data goes where.

A group learns from the requests that it sends:

- If an exporter cannot be reached, does not answer in time, or answers 401, 403, 404 or 5xx, the group sends this
  request, and the data after it, to the next exporter at once.
- 400, 413 and 422 are about the data: no other exporter gets it. But if an exporter of a failover refuses everything
  (\`refuses_everything\`, see [answers.md](answers.md)), the group leaves it as one that is down, as long as it has
  another that does not.
- After 429, or 503 with \`Retry-After\`, the group waits as it was asked, for 30 s at most. A balance gives the data to its
  other exporters meanwhile.
- After 30 s one request tries an exporter that failed. Three successes at least 5 s apart bring it back, and each relapse
  doubles the wait, up to 10 min. One that refused everything is back once it takes data.
- What fails on every exporter counts against none of them.
- A request that timed out may be at two exporters: \`edgeferry_exporter_moved_requests\` marks it with \`maybe_both\`.

Weights are averages, not promises. A group uses \`compression\` and \`retry_on_failure\` of its first exporter;
\`config check\` says where those of another differ. Without a disk (\`storage: none\`) the exporters that work share the
time that the sender waits.

A name may have several addresses. The relay passes over one that refuses connections at once. One that is silent costs
one \`timeout\`: the relay then uses an address that answers, until all of them do. \`doctor\` shows each of them.

## Every option
`;

const METRICS = `# Metrics

The relay's own metrics go to the Collector by OTLP every minute, and stand at \`/metrics\` for Prometheus, under the
second name. \`deno task metrics\` prints this table.
`;

const FAULTS = `# Faults

\`deno task doctor\` and the running relay's log name faults by this table. "Elsewhere it is called" has the words that
OpenSSL, Python, Go, rustls or nginx use for the same fault.
`;

function faults(): string {
  const lines = ["| name | what it is | elsewhere it is called | what to do |", "| --- | --- | --- | --- |"];
  for (const { code, what, knownAs, remedy } of NAMED_FAULTS) {
    if (LIBRARY_ONLY.has(code)) continue;
    const names = knownAs.map((name) => `\`${name}\``).join(", ") || "-";
    lines.push(`| \`${code}\` | ${what} | ${names} | ${remedy} |`);
  }
  return lines.join("\n");
}

/** Where a page's table of costs stands between two comments, and the subjects of it; `details`: all, with latency and memory. */
const COSTS: Readonly<Record<string, { readonly details: boolean; readonly subjects: readonly string[] }>> = {
  "README.md": { details: false, subjects: ["nginx", "sqlite", "collector-memory", "collector-file"] },
  "docs/benchmarks.md": { details: true, subjects: Object.keys(ROWS) },
};
const COST_TABLE = /(<!-- docs\/benchmarks\.json -->\n)[^]*?(\n<!-- until here -->)/;

/** Pages with the figures of the last run of the bench, which `deno task bench --out docs/benchmarks.json` has written. */
function costPages(): Readonly<Record<string, string>> {
  const root = new URL("../../", import.meta.url);
  let results: Results;
  try {
    results = JSON.parse(Deno.readTextFileSync(new URL("docs/benchmarks.json", root)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
  return Object.fromEntries(
    Object.entries(COSTS).map(([page, { details, subjects }]) => {
      const text = Deno.readTextFileSync(new URL(page, root));
      if (!COST_TABLE.test(text)) throw new Error(`${page} has no place for the table of costs`);
      const rows = Object.fromEntries(Object.entries(ROWS).filter(([name]) => subjects.includes(name)));
      return [page, text.replace(COST_TABLE, (_, from, to) => `${from}\n${costTable(results, rows, details)}\n${to}`)];
    }),
  );
}

/** Their text before `deno fmt`, by path from the root. */
export function generatedPages(): Readonly<Record<string, string>> {
  return {
    ...costPages(),
    "docs/configuration.md": `${CONFIGURATION}\n${renderReference()}`,
    "docs/metrics.md": `${METRICS}\n${renderInstruments()}`,
    "docs/faults.md": `${FAULTS}\n${faults()}\n`,
    "src/config/types.ts": typesModule(),
  };
}

/** The text of a file as `deno fmt` lays it out. */
export async function formatted(name: string, text: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "fmt",
      "--config",
      new URL("../../deno.json", import.meta.url).pathname,
      "--ext",
      name.slice(name.lastIndexOf(".") + 1),
      "-",
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  await new Blob([text]).stream().pipeTo(child.stdin);
  const { success, stdout } = await child.output();
  if (!success) throw new Error("Cannot lay out the page: deno fmt failed");
  return new TextDecoder().decode(stdout);
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(generatedPages())) {
    await Deno.writeTextFile(new URL(`../../${name}`, import.meta.url), await formatted(name, text));
    console.log(name);
  }
}
