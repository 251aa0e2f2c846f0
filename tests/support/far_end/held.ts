/** What a sink holds of one service, for comparing what arrived on two ways. */
import type { Sink, SinkLogRecord, SinkPoint, SinkSpan } from "./sink.ts";

/** How much there is of each. */
export type Counts = Record<"spans" | "dataPoints" | "logRecords", number>;

export type Held = { spans: SinkSpan[]; dataPoints: SinkPoint[]; logRecords: SinkLogRecord[] };

/** What a sink holds of one service. */
export function held(sink: Sink, service: string): Held {
  const own = (item: { resource: { attributes: Record<string, unknown> } }) =>
    item.resource.attributes["service.name"] === service;
  return {
    spans: sink.spans().filter(own),
    dataPoints: sink.dataPoints().filter(own),
    logRecords: sink.logRecords().filter(own),
  };
}

export function countsOf({ spans, dataPoints, logRecords }: Held): Counts {
  return { spans: spans.length, dataPoints: dataPoints.length, logRecords: logRecords.length };
}

/** In one order whatever the order of arrival: batches of one sender may overtake each other. */
export function sorted<Item>(items: readonly Item[]): Item[] {
  const text = (item: Item) => JSON.stringify(item, (_, value) => typeof value === "bigint" ? `${value}n` : value);
  return items.map((item) => ({ item, text: text(item) })).sort((a, b) => a.text < b.text ? -1 : 1).map(({ item }) =>
    item
  );
}
