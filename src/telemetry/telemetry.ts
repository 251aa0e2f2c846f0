/**
 * The OpenTelemetry SDK for one service: providers of its own, exporting to a Collector over mutual TLS.
 *
 * Nothing is registered with the OpenTelemetry API but a context manager, where there is none: providers are passed explicitly,
 * since `OTEL_DENO=true` takes the API's globals and an SDK registered after it is unused in silence.
 * @module
 */
import process from "node:process";
import {
  type Attributes,
  context,
  createContextKey,
  type MeterProvider as ApiMeterProvider,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type TracerProvider,
} from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  AggregationTemporality,
  type IMetricReader,
  InstrumentType,
  MeterProvider,
  MetricReader,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace-base";
import { ATTR_SERVICE_INSTANCE_ID, ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from "@opentelemetry/semantic-conventions";
import { CertificateError, ConfigError, messageOf } from "../errors.ts";
import { type SignalName, signalOf } from "../signal.ts";
import { metricExporter, type OtlpTarget, traceExporter } from "./exporter.ts";
import { createLog, type Log } from "./log.ts";
import { asGauges } from "./metrics.ts";

/** A Collector, by its base address: traces and metrics go to the signals' paths below it. */
export interface CollectorEndpoint {
  /** Base URL, e.g. `https://localhost:4318`, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it. */
  readonly endpoint: string;
  /**
   * The client's identity and the CA to trust, as PEM text, not paths. Deno adds `ca` to its default roots: start with
   * `DENO_TLS_CA_STORE=` (empty) to trust it alone.
   */
  readonly tls?: { readonly ca?: string; readonly cert: string; readonly key: string };
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default `gzip`. */
  readonly compression?: "gzip" | "none";
  /** Time for one batch, its retries included, in ms. Default 10,000. */
  readonly timeoutMs?: number;
}

/** A target a signal, with a `fetch` that the caller owns; a signal left out is not exported. */
export interface SignalTargets {
  /** Where spans go. */
  readonly traces?: OtlpTarget | undefined;
  /** Where metrics go. */
  readonly metrics?: OtlpTarget | undefined;
}

/** What {@link startTelemetry} starts. */
export interface TelemetryOptions {
  /** `service.name`. */
  readonly serviceName: string;
  /** `service.version`. */
  readonly serviceVersion?: string;
  /** `service.instance.id`. Default: a random UUID. */
  readonly serviceInstanceId?: string;
  /** More of the resource. `OTEL_RESOURCE_ATTRIBUTES` is read as well, and loses to these. */
  readonly resourceAttributes?: Attributes;
  /** Where it all goes. */
  readonly exporter: CollectorEndpoint | SignalTargets;
  /** Share of traces recorded where the caller has not decided, 0 to 1. Default 1. */
  readonly samplingRatio?: number;
  /** Longest time that a finished span waits for its batch, in ms. Default 5,000. */
  readonly spanDelayMs?: number;
  /** Time between exports of metrics, in ms. Default 60,000. */
  readonly metricIntervalMs?: number;
  /** Further readers of the metrics, e.g. for a page that Prometheus scrapes. */
  readonly metricReaders?: readonly IMetricReader[];
  /** Longest time that {@link Telemetry.stop} takes, in ms. Default 5,000. */
  readonly shutdownMs?: number;
  /** Takes the exporters' failures, at most one a minute each. Default: warnings and errors as text on standard error. */
  readonly log?: Log;
}

/** A running telemetry; `instrument(app, telemetry)` takes it as it is. */
export interface Telemetry extends AsyncDisposable {
  /** For spans of your own. */
  readonly tracerProvider: TracerProvider;
  /** For metrics of your own. */
  readonly meterProvider: ApiMeterProvider;
  /** What the user should know about this process, also written to the log. */
  readonly warnings: readonly string[];
  /** The metrics as they are now, added up since the start, for whoever asks. Takes nothing from what is exported. */
  collect(): Promise<ResourceMetrics>;
  /** Exports what is there now; never rejects. For hosts that freeze a process between requests. */
  flush(): Promise<void>;
  /**
   * Exports what is left, once, and ends within `shutdownMs`; what the Collector has not taken by then is dropped. Never
   * rejects; a second call waits for the first.
   */
  stop(): Promise<void>;
}

/**
 * Starts exporting spans and metrics of one service.
 *
 * ```ts
 * import { Hono } from "hono";
 * import { instrument, startTelemetry } from "@edgeferry/edgeferry";
 *
 * const telemetry = startTelemetry({ serviceName: "checkout", exporter: { endpoint: "http://127.0.0.1:4318" } });
 * instrument(new Hono(), telemetry);
 * await telemetry.stop();
 * ```
 * A Collector that is down costs the batches of that time and a line in the log, and nothing else.
 * @throws {ConfigError} An option cannot be used.
 * @throws {CertificateError} A part of `tls` cannot be used.
 */
export function startTelemetry(options: TelemetryOptions): Telemetry {
  const log = options.log ?? createLog({ level: "warn" });
  const { samplingRatio = 1, metricIntervalMs = 60_000, spanDelayMs = 5_000, shutdownMs = 5_000 } = options;
  if (!(samplingRatio >= 0 && samplingRatio <= 1)) {
    throw new ConfigError({
      what: `Cannot use samplingRatio ${samplingRatio}`,
      state: "it is not a number from 0 to 1",
      remedy: "give the share of requests to trace, such as 0.01",
    });
  }
  for (const [name, ms] of Object.entries({ metricIntervalMs, spanDelayMs, shutdownMs })) {
    if (!(ms > 0 && ms <= TIMER_MS_MAX)) {
      throw new ConfigError({
        what: `Cannot use ${name} ${ms}`,
        state: `it is not a time from 1 to ${TIMER_MS_MAX} ms`,
        remedy: "give a number of milliseconds",
      });
    }
  }
  const { targets, close } = "endpoint" in options.exporter
    ? targetsOf(options.exporter)
    : { targets: options.exporter, close: () => {} };
  const warnings = claimContext();
  for (const warning of warnings) log.warn(warning);

  const stop = new AbortController();
  const resource = resourceOf(options);
  const spanExporter = targets.traces && traceExporter(targets.traces, log, stop.signal);
  const tracerProvider = spanExporter && new BasicTracerProvider({
    resource,
    // The caller's decision holds; the ratio is for traces that begin here.
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(samplingRatio) }),
    spanProcessors: [
      new BatchSpanProcessor(spanExporter, {
        scheduledDelayMillis: spanDelayMs,
        maxQueueSize: SPANS_QUEUED_MAX,
        maxExportBatchSize: SPANS_BATCH_MAX,
      }),
    ],
    spanLimits: { attributeValueLengthLimit: ATTRIBUTE_CHARS_MAX },
  });
  const metricsExporter = targets.metrics && withGauges(metricExporter(targets.metrics, log, stop.signal));
  const pushing = metricsExporter && new PeriodicExportingMetricReader({
    exporter: metricsExporter,
    exportIntervalMillis: metricIntervalMs,
    exportTimeoutMillis: Math.min(metricIntervalMs, EXPORT_MS_MAX),
  });
  // Each reader has every recording done once more, so that one does both where it can.
  const asked = pushing !== undefined && isCumulative(metricsExporter!) ? pushing : new AskedReader();
  const meterProvider = new MeterProvider({
    resource,
    readers: [...new Set<IMetricReader>([...(pushing === undefined ? [] : [pushing]), asked])].concat(
      options.metricReaders ?? [],
    ),
  });

  const end = async (): Promise<void> => {
    // Each provider's shutdown exports once by itself; a flush before it would export the metrics twice.
    const ended = Promise.allSettled([tracerProvider?.shutdown(), meterProvider.shutdown()]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        stop.abort();
        resolve();
      }, shutdownMs);
    });
    await Promise.race([ended, late]);
    clearTimeout(timer);
    close();
  };
  let ending: Promise<void> | undefined;

  return {
    tracerProvider: tracerProvider ?? new ProxyTracerProvider(),
    meterProvider,
    warnings,
    async collect() {
      const { resourceMetrics, errors } = await asked.collect();
      for (const error of errors) {
        log.limited("collect", COLLECT_LOG_MS).warn("A metric cannot be read", { cause: messageOf(error) });
      }
      return asGauges(resourceMetrics);
    },
    async flush() {
      if (ending !== undefined) return;
      await Promise.allSettled([tracerProvider?.forceFlush(), pushing?.forceFlush()]);
      // Batches that the processor's own timer had sent off before.
      await spanExporter?.forceFlush?.();
    },
    stop: () => ending ??= end(),
    [Symbol.asyncDispose]: () => ending ??= end(),
  };
}

