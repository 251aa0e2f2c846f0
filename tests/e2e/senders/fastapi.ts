/** The FastAPI app of fastapi_app.py: how it is started, asked, and what it then sends. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Counts, Held } from "../../support/far_end/held.ts";
import { type Program, startProgram } from "../../support/program/program.ts";
import { python } from "../../support/tools/python.ts";

const here = fileURLToPath(new URL(".", import.meta.url));

/** Starts it by uvicorn on a free port. `envFile` is read by uvicorn, as people do it. */
export async function startFastApi(
  env: Readonly<Record<string, string>>,
  options: { readonly cwd: string; readonly envFile?: string },
): Promise<Program> {
  return startProgram({
    command: await python(),
    args: [
      ...["-m", "uvicorn", "--app-dir", here, "--port", "0"],
      ...(options.envFile === undefined ? [] : ["--env-file", options.envFile]),
      "fastapi_app:app",
    ],
    cwd: options.cwd,
    env: { OTEL_SEMCONV_STABILITY_OPT_IN: "http", PYTHONDONTWRITEBYTECODE: "1", ...env },
  });
}

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN_ID = "b7ad6b7169203331";
const REQUESTS = [["/items/7", 200], ["/items/8", 200], ["/broken", 503], ["/items/none", 422]] as const;
/**
 * Of those requests: a SERVER span and two `http send` spans each, a span of the app's own in two; the points of
 * http.server.request.duration (3), http.server.response.body.size (3), http.server.active_requests and items.sold (2).
 */
export const FASTAPI_SENDS: Counts = { spans: 14, dataPoints: 9, logRecords: 0 };

/** Makes the requests and ends the app, which exports what it has then. */
export async function useFastApi(app: Program): Promise<void> {
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(await app.line(/Uvicorn running on/))![0];
  for (const [path, status] of REQUESTS) {
    const answer = await fetch(url + path, { headers: { traceparent: `00-${TRACE_ID}-${CALLER_SPAN_ID}-01` } });
    const body = await answer.text();
    assert.equal(answer.status, status, body);
    if (status === 200) assert(body.includes(TRACE_ID));
  }
  await app.stop();
  assert(app.lines.some((line) => line.includes("Application shutdown complete")), app.lines.join("\n"));
}

/** Looks at what arrived of those requests. */
export function checkFastApi({ spans, dataPoints }: Held): void {
  const servers = spans.filter(({ kind }) => kind === 2);
  assert.deepEqual(servers.map((span) => [span.attributes["url.path"], span.attributes["http.route"], span.name]), [
    ["/items/7", "/items/{item_id}", "GET /items/{item_id}"],
    ["/items/8", "/items/{item_id}", "GET /items/{item_id}"],
    ["/broken", "/broken", "GET /broken"],
    ["/items/none", "/items/{item_id}", "GET /items/{item_id}"],
  ]);
  for (const span of spans) assert.equal(span.traceId, TRACE_ID);
  for (const span of servers) assert.equal(span.parentSpanId, CALLER_SPAN_ID);
  const lookups = spans.filter(({ name }) => name === "look up");
  assert.deepEqual(lookups.map((span) => [span.attributes["item.id"], span.parentSpanId]), [
    [7n, servers[0]?.spanId],
    [8n, servers[1]?.spanId],
  ]);
  const durations = dataPoints.filter(({ metric }) => metric.name === "http.server.request.duration");
  assert.deepEqual(
    durations.map((point) => [
      point.attributes["http.route"],
      point.attributes["http.response.status_code"],
      point.kind === "histogram" && point.count,
      point.metric.unit,
      point.attributes["env"],
    ]).sort(),
    [["/broken", 503n, 1n, "s", "dev"], ["/items/{item_id}", 200n, 2n, "s", "dev"], [
      "/items/{item_id}",
      422n,
      1n,
      "s",
      "dev",
    ]],
  );
}
