/**
 * Export requests to measure with. They differ from each other in ids, times, urls and attribute values: identical ones flatter
 * whoever compresses across requests.
 */
import { gzipSync } from "node:zlib";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";

/** How a body is sent. */
export const SHAPES = ["gzip", "plain", "json"] as const;
export type Shape = typeof SHAPES[number];

/** Whether a name is one of a shape. */
export function isShape(name: string): name is Shape {
  return SHAPES.some((shape) => shape === name);
}

/** One request body, with its headers. */
export interface BenchBody {
  readonly bytes: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

/** A small generator with a seed (mulberry32), so that a run can be repeated. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` requests of `spans` spans each, about 370 bytes a span as protobuf. */
export function makeBodies(shape: Shape, spans: number, count: number, seed = 1): BenchBody[] {
  const random = randomOf(seed);
  return Array.from({ length: count }, () => {
    const json = new TextEncoder().encode(JSON.stringify(request(spans, random)));
    if (shape === "json") return { bytes: json, headers: { "content-type": "application/json" } };
    const protobuf = transcodeJson("traces", json, 1 << 26).protobuf;
    return shape === "plain" ? { bytes: protobuf, headers: { "content-type": "application/x-protobuf" } } : {
      bytes: new Uint8Array(gzipSync(protobuf)),
      headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
    };
  });
}

const METHODS = ["GET", "POST", "PUT", "DELETE"] as const;
const ROUTES = ["/api/carts/{id}", "/api/orders/{id}/lines", "/api/users/{id}", "/checkout", "/search"] as const;

function request(spans: number, random: () => number): unknown {
  const hex = (digits: number) => Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join("");
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
  const number = (key: string, value: number) => ({ key, value: { intValue: String(value) } });
  const traceId = hex(32);
  const parentSpanId = hex(16);
  return {
    resourceSpans: [{
      resource: {
        attributes: [
          text("service.name", `shop-${Math.floor(random() * 20)}`),
          text("service.instance.id", hex(32)),
          text("telemetry.sdk.language", "nodejs"),
          text("telemetry.sdk.version", "2.12.0"),
        ],
      },
      scopeSpans: [{
        scope: { name: "@opentelemetry/instrumentation-http", version: "0.223.0" },
        spans: Array.from({ length: spans }, () => {
          const method = pick(METHODS);
          const route = pick(ROUTES);
          const start = 1_780_000_000_000_000_000n + BigInt(Math.floor(random() * 1e15));
          return {
            traceId,
            spanId: hex(16),
            parentSpanId,
            name: `${method} ${route}`,
            kind: 2,
            startTimeUnixNano: String(start),
            endTimeUnixNano: String(start + BigInt(Math.floor(random() * 1e9))),
            attributes: [
              text("http.request.method", method),
              text("http.route", route),
              text("url.path", route.replace("{id}", hex(12))),
              text("url.scheme", "https"),
              text("client.address", `10.${Math.floor(random() * 256)}.${Math.floor(random() * 256)}.7`),
              text("user_agent.original", `Mozilla/5.0 shop/${Math.floor(random() * 1000)}`),
              number("http.response.status_code", pick([200, 200, 200, 201, 404, 500])),
              number("http.response.body.size", Math.floor(random() * 50_000)),
            ],
            status: { code: 1 },
          };
        }),
      }],
    }],
  };
}
