import assert from "node:assert/strict";
import { WorkerLink } from "../../../src/queue/sqlite/worker_link.ts";

const LISTENER = { news: () => {}, crashed: () => {} };

Deno.test("a question that the Worker cannot answer is rejected with its reason, and the next is asked all the same", async () => {
  const link = new WorkerLink(LISTENER);
  try {
    await assert.rejects(link.ask("stats", {}), {
      name: "StorageError",
      message: "Cannot use the queue: it is not open",
    });
    const settings = {
      path: "/nonexistent/queue.db",
      bytesMax: 1,
      deadLetterBytesMax: 1,
      targets: ["default"],
      faults: [],
      fileBytesMax: undefined,
    };
    await assert.rejects(link.ask("open", { settings, disowned: [] }), {
      code: "unusable",
      message: /cannot be opened/,
    });
    assert.deepEqual(await link.ask("close", {}), { closed: true });
    assert.equal(link.ended, false);
  } finally {
    link.end();
  }
});

Deno.test("the end of a link rejects what was asked, and what is asked after it", async () => {
  const link = new WorkerLink(LISTENER);
  const open = assert.rejects(link.ask("stats", {}), { message: "Cannot use the queue: it is closed" });
  link.end();
  link.end();
  await open;
  assert.equal(link.ended, true);
  await assert.rejects(link.ask("poll", {}), { code: "unusable", message: /has ended/ });
});
