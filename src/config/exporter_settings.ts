/**
 * What one signal's requests to the Collector are made with: the signal's own settings over the general ones, each as a whole
 * (headers are replaced, not merged), as the OpenTelemetry specification has it for the variables.
 * @module
 */
import { signalOf } from "../signal.ts";
import { protocolOf } from "./exporter_endpoints.ts";
import { primaryExporter } from "./routes.ts";
import type { Config, ExporterConfig, ExporterSignal } from "./schema.ts";

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
  readonly keyPassphrase: {
    readonly value: string | undefined; /** The key that holds it. */
    readonly setting: string;
  };
  readonly reloadIntervalMs: number;
  /** A key file that every user of the machine can read is used all the same. */
  readonly exposedKeyAllowed: boolean;
  /** When the end of a certificate is worth a warning, and when it needs a person, in ms before it. */
  readonly expiry: { readonly warningMs: number; readonly errorMs: number };
}

/** What is spoken to a Collector, as `OTEL_EXPORTER_OTLP_PROTOCOL` calls it. */
export type Protocol = ExporterConfig["protocol"];

/** One signal's settings. */
export interface ExporterSettings {
  readonly protocol: Protocol;
  /** Complete, path included. */
  readonly url: string;
  /** The key that the URL is from, e.g. `["exporter", "endpoint"]`. */
  readonly urlKey: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly compression: ExporterConfig["compression"];
  /** Waits between two attempts, in ms. */
  readonly retry: { readonly initialMs: number; readonly maxMs: number };
  readonly tls: TlsSettings;
}

const WHAT = { ca: "CA", cert: "client certificate", key: "client key" } as const;
type Stem = keyof typeof WHAT;

/** Where an exporter is set, by its name: `exporter`, or `exporters.eu-1`. */
function sectionOf(config: Config, name: string): { readonly section: string; readonly exporter: ExporterConfig } {
  const several = config.exporters[name];
  return several === undefined
    ? { section: "exporter", exporter: config.exporter }
    : { section: `exporters.${name}`, exporter: several };
}

/** The settings for a signal. @param name The exporter's; that by which the relay's own telemetry leaves unless given. */
export function exporterSettings(
  config: Config,
  signal: ExporterSignal,
  name: string = primaryExporter(config),
): ExporterSettings {
  const { section, exporter } = sectionOf(config, name);
  const own = exporter.signals[signal];
  const protocol = protocolOf(exporter, signal);
  const ownSection = `${section}.signals.${signal}.tls`;
  const ownKey = pemSetting(own.tls, "key", ownSection);
  const source = (stem: Stem): PemSetting =>
    pemSetting(own.tls, stem, ownSection) ?? pemSetting(exporter.tls, stem, `${section}.tls`);
  return {
    protocol,
    url: protocol === "grpc"
      ? withMethod(exporter[`${signal}_endpoint`] ?? exporter.endpoint, signal)
      : exporter[`${signal}_endpoint`] ?? withSignalPath(exporter.endpoint, signal),
    urlKey: [...section.split("."), exporter[`${signal}_endpoint`] === undefined ? "endpoint" : `${signal}_endpoint`],
    headers: own.headers ?? exporter.headers,
    timeoutMs: own.timeout ?? exporter.timeout,
    compression: own.compression ?? exporter.compression,
    retry: { initialMs: exporter.retry_on_failure.initial_interval, maxMs: exporter.retry_on_failure.max_interval },
    tls: {
      ca: source("ca"),
      cert: source("cert"),
      key: source("key"),
      // A passphrase goes with its key: the general one does not open a signal's own key.
      keyPassphrase: {
        value: own.tls.key_passphrase ?? (ownKey === undefined ? exporter.tls.key_passphrase : undefined),
        setting: `${ownKey === undefined ? `${section}.tls` : ownSection}.key_passphrase`,
      },
      reloadIntervalMs: exporter.tls.reload_interval,
      exposedKeyAllowed: exporter.tls.key_readable_by_others,
      expiry: { warningMs: exporter.tls.expiry_warning, errorMs: exporter.tls.expiry_error },
    },
  };
}

/** What stands for the sender's id in the value of a header, written `${sender}`. */
export const SENDER = "sender";

/** Whether the headers depend on who has sent what goes with them: such data is not merged with another sender's. */
export function namesSender(headers: Readonly<Record<string, string>>): boolean {
  return Object.values(headers).some((value) => value.includes(`\${${SENDER}}`));
}

/** The headers of a request that carries the data of this sender. What may not stand in a header is percent-encoded. */
export function headersFor(headers: Readonly<Record<string, string>>, sender: string): Record<string, string> {
  const id = /^[\x21-\x7e]+$/.test(sender) ? sender : encodeURIComponent(sender.toWellFormed());
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, value.replaceAll(`\${${SENDER}}`, () => id)]),
  );
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

/** OTLP exporter specification, "Endpoint URLs for OTLP/HTTP": the signal's path is relative to the base. */
function withSignalPath(base: string, signal: ExporterSignal): string {
  const url = new URL(base);
  url.pathname = url.pathname.replace(/\/+$/, "") + signalOf(signal).path;
  return url.href;
}

/** gRPC has no path of a base: the method's is all there is. */
function withMethod(endpoint: string, signal: ExporterSignal): string {
  return new URL(endpoint).origin + signalOf(signal).grpcPath;
}
