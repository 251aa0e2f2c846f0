import assert from "node:assert/strict";
import { type Context, context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace-base";
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { httpInstrumentation, instrument, type InstrumentOptions } from "../../src/telemetry/instrument.ts";
import { MetricCollector, SpanCollector } from "../support/relay/telemetry.ts";

context.setGlobalContextManager(new AsyncLocalStorageContextManager());

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID = "b7ad6b7169203331";

function setup(options: Partial<InstrumentOptions> = {}, sampler: Sampler = parentBased(1)) {
  const processor = new SpanCollector();
  const reader = new MetricCollector();
  const tracerProvider = new BasicTracerProvider({ sampler, spanProcessors: [processor] });
  const providers = { tracerProvider, meterProvider: new MeterProvider({ readers: [reader] }), ...options };
  const app = new Hono();
  instrument(app, providers);
  const points = async (name: string): Promise<{ attributes: Record<string, unknown>; value: unknown }[]> => {
    const data = (await reader.byName()).get(name);
    return (data?.dataPoints ?? []).map(({ attributes, value }) => ({ attributes, value }));
  };
  return { app, providers, points, spans: () => processor.spans };
}

function parentBased(ratio: number): Sampler {
  return new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) });
}

/** The one span that there is. */
function only(spans: readonly ReadableSpan[]): ReadableSpan {
  assert.equal(spans.length, 1);
  return spans[0]!;
}

Deno.test("a request makes one SERVER span by the semantic conventions", async () => {
  const { app, spans } = setup();
  app.get("/users/:id", (c) => c.text("hello"));
  await app.request("http://shop.example:8443/users/17?token=secret#part", {
    headers: { "user-agent": "curl/8.0", authorization: "Bearer secret" },
  });
  const span = only(spans());
  assert.equal(span.name, "GET /users/:id");
  assert.equal(span.kind, SpanKind.SERVER);
  assert.equal(span.status.code, SpanStatusCode.UNSET);
  assert.deepEqual(span.attributes, {
    "http.request.method": "GET",
    "http.route": "/users/:id",
    "http.response.status_code": 200,
    "url.scheme": "http",
    "url.path": "/users/REDACTED",
    "server.address": "shop.example",
    "server.port": 8443,
    "user_agent.original": "curl/8.0",
  });
  assert.doesNotMatch(JSON.stringify([span.name, span.attributes, span.events]), /secret|17/);
});

Deno.test("the duration is in seconds, in the conventions' buckets, with bounded attributes alone", async () => {
  const { app, points } = setup();
  app.post("/v1/traces", (c) => c.body(null, 204));
  for (let i = 0; i < 3; i++) {
    await app.request("/v1/traces?q=1", { method: "POST", headers: { "user-agent": `a${i}` } });
  }
  const [point, ...others] = await points("http.server.request.duration");
  assert.deepEqual(others, []);
  assert.deepEqual(point?.attributes, {
    "http.request.method": "POST",
    "http.route": "/v1/traces",
    "http.response.status_code": 204,
    "url.scheme": "http",
  });
  const value = point.value as { count: number; sum: number; buckets: { boundaries: number[] } };
  assert.equal(value.count, 3);
  assert.ok(value.sum > 0 && value.sum < 3);
  assert.deepEqual(
    value.buckets.boundaries,
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
  );
});

Deno.test("active requests rise while one is under way and fall after it", async () => {
  const { app, points } = setup();
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  app.get("/slow", async (c) => {
    arrived.resolve();
    await release.promise;
    return c.text("done");
  });
  const answer = app.request("/slow");
  await arrived.promise;
  const attributes = { "http.request.method": "GET", "url.scheme": "http" };
  assert.deepEqual(await points("http.server.active_requests"), [{ attributes, value: 1 }]);
  release.resolve();
  await answer;
  assert.deepEqual(await points("http.server.active_requests"), [{ attributes, value: 0 }]);
});

Deno.test("a path that no route knows makes no name, no route and no path", async () => {
  const { app, spans, points } = setup();
  app.use("*", async (_c, next) => await next());
  app.get("/known", (c) => c.text("x"));
  for (let i = 0; i < 20; i++) assert.equal((await app.request(`/secret-${i}`)).status, 404);
  assert.deepEqual([...new Set(spans().map(({ name }) => name))], ["GET"]);
  for (const { attributes, status } of spans()) {
    assert.equal(attributes["http.route"], undefined);
    assert.equal(attributes["url.path"], undefined);
    assert.equal(attributes["http.response.status_code"], 404);
    assert.equal(status.code, SpanStatusCode.UNSET);
  }
  assert.deepEqual((await points("http.server.request.duration")).map(({ attributes }) => attributes), [
    { "http.request.method": "GET", "url.scheme": "http", "http.response.status_code": 404 },
  ]);
});

