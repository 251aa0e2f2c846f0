import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { adminApp, startAdmin } from "../../src/admin/admin.ts";
import { ConfigError } from "../../src/errors.ts";
import { append, exporting, requestOf, submission } from "../support/exporting.ts";

Deno.test("alive is told while the event loop turns; ready while an append would be tried", async () => {
  await using ends = await exporting();
  const app = adminApp(ends);
  const livez = await app.request("/livez");
  assert.deepEqual([livez.status, await livez.json()], [200, { status: "ok" }]);
  const readyz = await app.request("/readyz");
  assert.deepEqual([readyz.status, await readyz.json()], [200, { status: "ready", reasons: [] }]);
  assert.equal((await app.request("/elsewhere")).status, 404);
  assert.equal((await app.request("/livez", { method: "POST" })).status, 404);
});

Deno.test("a queue that takes nothing is not ready, and says why", async () => {
  await using ends = await exporting();
  const queue = Object.assign(Object.create(ends.queue), {
    capabilities: ends.queue.capabilities,
    readiness: () => ({ ready: false, reason: "The queue is full" }),
  });
  const readyz = await adminApp({ queue, exporter: ends.exporter }).request("/readyz");
  assert.deepEqual([readyz.status, await readyz.json()], [503, {
    status: "not ready",
    reasons: ["The queue is full"],
  }]);
});

Deno.test("with a disk, a Collector out of reach is no reason to take nothing", async () => {
  await using ends = await exporting({ misbehave: () => ({ kind: "status", status: 503 }) });
  await append(ends.queue, submission("traces", requestOf("traces", ["a"])));
  await ends.told.until(() => ends.exporter.failures("traces") >= 3, "three failures");
  assert.equal((await adminApp(ends).request("/readyz")).status, 200);
});

Deno.test("without one it is, from the third failure in a row on", async () => {
  let out = true;
  await using ends = await exporting({
    storage: "none",
    misbehave: () => out ? { kind: "disconnect" } : undefined,
  });
  const app = adminApp(ends);
  const send = () => append(ends.queue, submission("logs", requestOf("logs", ["a"])));
  for (let count = 0; count < 3; count++) {
    assert.equal((await app.request("/readyz")).status, 200);
    await assert.rejects(send());
  }
  const readyz = await app.request("/readyz");
  assert.deepEqual([readyz.status, await readyz.json()], [503, {
    status: "not ready",
    reasons: ["logs: 3 requests to the Collector failed in a row"],
  }]);
  out = false;
  await send();
  assert.equal((await app.request("/readyz")).status, 200);
});

Deno.test("it is served where it is told to, and says what is in the way", async () => {
  await using ends = await exporting();
  await using admin = startAdmin({ hostname: "127.0.0.1", port: 0 }, ends);
  const answer = await fetch(`${admin.url}/livez`);
  assert.deepEqual(await answer.json(), { status: "ok" });
  const taken = createServer();
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  try {
    assert.throws(
      () => startAdmin({ hostname: "127.0.0.1", port }, ends),
      (error) =>
        error instanceof ConfigError &&
        error.message.startsWith(`Cannot listen at telemetry.admin.endpoint 127.0.0.1:${port}: `) &&
        error.message.endsWith("free the port or choose another"),
    );
  } finally {
    taken.close();
    await once(taken, "close");
  }
});
