import assert from "node:assert/strict";
import { context, isSpanContextValid, ROOT_CONTEXT, type Span, trace } from "@opentelemetry/api";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { sampleAtHead } from "../../src/telemetry/head_sampling.ts";

const CALLER = { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", isRemote: true };

function tracerOf(ratio: number, ...numbers: number[]) {
  return sampleAtHead(new BasicTracerProvider(), ratio, () => numbers.shift() ?? 0).getTracer("test");
}

Deno.test("head sampling: of root spans the share below the ratio is begun", () => {
  const tracer = tracerOf(0.25, 0.24, 0.25, 0, 0.99);
  const begun = [1, 2, 3, 4].map(() => tracer.startSpan("root", {}, ROOT_CONTEXT));
  assert.deepEqual(begun.map((span) => span.isRecording()), [true, false, true, false]);
  assert.deepEqual(begun.map((span) => isSpanContextValid(span.spanContext())), [true, false, true, false]);
});

Deno.test("head sampling: 0 begins none and 1 begins all", () => {
  assert.equal(tracerOf(0, 0).startSpan("root", {}, ROOT_CONTEXT).isRecording(), false);
  assert.equal(tracerOf(1, 0.999_999).startSpan("root", {}, ROOT_CONTEXT).isRecording(), true);
});

Deno.test("head sampling: a caller's decision holds, either way, whatever the ratio", () => {
  for (const ratio of [0, 1]) {
    for (const traceFlags of [0, 1]) {
      const parent = trace.setSpanContext(ROOT_CONTEXT, { ...CALLER, traceFlags });
      const span = tracerOf(ratio, 0.5).startSpan("called", {}, parent);
      assert.equal(span.isRecording(), traceFlags === 1);
      assert.equal(span.spanContext().traceId, CALLER.traceId);
    }
  }
});

Deno.test("head sampling: what is below a span that was not begun is not begun either", () => {
  const tracer = tracerOf(0.5, 0.9, 0.1, 0.1);
  const root = tracer.startSpan("root", {}, ROOT_CONTEXT);
  const child = tracer.startSpan("child", {}, trace.setSpan(ROOT_CONTEXT, root));
  assert.equal(child.isRecording(), false);
  assert.equal(
    tracer.startSpan("asked as a root", { root: true }, trace.setSpan(ROOT_CONTEXT, root)).isRecording(),
    true,
  );
});

Deno.test("head sampling: startActiveSpan decides alike, in each of its forms", () => {
  const tracer = tracerOf(0.5, 0.1, 0.9, 0.1);
  const recording = (span: Span) => span.isRecording();
  assert.equal(tracer.startActiveSpan("one", recording), true);
  assert.equal(tracer.startActiveSpan("two", {}, recording), false);
  assert.equal(tracer.startActiveSpan("three", {}, context.active(), recording), true);
});
