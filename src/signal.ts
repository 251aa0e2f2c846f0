/**
 * The OTLP signals, one row each. Everything that differs between signals is in this table, so that no function elsewhere
 * is copied per signal.
 * @module
 */

/** The signals that the relay takes. */
export type SignalName = "traces" | "metrics" | "logs" | "profiles";

/** One signal: where it is posted, how its items are counted, and what its answers call them. */
export interface Signal {
  readonly name: SignalName;
  /** Path of the OTLP/HTTP request (OTLP 1.11, "OTLP/HTTP Request"). */
  readonly path: string;
  /** Path of the method of OTLP/gRPC (OTLP 1.11, "OTLP/gRPC"; opentelemetry-proto, `collector`). */
  readonly grpcPath: string;
  /** What one item is called: the unit in which `partial_success` counts, and so the books. */
  readonly item: string;
  /** Field 1 of `partial_success` by its JSON name (OTLP 1.11, "Partial Success"). */
  readonly rejectedField: "rejectedSpans" | "rejectedDataPoints" | "rejectedLogRecords" | "rejectedProfiles";
  /**
   * Whether encoded requests may be concatenated and cut at resources. Profiles may not: all of a request refer to its one
   * `dictionary` by index.
   */
  readonly mergeable: boolean;
  /** Whether every Collector takes it. Profiles are in development: a Collector has no pipeline for them unless told to. */
  readonly stable: boolean;
}

/** Every signal, in the order of the specification. */
export const SIGNALS: readonly Signal[] = [
  {
    name: "traces",
    path: "/v1/traces",
    grpcPath: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    item: "span",
    rejectedField: "rejectedSpans",
    mergeable: true,
    stable: true,
  },
  {
    name: "metrics",
    path: "/v1/metrics",
    grpcPath: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    item: "data point",
    rejectedField: "rejectedDataPoints",
    mergeable: true,
    stable: true,
  },
  {
    name: "logs",
    path: "/v1/logs",
    grpcPath: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    item: "log record",
    rejectedField: "rejectedLogRecords",
    mergeable: true,
    stable: true,
  },
  {
    name: "profiles",
    path: "/v1development/profiles",
    grpcPath: "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
    item: "profile",
    rejectedField: "rejectedProfiles",
    mergeable: false,
    stable: false,
  },
];

/** The names alone, in the same order. */
export const SIGNAL_NAMES: readonly SignalName[] = SIGNALS.map((signal) => signal.name);

/** The row of a signal. */
export function signalOf(name: SignalName): Signal {
  const row = SIGNALS.find((signal) => signal.name === name);
  if (row === undefined) throw new RangeError(`No signal is called ${name}`);
  return row;
}

/** One value for each signal. */
export function bySignal<Value>(make: (signal: SignalName) => Value): Record<SignalName, Value> {
  return Object.fromEntries(SIGNAL_NAMES.map((signal) => [signal, make(signal)])) as Record<SignalName, Value>;
}
