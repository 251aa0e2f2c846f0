/**
 * The far end for tests: an HTTP server on loopback that takes OTLP from the real Collector, decodes all of it, and can
 * be told to refuse. It reads OTLP/JSON, written by the Collector's own encoder, so what it holds does not depend on any
 * protobuf code of ours; of OTLP/protobuf, and of profiles, it keeps the bytes.
 */
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";

/** An OTLP AnyValue. Integers are bigint and doubles number, so that 1 and 1.0 stay apart. */
export type Value = string | boolean | bigint | number | Uint8Array | null | Value[] | { [key: string]: Value };
export type Attributes = Record<string, Value>;

interface Origin {
  resource: { attributes: Attributes; droppedAttributesCount: number; schemaUrl: string };
  scope: {
    name: string;
    version: string;
    attributes: Attributes;
    droppedAttributesCount: number;
    schemaUrl: string;
  };
}

export interface SinkSpan extends Origin {
  /** Ids are lower-case hex; a root span's parent is "". Times are nanoseconds since 1970. */
  traceId: string;
  spanId: string;
  parentSpanId: string;
  traceState: string;
  flags: number;
  name: string;
  kind: number;
  startTimeUnixNano: bigint;
  endTimeUnixNano: bigint;
  attributes: Attributes;
  droppedAttributesCount: number;
  events: { timeUnixNano: bigint; name: string; attributes: Attributes; droppedAttributesCount: number }[];
  droppedEventsCount: number;
  links: {
    traceId: string;
    spanId: string;
    traceState: string;
    flags: number;
    attributes: Attributes;
    droppedAttributesCount: number;
  }[];
  droppedLinksCount: number;
  status: { code: number; message: string };
}

interface PointBase extends Origin {
  metric: { name: string; description: string; unit: string; metadata: Attributes };
  attributes: Attributes;
  startTimeUnixNano: bigint;
  timeUnixNano: bigint;
  flags: number;
}

interface Exemplar {
  timeUnixNano: bigint;
  value: bigint | number | undefined;
  traceId: string;
  spanId: string;
  filteredAttributes: Attributes;
}

/** `temporality`: 1 is delta, 2 cumulative. A bigint value came as an integer, a number as a double. */
export type SinkPoint =
  & PointBase
  & (
    | { kind: "gauge"; value: bigint | number | undefined; exemplars: Exemplar[] }
    | {
      kind: "sum";
      value: bigint | number | undefined;
      temporality: number;
      monotonic: boolean;
      exemplars: Exemplar[];
    }
    | {
      kind: "histogram";
      temporality: number;
      count: bigint;
      sum: number | undefined;
      min: number | undefined;
      max: number | undefined;
      bucketCounts: bigint[];
      explicitBounds: number[];
      exemplars: Exemplar[];
    }
    | {
      kind: "exponentialHistogram";
      temporality: number;
      count: bigint;
      sum: number | undefined;
      min: number | undefined;
      max: number | undefined;
      scale: number;
      zeroCount: bigint;
      zeroThreshold: number;
      positive: { offset: number; bucketCounts: bigint[] };
      negative: { offset: number; bucketCounts: bigint[] };
      exemplars: Exemplar[];
    }
    | { kind: "summary"; count: bigint; sum: number; quantiles: { quantile: number; value: number }[] }
  );

export interface SinkLogRecord extends Origin {
  timeUnixNano: bigint;
  observedTimeUnixNano: bigint;
  severityNumber: number;
  severityText: string;
  eventName: string;
  body: Value;
  attributes: Attributes;
  droppedAttributesCount: number;
  flags: number;
  traceId: string;
  spanId: string;
}

/** `status` 200 without `partialSuccess` is the full success that the sink gives when told nothing. */
export interface SinkAnswer {
  status: number;
  /** The Retry-After header: seconds, or an HTTP date. */
  retryAfter?: string;
  /** The message of the google.rpc.Status in the body. */
  message?: string;
  /** The request is held all the same: which items a partial success rejects is not said by OTLP. */
  partialSuccess?: { rejected: number; message: string };
}

