/** Ends of the OpenTelemetry SDK that hold what arrives, without timers: the SDK's own in-memory ones leave timers behind. */
import { type MetricData, MetricReader } from "@opentelemetry/sdk-metrics";
import { asGauges } from "../../../src/telemetry/metrics.ts";
import type { ReadableSpan, SpanProcessor } from "@opentelemetry/sdk-trace-base";

/** Holds every recorded span, in the order in which they ended. */
export class SpanCollector implements SpanProcessor {
  readonly spans: ReadableSpan[] = [];

  onStart(): void {}
  onEnd(span: ReadableSpan): void {
    this.spans.push(span);
  }
  forceFlush(): Promise<void> {
    return Promise.resolve();
  }
  shutdown(): Promise<void> {
    return Promise.resolve();
  }
}

/** Collects metrics when asked to. */
export class MetricCollector extends MetricReader {
  /** Every instrument with its points, by name. @throws {AggregateError} Callbacks of instruments failed. */
  async byName(): Promise<Map<string, MetricData>> {
    const { resourceMetrics, errors } = await this.collect();
    if (errors.length > 0) throw new AggregateError(errors);
    return new Map(
      asGauges(resourceMetrics).scopeMetrics.flatMap(({ metrics }) => metrics).map((
        data,
      ) => [data.descriptor.name, data]),
    );
  }
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }
}
