/**
 * Health on a port of its own: `/livez` and `/readyz`, with reasons as JSON.
 * @module
 */
import { Hono } from "hono";
import { type Endpoint, formatEndpoint } from "../config/units.ts";
import { ConfigError, messageOf } from "../errors.ts";
import type { Exporter } from "../exporter/exporter.ts";
import { SIGNAL_NAMES } from "../otlp/signal.ts";
import { type Expiry, expiryText } from "../pki/expiry.ts";
import type { SendingQueue } from "../queue/queue.ts";

/** What health is told from. */
export interface AdminSources {
  readonly queue: SendingQueue;
  readonly exporter: Exporter;
  /** The end of each certificate that the relay shows, trusts or has seen. */
  readonly certificates?: () => readonly Expiry[];
}

/** A running admin server. */
export interface Admin extends AsyncDisposable {
  readonly url: string;
}

/** Failures in a row after which a Collector counts as out of reach. */
const FAILURES_UNREACHABLE = 3;

/** The routes, without a socket. */
export function adminApp({ queue, exporter, certificates }: AdminSources): Hono {
  const app = new Hono();
  // Alive: the event loop turns. What is behind it is readiness.
  app.get("/livez", (context) => context.json({ status: "ok" }));
  app.get("/readyz", (context) => {
    const reasons: string[] = [];
    const { ready, reason } = queue.readiness();
    if (!ready) reasons.push(reason ?? "the queue takes nothing now");
    for (const signal of queue.capabilities.durable ? [] : SIGNAL_NAMES) {
      // With a disk there is room to wait for the Collector; without one there is none.
      const failures = exporter.failures(signal);
      if (failures >= FAILURES_UNREACHABLE) {
        reasons.push(`${signal}: ${failures} requests to the Collector failed in a row`);
      }
    }
    const ends = certificates?.();
    // What is renewed elsewhere says nothing of this relay: it takes and keeps on.
    const alarming = ({ level, ours }: Expiry) => level === "error" && ours;
    for (const end of ends ?? []) if (alarming(end)) reasons.push(expiryText(end));
    return context.json(
      {
        status: reasons.length === 0 ? "ready" : "not ready",
        reasons,
        ...(ends === undefined ? {} : {
          warnings: ends.filter((end) => end.level !== "ok" && !alarming(end)).map(expiryText),
          certificates: ends.map(({ role, subject, validTo, daysLeft }) => ({ role, subject, validTo, daysLeft })),
        }),
      },
      reasons.length === 0 ? 200 : 503,
    );
  });
  return app;
}

/** Serves them. @throws {ConfigError} when it cannot listen. */
export function startAdmin(endpoint: Endpoint, sources: AdminSources): Admin {
  try {
    const server = Deno.serve(
      { hostname: endpoint.hostname, port: endpoint.port, onListen: () => {} },
      adminApp(sources).fetch,
    );
    return {
      url: `http://${formatEndpoint({ hostname: endpoint.hostname, port: server.addr.port })}`,
      [Symbol.asyncDispose]: () => server.shutdown(),
    };
  } catch (error) {
    throw new ConfigError(
      `Cannot listen at telemetry.admin.endpoint ${formatEndpoint(endpoint)}: ${
        messageOf(error)
      }; free the port or choose another`,
      { cause: error },
    );
  }
}
