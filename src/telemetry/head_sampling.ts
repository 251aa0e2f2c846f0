/**
 * Sampling before a span is made, for a service that no trace passes through: where nobody has decided, most requests get no span
 * at all. The SDK makes an id, a context and an object for each of them first, and its sampler throws them away.
 * @module
 */
import {
  type Context,
  context,
  INVALID_SPAN_CONTEXT,
  type Span,
  type SpanOptions,
  trace,
  type Tracer,
  type TracerProvider,
} from "@opentelemetry/api";

/** The span of all that is not sampled: records nothing, and has no id to pass on. */
const UNSAMPLED: Span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/**
 * Tracers of `provider`, of whose root spans only a share is begun. A caller's decision holds: a span with a parent goes to
 * `provider`, whose sampler should take every root that it is asked for.
 *
 * What is not begun has no id, so that nothing can be propagated from it, and `instrument` does not make it the active span. A service that calls others for its callers wants the
 * SDK's own samplers instead.
 * @param ratio The share, 0 to 1.
 * @param random A number in [0, 1).
 */
export function sampleAtHead(
  provider: TracerProvider,
  ratio: number,
  random: () => number = Math.random,
): TracerProvider {
  return {
    getTracer: (name, version, options) => new HeadTracer(provider.getTracer(name, version, options), ratio, random),
  };
}

class HeadTracer implements Tracer {
  readonly #tracer: Tracer;
  readonly #ratio: number;
  readonly #random: () => number;

  constructor(tracer: Tracer, ratio: number, random: () => number) {
    this.#tracer = tracer;
    this.#ratio = ratio;
    this.#random = random;
  }

  startSpan(name: string, options?: SpanOptions, within: Context = context.active()): Span {
    const parent = options?.root === true ? undefined : trace.getSpan(within);
    if (parent === UNSAMPLED) return UNSAMPLED;
    if (parent === undefined && this.#random() >= this.#ratio) return UNSAMPLED;
    return this.#tracer.startSpan(name, options, within);
  }

  startActiveSpan<F extends (span: Span) => unknown>(
    name: string,
    ...rest: [F] | [SpanOptions, F] | [SpanOptions, Context, F]
  ): ReturnType<F> {
    const run = rest.at(-1) as F;
    const options = rest.length > 1 ? rest[0] as SpanOptions : undefined;
    const parent = rest.length > 2 ? rest[1] as Context : context.active();
    const span = this.startSpan(name, options, parent);
    return context.with(trace.setSpan(parent, span), () => run(span)) as ReturnType<F>;
  }
}
