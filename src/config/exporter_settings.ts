/**
 * What one signal's requests to the Collector are made with: the signal's own settings over the general ones, each as a whole
 * (headers are replaced, not merged), as the OpenTelemetry specification has it for the variables.
 * @module
 */
import type { Config, ExporterSignal } from "./schema.ts";

/** A certificate, bundle or key, as `pki` reads it. */
export interface PemSetting {
  /** What it is, for messages. */
  readonly what: "CA" | "client certificate" | "client key";
  /** The key that holds the value, e.g. `exporter.tls.key_file`. */
  readonly setting: string;
  /** PEM text, or the path of a file. */
  readonly value: string;
}

/** The identity and trust of a client. Equal for two signals unless `exporter.signals` says otherwise. */
export interface TlsSettings {
  readonly ca: PemSetting;
  readonly cert: PemSetting;
  readonly key: PemSetting;
  readonly keyPassphrase: string | undefined;
  readonly reloadIntervalMs: number;
  /** A key file that every user of the machine can read is used all the same. */
  readonly exposedKeyAllowed: boolean;
  /** When the end of a certificate is worth a warning, and when it needs a person, in ms before it. */
  readonly expiry: { readonly warningMs: number; readonly errorMs: number };
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

const WHAT = { ca: "CA", cert: "client certificate", key: "client key" } as const;
type Stem = keyof typeof WHAT;

/** The settings for a signal. */
export function exporterSettings(config: Config, signal: ExporterSignal): ExporterSettings {
  const { exporter } = config;
  const own = exporter.signals[signal];
  const ownKey = pemSetting(own.tls, "key", `exporter.signals.${signal}.tls`);
  const source = (stem: Stem): PemSetting =>
    pemSetting(own.tls, stem, `exporter.signals.${signal}.tls`) ?? pemSetting(exporter.tls, stem, "exporter.tls");
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
      keyPassphrase: own.tls.key_passphrase ?? (ownKey === undefined ? exporter.tls.key_passphrase : undefined),
      reloadIntervalMs: exporter.tls.reload_interval,
      exposedKeyAllowed: exporter.tls.key_readable_by_others,
      expiry: { warningMs: exporter.tls.expiry_warning, errorMs: exporter.tls.expiry_error },
    },
  };
}

type Files = Readonly<Record<`${Stem}_file`, string>>;
type PemTexts = { readonly [K in `${Stem}_pem`]?: string };

/** PEM text wins over a file: in one section both are set only where the file is the default. */
function pemSetting(tls: Files & PemTexts, stem: Stem, section: string): PemSetting;
function pemSetting(tls: Partial<Files> & PemTexts, stem: Stem, section: string): PemSetting | undefined;
function pemSetting(tls: Partial<Files> & PemTexts, stem: Stem, section: string): PemSetting | undefined {
  for (const key of [`${stem}_pem`, `${stem}_file`] as const) {
    const value = tls[key];
    if (value !== undefined) return { what: WHAT[stem], setting: `${section}.${key}`, value };
  }
  return undefined;
}

/** Of each signal, below the base. */
const PATHS: Readonly<Record<ExporterSignal, string>> = {
  traces: "/v1/traces",
  metrics: "/v1/metrics",
  logs: "/v1/logs",
  profiles: "/v1development/profiles",
};

/** OTLP exporter specification, "Endpoint URLs for OTLP/HTTP": the signal's path is relative to the base. */
function withSignalPath(base: string, signal: ExporterSignal): string {
  const url = new URL(base);
  url.pathname = url.pathname.replace(/\/+$/, "") + PATHS[signal];
  return url.href;
}
