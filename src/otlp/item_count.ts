/**
 * Counts the items of a request, and its resources, by the messages that are entered, in their order on the wire: the walk over protobuf and the
 * JSON transcoder count alike.
 * @module
 */
import { type RequestBounds, TooManyError } from "./bounds.ts";
import type { MessageName } from "./schema.ts";

const ITEM = 1;
const METRIC = 2;
const METRIC_DATA = 3;
const SCOPE = 4;
const RESOURCE = 5;
const ROLE_OF: Readonly<Partial<Record<MessageName, number>>> = {
  Span: ITEM,
  LogRecord: ITEM,
  Profile: ITEM,
  NumberDataPoint: ITEM,
  HistogramDataPoint: ITEM,
  ExponentialHistogramDataPoint: ITEM,
  SummaryDataPoint: ITEM,
  Metric: METRIC,
  Gauge: METRIC_DATA,
  Sum: METRIC_DATA,
  Histogram: METRIC_DATA,
  ExponentialHistogram: METRIC_DATA,
  Summary: METRIC_DATA,
  ScopeSpans: SCOPE,
  ScopeMetrics: SCOPE,
  ScopeLogs: SCOPE,
  ScopeProfiles: SCOPE,
  ResourceSpans: RESOURCE,
  ResourceMetrics: RESOURCE,
  ResourceLogs: RESOURCE,
  ResourceProfiles: RESOURCE,
};

/** What entering a message means for the count; 0 for most. */
export function roleOf(message: MessageName): number {
  return ROLE_OF[message] ?? 0;
}

/**
 * Counts items as the Collector keeps them: of a metric's data, which is a oneof, the last; of a resource the deprecated
 * scopes (field 1000) only where there are no others.
 */
export class ItemCount {
  #items = 0;
  #current = 0;
  #deprecated = 0;
  #hasScopes = false;
  #inDeprecated = false;
  #metricStart = 0;
  #resourcesLeft = 0;
  #resourcesMax = 0;

  /** Begins a request. */
  reset({ resourcesMax }: RequestBounds): void {
    this.#resourcesMax = this.#resourcesLeft = resourcesMax;
    this.#items = this.#current = this.#deprecated = 0;
    this.#hasScopes = this.#inDeprecated = false;
  }

  /** Spans, data points, log records or profiles of the request, which has ended. */
  total(): number {
    this.#endResource();
    return this.#items;
  }

  /** A message of this role begins. `deprecated`: as a resource's field 1000. @throws {TooManyError} */
  enter(role: number, deprecated: boolean): void {
    switch (role) {
      case ITEM:
        this.#current++;
        return;
      case METRIC:
        this.#metricStart = this.#current;
        return;
      case METRIC_DATA:
        this.#current = this.#metricStart;
        return;
      case SCOPE:
        this.#endScope();
        this.#inDeprecated = deprecated;
        this.#hasScopes ||= !this.#inDeprecated;
        return;
      case RESOURCE:
        this.#endResource();
        if (--this.#resourcesLeft < 0) throw new TooManyError("resources", this.#resourcesMax);
    }
  }

  #endScope(): void {
    if (this.#inDeprecated) this.#deprecated += this.#current;
    else this.#items += this.#current;
    this.#current = 0;
    this.#inDeprecated = false;
  }

  #endResource(): void {
    this.#endScope();
    if (!this.#hasScopes) this.#items += this.#deprecated;
    this.#deprecated = 0;
    this.#hasScopes = false;
  }
}
