/**
 * How much one request may hold, beside its bytes. A message of two bytes becomes an object of a hundred and more in a Collector,
 * and a piece to be sent by itself where it refuses a batch: 20 MiB of empty resources, which gzip makes 20 KB of, are ten
 * million of each.
 * @module
 */

/** Bounds of one request. */
export interface RequestBounds {
  /** The most resources: ResourceSpans, ResourceMetrics, ResourceLogs or ResourceProfiles. */
  readonly resourcesMax: number;
  /** The most nested messages of all kinds, and strings in lists of strings with them. */
  readonly messagesMax: number;
}

/** No bounds, for what has passed them. */
export const UNBOUNDED: RequestBounds = { resourcesMax: Infinity, messagesMax: Infinity };

/** A request holds more than its bounds allow. */
export class TooManyError extends Error {
  override readonly name = "TooManyError";
  readonly of: "resources" | "messages";
  readonly max: number;

  constructor(of: "resources" | "messages", max: number) {
    super(`Request holds more than ${max} ${of}`);
    this.of = of;
    this.max = max;
  }
}
