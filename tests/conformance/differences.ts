/** Where the pinned Collector (0.160.0) does not do what a row expects, as its column in the table says it. */
export const COLLECTOR_DIFFERENCES: readonly string[] = [
  "Content-Encoding: none: 400",
  "a field of the wrong kind: 400 without details",
  "1048577 bytes: 400",
  "gzip of 1048577 bytes: 400",
  "Content-Type: text/plain: 415 as text/plain",
  "Content-Encoding: br: 400",
  "PUT: 405 as text/plain",
  "GET: 405 as text/plain",
  "POST /v1/nothing: 404 as text/plain",
  "an unknown token: 401, www-authenticate: none",
  "valid: 200 with partial_success set, and empty",
  "what is behind answers 429, Retry-After: 7: 429, retry-after: none",
  "what is behind answers 503, Retry-After: 7: 503, retry-after: none",
  "what is behind answers 502: 503, retry-after: none",
  "what is behind answers 504: 503, retry-after: none",
  "what is behind answers 401: 401",
  "what is behind answers 404: 404",
  "what is behind answers 500: 500",
  "what is behind rejects 1 item: 200 with undefined",
  "what is behind warns: 200 with undefined",
  "Accept-Encoding: gzip, an answer of about 2 KB: 200, not gzipped",
  "no Accept-Encoding, an answer of about 2 KB: 200 with undefined",
];

/** The same by gRPC. */
export const COLLECTOR_GRPC_DIFFERENCES: readonly string[] = [
  "valid: OK, a message of 2 bytes",
  "two messages in a call: OK",
  "what is behind answers 429, Retry-After: 7: RESOURCE_EXHAUSTED",
  "what is behind answers 503: UNAVAILABLE",
  "what is behind rejects 1 item: OK with undefined",
  "grpc.health.v1.Health/Check: UNIMPLEMENTED",
];
