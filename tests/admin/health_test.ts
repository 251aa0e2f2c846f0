import assert from "node:assert/strict";
import { healthOf } from "../../src/admin/health.ts";
import type { Expiry } from "../../src/pki/expiry.ts";
import { append, exporting, requestOf, submission } from "../support/relay/exporting.ts";

Deno.test("a queue that takes nothing is not ready, and says why", async () => {
  await using ends = await exporting();
  const queue = Object.assign(Object.create(ends.queue), {
    capabilities: ends.queue.capabilities,
    readiness: () => ({ ready: false, reason: "The queue is full" }),
  });
  assert.deepEqual(healthOf({ queue, exporter: ends.exporter }), {
    ready: false,
    reasons: ["The queue is full"],
    warnings: [],
    listeners: [],
    certificates: undefined,
  });
});

Deno.test("a listener that accepts no connections is a reason, and its protocol is named", async () => {
  await using ends = await exporting();
  const of = (accepting: boolean) => {
    const byHttp = { protocol: "OTLP/HTTP", url: "http://127.0.0.1:1", accepting: true, connections: 0 } as const;
    const byGrpc = { protocol: "OTLP/gRPC", url: "http://127.0.0.1:2", accepting, connections: 0 } as const;
    return healthOf({ ...ends, exporter: ends.exporter, listeners: () => [byHttp, byGrpc] });
  };
  assert.equal(of(true).ready, true);
  assert.deepEqual(of(false).reasons, [
    "the receiver accepts no connections of OTLP/gRPC; raise the limit on open files",
  ]);
});

Deno.test("with a disk, a Collector out of reach is no reason to take nothing", async () => {
  await using ends = await exporting({ misbehave: () => ({ kind: "status", status: 503 }) });
  await append(ends.queue, submission("traces", requestOf("traces", ["a"])));
  await ends.told.until(() => ends.exporter.failures("traces") >= 3, "three failures");
  const { ready, warnings } = healthOf(ends);
  assert.equal(ready, true);
  assert.match(warnings[0] ?? "", /^traces: \d+ requests to the Collector failed in a row: The Collector asks to wait/);
});

Deno.test("without one it is, from the third failure in a row on, until it may be asked again", async () => {
  let out = true;
  const clock = { ms: 0 };
  await using ends = await exporting({
    storage: "none",
    retry: { initialMs: 1_000, maxMs: 30_000, now: () => clock.ms },
    misbehave: () => out ? { kind: "disconnect" } : undefined,
  });
  const send = () => append(ends.queue, submission("logs", requestOf("logs", ["a"])));
  for (let count = 0; count < 3; count++) {
    assert.equal(healthOf(ends).ready, true);
    await assert.rejects(send());
  }
  const { ready, reasons } = healthOf(ends);
  assert.deepEqual([ready, reasons], [false, ["logs: 3 requests to the Collector failed in a row"]]);
  // Whoever sends nothing to what is not ready has to be told when to try again.
  clock.ms += 30_000;
  assert.equal(healthOf(ends).ready, true);
  await assert.rejects(send());
  assert.equal(healthOf(ends).ready, false);
  out = false;
  await send();
  assert.equal(healthOf(ends).ready, true);
});

Deno.test("a certificate of ours at its end is a reason, one that comes near it or is another's a warning", async () => {
  await using ends = await exporting();
  const end = (role: Expiry["role"], level: Expiry["level"], ours = true): Expiry => ({
    role,
    level,
    ours,
    subject: `CN=${role}`,
    fingerprintSha256: "AB",
    validTo: new Date(0),
    daysLeft: 1,
    msLeft: 86_400_000,
  });
  const of = (...certificates: Expiry[]) => {
    const { ready, reasons, warnings } = healthOf({
      ...ends,
      exporter: ends.exporter,
      certificates: () => certificates,
    });
    return [ready, reasons.length, warnings.length];
  };
  assert.deepEqual(of(end("client", "ok")), [true, 0, 0]);
  assert.deepEqual(of(end("client", "warning"), end("collector", "error", false)), [true, 0, 2]);
  assert.deepEqual(of(end("client", "error"), end("ca", "ok")), [false, 1, 0]);
});

Deno.test("of several targets, one that is out of reach is named; only where none is left is the relay not ready", async () => {
  await using ends = await exporting({ storage: "none" });
  const failing = (failures: number) => ({
    failures: () => failures,
    waits: () => failures > 0,
    lastFailure: () => undefined,
    urlOf: () => "https://collector.example/v1/traces",
  });
  const of = (first: number, second: number) =>
    healthOf({
      queue: ends.queue,
      exporter: {
        ...failing(Math.max(first, second)),
        targets: [
          { name: "eu", required: true, exporter: failing(first) },
          { name: "us", required: true, exporter: failing(second) },
          { name: "audit", required: false, exporter: failing(0) },
        ],
      },
    });
  assert.deepEqual([of(0, 0).ready, of(0, 0).warnings], [true, []]);
  const { ready, warnings } = of(0, 3);
  assert.equal(ready, true);
  assert.equal(warnings[0], "us: 3 requests with traces failed in a row");
  assert.equal(of(3, 4).ready, false);
});
