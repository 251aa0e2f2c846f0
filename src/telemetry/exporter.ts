/**
 * OTLP/HTTP exporters for the OpenTelemetry SDK that post through a `fetch` they are given, and so through a Deno HttpClient with
 * a client certificate: the stock exporters resolve to their Node build, which posts through `node:https`.
 *
 * The SDK's own export path creates no spans, and neither does this one.
 * @module
 */
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { OTLPMetricExporterBase } from "@opentelemetry/exporter-metrics-otlp-http";
import {
  createOtlpNetworkExportDelegate,
  ExporterMetrics,
  type ExportResponse,
  type IExporterTransport,
  type IOtlpExportDelegate,
  OTLPExporterBase,
} from "@opentelemetry/otlp-exporter-base";
import {
  type IExporterMetricsHelper,
  type ISerializer,
  MetricsExporterMetricsHelper,
  ProtobufMetricsSerializer,
  ProtobufTraceSerializer,
  TraceExporterMetricsHelper,
} from "@opentelemetry/otlp-transformer";
import type { PushMetricExporter } from "@opentelemetry/sdk-metrics";
import type { SpanExporter } from "@opentelemetry/sdk-trace-base";
import { messageOf } from "../errors.ts";
import { whenAborted } from "../within.ts";
import { readAnswer, retryAfterMs } from "../otlp/http_answer.ts";
import { decodeStatus, decodeSuccess } from "../otlp/response.ts";
import { type SignalName, signalOf } from "../signal.ts";
import { USER_AGENT } from "../version.ts";
import type { Log } from "./log.ts";

/** Where one signal is posted to, and how. */
export interface OtlpTarget {
  /** Complete, the signal's path included. */
  readonly url: string;
  /**
   * Sends one request: `(url, init) => fetch(url, { ...init, client: current })`. It is called once an attempt, so that a client
   * swapped meanwhile is taken up by the next one.
   */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default `gzip`. */
  readonly compression?: "gzip" | "none";
  /** Time for one batch, its retries included, in ms. Default 10,000, as the OTLP exporter specification has it. */
  readonly timeoutMs?: number;
}

/** An exporter of spans. `stop` ends what is under way at once: the batch is dropped, and said to be. */
export function traceExporter(target: OtlpTarget, log: Log, stop: AbortSignal): SpanExporter {
  return new OTLPExporterBase(
    delegate("traces", ProtobufTraceSerializer, TraceExporterMetricsHelper, target, log, stop),
  );
}

/**
 * An exporter of metrics. Temporality is cumulative, or what the variable `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` says.
 * `stop` ends what is under way at once.
 */
export function metricExporter(target: OtlpTarget, log: Log, stop: AbortSignal): PushMetricExporter {
  return new OTLPMetricExporterBase(
    delegate("metrics", ProtobufMetricsSerializer, MetricsExporterMetricsHelper, target, log, stop),
  );
}

/** The OTLP exporter specification's default for `OTEL_EXPORTER_OTLP_TIMEOUT`. */
const TIMEOUT_MS_DEFAULT = 10_000;
/** Batches under way at once; the SDK fails the next one. */
const CONCURRENT_EXPORTS_MAX = 8;
const ATTEMPTS_MAX = 6;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 5_000;
/** Share of a backoff that is random, either way. */
const JITTER = 0.2;
const LOG_INTERVAL_MS = 60_000;
/** OTLP/HTTP, "Retryable Response Codes". */
const RETRYABLE_STATUSES: ReadonlySet<number> = new Set([429, 502, 503, 504]);

const gzipped = promisify(gzip);

function delegate<Internal, Response>(
  signal: SignalName,
  serializer: ISerializer<Internal, Response>,
  metricsHelper: IExporterMetricsHelper<Internal>,
  target: OtlpTarget,
  log: Log,
  stop: AbortSignal,
): IOtlpExportDelegate<Internal> {
  return createOtlpNetworkExportDelegate(
    {
      timeoutMillis: target.timeoutMs ?? TIMEOUT_MS_DEFAULT,
      concurrencyLimit: CONCURRENT_EXPORTS_MAX,
      // The transport compresses, not the delegate.
      compression: "none",
    },
    serializer,
    new ExporterMetrics({
      componentType: "otlp_http_exporter",
      metricsHelper,
      url: undefined,
      meterProvider: undefined,
      responseAttributesFromError: () => ({}),
    }),
    new FetchTransport(signal, target, log, stop),
  );
}