Deno.test("an app with no other handler at all is measured too", async () => {
  const { app, spans } = setup();
  await app.request("/nothing");
  assert.equal(only(spans()).name, "GET");
});

Deno.test("methods that callers invent are one name, and the metrics do not hold them", async () => {
  const { app, spans, points } = setup();
  app.all("/any", (c) => c.text("x"));
  for (const method of ["FOO", "B".repeat(500), "get2"]) await app.request("/any", { method });
  await app.request("/elsewhere", { method: "BAR" });
  assert.deepEqual(spans().map(({ name }) => name), ["HTTP /any", "HTTP /any", "HTTP /any", "HTTP"]);
  assert.deepEqual(spans().map(({ attributes }) => attributes["http.request.method"]), Array(4).fill("_OTHER"));
  assert.deepEqual(
    spans().map(({ attributes }) => attributes["http.request.method_original"]),
    ["FOO", "B".repeat(32), "get2", "BAR"],
  );
  assert.equal((await points("http.server.request.duration")).length, 2);
  assert.equal((await points("http.server.active_requests")).length, 1);
});

Deno.test("HEAD keeps its name though Hono answers it by GET's handler", async () => {
  const { app, spans } = setup();
  app.get("/x", (c) => c.text("x"));
  await app.request("/x", { method: "HEAD" });
  assert.equal(only(spans()).name, "HEAD /x");
});

Deno.test("the route is the handler's pattern, wherever it was registered and whatever stands around it", async (t) => {
  const cases: readonly [what: string, build: (app: Hono) => void, request: string, name: string][] = [
    [
      "a sub-app",
      (app) => app.route("/api", new Hono().get("/items/:id", (c) => c.text("x"))),
      "/api/items/7",
      "GET /api/items/:id",
    ],
    [
      "a sub-app with onError of its own",
      (app) => {
        const sub = new Hono().all("/files/*", (c) => c.text("x"));
        sub.onError((_error, c) => c.text("e", 500));
        app.route("/api", sub);
      },
      "/api/files/a/b",
      "GET /api/files/*",
    ],
    [
      "a middleware behind and before",
      (app) => {
        app.use(async (_c, next) => await next());
        app.use("/a/*", async (_c, next) => await next());
        app.get("/a/:b", (c) => c.text("x"));
      },
      "/a/b",
      "GET /a/:b",
    ],
    [
      "the first of two that fit",
      (app) => {
        app.get("/a/:b", (c) => c.text("x"));
        app.get("/a/b", (c) => c.text("y"));
      },
      "/a/b",
      "GET /a/:b",
    ],
    [
      "the second, when the first passes on",
      (app) => {
        app.get("/a/:b", async (_c, next) => await next());
        app.get("/a/b", (c) => c.text("y"));
      },
      "/a/b",
      "GET /a/b",
    ],
    [
      "a middleware that refuses: the handler it stands before",
      (app) => {
        app.use("*", (c, _next) => Promise.resolve(c.text("no", 401)));
        app.get("/a/:b", (c) => c.text("x"));
      },
      "/a/b",
      "GET /a/:b",
    ],
    [
      "a middleware that refuses where there is no handler",
      (app) => {
        app.use("/a/*", (c, _next) => Promise.resolve(c.text("no", 401)));
      },
      "/a/b",
      "GET",
    ],
    [
      "files served by a wildcard middleware",
      (app) => {
        app.use("/static/*", (c, _next) => Promise.resolve(c.text("file")));
      },
      "/static/a.css",
      "GET /static/*",
    ],
    ["a catch-all handler", (app) => app.get("*", (c) => c.text("page")), "/whatever", "GET /*"],
    [
      "a catch-all middleware that answers",
      (app) => {
        app.use("*", (c, _next) => Promise.resolve(c.text("x")));
      },
      "/whatever",
      "GET",
    ],
    [
      "a pattern in a parameter",
      (app) => app.get("/n/:id{[0-9]{1,3}}/x", (c) => c.text("x")),
      "/n/12/x",
      "GET /n/:id{[0-9]{1,3}}/x",
    ],
    ["a base path", (app) => app.basePath("/v2").get("/x", (c) => c.text("x")), "/v2/x", "GET /v2/x"],
  ];
  for (const [what, build, request, name] of cases) {
    await t.step(what, async () => {
      const { app, spans, points } = setup();
      build(app);
      await app.request(request);
      const span = only(spans());
      assert.equal(span.name, name);
      const route = name.split(" ")[1];
      assert.equal(span.attributes["http.route"], route);
      assert.equal((await points("http.server.request.duration"))[0]?.attributes["http.route"], route);
      assert.doesNotMatch(String(span.attributes["url.path"] ?? ""), /[:*{}]/);
    });
  }
});

