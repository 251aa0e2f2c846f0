/**
 * Spans and metrics of HTTP requests for any Hono app, by the stable OpenTelemetry HTTP semantic conventions (1.41,
 * "HTTP Spans" and "HTTP Metrics", server side). What a caller can choose freely never becomes a name or a metric attribute.
 * @module
 */
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import { findTargetHandler } from "hono/utils/handler";
import {
  type Attributes,
  context,
  isSpanContextValid,
  type Meter,
  type MeterProvider,
  metrics,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapPropagator,
  trace,
  type TracerProvider,
  ValueType,
} from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_REQUEST_METHOD_ORIGINAL,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_NETWORK_PROTOCOL_VERSION,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  ATTR_URL_PATH,
  ATTR_URL_SCHEME,
  ATTR_USER_AGENT_ORIGINAL,
  METRIC_HTTP_SERVER_REQUEST_DURATION,
} from "@opentelemetry/semantic-conventions";

/** What {@link httpInstrumentation} may be told; a `Telemetry` of `startTelemetry` is one. */
export interface InstrumentOptions {
  /** Makes the spans. Default: the OpenTelemetry API's global one, also where it is set later. */
  readonly tracerProvider?: TracerProvider;
  /** Makes the metrics. Default: the OpenTelemetry API's global one, which must be set before. */
  readonly meterProvider?: MeterProvider;
  /** How the caller's trace is read from the request headers. Default: W3C `traceparent` and `tracestate`. */
  readonly propagator?: TextMapPropagator;
  /** `server.address` and `server.port` of spans, in place of the Host header, which the caller chooses. */
  readonly server?: { readonly address: string; readonly port?: number };
  /**
   * What `url.path` of spans holds. `redacted` (default): the route with each parameter's value replaced, since a path may carry a
   * token; absent where no route matched. `verbatim`: the path as it came, cut at 256 characters. Never a query string.
   */
  readonly urlPath?: "redacted" | "verbatim";
}

/** The part of a Hono app that {@link instrument} uses. */
export interface InstrumentableApp {
  /** Those registered so far. */
  readonly routes: readonly unknown[];
  /** Registers a middleware. */
  use(path: string, handler: MiddlewareHandler): unknown;
}

/**
 * Gives every request to `app` a SERVER span and a place in `http.server.request.duration` and
 * `http.server.active_requests`. Call it before the first route: Hono runs handlers in the order of their registration.
 * @throws {Error} The app has routes already.
 */
export function instrument(app: InstrumentableApp, options: InstrumentOptions = {}): void {
  if (app.routes.length > 0) {
    throw new Error(
      `Cannot instrument the app: it has ${app.routes.length} routes already, which would go unseen; call instrument before the first route`,
    );
  }
  app.use("*", httpInstrumentation(options));
}

/**
 * A middleware that gives every request behind it a SERVER span and a place in `http.server.request.duration` and
 * `http.server.active_requests`: `app.use(httpInstrumentation(telemetry))`, before the first route.
 *
 * The span is active in what follows, so that spans started there are its children, where a global context manager is set
 * (`startTelemetry` sets one). `http.route` is the pattern of the handler that the request is for, also when a middleware
 * before it answered; a wildcard middleware is never the route, unless it served the answer itself below a prefix.
 */
export function httpInstrumentation(options: InstrumentOptions = {}): MiddlewareHandler {
  const tracer = (options.tracerProvider ?? trace.getTracerProvider()).getTracer(SCOPE_NAME);
  const meter = (options.meterProvider ?? metrics.getMeterProvider()).getMeter(SCOPE_NAME);
  const propagator = options.propagator ?? new W3CTraceContextPropagator();
  const durations = meter.createHistogram(METRIC_HTTP_SERVER_REQUEST_DURATION, {
    description: "Duration of HTTP server requests",
    unit: "s",
    advice: { explicitBucketBoundaries: DURATION_BOUNDARIES_S },
  });
  const active = new ActiveRequests(meter);
  const targets = new Targets();

  return async function instrumented(c, next) {
    const startedMs = performance.now();
    const request = c.req.raw;
    const method = METHODS.has(request.method) ? request.method : METHOD_OTHER;
    const scheme = request.url.startsWith("https:") ? "https" : "http";
    const inProgress = active.of(method, scheme);
    inProgress.count++;

    const routes = matchedRoutes(c);
    // The handler that Hono is going to reach first, so that a sampler sees the route.
    const expected = targets.of(method, scheme, routes.find(isEndpoint)?.path);
    // A span that is active already is the platform's own (Deno's, with OTEL_DENO), and decides nothing about ours.
    const surrounding = context.active();
    const base = surrounding === ROOT_CONTEXT ? surrounding : trace.deleteSpan(surrounding);
    const parent = propagator.extract(base, request.headers, HEADERS_GETTER);
    const span = tracer.startSpan(expected.spanName, {
      kind: SpanKind.SERVER,
      attributes: expected.spanAttributes,
    }, parent);

    let thrown: unknown;
    let failed = false;
    try {
      // A span without an id is nobody's parent, and making it the active one is half of what an unsampled request costs.
      if (surrounding === parent && !isSpanContextValid(span.spanContext())) await next();
      else await context.with(trace.setSpan(parent, span), next);
    } catch (error) {
      // Hono's own onError has had every Error by now: this is something else that was thrown, and the server's to answer.
      failed = true;
      thrown = error;
      throw error;
    } finally {
      inProgress.count--;
      // Hono answers 500 for a context that nobody finalized; reading `c.res` would make a response.
      const status = failed ? undefined : c.finalized ? c.res.status : 500;
      const route = routeAnswering(routes, c.req.routeIndex, status);
      const target = route === expected.route ? expected : targets.of(method, scheme, route);
      const errorType = status === undefined
        ? ERROR_TYPE_OTHER
        : status >= 500
        ? errorTypeOf(c.error) ?? String(status)
        : undefined;
      durations.record((performance.now() - startedMs) / 1000, target.metricAttributes(status, errorType));
      if (span.isRecording()) {
        if (target !== expected) {
          span.updateName(target.spanName);
          span.setAttributes(target.spanAttributes);
        }
        describe(span, c, options, target.route);
        if (status !== undefined) span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status);
        if (errorType !== undefined) markFailed(span, errorType, failed ? thrown : c.error);
      }
      span.end();
    }
  };
}