/** Collects when it is asked to; cumulative, as the SDK's default is. */
class AskedReader extends MetricReader {
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }
}

/** An exporter that is given the relay's gauges as such. */
function withGauges(exporter: PushMetricExporter): PushMetricExporter {
  return {
    export: (collected, done) => exporter.export(asGauges(collected), done),
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
    selectAggregationTemporality: (type) =>
      exporter.selectAggregationTemporality?.(type) ?? AggregationTemporality.CUMULATIVE,
    ...(exporter.selectAggregation === undefined
      ? {}
      : { selectAggregation: (type: InstrumentType) => exporter.selectAggregation!(type) }),
  };
}

/** Whether collecting in between takes nothing from what is exported; `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`. */
function isCumulative(exporter: PushMetricExporter): boolean {
  return [InstrumentType.HISTOGRAM, InstrumentType.OBSERVABLE_COUNTER].every((type) =>
    exporter.selectAggregationTemporality?.(type) === AggregationTemporality.CUMULATIVE
  );
}

/** One line in this time, in ms, about a metric that cannot be read. */
const COLLECT_LOG_MS = 60_000;
/** Longest delay that a timer takes, in ms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const EXPORT_MS_MAX = 30_000;
const SPANS_QUEUED_MAX = 2_048;
const SPANS_BATCH_MAX = 512;
const ATTRIBUTE_CHARS_MAX = 16_384;

const OTEL_DENO_WARNING =
  "OTEL_DENO is on: Deno's own telemetry holds the OpenTelemetry API's globals, records every served request and every " +
  "fetch with its full URL, the posts of this exporter included, and sends that to its own endpoint. This exporter works " +
  "beside it with providers of its own, so both export; unset OTEL_DENO to have one";

/** Sees to it that spans are active across `await`; a manager that is there already, as with OTEL_DENO, does as well. */
function claimContext(): string[] {
  const key = createContextKey("edgeferry context probe");
  const managed = context.with(ROOT_CONTEXT.setValue(key, true), () => context.active().getValue(key) === true);
  if (!managed) context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  // At Deno's own host it is always on, and nobody there can do what the warning asks for.
  return environment("OTEL_DENO") === "true" && environment("DENO_DEPLOY") !== "true" ? [OTEL_DENO_WARNING] : [];
}

