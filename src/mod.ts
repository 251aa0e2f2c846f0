/**
 * edgeferry as a library: the relay in a program of yours, and the instrumentation of any Hono app.
 * @module
 */
export { createRelay, type EmbeddedRelay, type Relay, startRelay } from "./relay.ts";
export { configFrom, loadConfig, type LoadedConfig } from "./config/load.ts";
export type { Config, ConfigInput } from "./config/schema.ts";
export { httpInstrumentation, instrument, type InstrumentOptions } from "./telemetry/instrument.ts";
export {
  type CollectorEndpoint,
  type SignalTargets,
  startTelemetry,
  type Telemetry,
  type TelemetryOptions,
} from "./telemetry/telemetry.ts";
export type { OtlpTarget } from "./telemetry/exporter.ts";
export { createLog, type Log, type LogFields, type LogLevel, type LogOptions } from "./telemetry/log.ts";
export { CertificateError, type CertificateErrorCode, ConfigError, Refusal, type RefusalCode } from "./errors.ts";
