/**
 * Which web pages may send, and the answer that a browser gets (Fetch, 3.2 "CORS protocol").
 * @module
 */
import { Refusal } from "../errors.ts";
import type { Answer } from "./inbound.ts";

/** How long a browser may keep a preflight's answer, in seconds. */
const PREFLIGHT_MAX_AGE_S = 600;
/** What a page may send: OTLP's own headers, those of a token, and trace context. */
const REQUEST_HEADERS = [
  "authorization",
  "baggage",
  "content-encoding",
  "content-type",
  "traceparent",
  "tracestate",
  "x-api-key",
].join(",");

const NO_HEADERS: Answer["headers"] = {};

/** The origins whose pages may post, as listed and as tokens are bound to them. */
export class CrossOrigin {
  readonly #everyOrigin: boolean;
  readonly #listed: ReadonlySet<string>;
  readonly #tokenOrigins: () => ReadonlySet<string>;

  /**
   * @param listed e.g. `https://app.example`; `*` is every one.
   * @param tokenOrigins Those that tokens are bound to, now.
   */
  constructor(listed: readonly string[], tokenOrigins: () => ReadonlySet<string>) {
    this.#everyOrigin = listed.includes("*");
    this.#listed = new Set(listed);
    this.#tokenOrigins = tokenOrigins;
  }

  /** Whether any page may send. If none may, no answer has a CORS header, and OPTIONS is a method like any other. */
  get open(): boolean {
    return this.#listed.size > 0 || this.#tokenOrigins().size > 0;
  }

  /** The headers that let the page read an answer, a refusal too. @param origin The request's, null where it has none. */
  headers(origin: string | null): Answer["headers"] {
    if (!this.open) return NO_HEADERS;
    if (this.#everyOrigin) {
      return { "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" };
    }
    return {
      // Answers differ by it, also where it is not allowed (Fetch, "CORS protocol and HTTP caches").
      vary: "Origin",
      ...(this.#allows(origin) ? { "access-control-allow-origin": origin } : {}),
      // Pages that send by `sendBeacon` ask with credentials. None is looked at here; with `*` browsers forbid it (Fetch, 3.2.5).
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "retry-after",
    };
  }

  /** The answer to a preflight, which comes without a token. @throws {Refusal} for the page of another origin. */
  preflight(origin: string | null): Answer {
    if (!this.#everyOrigin && !this.#allows(origin)) {
      throw origin === null
        ? new Refusal("forbidden", "The preflight has no Origin", { remedy: "send one, as browsers do" })
        : new Refusal("forbidden", "No page of this origin may send", {
          remedy: "add it to receiver.http.cors.allowed_origins, or to a token's origins",
        });
    }
    return {
      status: 204,
      headers: {
        ...this.headers(origin),
        "access-control-max-age": String(PREFLIGHT_MAX_AGE_S),
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": REQUEST_HEADERS,
      },
      body: new Uint8Array(0),
    };
  }

  #allows(origin: string | null): origin is string {
    return origin !== null && (this.#listed.has(origin) || this.#tokenOrigins().has(origin));
  }
}