/** One signal's way to the Collector: compresses, posts, retries within the batch's time, reads the answer. */
class FetchTransport implements IExporterTransport {
  readonly #signal: SignalName;
  readonly #target: OtlpTarget;
  readonly #log: Log;
  readonly #stop: AbortSignal;
  #failing = false;

  constructor(signal: SignalName, target: OtlpTarget, log: Log, stop: AbortSignal) {
    this.#signal = signal;
    this.#target = target;
    this.#log = log;
    this.#stop = stop;
  }

  async send(data: Uint8Array, timeoutMs: number): Promise<ExportResponse> {
    const deadlineMs = performance.now() + timeoutMs;
    const compress = this.#target.compression !== "none";
    const body = new Uint8Array(compress ? await gzipped(data) : data);
    for (let attempt = 1;; attempt++) {
      const response = await this.#attempt(body, compress, Math.max(1, deadlineMs - performance.now()));
      if (response.status !== "retryable") return this.#concluded(response);
      const waitMs = response.retryInMillis ?? backoffMs(attempt);
      const late = performance.now() + waitMs >= deadlineMs;
      if (late || attempt >= ATTEMPTS_MAX || this.#stop.aborted) return this.#concluded(response);
      await delay(waitMs, this.#stop);
    }
  }

  /** Nothing is held between sends. */
  shutdown(): void {}

  async #attempt(body: Uint8Array<ArrayBuffer>, compressed: boolean, timeoutMs: number): Promise<ExportResponse> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(new Error(`No answer within ${Math.round(timeoutMs)} ms`)), timeoutMs);
    try {
      const response = await this.#target.fetch(this.#target.url, {
        method: "POST",
        headers: {
          "user-agent": USER_AGENT,
          ...this.#target.headers,
          "content-type": "application/x-protobuf",
          ...(compressed ? { "content-encoding": "gzip" } : {}),
        },
        body,
        // A redirect would take telemetry, and the client certificate's word, to a place that nobody configured.
        redirect: "manual",
        signal: AbortSignal.any([this.#stop, timeout.signal]),
      });
      return this.#read(response, await readAnswer(response));
    } catch (error) {
      if (this.#stop.aborted) return { status: "failure", error: new Error("The exporter was stopped") };
      return { status: "retryable", error: timeout.signal.aborted ? timeout.signal.reason as Error : asError(error) };
    } finally {
      clearTimeout(timer);
    }
  }

  #read(response: Response, body: Uint8Array): ExportResponse {
    const contentType = response.headers.get("content-type");
    if (response.ok) {
      const partial = decodeSuccess(this.#signal, contentType, body);
      if (partial !== undefined) {
        this.#limited("partial").warn(`The Collector took own ${this.#signal} only in part`, {
          rejected: partial.rejected,
          reason: partial.message,
        });
      }
      return { status: "success" };
    }
    const words = decodeStatus(contentType, body);
    const error = new Error(`HTTP ${response.status}${words === "" ? "" : `: ${words}`}`);
    if (!RETRYABLE_STATUSES.has(response.status)) return { status: "failure", error };
    const retryInMillis = retryAfterMs(response.headers.get("retry-after"));
    return { status: "retryable", error, ...(retryInMillis === undefined ? {} : { retryInMillis }) };
  }

  /** Says what became of a batch: the SDK would tell its `diag` alone, which nobody reads by default. */
  #concluded(response: ExportResponse): ExportResponse {
    if (response.status === "success") {
      if (this.#failing) this.#log.info(`Own ${this.#signal} reach the Collector again`, { url: this.#target.url });
      this.#failing = false;
    } else {
      this.#failing = true;
      this.#limited("dropped").warn(`Own ${this.#signal} were dropped, a batch of ${signalOf(this.#signal).item}s`, {
        url: this.#target.url,
        cause: response.error,
      });
    }
    return response;
  }

  #limited(what: string): Log {
    return this.#log.limited(`telemetry ${this.#signal} ${what}`, LOG_INTERVAL_MS);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}

/** Exponential, with jitter. `attempt`: the one that failed, from 1. */
function backoffMs(attempt: number): number {
  const base = Math.min(BACKOFF_FIRST_MS * 2 ** (attempt - 1), BACKOFF_MAX_MS);
  return base * (1 + JITTER * (2 * Math.random() - 1));
}

/** Resolves after `ms`, or at once when `stop` is aborted. */
function delay(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      goOn();
      resolve();
    }, ms);
    const goOn = whenAborted(stop, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
