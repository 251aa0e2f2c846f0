/**
 * The way out under soak, started by `grpc.ts` as a child: calls of `GrpcTransport`, as the exporter makes them, against a far end that ends
 * its connections. A line "load" or "idle" on its standard input says how it calls from then on, "aged" that it waits between its calls.
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { GrpcTransport } from "../../src/exporter/client/grpc_transport.ts";
import { signalOf } from "../../src/signal.ts";
import { counter } from "./counter.ts";

const { values: flags } = parseArgs({
  options: {
    port: { type: "string" },
    lanes: { type: "string", default: "32" },
    ca: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    mutual: { type: "boolean", default: false },
  },
});

/** How long a call is waited for, in ms: a far end under load leaves calls open until the connection's end, which may be far. */
const CALL_MS = 1_500;
/** Longer than the far end keeps a connection that is idle, in ms. */
const AGED_MS = 1_700;

const STATES = ["idle", "load", "aged"] as const;
let state: typeof STATES[number] = "idle";
process.stdin.on("data", (chunk: Buffer) => {
  state = STATES.findLast((each) => chunk.includes(each)) ?? state;
});

const counts = counter();
const plain = Buffer.concat([randomBytes(750), Buffer.alloc(750)]);
const BODIES = [
  { encoding: "identity", body: new Uint8Array(plain) },
  { encoding: "gzip", body: new Uint8Array(gzipSync(plain)) },
] as const;
const url = `${flags.ca === undefined ? "http" : "https"}://localhost:${flags.port}${signalOf("traces").grpcPath}`;
const identity = {
  caCerts: flags.ca === undefined ? [] : [readFileSync(flags.ca, "utf8")],
  ...(flags.mutual && flags.cert !== undefined && flags.key !== undefined
    ? { cert: readFileSync(flags.cert, "utf8"), key: readFileSync(flags.key, "utf8") }
    : {}),
};
const at = { address: "127.0.0.1", port: Number(flags.port) };

/** @returns whether it was answered. */
async function call(transport: GrpcTransport): Promise<boolean> {
  const { encoding, body } = BODIES[counts.calls++ % 2]!;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), CALL_MS);
  try {
    const { status } = await transport.post({
      signal: "traces",
      url,
      headers: {},
      body,
      encoding,
      timeoutMs: CALL_MS,
      abort: abort.signal,
    });
    if (status === 200) counts.answered++;
    else counts.failed++;
    return true;
  } catch {
    // Its connection was ended, or the far end is being started anew.
    counts.aborted++;
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** One transport, until some of its connections have been ended. */
async function use(transport: GrpcTransport): Promise<void> {
  if (state === "load") {
    await Promise.all(Array.from({ length: 6 }, async () => {
      for (let made = 0; made < 8; made++) if (!await call(transport)) await pause(2);
    }));
    return;
  }
  for (let made = 0; made < 16; made++) {
    if (!await call(transport)) await pause(2);
    else await pause(state === "aged" && made === 12 ? AGED_MS : made % 4);
  }
}

await Promise.all(Array.from({ length: Number(flags.lanes) }, async () => {
  for (;;) {
    const transport = new GrpcTransport({ identity, userAgent: "edgeferry-soak", at });
    await use(transport);
    transport.close();
  }
}));
