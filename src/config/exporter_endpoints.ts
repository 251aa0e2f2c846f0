/**
 * What an exporter's endpoints are by its protocols: their defaults, and what may stand in them.
 * Source: OpenTelemetry specification, "OTLP Exporter", "Configuration Options".
 * @module
 */
import { SIGNAL_NAMES, signalOf } from "../signal.ts";
import { isAuthority, URL_WANTED } from "./option.ts";
import type { ExporterConfig, ExporterSignal } from "./schema.ts";

/** The default of OTLP/gRPC. */
const GRPC_ENDPOINT = "https://localhost:4317";

/** What a signal is sent by. */
export function protocolOf(exporter: ExporterConfig, signal: ExporterSignal): ExporterConfig["protocol"] {
  return exporter.signals[signal].protocol ?? exporter.protocol;
}

type EndpointKey = "endpoint" | `${ExporterSignal}_endpoint`;

/** What is wrong with an endpoint for the protocols that it is for: its key, and a sentence that completes "Cannot use KEY VALUE: ". */
export function endpointFaults(exporter: ExporterConfig): { readonly key: EndpointKey; readonly fault: string }[] {
  const used = (signal: ExporterSignal): EndpointKey =>
    exporter[`${signal}_endpoint`] === undefined ? "endpoint" : `${signal}_endpoint`;
  return [...Map.groupBy(SIGNAL_NAMES, used)].flatMap(([key, signals]) => {
    const endpoint = exporter[key] ?? "";
    const protocols = new Set(signals.map((signal) => protocolOf(exporter, signal)));
    if (protocols.has("http/protobuf") && isAuthority(endpoint)) {
      return [{ key, fault: `it must be ${URL_WANTED}; host:port alone is for protocol: grpc` }];
    }
    if (!protocols.has("grpc") || protocols.has("http/protobuf") || isAuthority(endpoint)) return [];
    const { pathname, search } = new URL(endpoint);
    return (pathname === "/" || pathname === "") && search === ""
      ? []
      : [{ key, fault: "with protocol: grpc it has no path; write scheme, host and port alone" }];
  });
}

/**
 * The exporter with a URL in each endpoint: with a scheme, and gRPC's default where none is set.
 * @param isSet Whether the key is set; otherwise it holds HTTP's default.
 */
export function withEndpoints(exporter: ExporterConfig, isSet: (key: EndpointKey) => boolean): ExporterConfig {
  const settled: ExporterConfig = { ...exporter };
  if (!isSet("endpoint")) {
    if (exporter.protocol === "grpc") settled.endpoint = GRPC_ENDPOINT;
    for (const signal of SIGNAL_NAMES) {
      const protocol = protocolOf(exporter, signal);
      if (protocol === exporter.protocol || isSet(`${signal}_endpoint`)) continue;
      settled[`${signal}_endpoint`] = protocol === "grpc" ? GRPC_ENDPOINT : exporter.endpoint + signalOf(signal).path;
    }
  }
  for (const key of ["endpoint", ...SIGNAL_NAMES.map((signal) => `${signal}_endpoint` as const)] as const) {
    const endpoint = settled[key];
    if (endpoint !== undefined && isAuthority(endpoint)) settled[key] = `https://${endpoint.trim()}`;
  }
  return settled;
}
