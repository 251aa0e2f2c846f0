/**
 * What the Collector's answer means for the data. Source: OTLP 1.11 "Failures" and "OTLP/HTTP Throttling"; where this table
 * holds what OTLP says not to retry, it is because the relay has answered 200 for it already.
 * @module
 */
import { concernsTheWay } from "../diagnosis/faults.ts";

/**
 * - `delivered`: settled.
 * - `retry`: the Collector asks for it (OTLP: 429, 502, 503 and 504 are retryable).
 * - `inspect`: the answer is about the records sent: one of them is guilty, and has to be found.
 * - `hold`: the answer is about us or the way (credentials, path, proxy, the Collector's own fault, a 2xx of something else): nothing is wrong with the
 *   records, so they are held, a person is told, and one request at a time asks again.
 */
export type Disposition = "delivered" | "retry" | "inspect" | "hold";

/** What of an answer decides. */
export interface Judged {
  readonly status: number;
  /** The answer's own words: a proxy in which TLS ends may answer 400 for the relay's certificate; the records are not wrong then. */
  readonly message?: string;
  /** A 2xx that is no success of OTLP: whoever answered has not taken the data. */
  readonly foreign?: boolean;
}

/** The disposition of an answer. */
export function dispositionOf({ status, message = "", foreign = false }: Judged): Disposition {
  if (foreign || concernsTheWay(status, message)) return "hold";
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
