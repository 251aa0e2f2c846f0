import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { withAllThatIsTaken } from "../../src/cli/taken.ts";
import { configFrom } from "../../src/config/load.ts";
import { ConfigError } from "../../src/errors.ts";
import { openQueue } from "../../src/queue/open.ts";
import { TestLog } from "../queue/records.ts";
import { folder } from "../support/files/folder.ts";

async function listener() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: { hostname: "127.0.0.1", port },
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

Deno.test("everything that another process has is named at once, with what to set", async () => {
  await using at = await folder();
  await using one = await listener();
  await using two = await listener();
  await using three = await listener();
  const path = join(at.path, "queue.db");
  const limits = { bytesMax: 1 << 20, deadLetterBytesMax: 1 << 20, log: new TestLog() };
  const config = configFrom({
    receiver: { http: { endpoint: `127.0.0.1:${one.endpoint.port}` } },
    telemetry: { admin: { endpoint: `127.0.0.1:${two.endpoint.port}` } },
    sending_queue: { path },
  });
  const first = new ConfigError("Cannot listen", {
    cause: Object.assign(new Error("address in use"), { code: "EADDRINUSE" }),
  });
  {
    await using _queue = await openQueue({ storage: "sqlite", path, ...limits });
    const all = await withAllThatIsTaken(config, first, three.endpoint);
    assert(all instanceof ConfigError);
    assert.deepEqual(all.message.split("\n").slice(1), [
      `  EDGEFERRY_RECEIVER_HTTP_ENDPOINT (receiver.http.endpoint 127.0.0.1:${one.endpoint.port} is taken)`,
      `  EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT (telemetry.admin.endpoint 127.0.0.1:${two.endpoint.port} is taken)`,
      `  EDGEFERRY_SENDING_QUEUE_PATH (sending_queue.path ${path} is taken)`,
      "  dev --no-collector, or OTEL_EXPORTER_OTLP_ENDPOINT (the Collector's 127.0.0.1:" +
      `${three.endpoint.port} is taken)`,
    ]);
  }
  const without = await withAllThatIsTaken(config, first);
  assert.doesNotMatch((without as Error).message, /QUEUE_PATH|Collector/, "the queue has been closed");
});

Deno.test("one thing that is taken, and any other error, is told as it is", async () => {
  await using one = await listener();
  const config = configFrom({
    receiver: { http: { endpoint: `127.0.0.1:${one.endpoint.port}` } },
    telemetry: { admin: { endpoint: "127.0.0.1:0" } },
    sending_queue: { storage: "none" },
  });
  const inUse = new ConfigError("x", { cause: Object.assign(new Error("in use"), { code: "EADDRINUSE" }) });
  for (const error of [inUse, new ConfigError("y"), new TypeError("z"), "no error"]) {
    assert.equal(await withAllThatIsTaken(config, error), error);
  }
});
