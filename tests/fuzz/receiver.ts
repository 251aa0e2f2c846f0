/** The receiver as the relay wires it, with a queue that takes everything and checks what it is given. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { Hono } from "hono";
import { UNBOUNDED } from "../../src/otlp/bounds.ts";
import { decodeStatus, decodeSuccess } from "../../src/otlp/response.ts";
import { Walker } from "../../src/otlp/wire.ts";
import type { Submission } from "../../src/queue/batcher.ts";
import { Shares } from "../../src/queue/shares.ts";
import { Deadlines } from "../../src/receiver/deadlines.ts";
import { Admission } from "../../src/receiver/admission.ts";
import { mountReceiver } from "../../src/receiver/app.ts";
import { Preparer } from "../../src/receiver/preparer.ts";
import { INSECURE } from "../../src/receiver/senders/authenticator.ts";
import { Limiter } from "../../src/receiver/limiter.ts";
import { RetryAfter } from "../../src/receiver/retry_after.ts";
import type { FuzzRequest } from "./requests.ts";

/** What came of one request. */
export interface Outcome {
  readonly status: number;
  /** What would be forwarded; undefined where nothing is. */
  readonly payload: Uint8Array<ArrayBuffer> | undefined;
}

/** Statuses that a request may be answered with, whatever it is: no 5xx among them. */
const STATUSES = new Set([200, 400, 404, 405, 413, 415]);
const BODY_BYTES_MAX = 1 << 20;
/** How long one request may take, in ms; far more than any takes. */
const REQUEST_MS_MAX = 5_000;

/** From here on a stall is looked at again: the collector's, or a busy machine's, does not come back with the same request. */
const STALL_MS = 20;

/** What Linux says of the CPU time of this thread, in ms: a busy machine does not count. */
function threadCpuMs(): number | undefined {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ", 1)[0]) / 1e6;
  } catch {
    return undefined;
  }
}

/** Asks the app, without a socket, and holds every answer to what is promised of all. */
export class FuzzReceiver implements Disposable {
  readonly #app = new Hono();
  readonly #walker = new Walker();
  readonly #admission = new Admission(1 << 22);
  readonly #preparer = new Preparer({ payloadEncoding: "gzip", bounds: UNBOUNDED }, {
    threadless: (cause) => assert.fail(cause),
    crashed: (cause) => assert.fail(cause),
  });
  #submission: (Omit<Submission, "payload"> & { readonly payload: Uint8Array<ArrayBuffer> }) | undefined;
  #failed: unknown;
  #unrecognised = false;
  #slowestMs = 0;
  #stallMs = 0;
  #onceMs = 0;
  #asked = 0;

  constructor() {
    mountReceiver(this.#app, {
      authenticator: INSECURE,
      admission: this.#admission,
      limits: { bodyBytesMax: BODY_BYTES_MAX, deadlines: new Deadlines(REQUEST_MS_MAX) },
      retryAfter: new RetryAfter({ maxMs: 5_000 }),
      limiter: new Limiter({ defaults: {}, queueBytesMax: 1 << 30, shares: new Shares(Date.now) }),
      preparer: this.#preparer,
      targetsFor: () => [1],
      admits: () => undefined,
      append: ({ payload, ...submission }) => {
        this.#submission = { ...submission, payload: payload.take() };
        return Promise.resolve({});
      },
      events: {
        accepted() {},
        unrecognised: () => void (this.#unrecognised = true),
        redacted() {},
        refused() {},
        failed: (error) => void (this.#failed = error),
      },
      allowedOrigins: ["https://app.example"],
    });
  }

  /** The longest that a request has taken, in ms. */
  get slowestMs(): number {
    return this.#slowestMs;
  }

  [Symbol.dispose](): void {
    this.#preparer[Symbol.dispose]();
  }

  /**
   * The most CPU that the event loop's thread has spent on one request without a turn for others, in ms; undefined off Linux. `own`: the
   * least of three times, which is the request's own; `once`: with what came by chance, such as a run of V8's collector.
   */
  get stallMs(): { readonly own: number; readonly once: number } | undefined {
    return threadCpuMs() === undefined ? undefined : { own: this.#stallMs, once: this.#onceMs };
  }

  async ask(fuzz: FuzzRequest): Promise<Outcome> {
    // As between requests that come over a socket: zlib's streams are closed in a turn of their own.
    if (++this.#asked % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    const first = await this.#put(fuzz);
    let own = first.cpuMs;
    for (let again = 0; again < 2 && own > STALL_MS; again++) own = Math.min(own, (await this.#put(fuzz)).cpuMs);
    this.#onceMs = Math.max(this.#onceMs, first.cpuMs);
    this.#stallMs = Math.max(this.#stallMs, own);
    return first.outcome;
  }

  async #put(fuzz: FuzzRequest): Promise<{ readonly outcome: Outcome; readonly cpuMs: number }> {
    this.#submission = undefined;
    this.#failed = undefined;
    this.#unrecognised = false;
    const bodiless = fuzz.method === "GET" || fuzz.method === "HEAD";
    const request = new Request(`http://127.0.0.1${fuzz.path}`, {
      method: fuzz.method,
      headers: fuzz.headers.map(([name, value]): [string, string] => [name, value]),
      // Its own, which it may give away.
      ...(bodiless ? {} : { body: fuzz.body.slice() }),
    });
    const started = performance.now();
    const before = threadCpuMs() ?? 0;
    const answering = this.#app.fetch(request);
    // What is prepared at once is done when the promises that are ready have run.
    const response = await answering;
    const cpuMs = (threadCpuMs() ?? 0) - before;
    const tookMs = performance.now() - started;
    this.#slowestMs = Math.max(this.#slowestMs, tookMs);
    assert(tookMs < REQUEST_MS_MAX, `a request took ${tookMs} ms`);
    assert.equal(this.#failed, undefined, "no defect");
    assert.equal(this.#admission.bytes, 0, "all room is given back");
    const { status } = response;
    // A preflight of an origin that may not send is refused.
    const preflight = fuzz.method === "OPTIONS" && (status === 204 || status === 403);
    assert(STATUSES.has(status) || preflight, `status ${status}`);
    const body = new Uint8Array(await response.arrayBuffer());
    const type = response.headers.get("content-type");
    if (status === 200) {
      const partial = decodeSuccess(fuzz.signal, type, body);
      assert.equal(partial?.rejected, this.#unrecognised ? 0 : undefined);
    } else if (fuzz.method !== "HEAD" && !preflight) {
      const content = response.headers.get("content-encoding") === "gzip" ? gunzipSync(body) : body;
      assert.notEqual(decodeStatus(type, content), "", "a refusal says why");
    }
    return { outcome: { status, payload: this.#kept(status) }, cpuMs };
  }

  /** What was kept is one whole member, walks, and has the items that it was counted with. */
  #kept(status: number): Uint8Array<ArrayBuffer> | undefined {
    const submission = this.#submission;
    if (submission === undefined) return undefined;
    assert.equal(status, 200, "what is kept is answered 200");
    const content = gunzipSync(Buffer.from(submission.payload));
    assert.equal(content.length, submission.inflatedBytes);
    const { items, mergeable } = this.#walker.walk(submission.signal, content);
    assert.deepEqual([items, mergeable], [submission.items, submission.mergeable]);
    return submission.payload;
  }
}
