/** Loops that post numbered requests, each once, and write down what was answered 200. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { GrpcPost } from "./grpc_post.ts";
import { numberedRequest, type Poison } from "./numbered_spans.ts";
import { Random } from "./requests.ts";

export interface SendersOptions {
  readonly seed: number;
  /** The relay's, asked for each request. */
  readonly url: () => string;
  /** Where it takes gRPC: then protobuf goes there, and JSON by HTTP. */
  readonly grpcUrl?: () => string;
  /** Loops at once. */
  readonly senders?: number;
  readonly spansMax: number;
  /** The share of requests in which something is wrong. */
  readonly poisoned: number;
  /** What may be; that the far end refuses it for good unless given. */
  readonly poisons?: readonly Poison[];
}

const SENDERS = 6;
/** A sender gives up then; the relay's answers come long before. */
const SENDER_MS = 5_000;
/** The longest pause between two requests of a loop. */
const PAUSE_MS = 8;
const PAUSE_AFTER_FAILURE_MS = 20;
const ANSWERED_MS = 60_000;

export class NumberedSenders {
  /** Every id issued, and what is wrong with its request. */
  readonly spans = new Map<string, Poison | undefined>();
  /** Ids that were answered 200. */
  readonly written = new Set<string>();
  issued = 0;
  answered200 = 0;
  refused = 0;
  unanswered = 0;
  readonly #options: SendersOptions;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[];
  #changed = Promise.withResolvers<void>();

  constructor(options: SendersOptions) {
    this.#options = options;
    this.#loops = Array.from({ length: options.senders ?? SENDERS }, (_, sender) => this.#loop(sender));
  }

  /** Resolves when `count` requests in all have been answered 200. */
  async answered(count: number): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`${this.answered200} requests were answered 200, not ${count}, within ${ANSWERED_MS} ms`));
    }, ANSWERED_MS);
    try {
      while (this.answered200 < count) await Promise.race([this.#changed.promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends no more, and waits for what is under way. Rejects where the relay refused a good request for good. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async #loop(sender: number): Promise<void> {
    const { seed, url, grpcUrl, spansMax, poisoned, poisons = ["refused"] } = this.#options;
    const random = new Random(seed * 100 + sender);
    using client = Deno.createHttpClient({});
    await using byGrpc = new GrpcPost();
    for (let number = 0; !this.#stopping.signal.aborted; number++) {
      const request = numberedRequest(
        random,
        `s${sender}-${number}`,
        1 + random.below(spansMax),
        random.chance(poisoned) ? random.pick(poisons) : undefined,
      );
      for (const id of request.ids) this.spans.set(id, request.poison);
      this.issued++;
      const status = grpcUrl === undefined || request.headers["content-type"] === "application/json"
        ? await post(url(), request, client)
        : await byGrpc.post(grpcUrl(), request, SENDER_MS);
      if (status === 200) {
        for (const id of request.ids) this.written.add(id);
        this.answered200++;
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      } else if (status === undefined) {
        // The relay was killed before or while answering: the spans may have been kept or not.
        this.unanswered++;
      } else {
        assert([429, 503].includes(status), `the relay answered ${status} to a good request`);
        this.refused++;
      }
      await delay(status === 200 ? random.below(PAUSE_MS) : PAUSE_AFTER_FAILURE_MS);
    }
  }
}

/** Posts traces. The status, or undefined without an answer: the status line is what the promise hangs on. */
export async function post(
  url: string,
  request: { readonly body: Uint8Array<ArrayBuffer>; readonly headers: Readonly<Record<string, string>> },
  client: Deno.HttpClient,
): Promise<number | undefined> {
  try {
    const response = await fetch(`${url}/v1/traces`, {
      method: "POST",
      body: request.body,
      headers: request.headers,
      client,
      signal: AbortSignal.timeout(SENDER_MS),
    });
    await response.body?.cancel();
    return response.status;
  } catch {
    return undefined;
  }
}
