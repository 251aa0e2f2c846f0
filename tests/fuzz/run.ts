/**
 * The long run: `deno task fuzz [--seed 1] [--count 1000000] [--collector 20000]`. Puts as many damaged requests to the receiver,
 * without a socket, and the first `--collector` of those with ordinary headers to the real Collector too. Prints what came of it, and
 * ends with 1 when something is wrong; the seed and the number of the request are in the message.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { testCertificates } from "../support/files/certificates.ts";
import { flagsOf } from "../support/program/flags.ts";
import { Random } from "../support/bodies/requests.ts";
import { reasonOf, Referee, startForgettingCollector } from "./collector.ts";
import { FuzzReceiver } from "./receiver.ts";
import { FuzzSource } from "./requests.ts";

const flags = flagsOf("fuzz", {
  seed: { type: "string", default: "1" },
  count: { type: "string", default: "1000000" },
  collector: { type: "string", default: "20000" },
});
const count = Number(flags.count);
const compared = Number(flags.collector);

const source = new FuzzSource(new Random(Number(flags.seed)), 500);
using receiver = new FuzzReceiver();
const statuses = new Map<number, number>();
const rssMiB = () => Math.round(process.memoryUsage().rss / 2 ** 20);
const started = performance.now();

await using stack = new AsyncDisposableStack();
let referee: Referee | undefined;
if (compared > 0) {
  const certs = stack.use(await testCertificates());
  referee = stack.use(await Referee.of(stack.use(await startForgettingCollector(certs)), certs));
}
for (let number = 1; number <= count; number++) {
  const request = source.next();
  try {
    const outcome = await receiver.ask(request);
    statuses.set(outcome.status, (statuses.get(outcome.status) ?? 0) + 1);
    if (referee !== undefined && request.ordinary && referee.asked < compared) await referee.judge(request, outcome);
  } catch (error) {
    console.error(`seed ${flags.seed}, request ${number}: ${request.method} ${request.path}`, request.headers);
    throw error;
  }
  if (number % 100_000 === 0) {
    const seconds = Math.round((performance.now() - started) / 1000);
    console.log(
      `${number} requests, ${seconds} s, ${rssMiB()} MiB, slowest ${Math.round(receiver.slowestMs)} ms, ` +
        `longest stall of the event loop ${receiver.stallMs?.own.toFixed(1) ?? "?"} ms of CPU ` +
        `(${receiver.stallMs?.once.toFixed(1) ?? "?"} ms by chance)`,
    );
  }
}
console.log(Object.fromEntries([...statuses].sort(([a], [b]) => a - b)));
if (referee !== undefined) {
  const reasons = new Map<string, number>();
  for (const difference of referee.differences) {
    const { relay, collector, request } = difference;
    const reason = `relay ${relay}, Collector ${collector}: ${reasonOf(difference) ?? "UNKNOWN"}`;
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    if (reasonOf(difference) !== undefined) continue;
    console.error(reason, request.path, request.headers, Buffer.from(request.body).toString("hex"));
    process.exitCode = 1;
  }
  console.log(`${referee.asked} put to the Collector too; of ${referee.forwarded} it took what would be forwarded`);
  console.log("not answered alike:", Object.fromEntries(reasons));
}
