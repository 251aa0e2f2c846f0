/**
 * Metrics as Prometheus scrapes them: its text format, and names by the rules of OpenTelemetry ("Prometheus and OpenMetrics
 * Compatibility": the unit in words behind the name, `_total` behind a counter).
 * @module
 */
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { DataPointType, type ResourceMetrics } from "@opentelemetry/sdk-metrics";
import { type Instrument, INSTRUMENTS } from "./metrics.ts";

/** The media type of the text format (Prometheus, "Exposition formats"). */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** UCUM codes in Prometheus's words; what is not here has no unit there: `1`, and annotations such as `{item}`. */
const UNITS: Readonly<Record<string, string>> = { s: "seconds", By: "bytes", d: "days" };

/** The name without the `_total` of a counter, which the serializer adds. */
function familyName(name: string, unit: string): string {
  const word = UNITS[unit];
  const plain = name.replaceAll(/[^a-zA-Z0-9_]/g, "_");
  return word === undefined || plain.split("_").includes(word) ? plain : `${plain}_${word}`;
}

/** What an instrument is called at `/metrics`. A histogram has `_bucket`, `_sum` and `_count` behind it. */
export function prometheusName(name: string, { unit, kind }: Pick<Instrument, "unit" | "kind">): string {
  const family = familyName(name, unit);
  return kind === "counter" ? `${family}_total` : family;
}

const serializer = new PrometheusSerializer(undefined, false, undefined, false, true);

/** All of them, in the text format. Instruments without a value are left out. */
export function prometheusText({ resource, scopeMetrics }: ResourceMetrics): string {
  return serializer.serialize({
    resource,
    scopeMetrics: scopeMetrics.map(({ scope, metrics }) => ({
      scope,
      metrics: metrics.filter(({ dataPoints }) => dataPoints.length > 0).map((data) => {
        const { name, unit } = data.descriptor;
        const descriptor = { ...data.descriptor, name: familyName(name, unit), unit: UNITS[unit] ?? "" };
        // A counter's unit line would need its `_total`; one that goes down is a gauge to Prometheus.
        if (data.dataPointType === DataPointType.SUM) descriptor.unit = "";
        return { ...data, descriptor };
      }),
    })),
  });
}

/** One instrument for the reference. */
export interface InstrumentRow extends Instrument {
  /** As it is exported by OTLP. */
  readonly name: string;
  /** As it is called at `/metrics`. */
  readonly prometheus: string;
}

/** Every instrument of the relay's own, in the order of the data path. */
export function instrumentRows(): InstrumentRow[] {
  return Object.entries<Instrument>(INSTRUMENTS).map(([name, row]) => ({
    name,
    prometheus: prometheusName(name, row),
    ...row,
  }));
}

/** The reference as one Markdown table. */
export function renderInstruments(): string {
  const lines = [
    "| metric (OTLP) | at /metrics | kind | unit | attributes | meaning |",
    "| --- | --- | --- | --- | --- | --- |",
  ];
  for (const { name, prometheus, kind, unit, attributes, description } of instrumentRows()) {
    const labels = attributes.map((each) => `\`${each}\``).join(", ") || "-";
    lines.push(`| \`${name}\` | \`${prometheus}\` | ${kind} | \`${unit}\` | ${labels} | ${description} |`);
  }
  return `${lines.join("\n")}\n`;
}
