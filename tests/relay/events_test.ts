import assert from "node:assert/strict";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { diagnose, faultNamed } from "../../src/diagnosis/faults.ts";
import { Refusal } from "../../src/errors.ts";
import { exporterEvents, preparerEvents, receiverEvents } from "../../src/relay/events.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";

function setup() {
  const clock = { ms: 0 };
  const lines: Record<string, unknown>[] = [];
  const log = createLog({
    level: "debug",
    format: "json",
    now: () => clock.ms,
    write: (line) => void lines.push(JSON.parse(line)),
  });
  const reader = new MetricCollector();
  const metrics = createMetrics(new MeterProvider({ readers: [reader] }));
  const counted = async (name: string) => {
    const points = (await reader.byName()).get(name)?.dataPoints ?? [];
    return points.filter(({ value }) => value !== 0).map(({ attributes, value }) => ({ ...attributes, value }));
  };
  return {
    clock,
    lines,
    counted,
    receiver: receiverEvents(metrics, log),
    preparer: preparerEvents(log),
    exporter: exporterEvents(metrics, log, (signal) => signal === "logs" ? "https://b:4318" : "https://a:4318"),
  };
}

Deno.test("a refused request is a warning and a count, one line of a kind in ten seconds", async () => {
  const { receiver, lines, counted, clock } = setup();
  receiver.accepted("traces", "web", 3);
  for (let count = 0; count < 5; count++) {
    receiver.refused({
      signal: "traces",
      sender: "web",
      refusal: new Refusal("queue_full", "The queue is full"),
      items: 2,
    });
  }
  receiver.refused({ signal: "logs", refusal: new Refusal("unauthenticated", "No token") });
  assert.equal(lines.length, 2);
  assert.equal(lines[0]?.["level"], "warn");
  assert.deepEqual([lines[0]?.["reason"], lines[0]?.["sender"], lines[0]?.["signal"]], ["queue_full", "web", "traces"]);
  clock.ms += 10_000;
  receiver.refused({
    signal: "traces",
    sender: "web",
    refusal: new Refusal("queue_full", "The queue is full"),
    items: 2,
  });
  assert.equal(lines.length, 3);
  assert.match(JSON.stringify(lines[2]), /4/, "and how many were withheld");
  assert.deepEqual(await counted("edgeferry_receiver_accepted_items"), [{ signal: "traces", value: 3 }]);
  assert.deepEqual(await counted("edgeferry_receiver_refused_requests"), [
    { reason: "queue_full", signal: "traces", value: 6 },
    { reason: "unauthenticated", signal: "logs", value: 1 },
  ]);
  assert.deepEqual(await counted("edgeferry_receiver_refused_items"), [
    { reason: "queue_full", signal: "traces", value: 12 },
  ]);
});

Deno.test("the line of a refusal says what is to be done in a field of its own, where the sender may not just retry", () => {
  const { receiver, lines } = setup();
  for (
    const refusal of [
      new Refusal("too_large", "Body is too large", { remedy: "send less" }),
      new Refusal("overloaded", "No room", { remedy: "retry" }),
    ]
  ) receiver.refused({ refusal });
  assert.deepEqual(lines.map(({ message_, remedy }) => [message_, remedy]), [
    ["Body is too large", "send less"],
    ["No room", undefined],
  ]);
});

Deno.test("a hundred strangers with a name each make one line, and one that tells how many were withheld", () => {
  const { receiver, lines, clock } = setup();
  const refuse = (name: string) => {
    const message = `The certificate of ${name} is not of the CA`;
    receiver.refused({ refusal: new Refusal("unauthenticated", message, { kind: "certificate" }), signal: "traces" });
  };
  for (let index = 0; index < 100; index++) refuse(`stranger-${index}`);
  assert.deepEqual(lines.map(({ message_ }) => message_), ["The certificate of stranger-0 is not of the CA"]);
  clock.ms += 10_000;
  refuse("late");
  assert.deepEqual(lines.map(({ withheld }) => withheld), [undefined, 99]);
});

Deno.test("JSON of which nothing is kept is a warning and a count", async () => {
  const { receiver, lines, counted } = setup();
  for (let times = 0; times < 3; times++) receiver.unrecognised("logs", "web", 4);
  assert.deepEqual(lines.map(({ level, sender, names }) => [level, sender, names]), [["warn", "web", 4]]);
  assert.deepEqual(await counted("edgeferry_receiver_unrecognised_requests"), [{ signal: "logs", value: 3 }]);
});

