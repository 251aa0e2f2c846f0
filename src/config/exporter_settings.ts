/**
 * What one signal's requests to the Collector are made with: the signal's own settings over the general ones, each as a whole
 * (headers are replaced, not merged), as the OpenTelemetry specification has it for the variables.
 * @module
 */
import type { Config, ExporterSignal } from "./schema.ts";

/** A certificate or key: where it is, or itself. */
export type PemSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "pem"; readonly pem: string };

/** The identity and trust of a client. Equal for two signals unless `exporter.signals` says otherwise. */
export interface TlsSettings {
  readonly ca: PemSource;
  readonly cert: PemSource;
  readonly key: PemSource;
  readonly keyPassphrase: string | undefined;
  readonly reloadIntervalMs: number;
}

/** One signal's settings. */
export interface ExporterSettings {
  /** Complete, path included. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly compression: Config["exporter"]["compression"];
  readonly tls: TlsSettings;
}

type TlsOptions = Partial<Config["exporter"]["tls"]>;

/** The settings for a signal. */
export function exporterSettings(config: Config, signal: ExporterSignal): ExporterSettings {
  const { exporter } = config;
  const own = exporter.signals[signal];
  const source = (stem: "ca" | "cert" | "key"): PemSource =>
    sourceOf(own.tls, stem) ?? sourceOf(exporter.tls, stem) ?? { kind: "file", path: exporter.tls[`${stem}_file`] };
  const ownKey = sourceOf(own.tls, "key") !== undefined;
  return {
    url: exporter[`${signal}_endpoint`] ?? withSignalPath(exporter.endpoint, signal),
    headers: own.headers ?? exporter.headers,
    timeoutMs: own.timeout ?? exporter.timeout,
    compression: own.compression ?? exporter.compression,
    tls: {
      ca: source("ca"),
      cert: source("cert"),
      key: source("key"),
      // A passphrase goes with its key: the general one does not open a signal's own key.
      keyPassphrase: own.tls.key_passphrase ?? (ownKey ? undefined : exporter.tls.key_passphrase),
      reloadIntervalMs: exporter.tls.reload_interval,
    },
  };
}

/** PEM text wins over a file: in one section both are set only where the file is the default. */
function sourceOf(tls: TlsOptions, stem: "ca" | "cert" | "key"): PemSource | undefined {
  const pem = tls[`${stem}_pem`];
  if (pem !== undefined) return { kind: "pem", pem };
  const path = tls[`${stem}_file`];
  return path === undefined ? undefined : { kind: "file", path };
}

/** OTLP exporter specification, "Endpoint URLs for OTLP/HTTP": the signal's path is relative to the base. */
function withSignalPath(base: string, signal: ExporterSignal): string {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/v1/${signal}`;
  return url.href;
}
