/**
 * Threads of queues, used again: what one loads takes more CPU time than most tests. For tests whose claim is not about the thread.
 * @module
 */
import type { FromWorker } from "../../../src/queue/sqlite/protocol.ts";
import { startThread } from "../../../src/queue/sqlite/worker_link.ts";

const idle: Worker[] = [];

/** A thread for a queue: one whose queue has been closed, or a new one. */
export function queueThread(): Worker {
  const thread = idle.pop() ?? startThread();
  const ended = new AbortController();
  let closed = false;
  thread.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
    // It answers in order: nothing is asked of it any more, and it holds no file.
    if (data.kind === "reply" && "closed" in data.reply) closed = true;
  }, ended);
  return new Proxy(thread, {
    get: (target, name) => {
      if (name === "terminate") {
        return () => {
          ended.abort();
          target.onmessage = target.onerror = target.onmessageerror = null;
          if (closed) idle.push(target);
          else target.terminate();
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
}
