/**
 * What the clients under soak have in common: their flags, their requests and how many connections they open.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { framed } from "./message.ts";

export const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    port: { type: "string" },
    connections: { type: "string", default: "1000" },
    concurrency: { type: "string", default: "16" },
    load: { type: "boolean", default: false },
    calls: { type: "string", default: "0" },
    ca: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    mutual: { type: "boolean", default: false },
    guarded: { type: "boolean", default: false },
  },
});

/** How long a call, or an end, is waited for, in ms. */
export const CALL_MS = 10_000;
export const callsEach = Number(flags.calls);

const body = Buffer.concat([randomBytes(750), Buffer.alloc(750)]);

/** One message in both encodings. */
export const MESSAGES = [
  { encoding: "identity", bytes: framed(0, body) },
  { encoding: "gzip", bytes: framed(1, gzipSync(body)) },
] as const;

/** Options of TLS; undefined without it. */
export const TLS = flags.ca === undefined ? undefined : {
  ca: readFileSync(flags.ca),
  servername: "localhost",
  ...(flags.mutual && flags.cert !== undefined && flags.key !== undefined
    ? { cert: readFileSync(flags.cert), key: readFileSync(flags.key) }
    : {}),
};

/** Opens `--connections`, `--concurrency` at a time, and says when they are through. */
export async function openAll(one: () => Promise<void>): Promise<void> {
  const wanted = Number(flags.connections);
  let opened = 0;
  await Promise.all(Array.from({ length: Number(flags.concurrency) }, async () => {
    while (opened < wanted) {
      opened++;
      await one();
    }
  }));
  console.log(JSON.stringify({ done: true }));
}