/** One request, refused or not. */
export interface SinkRequest {
  path: string;
  headers: Headers;
  /** The body, inflated. */
  body: Uint8Array;
  answered: SinkAnswer;
}

export interface Sink extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, a base that `/v1/traces`, `/v1/metrics`, `/v1/logs` are added to. */
  readonly url: string;
  readonly port: number;
  /** Every request so far, in order of arrival; what was refused is in here, and in none of the three below. */
  readonly requests: readonly SinkRequest[];
  spans(): readonly SinkSpan[];
  dataPoints(): readonly SinkPoint[];
  logRecords(): readonly SinkLogRecord[];
  /** Gives this answer to the next `count` requests. Calls queue up. */
  answerNext(count: number, answer: SinkAnswer): void;
  /** Gives this answer to all requests that no `answerNext` covers; without an answer, success again. */
  answerAlways(answer?: SinkAnswer): void;
  /**
   * Resolves as soon as the predicate holds: it is asked now and after each request. Fails after the deadline (10 s)
   * with what has arrived so far.
   */
  waitFor(predicate: (sink: Sink) => boolean, deadlineMs?: number): Promise<void>;
  /** Forgets all that was received. */
  clear(): void;
  stop(): Promise<void>;
}

/** Starts a sink on a free port of loopback, or on a port that is known already. */
export function startSink(port = 0): Sink {
  return new HttpSink(port);
}

const rejectedField: Record<string, string> = {
  "/v1/traces": "rejectedSpans",
  "/v1/metrics": "rejectedDataPoints",
  "/v1/logs": "rejectedLogRecords",
  "/v1development/profiles": "rejectedProfiles",
};

class HttpSink implements Sink {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #watchers = new Set<() => void>();
  readonly #next: SinkAnswer[] = [];
  #always: SinkAnswer = { status: 200 };
  requests: SinkRequest[] = [];
  #spans: SinkSpan[] = [];
  #points: SinkPoint[] = [];
  #records: SinkLogRecord[] = [];

  constructor(port: number) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, (request) => this.#answer(request));
  }

  get port(): number {
    return this.#server.addr.port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  spans(): readonly SinkSpan[] {
    return this.#spans;
  }
  dataPoints(): readonly SinkPoint[] {
    return this.#points;
  }
  logRecords(): readonly SinkLogRecord[] {
    return this.#records;
  }

  answerNext(count: number, answer: SinkAnswer): void {
    for (let i = 0; i < count; i++) this.#next.push(answer);
  }
  answerAlways(answer: SinkAnswer = { status: 200 }): void {
    this.#always = answer;
  }

  async waitFor(predicate: (sink: Sink) => boolean, deadlineMs = 10_000): Promise<void> {
    if (predicate(this)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watcher = () => {
      try {
        if (predicate(this)) resolve();
      } catch (error) {
        reject(error);
      }
    };
    const timer = setTimeout(() => {
      const statuses = this.requests.map(({ path, answered }) => `${path} ${answered.status}`).slice(-20);
      reject(
        new Error(
          `The sink did not receive what the test waits for within ${deadlineMs} ms; it holds ${this.#spans.length} ` +
            `spans, ${this.#points.length} data points, ${this.#records.length} log records of ` +
            `${this.requests.length} requests, the last of them ${JSON.stringify(statuses)}`,
        ),
      );
    }, deadlineMs);
    this.#watchers.add(watcher);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(watcher);
    }
  }

  clear(): void {
    this.requests = [];
    this.#spans = [];
    this.#points = [];
    this.#records = [];
  }

  async stop(): Promise<void> {
    await this.#server.shutdown();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #answer(request: Request): Promise<Response> {
    const wire = new Uint8Array(await request.arrayBuffer());
    const body = request.headers.get("content-encoding") === "gzip" ? new Uint8Array(gunzipSync(wire)) : wire;
    const path = new URL(request.url).pathname;
    const isJson = request.headers.get("content-type")?.startsWith("application/json") ?? false;
    let answered = this.#next.shift() ?? this.#always;
    if (answered.status === 200 && !(path in rejectedField)) {
      answered = { status: 404, message: `No signal at ${path}` };
    }
    if (answered.status === 200 && isJson) {
      // A body that cannot be decoded is a fault of the test: it shows as a 400 in `requests` and as data that is missing.
      try {
        this.#hold(path, JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)));
      } catch (error) {
        answered = { status: 400, message: `The sink cannot decode this: ${error}` };
      }
    }
    this.requests.push({ path, headers: request.headers, body, answered });
    for (const watcher of this.#watchers) watcher();
    const headers = new Headers({ "content-type": isJson ? "application/json" : "application/x-protobuf" });
    if (answered.retryAfter !== undefined) headers.set("retry-after", answered.retryAfter);
    return new Response(isJson ? jsonAnswer(path, answered) : protobufAnswer(answered), {
      status: answered.status,
      headers,
    });
  }

  #hold(path: string, message: Json): void {
    if (path === "/v1/traces") this.#spans.push(...readSpans(message));
    else if (path === "/v1/metrics") this.#points.push(...readPoints(message));
    else if (path === "/v1/logs") this.#records.push(...readLogRecords(message));
  }
}

