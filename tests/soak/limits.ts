/** The bounds of the connections under soak. */
import type { Http2Limits } from "../../src/http2/connection.ts";

export const LIMITS: Http2Limits = {
  streamsMax: 100,
  streamWindowBytes: 1_048_576,
  windowBytes: 1_048_576,
  headerListBytesMax: 16_384,
  headerMs: 10_000,
  idleMs: 0,
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};
