/**
 * The load generator for OTLP/gRPC, a process of its own, with the arguments and the line of `load.ts`: so many connections, each with
 * one call at a time. LENGTH is a number of requests, such as `20000r`; the first quarter is not timed, as there.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { GrpcClient } from "../support/far_end/grpc_client.ts";
import { makeBodies, type Shape } from "./bodies.ts";

const [url = "", token = "", shape = "gzip", spans = "10", connections = "64", length = "20000r", rate = ""] = process
  .argv.slice(2);
const bodies = makeBodies(shape as Shape, Number(spans), Number(spans) >= 100 ? 100 : 500, Date.now());
const compressed = shape === "gzip";
const metadata = [
  ["grpc-encoding", compressed ? "gzip" : "identity"],
  ["authorization", `Bearer ${token}`],
  ["grpc-timeout", "10S"],
  ["user-agent", "edgeferry-bench"],
] as const;
const wanted = Number(length.slice(0, -1));
/** Between two calls of a connection at the least, in ms. */
const paceMs = rate === "" ? 0 : 1_000 * Number(connections) / Number(rate);
const untimed = Math.floor(wanted / 4);
const took: number[] = [];
let made = 0;
let ok = 0;
let refused = 0;
let errors = 0;

async function oneConnection(number: number): Promise<void> {
  await using client = await GrpcClient.connect(url);
  // Each connection begins elsewhere, or all would send the same body at the same time.
  let due = performance.now() + paceMs * number / Number(connections);
  for (let next = number * 37; made < wanted; next++) {
    const timed = made++ >= untimed;
    const aheadMs = due - performance.now();
    if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs));
    due += paceMs;
    const began = performance.now();
    try {
      const { code } = await client.call(Buffer.from(bodies[next % bodies.length]!.bytes), { metadata, compressed });
      if (code === 0) ok++;
      else refused++;
    } catch {
      errors++;
      return;
    }
    if (timed) took.push(performance.now() - began);
  }
}

const began = performance.now();
await Promise.all(Array.from({ length: Number(connections) }, (_, number) => oneConnection(number)));
const seconds = (performance.now() - began) / 1_000;
took.sort((one, other) => one - other);
const quantile = (share: number) => took[Math.floor(took.length * share)] ?? 0;
console.log(JSON.stringify({ ok, refused, errors, seconds, p50Ms: quantile(0.5), p99Ms: quantile(0.99) }));
