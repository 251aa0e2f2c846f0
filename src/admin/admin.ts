/**
 * What an operator asks for: health (`/livez`, `/readyz`) by everybody, the status page (`/`) and the metrics for Prometheus
 * (`/metrics`) by this machine or with a token. On a port of its own, or on the receiver's.
 * @module
 */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { type Endpoint, formatEndpoint } from "../config/units.ts";
import { ConfigError, messageOf } from "../errors.ts";
import { type ConnectionLimits, listenOnNode } from "../receiver/listener/node_listener.ts";
import { within } from "../within.ts";
import { type Access, guard } from "./access.ts";
import { healthOf, type HealthSources } from "./health.ts";
import { rangeNamed } from "./history.ts";
import type { PartId } from "./page_parts.tsx";
import type { StatusPage } from "./status_page.ts";

/** How long requests may take to finish when it stops, in ms. */
const CLOSE_MS_MAX = 250;

/** What is told, and to whom. */
export interface AdminSources extends HealthSources {
  /** Absent: health alone is answered. */
  readonly page?: StatusPage | undefined;
  /** Who may see more than health. Absent: everybody. */
  readonly access?: Access | undefined;
}

/** A running admin server. */
export interface Admin extends AsyncDisposable {
  readonly url: string;
}

/** The routes, without a socket. */
export function adminApp(sources: AdminSources): Hono {
  const { page, access = { possible: true, denial: () => undefined } } = sources;
  const app = new Hono();
  // Alive: the event loop turns. What is behind it is readiness.
  app.get("/livez", (context) => context.json({ status: "ok" }));
  app.get("/readyz", (context) => {
    const { ready, reasons, warnings, certificates } = healthOf(sources);
    const shown = certificates !== undefined && access.denial(context.req.raw) === undefined;
    return context.json(
      {
        status: ready ? "ready" : "not ready",
        reasons,
        ...(shown
          ? {
            warnings,
            certificates: certificates.map(({ role, subject, validTo, daysLeft }) => ({
              role,
              subject,
              validTo,
              daysLeft,
            })),
          }
          : {}),
      },
      ready ? 200 : 503,
    );
  });
  if (page === undefined) return app;
  const guarded = guard(access);
  // What draws and writes is loaded for the first who asks: a start does not wait for it.
  app.get("/", guarded, async (context) => {
    const { PAGE_HEADERS } = await import("./page.tsx");
    return context.html(await page.html(rangeNamed(context.req.query("range"))), 200, PAGE_HEADERS);
  });
  app.get("/metrics", guarded, async (context) => {
    const { PROMETHEUS_CONTENT_TYPE, prometheusText } = await import("../telemetry/prometheus.ts");
    return context.body(prometheusText(await page.collect()), 200, { "content-type": PROMETHEUS_CONTENT_TYPE });
  });
  app.get("/events", guarded, (context) => {
    // Another site's page cannot read it, but could take every place there is.
    const site = context.req.header("sec-fetch-site");
    if (site !== undefined && site !== "same-origin" && site !== "none") {
      return context.text("Cannot show this to a page of another site; open the status page itself\n", 403);
    }
    // Hono answers HEAD by the handler of GET and drops the body, whose watcher would stay for ever.
    if (context.req.method === "HEAD") return context.body(null, 200, { "content-type": "text/event-stream" });
    const watcher = page.watch(rangeNamed(context.req.query("range")));
    if (watcher === undefined) return context.text("As many look at this page as may; close one\n", 503);
    return streamSSE(context, async (stream) => {
      stream.onAbort(() => watcher[Symbol.dispose]());
      const sent = new Map<string, string>();
      try {
        for (let parts = await watcher.next(); parts !== undefined && !stream.aborted; parts = await watcher.next()) {
          const changed = Object.entries(parts).filter(([id, html]) => sent.get(id as PartId) !== html);
          for (const [id, html] of changed) sent.set(id, html);
          await stream.writeSSE({ data: JSON.stringify(Object.fromEntries(changed)) });
        }
      } finally {
        watcher[Symbol.dispose]();
      }
    });
  });
  return app;
}

/** Connections of admin: an operator's browser, a Prometheus, probes. */
const LIMITS: ConnectionLimits = {
  connectionsMax: 64,
  addressConnectionsMax: 0,
  headerBytesMax: 16 * 1024,
  headerMs: 10_000,
  bodyMs: 10_000,
  idleMs: 60_000,
};

/**
 * Serves them. @param failed Told of a fault of ours.
 * @throws {ConfigError} when it cannot listen.
 */
export async function startAdmin(
  endpoint: Endpoint,
  sources: AdminSources,
  failed: (error: unknown) => void = () => {},
): Promise<Admin> {
  const { hostname, port } = endpoint;
  try {
    const listener = await listenOnNode({
      hostname,
      port,
      limits: LIMITS,
      answer: adminApp(sources).fetch,
      events: { failed, refused: () => {}, dropped: () => {} },
    });
    return {
      url: `http://${formatEndpoint({ hostname, port: listener.port })}`,
      async [Symbol.asyncDispose]() {
        await within(listener.close(), CLOSE_MS_MAX);
        listener.abandon();
      },
    };
  } catch (error) {
    throw new ConfigError(
      {
        what: `Cannot listen at telemetry.admin.endpoint ${formatEndpoint(endpoint)}`,
        state: messageOf(error),
        remedy: "free the port or choose another",
      },
      { cause: error },
    );
  }
}