Deno.test("a defect of the receiver is an error, with its cause", () => {
  const { receiver, lines } = setup();
  receiver.failed(new TypeError("no such thing", { cause: new Error("inner") }));
  assert.deepEqual([lines[0]?.["level"], lines[0]?.["cause"]], ["error", "no such thing: inner"]);
});

Deno.test("a thread that cannot be started, or ends, is a warning with its cause", () => {
  const { preparer, lines } = setup();
  preparer.threadless("no Worker here");
  preparer.crashed("out of memory");
  assert.deepEqual(lines.map(({ level, cause }) => [level, cause]), [
    ["warn", "no Worker here"],
    ["warn", "out of memory"],
  ]);
});

Deno.test("a failure is a warning while time can mend it, an error where it cannot or when it lasts", async () => {
  const { exporter, lines, counted, clock } = setup();
  const refused = diagnose({ text: "connection refused" });
  for (let failures = 1; failures <= 5; failures++) {
    exporter.failed("traces", refused, { cause: "connection refused", failures, retryMs: 12.6 });
    clock.ms += 10_000;
  }
  exporter.failed("metrics", diagnose({ status: 404, text: "" }), { cause: "404", failures: 1, retryMs: 30_000 });
  assert.deepEqual(lines.map(({ level }) => level), ["warn", "warn", "warn", "warn", "error", "error"]);
  const { message, signal, fault, remedy, cause, retryMs } = lines[0]!;
  assert.deepEqual([message, signal, fault, cause, retryMs], [
    refused.what,
    "traces",
    "connection_refused",
    "connection refused",
    13,
  ]);
  assert.equal(remedy, refused.remedy);
  assert.deepEqual(await counted("edgeferry_exporter_send_failures"), [
    { fault: "connection_refused", signal: "traces", value: 5 },
    { fault: "no_such_path", signal: "metrics", value: 1 },
  ]);
});

Deno.test("data that the Collector gave up is an error, its warning a warning", async () => {
  const { exporter, lines, counted } = setup();
  exporter.rejected("traces", 2, "too old");
  exporter.rejected("logs", 0, "deprecated");
  exporter.deadLettered("metrics", 4, "web", "bad point");
  assert.deepEqual(lines.map(({ level, items, message }) => [level, items, message]), [
    ["error", 2, "The Collector rejected items of a request that it took"],
    ["warn", undefined, "The Collector took a request with a warning"],
    ["error", 4, "Set aside what the Collector will never take"],
  ]);
  assert.deepEqual([lines[2]?.["sender"], lines[2]?.["reason"]], ["web", "bad point"]);
  assert.deepEqual(await counted("edgeferry_exporter_rejected_items"), [{ signal: "traces", value: 2 }]);
  assert.deepEqual(await counted("edgeferry_dead_letter_items"), [{ signal: "metrics", value: 4 }]);
});

Deno.test("what goes well is told once, and counted", async () => {
  const { exporter, lines, counted } = setup();
  exporter.sent("traces", { items: 7, requests: 2, bytes: 100, durationMs: 5 });
  exporter.recovered("traces", 3);
  const url = "https://collector:4318/v1/traces";
  for (const form of ["gzip_members", "zstd"] as const) {
    for (const members of ["all", "first_only", "unknown"] as const) exporter.members("traces", form, members, url);
  }
  const levels = ["info", "debug", "warn", "warn", "debug", "warn", "warn"];
  assert.deepEqual(lines.map(({ level }) => level), levels);
  assert.deepEqual(await counted("edgeferry_exporter_sent_items"), [{ signal: "traces", value: 7 }]);
});

Deno.test("what all signals meet at an endpoint is one line, what each meets at its path is one each", () => {
  const { exporter, lines } = setup();
  const detail = { cause: "x", failures: 1, retryMs: 1 };
  for (const signal of ["traces", "metrics", "logs"] as const) {
    exporter.failed(signal, faultNamed("connection_refused"), detail);
  }
  assert.deepEqual(lines.map(({ signal }) => signal), ["traces", "logs"], "logs go to another endpoint");
  lines.length = 0;
  for (const signal of ["traces", "metrics"] as const) exporter.failed(signal, faultNamed("no_such_path"), detail);
  assert.deepEqual(lines.map(({ signal }) => signal), ["traces", "metrics"]);
});