function jsonAnswer(path: string, answer: SinkAnswer): string {
  if (answer.status !== 200) return JSON.stringify({ message: answer.message ?? `The sink answers ${answer.status}` });
  if (answer.partialSuccess === undefined) return "{}";
  const { rejected, message } = answer.partialSuccess;
  return JSON.stringify({
    partialSuccess: { [rejectedField[path] ?? ""]: String(rejected), errorMessage: message },
  });
}

/** Export…ServiceResponse {1: partial_success {1: rejected, 2: error_message}}, google.rpc.Status {2: message}. */
function protobufAnswer(answer: SinkAnswer): Uint8Array<ArrayBuffer> {
  if (answer.status !== 200) return lengthDelimited(2, utf8(answer.message ?? `The sink answers ${answer.status}`));
  if (answer.partialSuccess === undefined) return new Uint8Array();
  const { rejected, message } = answer.partialSuccess;
  return lengthDelimited(1, Uint8Array.from([0x08, ...varint(rejected), ...lengthDelimited(2, utf8(message))]));
}

function lengthDelimited(field: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([(field << 3) | 2, ...varint(bytes.length), ...bytes]);
}

function varint(value: number): number[] {
  const bytes = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return [...bytes, value];
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

// OTLP/JSON as the Collector writes it: absent fields have their default, 64-bit integers are decimal strings.

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Fields = { [key: string]: Json };

function fields(value: Json | undefined): Fields {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new TypeError(`Not an object: ${JSON.stringify(value)}`);
  return value;
}

function list(value: Json | undefined): Json[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new TypeError(`Not a list: ${JSON.stringify(value)}`);
  return value;
}

function string(value: Json | undefined): string {
  if (value === undefined) return "";
  if (typeof value !== "string") throw new TypeError(`Not a string: ${JSON.stringify(value)}`);
  return value;
}

function integer(value: Json | undefined): number {
  const number = value === undefined ? 0 : Number(value);
  if (!Number.isSafeInteger(number)) throw new TypeError(`Not an integer: ${JSON.stringify(value)}`);
  return number;
}

function bigint(value: Json | undefined): bigint {
  if (value === undefined) return 0n;
  if (typeof value !== "string" && typeof value !== "number") {
    throw new TypeError(`Not a 64-bit integer: ${JSON.stringify(value)}`);
  }
  return BigInt(value);
}

function double(value: Json | undefined): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
  throw new TypeError(`Not a double: ${JSON.stringify(value)}`);
}

function optionalDouble(value: Json | undefined): number | undefined {
  return value === undefined ? undefined : double(value);
}

