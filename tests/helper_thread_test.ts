import assert from "node:assert/strict";
import { HelperThread, ThreadCrashError, ThreadlessError } from "../src/helper_thread.ts";
import { waitWhile } from "./support/wait_while.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function open(options: { readonly module?: string; readonly idleMs?: number } = {}) {
  return new HelperThread<number, Bytes, Bytes>({
    module: new URL(options.module ?? "./support/threads/adding_thread.ts", import.meta.url),
    start: 10,
    idleMs: options.idleMs ?? 60_000,
  });
}

const job = (...numbers: number[]) => {
  const content = Uint8Array.from(numbers);
  return { content, transfer: [content.buffer] };
};

Deno.test("one job after the other, in a thread that is started by the first; buffers are handed over", async () => {
  using thread = open();
  assert.equal(thread.running, false);
  const first = job(1, 2);
  assert.deepEqual([...await thread.run(() => first)], [11, 12]);
  assert.equal(first.content.length, 0);
  assert.equal(thread.running, true);
  const second = thread.run(() => job(5));
  assert.throws(() => void thread.run(() => job(6)), /another job/);
  assert.deepEqual([...await second], [15]);
});

Deno.test("an error costs the job, and the next one has a new thread", async () => {
  using thread = open();
  assert.deepEqual([...await thread.run(() => job(1))], [11]);
  await assert.rejects(thread.run(() => job(0)), (error) => {
    assert(error instanceof ThreadCrashError);
    assert.match(error.message, /this thread ends/);
    return true;
  });
  assert.equal(thread.running, false);
  assert.deepEqual([...await thread.run(() => job(2))], [12]);
});

Deno.test("where there is no thread nothing is handed over", async () => {
  using thread = open({ module: "./support/threads/no_such_thread.ts" });
  await assert.rejects(thread.run(() => assert.fail("nobody is there")), ThreadlessError);
});

Deno.test("a thread without work ends; whoever waits as it is ended is told", async () => {
  using idle = open({ idleMs: 1 });
  await idle.run(() => job(1));
  await waitWhile(() => idle.running);
  assert.deepEqual([...await idle.run(() => job(2))], [12]);
  const ended = open();
  const waits = assert.rejects(ended.run(() => job(1)), /was ended/);
  ended[Symbol.dispose]();
  await waits;
});
