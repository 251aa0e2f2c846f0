/**
 * What a client reads of an HTTP answer beside its status: a bounded body, and how long to wait.
 * @module
 */
import { concatenate, discard } from "../codec/bytes.ts";

/** Most bytes of an answer that are kept (OTLP: a client "SHOULD limit" what it reads; 4 MiB is the usual bound). */
export const ANSWER_BYTES_MAX: number = 4 * 1024 * 1024;

/**
 * The body up to {@link ANSWER_BYTES_MAX}. It is read to its end or cancelled, never left: an unread body costs a connection.
 */
export async function readAnswer(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  if (response.body === null) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let room = ANSWER_BYTES_MAX;
  for await (const chunk of response.body) {
    chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
    // Leaving the loop cancels the rest.
    if (room < 0) break;
  }
  const body = concatenate(chunks);
  chunks.forEach(discard);
  return body;
}

/** The longest wait that a Retry-After can ask for, in ms: after it the answerer is asked again. */
export const RETRY_AFTER_MAX_MS = 3_600_000;

/**
 * Reads `Retry-After`: seconds or an HTTP-date (RFC 9110, 10.2.3).
 * @param now In ms since the Unix epoch.
 * @returns ms from `now`, at most an hour; undefined when there is none that can be read.
 */
export function retryAfterMs(header: string | null, now: number = Date.now()): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  // Any number of seconds is one; what is too long for a date to hold is cut to the bound.
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : httpDate(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), RETRY_AFTER_MAX_MS);
}

/** `Date.parse` takes more than dates ("-5" is a year to it): an HTTP-date begins with the name of a day (RFC 9110, 5.6.7). */
function httpDate(text: string): number {
  return /^(mon|tue|wed|thu|fri|sat|sun)/i.test(text) ? Date.parse(text) : NaN;
}
