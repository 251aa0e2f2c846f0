/**
 * A sender that keeps its pace, in a process of its own: `paced.ts URL TOKEN REQUESTS_PER_SECOND SECONDS`. Each request has its moment,
 * evenly spaced, whether the ones before it are answered or not, and is timed from that moment on: what a stall makes late counts
 * as late. (autocannon's rates come in one burst a second.) Prints one line of JSON: `{ ok, refused, failed, ms, lateMs }`, where `ms` are
 * the latencies of what was answered 200, and `lateMs` by how much this process itself sent each of them late: its timers, its garbage, or
 * a machine that gave it no time.
 */
import { Agent, request } from "node:http";
import process from "node:process";
import { makeBodies } from "./bodies.ts";

const [url = "", token = "", rate = "100", seconds = "6"] = process.argv.slice(2);
const bodies = makeBodies("gzip", 10, 500, Date.now());
const agent = new Agent({ keepAlive: true });
const ms: number[] = [];
const lateMs: number[] = [];
let refused = 0;
let failed = 0;

function post(index: number, dueAt: number): Promise<void> {
  const { headers, bytes } = bodies[index % bodies.length]!;
  const { promise, resolve } = Promise.withResolvers<void>();
  const late = performance.now() - dueAt;
  const sent = request(new URL("/v1/traces", url), {
    method: "POST",
    agent,
    headers: { ...headers, authorization: `Bearer ${token}`, "content-length": bytes.length },
  }, (answer) => {
    answer.resume().on("end", () => {
      if (answer.statusCode === 200) {
        ms.push(hundredths(performance.now() - dueAt));
        lateMs.push(hundredths(late));
      } else refused++;
      resolve();
    });
  });
  sent.on("error", () => {
    failed++;
    resolve();
  });
  sent.end(bytes);
  return promise;
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}

const count = Number(rate) * Number(seconds);
const start = performance.now();
const all: Promise<void>[] = [];
for (let index = 0; index < count; index++) {
  const dueAt = start + index * 1000 / Number(rate);
  const waitMs = dueAt - performance.now();
  if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  all.push(post(index, dueAt));
}
await Promise.all(all);
agent.destroy();
console.log(JSON.stringify({ ok: ms.length, refused, failed, ms, lateMs }));