Deno.test("an error thrown in a handler is the span's, with its type, and the answer is Hono's", async () => {
  const { app, spans, points } = setup();
  app.onError((_error, c) => c.text("sorry", 500));
  app.get("/fails", () => {
    throw new RangeError("x".repeat(5_000));
  });
  assert.equal((await app.request("/fails")).status, 500);
  const span = only(spans());
  assert.equal(span.status.code, SpanStatusCode.ERROR);
  assert.equal(span.attributes["error.type"], "RangeError");
  assert.equal(span.attributes["http.response.status_code"], 500);
  const event = span.events[0];
  assert.equal(event?.name, "exception");
  assert.equal(event.attributes?.["exception.type"], "RangeError");
  assert.equal(event.attributes["exception.message"], "x".repeat(1_024));
  assert.deepEqual((await points("http.server.request.duration"))[0]?.attributes, {
    "http.request.method": "GET",
    "http.route": "/fails",
    "url.scheme": "http",
    "http.response.status_code": 500,
    "error.type": "RangeError",
  });
});

Deno.test("a 5xx without an error has its status as error.type; an error with an unusual name too", async () => {
  const { app, spans } = setup();
  app.onError((_error, c) => c.text("sorry", 502));
  app.get("/answers", (c) => c.text("busy", 503));
  app.get("/throws", () => {
    throw Object.assign(new Error("no"), { name: "id 4711 of a caller" });
  });
  await app.request("/answers");
  await app.request("/throws");
  assert.deepEqual(spans().map(({ attributes }) => attributes["error.type"]), ["503", "502"]);
});

Deno.test("a 4xx, thrown or answered, is not an error of the server", async () => {
  const { app, spans } = setup();
  app.get("/thrown", () => {
    throw new HTTPException(401, { message: "no" });
  });
  app.get("/answered", (c) => c.text("no", 400));
  await app.request("/thrown");
  await app.request("/answered");
  for (const { status, attributes, events } of spans()) {
    assert.equal(status.code, SpanStatusCode.UNSET);
    assert.equal(attributes["error.type"], undefined);
    assert.deepEqual(events, []);
  }
  assert.deepEqual(spans().map(({ attributes }) => attributes["http.response.status_code"]), [401, 400]);
});

Deno.test("what is thrown and is no Error passes through, counted and without a status", async () => {
  const { app, spans, points } = setup();
  app.get("/odd", () => {
    throw "a string";
  });
  await assert.rejects(async () => await app.request("/odd"), (thrown) => thrown === "a string");
  const span = only(spans());
  assert.equal(span.status.code, SpanStatusCode.ERROR);
  assert.equal(span.attributes["error.type"], "_OTHER");
  assert.equal(span.attributes["http.response.status_code"], undefined);
  assert.deepEqual((await points("http.server.active_requests"))[0]?.value, 0);
});

Deno.test("a handler that forgets to answer is the 500 that Hono makes of it", async () => {
  const { app, spans } = setup();
  app.onError((_error, c) => c.text("sorry", 500));
  app.use("/forgets", async () => {});
  app.get("/forgets", (c) => c.text("never"));
  assert.equal((await app.request("/forgets")).status, 500);
  assert.equal(only(spans()).attributes["http.response.status_code"], 500);
});

Deno.test("the caller's trace goes on, its state with it, and its decision not to sample holds", async () => {
  const { app, spans } = setup();
  app.get("/x", (c) => c.text(trace.getActiveSpan()?.spanContext().traceId ?? "none"));
  const sampled = await app.request("/x", {
    headers: { traceparent: `00-${TRACE_ID}-${SPAN_ID}-01`, tracestate: "vendor=1" },
  });
  assert.equal(await sampled.text(), TRACE_ID);
  const span = only(spans());
  assert.equal(span.spanContext().traceId, TRACE_ID);
  assert.equal(span.parentSpanContext?.spanId, SPAN_ID);
  assert.equal(span.parentSpanContext.isRemote, true);
  assert.equal(span.spanContext().traceState?.get("vendor"), "1");
  const unsampled = await app.request("/x", { headers: { traceparent: `00-${TRACE_ID}-${SPAN_ID}-00` } });
  assert.equal(await unsampled.text(), TRACE_ID);
  assert.equal(spans().length, 1);
});

Deno.test("a traceparent that is none begins a new trace", async () => {
  const { app, spans } = setup();
  app.get("/x", (c) => c.text("x"));
  for (const traceparent of ["", "garbage", `00-${"0".repeat(32)}-${SPAN_ID}-01`, `ff-${TRACE_ID}-${SPAN_ID}-01`]) {
    await app.request("/x", { headers: { traceparent } });
  }
  assert.equal(spans().length, 4);
  for (const span of spans()) assert.equal(span.parentSpanContext, undefined);
});

