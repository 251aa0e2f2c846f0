import { join } from "node:path";
import { openQueue } from "../../../src/queue/open.ts";
import { costOfRow, encodeParts } from "../../../src/queue/record_head.ts";
import { queueThread } from "../../support/threads/queue_threads.ts";
import { queueContract } from "../contract.ts";

queueContract({
  name: "sqlite",
  claims: { durable: true, merges: true, shared: false },
  cost: ({ payload, parts }) => costOfRow(payload.length, encodeParts(parts)),
  open: ({ folder, ...settings }) =>
    openQueue({
      storage: "sqlite",
      path: join(folder, "data", "queue.db"),
      takenBytesMax: Infinity,
      startThread: queueThread,
      ...settings,
    }),
});
