/**
 * A Collector that is away for long: the queue grows to a size, and is drained by a start over it. By hand, with figures:
 * `deno run -A tests/e2e/backlog.ts --mib 1024`.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomFillSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { testCertificates } from "../support/files/certificates.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { post } from "../support/bodies/numbered_senders.ts";
import { readBooks } from "../support/relay/queue_file.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";

export interface BacklogFigures {
  readonly requests: number;
  readonly mib: number;
  /** Appends a second, near the beginning, the middle and the end. */
  readonly appendsPerSecond: readonly [number, number, number];
  /** Resident memory of the relay, in MiB: after each eighth of the backlog, and its peak. */
  readonly rssMib: { readonly eighths: readonly number[]; readonly peak: number };
  /** From the start over the backlog. */
  readonly drain: {
    readonly receivingAfterMs: number;
    /** Requests that were answered 200 while the backlog went, and the slowest of them. */
    readonly answeredMeanwhile: number;
    readonly slowestMs: number;
    readonly seconds: number;
    readonly rssPeakMib: number;
  };
}

const SENDERS = 8;
const BODY_BYTES = 64 * 1024;
const CONSUMERS = 4;
const BATCH_BYTES = 1024 * 1024;
/** So many are in one take, and so many takes are under way: nothing overtakes more than that. */
const OVERTAKEN_MAX = 2 * CONSUMERS * Math.ceil(BATCH_BYTES / BODY_BYTES);
const WARM_UP = 200;
const DRAIN_MS = 600_000;

/** Requests of one span each, of a size that gzip does not change, told apart by a number. */
class Bodies {
  readonly #template: Uint8Array<ArrayBuffer>;
  readonly #at: number;

  constructor() {
    const filler = Buffer.alloc(BODY_BYTES - 200);
    randomFillSync(filler);
    this.#template = encodeProtobuf("TracesRequest", {
      resourceSpans: [{
        scopeSpans: [{
          spans: [{
            traceId: new Uint8Array(16).fill(7),
            spanId: new Uint8Array(8).fill(7),
            name: nameOf(0),
            attributes: [{ key: "filler", value: { bytesValue: new Uint8Array(filler) } }],
          }],
        }],
      }],
    });
    this.#at = Buffer.from(this.#template.buffer).indexOf(nameOf(0));
  }

  request(number: number) {
    this.#template.set(new TextEncoder().encode(nameOf(number)), this.#at);
    return {
      body: new Uint8Array(gzipSync(this.#template, { level: 0 })),
      headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
    };
  }
}

function nameOf(number: number): string {
  return `backlog-${String(number).padStart(8, "0")}`;
}

/** Fills the queue, starts over it, drains it, and fails where something is lost or comes out of order. */
export async function runBacklog(options: { mib: number; say?: (line: string) => void }): Promise<BacklogFigures> {
  const { mib, say = () => {} } = options;
  const requests = Math.ceil(mib * 1024 * 1024 / BODY_BYTES);
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await farEnd.crash();
  await using relay = await RestartableRelay.start({
    certs,
    collectorUrl: farEnd.url,
    settings: {
      sending_queue: {
        num_consumers: CONSUMERS,
        queue_size: `${mib * 2 + 64}MiB`,
        batch: { max_size: BATCH_BYTES },
      },
      // A decoder of big messages that shares its cores with a test takes its time.
      exporter: { timeout: "60s" },
    },
  });
  const bodies = new Bodies();
  let number = 0;
  /** Posts up to a number, several at once; each must be answered 200. */
  const fillTo = async (end: number): Promise<number> => {
    const from = number;
    const started = performance.now();
    await Promise.all(Array.from({ length: SENDERS }, async () => {
      using client = Deno.createHttpClient({});
      while (number < end) assert.equal(await post(relay.url, bodies.request(number++), client), 200);
    }));
    return Math.round((number - from) / (performance.now() - started) * 1_000);
  };

  const eighths: number[] = [];
  const rates: number[] = [];
  const window = Math.floor(requests / 32);
  await fillTo(WARM_UP);
  for (let eighth = 1; eighth <= 8; eighth++) {
    const end = Math.floor(requests * eighth / 8);
    if (eighth === 1) rates.push(await fillTo(number + window));
    if (eighth === 5) rates.push(await fillTo(number + window));
    await fillTo(end - window);
    const last = await fillTo(end);
    if (eighth === 8) rates.push(last);
    eighths.push(memoryOf(relay.pid).rssMib);
  }
  const [first = 0, middle = 0, last = 0] = rates;
  const rssMib = { eighths, peak: memoryOf(relay.pid).peakMib };
  say(`queued ${mib} MiB: ${first}, ${middle}, ${last} appends a second; RSS ${JSON.stringify(rssMib)}`);
  assert.equal(readBooks(relay.queuePath).queued, requests);
  await relay.kill();

  await farEnd.revive();
  const started = performance.now();
  await relay.start();
  const receivingAfterMs = Math.round(performance.now() - started);
  const { meanwhile, slowestMs } = await sendMeanwhile(relay, bodies, requests);
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  const rssPeakMib = memoryOf(relay.pid).peakMib;
  await relay.stop();
  judge(farEnd, relay, requests, meanwhile);
  return {
    requests,
    mib,
    appendsPerSecond: [first, middle, last],
    rssMib,
    drain: { receivingAfterMs, answeredMeanwhile: meanwhile, slowestMs, seconds, rssPeakMib },
  };
}

/** New traffic while the backlog goes: each is answered 200, until all of the backlog has left. */
async function sendMeanwhile(relay: RestartableRelay, bodies: Bodies, backlog: number) {
  using client = Deno.createHttpClient({});
  const deadline = Date.now() + DRAIN_MS;
  let meanwhile = 0;
  let slowestMs = 0;
  for (;;) {
    const { delivered, queued } = readBooks(relay.queuePath);
    assert(Date.now() < deadline, `${queued} of the backlog are still queued after ${DRAIN_MS} ms`);
    if (delivered < backlog) {
      const asked = performance.now();
      assert.equal(await post(relay.url, bodies.request(backlog + meanwhile), client), 200);
      slowestMs = Math.max(slowestMs, Math.round(performance.now() - asked));
      meanwhile++;
    } else if (queued === 0) return { meanwhile, slowestMs };
    await delay(20);
  }
}

function judge(farEnd: FarEnd, relay: RestartableRelay, backlog: number, meanwhile: number): void {
  const order = farEnd.receipts.flatMap(({ spans }) => spans.map(({ id }) => Number(id.slice(-8))));
  const seen = new Set(order);
  assert.equal(seen.size, backlog + meanwhile);
  // The Collector was well all the while: nothing came twice.
  assert.equal(order.length, seen.size);
  let newest = 0;
  for (const number of order) {
    assert(number > newest - OVERTAKEN_MAX, `${number} came after ${newest}`);
    newest = Math.max(newest, number);
  }
  const { accepted, delivered, queued } = readBooks(relay.queuePath);
  assert.deepEqual({ accepted, delivered, queued }, { accepted: seen.size, delivered: seen.size, queued: 0 });
}

function memoryOf(pid: number): { rssMib: number; peakMib: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mib = (name: string) => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)![1]) / 1024);
  return { rssMib: mib("VmRSS"), peakMib: mib("VmHWM") };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { mib: { type: "string", default: "1024" } } });
  console.log(
    JSON.stringify(await runBacklog({ mib: Number(values.mib), say: (line) => console.error(line) }), null, 2),
  );
}
