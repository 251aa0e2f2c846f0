/**
 * The relay's own instruments as they were collected once: what the status page shows is what they say.
 * @module
 */
import { DataPointType, type ResourceMetrics } from "@opentelemetry/sdk-metrics";
import { bySignal, type SignalName } from "../signal.ts";
import type { InstrumentName } from "../telemetry/metrics.ts";
import type { Sample } from "./history.ts";

/** One number and what it belongs to. */
export interface Point {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly value: number;
}

/** One collection. */
export class Reading {
  readonly #points = new Map<string, readonly Point[]>();
  readonly #buckets = new Map<string, readonly (readonly number[])[]>();

  constructor({ scopeMetrics }: ResourceMetrics) {
    for (const data of scopeMetrics.flatMap(({ metrics }) => metrics)) {
      const { name } = data.descriptor;
      if (data.dataPointType === DataPointType.HISTOGRAM) {
        this.#buckets.set(name, data.dataPoints.map(({ value }) => value.buckets.counts));
      } else if (data.dataPointType !== DataPointType.EXPONENTIAL_HISTOGRAM) {
        this.#points.set(name, data.dataPoints);
      }
    }
  }

  points(name: InstrumentName): readonly Point[] {
    return this.#points.get(name) ?? [];
  }

  /** The number of an instrument without attributes. */
  value(name: InstrumentName): number {
    return this.points(name)[0]?.value ?? 0;
  }

  bySignal(name: InstrumentName): Record<SignalName, number> {
    const points = this.points(name);
    return bySignal((signal) => points.find(({ attributes }) => attributes["signal"] === signal)?.value ?? 0);
  }

  /** Counts of a histogram's buckets, over all attributes. */
  buckets(name: InstrumentName): readonly number[] {
    const all = this.#buckets.get(name) ?? [];
    return (all[0] ?? []).map((_, bucket) => all.reduce((sum, counts) => sum + (counts[bucket] ?? 0), 0));
  }
}

/** What the charts need of a reading. @param at ms since the Unix epoch */
export function sampleOf(reading: Reading, at: number): Sample {
  const senders = new Map<string, { items: number; requests: number }>();
  const add = (name: InstrumentName, key: "items" | "requests") => {
    for (const { attributes, value } of reading.points(name)) {
      const sender = String(attributes["sender"]);
      const counted = senders.get(sender) ?? { items: 0, requests: 0 };
      counted[key] += value;
      senders.set(sender, counted);
    }
  };
  add("edgeferry_sender_accepted_items", "items");
  add("edgeferry_sender_accepted_requests", "requests");
  return {
    at,
    taken: reading.bySignal("edgeferry_receiver_accepted_items"),
    sent: reading.bySignal("edgeferry_exporter_sent_items"),
    queueBytes: reading.value("edgeferry_queue_size"),
    oldestS: reading.value("edgeferry_queue_oldest_age"),
    latency: reading.buckets("edgeferry_queue_append_duration"),
    senders,
  };
}