function anyValue(value: Json | undefined): Value {
  const [entry, ...more] = Object.entries(fields(value));
  if (entry === undefined) return null;
  if (more.length > 0) throw new TypeError(`More than one value: ${JSON.stringify(value)}`);
  const [kind, content] = entry;
  switch (kind) {
    case "stringValue":
      return string(content);
    case "boolValue":
      return content === true;
    case "intValue":
      return bigint(content);
    case "doubleValue":
      return double(content);
    case "bytesValue":
      return new Uint8Array(Buffer.from(string(content), "base64"));
    case "arrayValue":
      return list(fields(content)["values"]).map(anyValue);
    case "kvlistValue":
      return attributes(fields(content)["values"]);
    default:
      throw new TypeError(`Unknown kind of value: ${kind}`);
  }
}

function attributes(value: Json | undefined): Attributes {
  const result: Attributes = {};
  for (const item of list(value)) {
    const { key, value } = fields(item);
    result[string(key)] = anyValue(value);
  }
  return result;
}

function* eachItem(
  message: Json,
  resources: string,
  scopes: string,
  items: string,
): Generator<{ origin: Origin; item: Fields }> {
  for (const outer of list(fields(message)[resources])) {
    const resourceItems = fields(outer);
    const resource = fields(resourceItems["resource"]);
    for (const inner of list(resourceItems[scopes])) {
      const scopeItems = fields(inner);
      const scope = fields(scopeItems["scope"]);
      const origin: Origin = {
        resource: {
          attributes: attributes(resource["attributes"]),
          droppedAttributesCount: integer(resource["droppedAttributesCount"]),
          schemaUrl: string(resourceItems["schemaUrl"]),
        },
        scope: {
          name: string(scope["name"]),
          version: string(scope["version"]),
          attributes: attributes(scope["attributes"]),
          droppedAttributesCount: integer(scope["droppedAttributesCount"]),
          schemaUrl: string(scopeItems["schemaUrl"]),
        },
      };
      for (const item of list(scopeItems[items])) yield { origin, item: fields(item) };
    }
  }
}

function readSpans(message: Json): SinkSpan[] {
  const spans: SinkSpan[] = [];
  for (const { origin, item } of eachItem(message, "resourceSpans", "scopeSpans", "spans")) {
    const status = fields(item["status"]);
    spans.push({
      ...origin,
      traceId: string(item["traceId"]),
      spanId: string(item["spanId"]),
      parentSpanId: string(item["parentSpanId"]),
      traceState: string(item["traceState"]),
      flags: integer(item["flags"]),
      name: string(item["name"]),
      kind: integer(item["kind"]),
      startTimeUnixNano: bigint(item["startTimeUnixNano"]),
      endTimeUnixNano: bigint(item["endTimeUnixNano"]),
      attributes: attributes(item["attributes"]),
      droppedAttributesCount: integer(item["droppedAttributesCount"]),
      events: list(item["events"]).map(fields).map((event) => ({
        timeUnixNano: bigint(event["timeUnixNano"]),
        name: string(event["name"]),
        attributes: attributes(event["attributes"]),
        droppedAttributesCount: integer(event["droppedAttributesCount"]),
      })),
      droppedEventsCount: integer(item["droppedEventsCount"]),
      links: list(item["links"]).map(fields).map((link) => ({
        traceId: string(link["traceId"]),
        spanId: string(link["spanId"]),
        traceState: string(link["traceState"]),
        flags: integer(link["flags"]),
        attributes: attributes(link["attributes"]),
        droppedAttributesCount: integer(link["droppedAttributesCount"]),
      })),
      droppedLinksCount: integer(item["droppedLinksCount"]),
      status: { code: integer(status["code"]), message: string(status["message"]) },
    });
  }
  return spans;
}