/** A variable; undefined also where reading it is not permitted. */
function environment(name: string): string | undefined {
  try {
    return process.env[name];
  } catch {
    return undefined;
  }
}

function resourceOf(options: TelemetryOptions): Resource {
  return defaultResource().merge(detectResources({ detectors: [envDetector] })).merge(resourceFromAttributes({
    [ATTR_SERVICE_NAME]: options.serviceName,
    [ATTR_SERVICE_INSTANCE_ID]: options.serviceInstanceId ?? crypto.randomUUID(),
    ...(options.serviceVersion === undefined ? {} : { [ATTR_SERVICE_VERSION]: options.serviceVersion }),
    ...options.resourceAttributes,
  }));
}

/** Both signals below one address, through a client made for them. */
function targetsOf(collector: CollectorEndpoint): { targets: SignalTargets; close: () => void } {
  const base = URL.parse(collector.endpoint);
  if (base === null || !/^https?:$/.test(base.protocol)) {
    throw new ConfigError(
      {
        what: `Cannot use exporter.endpoint ${collector.endpoint}`,
        state: "it is not a URL that starts with https:// or http://",
        remedy: "give the Collector's base URL, such as https://localhost:4318",
      },
    );
  }
  if (collector.tls !== undefined && base.protocol !== "https:") {
    throw new ConfigError(
      {
        what: `Cannot use exporter.tls with exporter.endpoint ${collector.endpoint}`,
        state: "nothing is encrypted there",
        remedy: "make it https://",
      },
    );
  }
  const client = clientOf(collector.tls);
  const rest = {
    ...(collector.headers === undefined ? {} : { headers: collector.headers }),
    ...(collector.compression === undefined ? {} : { compression: collector.compression }),
    ...(collector.timeoutMs === undefined ? {} : { timeoutMs: collector.timeoutMs }),
    fetch: (url: string, init: RequestInit) => fetch(url, { ...init, client }),
  };
  const path = base.pathname.replace(/\/+$/, "");
  const target = (signal: SignalName): OtlpTarget => ({
    ...rest,
    url: new URL(path + signalOf(signal).path, base).href,
  });
  return { targets: { traces: target("traces"), metrics: target("metrics") }, close: () => client.close() };
}

function clientOf(tls: CollectorEndpoint["tls"]): Deno.HttpClient {
  if (tls === undefined) return Deno.createHttpClient({});
  // Deno ignores a CA without PEM in silence, and its words for the other two do not name the option.
  for (const name of ["ca", "cert", "key"] as const) {
    const text = tls[name];
    if (text !== undefined && !text.includes("-----BEGIN ")) {
      throw new CertificateError("not_pem", {
        what: `Cannot use exporter.tls.${name}`,
        state: "it holds no PEM",
        remedy: "give the text of the file, not its path",
      });
    }
  }
  try {
    return Deno.createHttpClient({
      ...(tls.ca === undefined ? {} : { caCerts: [tls.ca] }),
      cert: tls.cert,
      key: tls.key,
    });
  } catch (error) {
    throw new CertificateError("unparsable", { what: "Cannot use exporter.tls", state: messageOf(error) }, {
      cause: error,
    });
  }
}
