/**
 * Whether the relay is ready, and why not: the queue can be written, the identity is valid, and the Collector is in reach or there
 * is room to wait for it.
 * @module
 */
import type { Exporter } from "../exporter/exporter.ts";
import { SIGNAL_NAMES, type SignalName } from "../signal.ts";
import { type Expiry, expiryText } from "../pki/expiry.ts";
import type { SendingQueue } from "../queue/queue.ts";

/** How sending fares. */
export type Sending = Pick<Exporter, "failures" | "waits" | "lastFailure" | "urlOf">;

/** One target of the routes. */
export interface SendingTo {
  readonly name: string;
  /** Nothing that was answered 200 may miss it. */
  readonly required: boolean;
  readonly exporter: Sending;
}

/** What health is told from. */
export interface HealthSources {
  readonly queue: SendingQueue;
  /** The state of all targets together, and of each by itself; without `targets` there is one. */
  readonly exporter: Sending & { readonly targets?: readonly SendingTo[] };
  /** The end of each certificate that the relay shows, trusts or has seen. */
  readonly certificates?: () => readonly Expiry[];
  /** The receiver's listeners. Absent: it has no socket of its own. */
  readonly listeners?: () => readonly ListenerHealth[];
}

/** One listener of the receiver. */
export interface ListenerHealth {
  readonly protocol: "OTLP/HTTP" | "OTLP/gRPC";
  /** Scheme, host and port. */
  readonly url: string;
  /** Whether it accepts connections, as far as it knows. */
  readonly accepting: boolean;
  /** Connections open now; undefined where that is not known. */
  readonly connections: number | undefined;
}

/** The state of the relay at one moment. */
export interface Health {
  readonly ready: boolean;
  /** Why not, each a sentence without a period. */
  readonly reasons: readonly string[];
  /** What leaves it ready and wants a look. */
  readonly warnings: readonly string[];
  readonly listeners: readonly ListenerHealth[];
  /** Undefined where nobody knows them. */
  readonly certificates: readonly Expiry[] | undefined;
}

/** Failures in a row after which a Collector counts as out of reach. */
const FAILURES_UNREACHABLE = 3;

/** As of now. */
export function healthOf({ queue, exporter, certificates, listeners }: HealthSources): Health {
  const reasons: string[] = [];
  const { ready, reason } = queue.readiness();
  if (!ready) reasons.push(reason ?? "the queue takes nothing now");
  const doors = listeners?.() ?? [];
  for (const { protocol, accepting } of doors) {
    if (!accepting) reasons.push(`the receiver accepts no connections of ${protocol}; raise the limit on open files`);
  }
  const warnings: string[] = [];
  const { targets = [] } = exporter;
  for (const signal of SIGNAL_NAMES) {
    const out = (sending: Sending) => sending.failures(signal) >= FAILURES_UNREACHABLE && sending.waits(signal);
    const down = targets.filter((target) => out(target.exporter));
    const required = targets.filter((target) => target.required);
    // With a disk there is room to wait for the Collector; without one there is none. Ready again when the backoff is over: a host that
    // sends nothing to what is not ready would never learn that the Collector is back. Where one target of several is in reach, some
    // senders are served.
    const served = required.some((target) => !down.includes(target));
    if (!queue.capabilities.durable && !served && out(exporter)) {
      reasons.push(`${signal}: ${exporter.failures(signal)} requests to the Collector failed in a row`);
    }
    // A look that is under way does not hide what it looks at.
    const failing = (sending: Sending) => sending.failures(signal) >= FAILURES_UNREACHABLE;
    for (const { name, exporter: own } of targets.length > 1 ? targets : []) {
      if (failing(own)) {
        warnings.push(failedText(`${name}: ${own.failures(signal)} requests with ${signal}`, own, signal));
      }
    }
    if (targets.length <= 1 && queue.capabilities.durable && failing(exporter)) {
      warnings.push(failedText(`${signal}: ${exporter.failures(signal)} requests to the Collector`, exporter, signal));
    }
  }
  const ends = certificates?.();
  // What is renewed elsewhere says nothing of this relay: it takes and keeps on.
  const alarming = ({ level, ours }: Expiry) => level === "error" && ours;
  for (const end of ends ?? []) if (alarming(end)) reasons.push(expiryText(end));
  return {
    ready: reasons.length === 0,
    reasons,
    warnings: [...warnings, ...(ends ?? []).filter((end) => end.level !== "ok" && !alarming(end)).map(expiryText)],
    listeners: doors,
    certificates: ends,
  };
}

function failedText(requests: string, sending: Sending, signal: SignalName): string {
  const what = sending.lastFailure(signal)?.fault.what;
  return `${requests} failed in a row${what === undefined ? "" : `: ${what}`}`;
}
