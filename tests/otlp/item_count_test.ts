import assert from "node:assert/strict";
import { UNBOUNDED } from "../../src/otlp/bounds.ts";
import { ItemCount, roleOf } from "../../src/otlp/item_count.ts";
import type { MessageName } from "../../src/otlp/schema.ts";

/** Items of a request whose messages begin in this order; one with a star is a deprecated field. */
function count(...entered: string[]): number {
  const items = new ItemCount();
  items.reset(UNBOUNDED);
  for (const name of entered) {
    const role = roleOf(name.replace("*", "") as MessageName);
    if (role !== 0) items.enter(role, name.endsWith("*"));
  }
  return items.total();
}

Deno.test("items are counted over scopes and resources", () => {
  assert.equal(count(), 0);
  assert.equal(
    count("TracesRequest", "ResourceSpans", "Resource", "KeyValue", "ScopeSpans", "Scope", "Span", "Span"),
    2,
  );
  assert.equal(
    count("ResourceLogs", "ScopeLogs", "LogRecord", "ScopeLogs", "LogRecord", "ResourceLogs", "ScopeLogs"),
    2,
  );
  assert.equal(count("ResourceProfiles", "ScopeProfiles", "Profile", "Sample", "Sample"), 1);
});

Deno.test("of a metric's data the last is kept", () => {
  const scope = ["ResourceMetrics", "ScopeMetrics", "Metric"];
  assert.equal(count(...scope, "Gauge", "NumberDataPoint", "NumberDataPoint"), 2);
  assert.equal(count(...scope, "Gauge", "NumberDataPoint", "NumberDataPoint", "Summary", "SummaryDataPoint"), 1);
  assert.equal(count(...scope, "Sum", "NumberDataPoint", "Metric", "Histogram", "HistogramDataPoint", "Exemplar"), 2);
});

Deno.test("deprecated scopes count where a resource has no others", () => {
  assert.equal(count("ResourceSpans", "ScopeSpans*", "Span", "Span"), 2);
  assert.equal(count("ResourceSpans", "ScopeSpans*", "Span", "Span", "ScopeSpans", "Span"), 1);
  assert.equal(count("ResourceSpans", "ScopeSpans", "Span", "ScopeSpans*", "Span", "Span"), 1);
  assert.equal(count("ResourceSpans", "ScopeSpans", "ResourceSpans", "ScopeSpans*", "Span"), 1);
});