Deno.test("the span is active in handlers, across await, and each request sees its own", async () => {
  const { app, spans, providers } = setup();
  const tracer = providers.tracerProvider.getTracer("handler");
  app.get("/:who", async (c) => {
    await new Promise((resolve) => setTimeout(resolve));
    tracer.startSpan(`child of ${c.req.param("who")}`).end();
    return c.text("x");
  });
  await Promise.all(["a", "b", "c"].map((who) => app.request(`/${who}`)));
  const servers = spans().filter(({ kind }) => kind === SpanKind.SERVER);
  const children = spans().filter(({ kind }) => kind === SpanKind.INTERNAL);
  assert.deepEqual([servers.length, children.length], [3, 3]);
  assert.equal(new Set(children.map(({ parentSpanContext }) => parentSpanContext?.spanId)).size, 3);
  for (const child of children) {
    assert.ok(servers.some((server) => server.spanContext().spanId === child.parentSpanContext?.spanId));
  }
});

Deno.test("unsampled requests make no span, and children of them none either; metrics count all the same", async () => {
  const { app, spans, points, providers } = setup({}, parentBased(0));
  app.get("/x", (c) => {
    providers.tracerProvider.getTracer("handler").startSpan("child").end();
    return c.text("x");
  });
  for (let i = 0; i < 5; i++) await app.request("/x");
  assert.deepEqual(spans(), []);
  const [point] = await points("http.server.request.duration");
  assert.equal((point?.value as { count: number }).count, 5);
});

Deno.test("a sampler sees the name, the kind and the attributes that it may decide by", async () => {
  const seen: unknown[] = [];
  const sampler: Sampler = {
    shouldSample(_context: Context, _traceId, name, kind, attributes) {
      seen.push([name, kind, { ...attributes }]);
      return { decision: SamplingDecision.NOT_RECORD };
    },
    toString: () => "recording sampler",
  };
  const { app } = setup({}, sampler);
  app.use("*", async (_c, next) => await next());
  app.get("/users/:id", (c) => c.text("x"));
  await app.request("https://x.example/users/1");
  assert.deepEqual(seen, [[
    "GET /users/:id",
    SpanKind.SERVER,
    {
      "http.request.method": "GET",
      "http.route": "/users/:id",
      "url.scheme": "https",
      "url.path": "/users/REDACTED",
    },
  ]]);
});

Deno.test("a span of the platform that is active already neither becomes the parent nor decides", async () => {
  const { app, spans } = setup({}, parentBased(0));
  app.get("/x", (c) => c.text("x"));
  const platform = trace.setSpanContext(ROOT_CONTEXT, { traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: 1 });
  await context.with(platform, () => app.request("/x"));
  assert.deepEqual(spans(), []);
});

Deno.test("the path as it came, when asked for: bounded, without its query", async () => {
  const { app, spans } = setup({ urlPath: "verbatim" });
  app.get("/users/:id", (c) => c.text("x"));
  await app.request("/users/17?token=secret");
  await app.request(`/${"y".repeat(5_000)}?token=secret`);
  assert.deepEqual(spans().map(({ attributes }) => attributes["url.path"]), ["/users/17", `/${"y".repeat(255)}`]);
});

Deno.test("server.address is the configured one where there is one, and long headers are cut", async () => {
  const { app, spans } = setup({ server: { address: "relay.internal" } });
  app.get("/x", (c) => c.text("x"));
  await app.request("http://evil.example/x", { headers: { "user-agent": "u".repeat(5_000) } });
  const { attributes } = only(spans());
  assert.equal(attributes["server.address"], "relay.internal");
  assert.equal(attributes["server.port"], undefined);
  assert.equal(attributes["user_agent.original"], "u".repeat(256));
});

Deno.test("the HTTP version is told where the server passes its own request along", async () => {
  const { app, spans } = setup();
  app.get("/x", (c) => c.text("x"));
  await app.request("/x", {}, { incoming: { httpVersion: "1.1" } });
  await app.request("/x", {}, { incoming: { httpVersion: "2.0" } });
  assert.deepEqual(spans().map(({ attributes }) => attributes["network.protocol.version"]), ["1.1", "2"]);
});

Deno.test("instrument refuses an app whose routes it would not see; the middleware goes anywhere", async () => {
  const { providers, spans } = setup();
  const late = new Hono().get("/early", (c) => c.text("x"));
  assert.throws(
    () => instrument(late, providers),
    /has 1 routes already, which would go unseen; call instrument before/,
  );
  const chosen = new Hono().get("/unseen", (c) => c.text("x")).use(httpInstrumentation(providers));
  chosen.get("/seen", (c) => c.text("x"));
  await chosen.request("/unseen");
  await chosen.request("/seen");
  assert.equal(only(spans()).name, "GET /seen");
});
