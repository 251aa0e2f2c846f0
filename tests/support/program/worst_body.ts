/**
 * Prepares one body of `worst.ts`, by its number, as the relay does, and prints what that took: a process of its own, so that no
 * other body's memory counts.
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { Refusal } from "../../../src/errors.ts";
import { Redactor } from "../../../src/otlp/rewrite/redaction.ts";
import { encodeResourceAttributes } from "../../../src/otlp/rewrite/resource_attributes.ts";
import type { BodyForm } from "../../../src/receiver/preparation.ts";
import { Preparer } from "../../../src/receiver/preparer.ts";
import { coded, LIMIT, WORST_BODIES } from "../bodies/worst.ts";

/** What one body took. */
export interface Took {
  /** The refusal's code; absent where it was taken. */
  readonly refused?: string;
  readonly bodyBytes: number;
  /** The longest of the request before and after the relay has changed it. */
  readonly inflatedBytes: number;
  /** The longest that the event loop was held, in ms of its thread's CPU: a busy machine does not count. */
  readonly stallMs: number;
  /** How long the sender waits for it, in ms. */
  readonly tookMs: number;
  /** The most memory beside what there was before, with the body as it was received, in bytes. */
  readonly memoryBytes: number;
}

const worst = WORST_BODIES[Number(process.argv[2])]!;
const { signal = "traces", mediaType = "application/x-protobuf", encoding = "identity", rule, attributes } = worst;
const fail = (cause: string): never => {
  throw new Error(cause);
};
const preparer = new Preparer({
  payloadEncoding: "gzip",
  bounds: { resourcesMax: 50_000, messagesMax: 2_000_000 },
  redactor: rule && new Redactor({ rules: [rule], salt: "salt", dryRun: false }),
}, { threadless: fail, crashed: fail });
const form = (over: Partial<BodyForm> = {}): BodyForm => ({ signal, mediaType, encoding, bytesMax: LIMIT, ...over });
// The thread is there before the body is.
await preparer.prepare(
  form({ signal: "traces", mediaType: "application/x-protobuf", encoding: "identity" }),
  "first",
  new Uint8Array([0x0a, 0x84, 0x80, 0x20, 0x1a, 0x80, 0x80, 0x20, ...new Uint8Array(1 << 19)]),
);
const content = worst.content();
let inflatedBytes = content.length;
const body = coded(encoding, content);
const bodyBytes = body.length;
content.buffer instanceof ArrayBuffer && content.buffer !== body.buffer && content.buffer.transfer(0);
await new Promise((resolve) => setTimeout(resolve, 200));
const before = process.memoryUsage().rss;
// Resets the peak (proc(5), clear_refs).
writeFileSync("/proc/self/clear_refs", "5");

const cpuMs = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ", 1)[0]) / 1e6;
let last = cpuMs();
let stallMs = 0;
const look = () => {
  const now = cpuMs();
  stallMs = Math.max(stallMs, now - last);
  last = now;
};
const ticking = setInterval(look, 1);
const started = performance.now();
let refused: string | undefined;
try {
  const prepared = await preparer.prepare(
    form(attributes === true ? { resourceAttributes: encodeResourceAttributes({ tenant: "blue", tier: "gold" }) } : {}),
    "sender",
    body,
  );
  inflatedBytes = Math.max(inflatedBytes, prepared.inflatedBytes);
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  refused = error.code;
  if (error.message.includes("writes into it") || error.message.includes("as protobuf")) inflatedBytes = LIMIT;
}
const tookMs = performance.now() - started;
look();
clearInterval(ticking);
preparer[Symbol.dispose]();
const peakKiB = Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))![1]);
const memoryBytes = peakKiB * 1024 - before + bodyBytes;
const took: Took = {
  ...(refused === undefined ? {} : { refused }),
  bodyBytes,
  inflatedBytes,
  stallMs,
  tookMs,
  memoryBytes,
};
console.log(JSON.stringify(took));