function readPoints(message: Json): SinkPoint[] {
  const points: SinkPoint[] = [];
  for (const { origin, item } of eachItem(message, "resourceMetrics", "scopeMetrics", "metrics")) {
    const metric = {
      name: string(item["name"]),
      description: string(item["description"]),
      unit: string(item["unit"]),
      metadata: attributes(item["metadata"]),
    };
    for (const kind of ["gauge", "sum", "histogram", "exponentialHistogram", "summary"] as const) {
      if (item[kind] === undefined) continue;
      const data = fields(item[kind]);
      for (const point of list(data["dataPoints"]).map(fields)) {
        const base: PointBase = {
          ...origin,
          metric,
          attributes: attributes(point["attributes"]),
          startTimeUnixNano: bigint(point["startTimeUnixNano"]),
          timeUnixNano: bigint(point["timeUnixNano"]),
          flags: integer(point["flags"]),
        };
        points.push({ ...base, ...readPoint(kind, data, point) });
      }
    }
  }
  return points;
}

type Distribute<T> = T extends SinkPoint ? Omit<T, keyof PointBase> : never;

function readPoint(kind: SinkPoint["kind"], data: Fields, point: Fields): Distribute<SinkPoint> {
  const temporality = integer(data["aggregationTemporality"]);
  const exemplars = list(point["exemplars"]).map(fields).map(readExemplar);
  const spread = {
    count: bigint(point["count"]),
    sum: optionalDouble(point["sum"]),
    min: optionalDouble(point["min"]),
    max: optionalDouble(point["max"]),
  };
  switch (kind) {
    case "gauge":
      return { kind, value: numberValue(point), exemplars };
    case "sum":
      return { kind, value: numberValue(point), temporality, monotonic: data["isMonotonic"] === true, exemplars };
    case "histogram":
      return {
        kind,
        temporality,
        ...spread,
        bucketCounts: list(point["bucketCounts"]).map(bigint),
        explicitBounds: list(point["explicitBounds"]).map(double),
        exemplars,
      };
    case "exponentialHistogram":
      return {
        kind,
        temporality,
        ...spread,
        scale: integer(point["scale"]),
        zeroCount: bigint(point["zeroCount"]),
        zeroThreshold: double(point["zeroThreshold"]),
        positive: readBuckets(point["positive"]),
        negative: readBuckets(point["negative"]),
        exemplars,
      };
    case "summary":
      return {
        kind,
        count: spread.count,
        sum: double(point["sum"]),
        quantiles: list(point["quantileValues"]).map(fields).map((quantile) => ({
          quantile: double(quantile["quantile"]),
          value: double(quantile["value"]),
        })),
      };
  }
}

function readBuckets(value: Json | undefined): { offset: number; bucketCounts: bigint[] } {
  const buckets = fields(value);
  return { offset: integer(buckets["offset"]), bucketCounts: list(buckets["bucketCounts"]).map(bigint) };
}

function numberValue(point: Fields): bigint | number | undefined {
  if (point["asInt"] !== undefined) return bigint(point["asInt"]);
  return optionalDouble(point["asDouble"]);
}

function readExemplar(exemplar: Fields): Exemplar {
  return {
    timeUnixNano: bigint(exemplar["timeUnixNano"]),
    value: numberValue(exemplar),
    traceId: string(exemplar["traceId"]),
    spanId: string(exemplar["spanId"]),
    filteredAttributes: attributes(exemplar["filteredAttributes"]),
  };
}

function readLogRecords(message: Json): SinkLogRecord[] {
  const records: SinkLogRecord[] = [];
  for (const { origin, item } of eachItem(message, "resourceLogs", "scopeLogs", "logRecords")) {
    records.push({
      ...origin,
      timeUnixNano: bigint(item["timeUnixNano"]),
      observedTimeUnixNano: bigint(item["observedTimeUnixNano"]),
      severityNumber: integer(item["severityNumber"]),
      severityText: string(item["severityText"]),
      eventName: string(item["eventName"]),
      body: anyValue(item["body"]),
      attributes: attributes(item["attributes"]),
      droppedAttributesCount: integer(item["droppedAttributesCount"]),
      flags: integer(item["flags"]),
      traceId: string(item["traceId"]),
      spanId: string(item["spanId"]),
    });
  }
  return records;
}