const SCOPE_NAME = "edgeferry/hono";

/** RFC 9110 and RFC 5789; the conventions call the rest `_OTHER`, so that a caller cannot make names. */
const METHODS: ReadonlySet<string> = new Set([
  "CONNECT",
  "DELETE",
  "GET",
  "HEAD",
  "OPTIONS",
  "PATCH",
  "POST",
  "PUT",
  "TRACE",
]);
const METHOD_OTHER = "_OTHER";
/** The conventions' fallback value of `error.type`. */
const ERROR_TYPE_OTHER = "_OTHER";

/** Bucket boundaries that the conventions give for `http.server.request.duration`, in seconds. */
const DURATION_BOUNDARIES_S = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

const PATH_CHARS_MAX = 256;
const USER_AGENT_CHARS_MAX = 256;
const METHOD_CHARS_MAX = 32;
const HOST_CHARS_MAX = 255;
const MESSAGE_CHARS_MAX = 1024;
const STACK_CHARS_MAX = 8192;

const HEADERS_GETTER: TextMapGetter<Headers> = {
  get: (headers, key) => headers.get(key) ?? undefined,
  keys: (headers) => [...headers.keys()],
};

/** The route of the handler that the request was for, once the answer is there. `deepest` is the last one that Hono called. */
function routeAnswering(
  routes: readonly MatchedRoute[],
  deepest: number,
  status: number | undefined,
): string | undefined {
  // Reached, or next in line behind a middleware that answered itself, or the last one that passed the request on.
  const from = Math.min(deepest, routes.length - 1);
  for (let i = from; i < routes.length; i++) if (isEndpoint(routes[i]!)) return routes[i]!.path;
  for (let i = from - 1; i >= 0; i--) if (isEndpoint(routes[i]!)) return routes[i]!.path;
  // Files served, or an app mounted, below a prefix: a wildcard that answered itself. A refusal there is a middleware's.
  const last = routes[deepest]?.path;
  return last === undefined || last === "/*" || status === undefined || status >= 400 ? undefined : last;
}

type MatchedRoute = ReturnType<typeof matchedRoutes>[number];

/** Whether a route is a handler and not a middleware. Hono registers both alike; a middleware takes `next`. */
function isEndpoint(route: MatchedRoute): boolean {
  if (route.method !== "ALL" && !route.path.endsWith("*")) return true;
  return findTargetHandler(route.handler).length < 2;
}

/** What is the same for every request of one method, scheme and route; made once each. */
class Target {
  readonly spanName: string;
  readonly spanAttributes: Attributes;
  readonly #metricBase: Attributes;
  readonly #byStatus = new Map<number, Attributes>();

