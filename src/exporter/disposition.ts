/**
 * What the Collector's answer means for the data. Source: OTLP 1.11 "Failures" and "OTLP/HTTP Throttling"; where this table
 * holds what OTLP says not to retry, it is because the relay has answered 200 for it already.
 * @module
 */

/**
 * - `delivered`: settled.
 * - `retry`: the Collector asks for it (OTLP: 429, 502, 503 and 504 are retryable).
 * - `inspect`: the answer is about the records sent: one of them is guilty, and has to be found.
 * - `hold`: the answer is about us or the way (credentials, path, proxy, the Collector's own fault): nothing is wrong with the
 *   records, so they are held, a person is told, and one request at a time asks again.
 */
export type Disposition = "delivered" | "retry" | "inspect" | "hold";

/** The disposition of a status. */
export function dispositionOf(status: number): Disposition {
  if (status >= 200 && status < 300) return "delivered";
  switch (status) {
    case 429:
    case 502:
    case 503:
    case 504:
      return "retry";
    case 400:
    case 413:
    case 422:
      return "inspect";
    default:
      return "hold";
  }
}

/** The longest wait that a Retry-After can ask for, in ms: longer ones are asked again after it. */
const RETRY_AFTER_MAX_MS = 3_600_000;

/**
 * Reads `Retry-After`: seconds or an HTTP-date (RFC 9110, 10.2.3).
 * @returns ms from `now`, at most an hour; undefined when there is none that can be read.
 */
export function retryAfterMs(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  const ms = /^\d{1,9}(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), RETRY_AFTER_MAX_MS);
}
