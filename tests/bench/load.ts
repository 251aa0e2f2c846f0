/**
 * The load generator, a process of its own: `load.ts URL TOKEN SHAPE SPANS CONNECTIONS LENGTH [REQUESTS_PER_SECOND [CERTS]]`.
 * LENGTH is a number of seconds, or of requests, such as `20000r`: the first quarter of those is not timed, or what this program takes to
 * set its connections up and to be compiled is what the slowest of a hundred tells of.
 * CERTS is a folder with a client certificate, shown to whoever asks for one. Prints one line of JSON.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type Autocannon from "./autocannon.d.ts";
import { makeBodies, type Shape } from "./bodies.ts";

// Pinned here and not in deno.json: an install of the relay would bring its 60 packages. So this program runs with `--no-lock`.
const AUTOCANNON: string = "npm:autocannon@9.0.0";
const { default: autocannon }: { default: typeof Autocannon } = await import(AUTOCANNON);

const [url = "", token = "", shape = "gzip", spans = "10", connections = "64", length = "5", rate = "", certs] = process
  .argv.slice(2);
const bodies = makeBodies(shape as Shape, Number(spans), Number(spans) >= 100 ? 100 : 500, Date.now());
const requests = bodies.map((body) => ({
  method: "POST" as const,
  path: "/v1/traces",
  headers: { ...body.headers, ...(token === "" ? {} : { authorization: `Bearer ${token}`, origin: "http://bench" }) },
  body: Buffer.from(body.bytes),
}));
const pem = (name: string) => readFileSync(join(certs ?? "", name));
const tlsOptions = certs === undefined
  ? undefined
  : { ca: pem("ca.crt"), cert: pem("client.crt"), key: pem("client.key"), servername: "localhost" };
const untimed = length.endsWith("r") ? Math.floor(Number(length.slice(0, -1)) / 4) : 0;
const tookMs: number[] = [];
let answered = 0;
let clients = 0;
const result = await autocannon({
  url,
  connections: Number(connections),
  ...(length.endsWith("r") ? { amount: Number(length.slice(0, -1)) } : { duration: Number(length) }),
  method: "POST",
  ...(rate === "" ? {} : { overallRate: Number(rate) }),
  ...(tlsOptions === undefined ? {} : { tlsOptions }),
  requests,
  // Each connection begins elsewhere, or all would send the same body at the same time.
  setupClient: (client) => {
    const start = (clients++ * 37) % requests.length;
    client.setRequests([...requests.slice(start), ...requests.slice(0, start)]);
    client.on("response", (_status, _bytes, ms) => {
      if (answered++ >= untimed) tookMs.push(ms);
    });
  },
});
tookMs.sort((one, other) => one - other);
const quantile = (share: number) => tookMs[Math.floor(tookMs.length * share)] ?? 0;
console.log(JSON.stringify({
  ok: result["2xx"],
  refused: result.non2xx,
  errors: result.errors,
  seconds: result.duration,
  p50Ms: quantile(0.5),
  p99Ms: quantile(0.99),
}));