  constructor(method: string, scheme: string, readonly route: string | undefined) {
    // The conventions: a method that is not known is called HTTP in names.
    const verb = method === METHOD_OTHER ? "HTTP" : method;
    this.spanName = route === undefined ? verb : `${verb} ${route}`;
    this.#metricBase = {
      [ATTR_HTTP_REQUEST_METHOD]: method,
      [ATTR_URL_SCHEME]: scheme,
      ...(route === undefined ? {} : { [ATTR_HTTP_ROUTE]: route }),
    };
    this.spanAttributes = {
      ...this.#metricBase,
      ...(route === undefined ? {} : { [ATTR_URL_PATH]: redactedPath(route) }),
    };
  }

  metricAttributes(status: number | undefined, errorType: string | undefined): Attributes {
    if (status === undefined) return { ...this.#metricBase, [ATTR_ERROR_TYPE]: errorType };
    if (errorType !== undefined) {
      return { ...this.#metricBase, [ATTR_HTTP_RESPONSE_STATUS_CODE]: status, [ATTR_ERROR_TYPE]: errorType };
    }
    let attributes = this.#byStatus.get(status);
    if (attributes === undefined) {
      attributes = { ...this.#metricBase, [ATTR_HTTP_RESPONSE_STATUS_CODE]: status };
      this.#byStatus.set(status, attributes);
    }
    return attributes;
  }
}

/** Every {@link Target} seen. Bounded: methods and schemes are closed sets, routes are the app's own. */
class Targets {
  readonly #byKey = new Map<string, Target>();

  of(method: string, scheme: string, route: string | undefined): Target {
    const key = route === undefined ? `${method} ${scheme}` : `${method} ${scheme} ${route}`;
    let target = this.#byKey.get(key);
    if (target === undefined) {
      target = new Target(method, scheme, route);
      this.#byKey.set(key, target);
    }
    return target;
  }
}

/** `http.server.active_requests`: counted here and read when metrics are collected, which costs a request no hashing. */
class ActiveRequests {
  readonly #byKey = new Map<string, { count: number; readonly attributes: Attributes }>();

  constructor(meter: Meter) {
    const gauge = meter.createObservableUpDownCounter("http.server.active_requests", {
      description: "Number of active HTTP server requests",
      unit: "{request}",
      valueType: ValueType.INT,
    });
    gauge.addCallback((result) => {
      for (const { count, attributes } of this.#byKey.values()) result.observe(count, attributes);
    });
  }

  of(method: string, scheme: string): { count: number } {
    const key = `${method} ${scheme}`;
    let entry = this.#byKey.get(key);
    if (entry === undefined) {
      entry = { count: 0, attributes: { [ATTR_HTTP_REQUEST_METHOD]: method, [ATTR_URL_SCHEME]: scheme } };
      this.#byKey.set(key, entry);
    }
    return entry;
  }
}

/** The attributes that only a recorded span needs. */
function describe(span: Span, c: Context, options: InstrumentOptions, route: string | undefined): void {
  const request = c.req.raw;
  if (options.urlPath === "verbatim") span.setAttribute(ATTR_URL_PATH, cut(c.req.path, PATH_CHARS_MAX));
  else if (route !== undefined) span.setAttribute(ATTR_URL_PATH, redactedPath(route));
  if (!METHODS.has(request.method)) {
    span.setAttribute(ATTR_HTTP_REQUEST_METHOD_ORIGINAL, cut(request.method, METHOD_CHARS_MAX));
  }
  const userAgent = request.headers.get("user-agent");
  if (userAgent !== null) span.setAttribute(ATTR_USER_AGENT_ORIGINAL, cut(userAgent, USER_AGENT_CHARS_MAX));
  const server = options.server ?? serverOf(request.url);
  if (server !== undefined) {
    span.setAttribute(ATTR_SERVER_ADDRESS, cut(server.address, HOST_CHARS_MAX));
    if (server.port !== undefined) span.setAttribute(ATTR_SERVER_PORT, server.port);
  }
  const version = protocolVersionOf(c.env);
  if (version !== undefined) span.setAttribute(ATTR_NETWORK_PROTOCOL_VERSION, version);
}

function serverOf(url: string): { address: string; port?: number } | undefined {
  const parsed = URL.parse(url);
  if (parsed === null) return undefined;
  const port = parsed.port === "" ? (parsed.protocol === "https:" ? 443 : 80) : Number(parsed.port);
  return { address: parsed.hostname, port };
}

/** The HTTP version, which a Fetch `Request` does not tell; servers on `node:http` pass their own request along. */
function protocolVersionOf(env: unknown): string | undefined {
  const incoming = property(env, "incoming") ?? property(env, "inbound");
  const version = property(incoming, "httpVersion");
  return version === "2.0" ? "2" : typeof version === "string" ? cut(version, 8) : undefined;
}

function property(of: unknown, name: string): unknown {
  return typeof of === "object" && of !== null ? Reflect.get(of, name) : undefined;
}

/** `/users/:id{[0-9]+}/files/*` becomes `/users/REDACTED/files/REDACTED`. */
function redactedPath(route: string): string {
  return route.replace(/:[^/{]+(\{[^/]*\})?\??|\*/g, "REDACTED");
}

/** The name of an error, where it is one: what an error calls itself is not bounded, so anything unusual is left out. */
function errorTypeOf(error: Error | undefined): string | undefined {
  return error !== undefined && /^[A-Za-z_$][\w$.]{0,63}$/.test(error.name) ? error.name : undefined;
}

function markFailed(span: Span, errorType: string, error: unknown): void {
  span.setAttribute(ATTR_ERROR_TYPE, errorType);
  span.setStatus({ code: SpanStatusCode.ERROR });
  if (error === undefined) return;
  span.recordException(
    error instanceof Error
      ? {
        name: errorType,
        message: cut(error.message, MESSAGE_CHARS_MAX),
        ...(error.stack === undefined ? {} : { stack: cut(error.stack, STACK_CHARS_MAX) }),
      }
      : cut(String(error), MESSAGE_CHARS_MAX),
  );
}

function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : text.slice(0, charsMax);
}
