/** An exporter between a queue of its own and an embedded Collector that is told how to behave, over mutual TLS. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type EmbeddedCollector, type Misbehaviour, startCollector } from "../../../src/collector/server.ts";
import type { Protocol } from "../../../src/config/exporter_settings.ts";
import type { Fault } from "../../../src/diagnosis/faults.ts";
import type { BreakerOptions } from "../../../src/exporter/breaker.ts";
import { CollectorClient } from "../../../src/exporter/client/client.ts";
import type { ClientIdentity } from "../../../src/exporter/client/transport.ts";
import { Exporter } from "../../../src/exporter/exporter.ts";
import type { ExporterEvents } from "../../../src/exporter/exporter.ts";
import type { Members, ProvedForm } from "../../../src/exporter/members.ts";
import type { Compression } from "../../../src/exporter/recode/recode.ts";
import { Recoder } from "../../../src/exporter/recode/recoder.ts";
import { SEAL_INFLATED_BYTES } from "../../../src/exporter/seal.ts";
import { decodeRequest } from "../../../src/otlp/decode.ts";
import { gzipMember } from "../../../src/codec/gzip.ts";
import { OwnedBytes } from "../../../src/codec/owned_bytes.ts";
import { unzstd } from "../../../src/codec/zstd.ts";
import { MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { bySignal, SIGNAL_NAMES, type SignalName, signalOf } from "../../../src/signal.ts";
import { Walker } from "../../../src/otlp/wire.ts";
import type { Submission } from "../../../src/queue/batcher.ts";
import { openQueue } from "../../../src/queue/open.ts";
import type { SendingQueue } from "../../../src/queue/queue.ts";
import { type TestCertificates, testCertificates } from "../files/certificates.ts";
import { encodeProtobuf, type TestMessage } from "../bodies/requests.ts";
import { queueThread } from "../threads/queue_threads.ts";

/** How long anything is waited for, in ms: far more than it takes, so that a fault ends as a message and not as a hang. */
const DEADLINE_MS = 120_000;

/** What has happened, and what is waited for. */
export class Journal<Entry> {
  readonly entries: Entry[] = [];
  readonly #watchers = new Set<() => void>();

  push(entry: Entry): void {
    this.entries.push(entry);
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Resolves with the first entry, past or to come, that fits. */
  async find(fits: (entry: Entry) => boolean, what: string): Promise<Entry> {
    await this.until(() => this.entries.some(fits), what);
    return this.entries.find(fits)!;
  }

  /** Resolves when `holds`, which is asked now and after each entry. */
  async until(holds: () => boolean, what: string): Promise<void> {
    if (holds()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watcher = () => holds() && resolve();
    this.#watchers.add(watcher);
    const timer = setTimeout(() => reject(new Error(`Waited ${DEADLINE_MS} ms for ${what}`)), DEADLINE_MS);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(watcher);
    }
  }
}

/** One request as it reached the Collector, whatever it answered. */
export interface Seen {
  readonly signal: SignalName;
  /** From 1. */
  readonly number: number;
  /** By `performance.now()`. */
  readonly at: number;
  /** Names of its spans, metrics or log records, in order. */
  readonly names: readonly string[];
  /** Length of the body as it came, in bytes. */
  readonly wireBytes: number;
  /** It is a question of the exporter's, without data: whether every gzip member is read, or an empty request is taken. */
  readonly probe: boolean;
  /** It came compressed. */
  readonly gzip: boolean;
  readonly zstd: boolean;
}

/** What the exporter told. */
export type Told =
  | { readonly event: "sent"; readonly signal: SignalName; readonly items: number; readonly requests: number }
  | { readonly event: "rejected"; readonly signal: SignalName; readonly items: number; readonly message: string }
  | {
    readonly event: "dead";
    readonly signal: SignalName;
    readonly items: number;
    readonly sender: string;
    readonly reason: string;
  }
  | {
    readonly event: "failed";
    readonly signal: SignalName;
    readonly fault: Fault;
    readonly cause: string;
    readonly failures: number;
    readonly retryMs: number;
  }
  | {
    readonly event: "apart";
    readonly signal: SignalName;
    readonly fault: Fault;
    readonly items: number;
    readonly sender: string;
    readonly cause: string;
    readonly failures: number;
    readonly retryMs: number;
  }
  | {
    readonly event: "suspected";
    readonly signal: SignalName;
    readonly fault: Fault;
    readonly items: number;
    readonly sender: string;
    readonly cause: string;
    readonly refusals: number;
    readonly retryMs: number;
  }
  | {
    readonly event: "sender refused";
    readonly signal: SignalName;
    readonly fault: Fault;
    readonly sender: string;
    readonly cause: string;
    readonly refusals: number;
    readonly retryMs: number;
  }
  | {
    readonly event: "looking";
    readonly signal: SignalName;
    readonly requests: number;
    readonly ms: number;
    readonly bounded: boolean;
  }
  | { readonly event: "silent"; readonly signal: SignalName; readonly fault: Fault }
  | { readonly event: "recovered"; readonly signal: SignalName; readonly failures: number }
  | { readonly event: "members"; readonly signal: SignalName; readonly form: ProvedForm; readonly members: Members };

export interface ExportingOptions {
  /** Made for it unless given. */
  readonly certs?: TestCertificates;
  readonly storage?: "sqlite" | "none";
  /** How the Collector misbehaves. */
  readonly misbehave?: (seen: Seen) => Misbehaviour | undefined;
  /** A request is answered only after what this resolves. */
  readonly hold?: (seen: Seen) => Promise<void> | undefined;
  readonly compression?: Compression;
  readonly consumers?: number;
  readonly batchBytesMax?: number;
  readonly deadLetterBytesMax?: number;
  readonly retry?: Partial<BreakerOptions>;
  readonly timeoutMs?: number;
  /** A header names the sender: the Collector tells senders apart. */
  readonly bySender?: boolean;
  readonly protocol?: Protocol;
  /** Instead of the embedded Collector. */
  readonly url?: string;
  /** Whether the exporter runs from the start; otherwise `start` is called. */
  readonly held?: boolean;
}

export interface Exporting extends AsyncDisposable {
  readonly certs: TestCertificates;
  readonly collector: EmbeddedCollector;
  readonly queue: SendingQueue;
  /** The durable queue's file. */
  readonly queuePath: string;
  readonly client: CollectorClient;
  readonly seen: Journal<Seen>;
  readonly told: Journal<Told>;
  /** The exporter, from `start` on. */
  readonly exporter: Exporter;
  /** Names that the Collector has accepted, in the order of their arrival. */
  readonly accepted: string[];
  start(): void;
  /** Resolves when nothing is queued any more. */
  emptied(): Promise<void>;
  /** Stops the Collector, and starts it again at the same port. */
  restartCollector(): Promise<void>;
}

/** Starts the ends and what is between them. */
export async function exporting(options: ExportingOptions = {}): Promise<Exporting> {
  await using stack = new AsyncDisposableStack();
  const certs = options.certs ?? stack.use(await testCertificates());
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-exporting-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const seen = new Journal<Seen>();
  const told = new Journal<Told>();
  const accepted: string[] = [];
  const open = (port: number): Promise<EmbeddedCollector> =>
    startCollector({
      host: "127.0.0.1",
      port,
      tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
      misbehave: async (signal, number, body) => {
        const entry = seenOf(signal, number, body);
        const misbehaviour = options.misbehave?.(entry);
        seen.push(entry);
        await options.hold?.(entry);
        return misbehaviour;
      },
      onReceived: ({ signal, body }) => accepted.push(...namesIn(signal, body)),
    });
  let collector = await open(0);
  stack.defer(() => collector.stop());
  const queue = stack.use(
    await openQueue({
      storage: options.storage ?? "sqlite",
      path: join(dir, "queue.db"),
      bytesMax: 1 << 30,
      deadLetterBytesMax: options.deadLetterBytesMax ?? 1 << 28,
      log: { warn: () => {}, error: () => {} },
      startThread: queueThread,
    }),
  );
  const client = clientFor(
    options.url ?? collector.url,
    {
      caCerts: [certs.ca.certificate],
      cert: certs.client.certificate,
      key: certs.client.key,
    },
    options.timeoutMs,
    true,
    options.protocol,
  );
  stack.defer(() => client.close());
  const recoder = stack.use(new Recoder({ recodesInline: assert.fail }));
  let exporter: Exporter | undefined;
  const start = () => {
    exporter = new Exporter({
      queue,
      target: 1,
      clients: bySignal(() => client),
      compression: bySignal(() => options.compression ?? "passthrough"),
      recoder,
      consumers: options.consumers ?? 4,
      batchBytesMax: options.batchBytesMax ?? 4 << 20,
      retry: { initialMs: 20, maxMs: 200, ...options.retry },
      ...(options.bySender === true ? { bySender: bySignal(() => true) } : {}),
      events: eventsInto(told),
    });
    void exporter.running.catch((error) => queueMicrotask(() => Promise.reject(error)));
  };
  stack.defer(() => exporter?.stop(0));
  if (options.held !== true) start();
  const held = stack.move();
  return {
    certs,
    queue,
    queuePath: join(dir, "queue.db"),
    client,
    seen,
    told,
    accepted,
    start,
    get collector() {
      return collector;
    },
    get exporter() {
      assert(exporter, "The exporter has been started");
      return exporter;
    },
    emptied: async () => {
      assert(exporter, "The exporter has been started");
      const deadline = performance.now() + DEADLINE_MS;
      for (;;) {
        const count = told.entries.length;
        await exporter.drain(DEADLINE_MS);
        const stats = await queue.stats();
        if (stats.records === 0) return;
        assert(performance.now() < deadline, `The queue did not empty: ${JSON.stringify(stats)}`);
        // The Collector does not take what is left: it is tried again, which is told.
        await told.until(() => told.entries.length > count, "another attempt");
      }
    },
    restartCollector: async () => {
      const { port } = collector;
      await collector.stop();
      collector = await open(port);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** A client of one base URL. */
export function clientFor(
  url: string,
  identity: ClientIdentity,
  timeoutMs = 10_000,
  http2 = true,
  protocol: Protocol = "http/protobuf",
): CollectorClient {
  return new CollectorClient({
    http2,
    protocol,
    identity,
    targets: bySignal((signal) => ({
      url: `${url}${protocol === "grpc" ? signalOf(signal).grpcPath : signalOf(signal).path}`,
      headers: { "x-test": signal },
      timeoutMs,
    })),
    userAgent: "OTel-OTLP-Exporter-test/1",
    idleConnectionsMax: 4,
  });
}

function eventsInto(told: Journal<Told>): ExporterEvents {
  return {
    sent: (signal, { items, requests }) => told.push({ event: "sent", signal, items, requests }),
    rejected: (signal, items, message) => told.push({ event: "rejected", signal, items, message }),
    deadLettered: (signal, items, sender, reason) => told.push({ event: "dead", signal, items, sender, reason }),
    failed: (signal, fault, detail) => told.push({ event: "failed", signal, fault, ...detail }),
    setApart: (signal, fault, detail) => told.push({ event: "apart", signal, fault, ...detail }),
    suspected: (signal, fault, detail) => told.push({ event: "suspected", signal, fault, ...detail }),
    senderRefused: (signal, fault, detail) => told.push({ event: "sender refused", signal, fault, ...detail }),
    looking: (signal, detail) => told.push({ event: "looking", signal, ...detail }),
    silent: (signal, fault) => told.push({ event: "silent", signal, fault }),
    recovered: (signal, failures) => told.push({ event: "recovered", signal, failures }),
    members: (signal, form, members) => told.push({ event: "members", signal, form, members }),
  };
}

function seenOf(signal: SignalName, number: number, body: Uint8Array): Seen {
  const gzip = body[0] === 0x1f && body[1] === 0x8b;
  const zstd = isZstd(body);
  let content = body;
  let probe = false;
  try {
    if (gzip) content = gunzipSync(body);
    if (zstd) content = unzstd(body, 1 << 26);
    const sealAlone = content.length === SEAL_INFLATED_BYTES && content[0] === 0xf8;
    probe = content.length === 0 || sealAlone || content.length === 2 && content[1] === 0x7f;
  } catch {
    // What is damaged is the Collector's to refuse.
    content = new Uint8Array(0);
  }
  const names = probe ? [] : namesIn(signal, content);
  return { signal, number, at: performance.now(), names, wireBytes: body.length, probe, gzip, zstd };
}

/** RFC 8878, 3.1.1: the magic number. */
export function isZstd(body: Uint8Array): boolean {
  return body[0] === 0x28 && body[1] === 0xb5 && body[2] === 0x2f && body[3] === 0xfd;
}

/** The names of spans, metrics and log records (their event name), in order. */
export function namesIn(signal: SignalName, content: Uint8Array): string[] {
  const names: string[] = [];
  JSON.stringify(decodeRequest(signal, content), (key, value: unknown) => {
    if (["name", "eventName", "originalPayloadFormat"].includes(key) && typeof value === "string") names.push(value);
    return value;
  });
  return names;
}

/** An export request of one resource for each list of names. */
export function requestOf(signal: SignalName, ...resources: readonly (readonly string[])[]): Uint8Array<ArrayBuffer> {
  const message: Record<SignalName, (names: readonly string[]) => TestMessage> = {
    traces: (names) => ({ scopeSpans: [{ spans: names.map((name) => ({ name, traceId: ID, spanId: ID.slice(8) })) }] }),
    metrics: (names) => ({
      scopeMetrics: [{ metrics: names.map((name) => ({ name, gauge: { dataPoints: [{ asInt: 1n }] } })) }],
    }),
    logs: (names) => ({ scopeLogs: [{ logRecords: names.map((eventName) => ({ eventName })) }] }),
    // A profile has no name but its original format's.
    profiles: (names) => ({
      scopeProfiles: [{ profiles: names.map((originalPayloadFormat) => ({ originalPayloadFormat, samples: [{}] })) }],
    }),
  };
  const field = MESSAGES[REQUEST_MESSAGE[signal]][0]!.name;
  return encodeProtobuf(REQUEST_MESSAGE[signal], {
    [field]: resources.map(message[signal]),
    ...(signal === "profiles" ? { dictionary: { stringTable: [""] } } : {}),
  });
}

const ID = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
const walker = new Walker();

/** A sender's request, as the receiver hands it on. */
export function submission(
  signal: SignalName,
  content: Uint8Array<ArrayBuffer>,
  options: { readonly sender?: string; readonly encoding?: "gzip" | "identity" } = {},
): Submission {
  const encoding = options.encoding ?? "gzip";
  const { items, mergeable } = walker.walk(signal, content);
  return {
    signal,
    encoding,
    mergeable,
    targets: [1],
    sender: options.sender ?? "test",
    items,
    inflatedBytes: content.length,
    payload: new OwnedBytes(encoding === "gzip" ? gzipMember(content) : content.slice()),
  };
}

/** Appends one request as a record of its own. */
export async function append(queue: SendingQueue, { signal, encoding, mergeable, targets, ...part }: Submission) {
  const { sender, items, inflatedBytes, payload } = part;
  const parts = [{ sender, items, inflatedBytes, bytes: payload.length }];
  return await queue.append({ signal, encoding, mergeable, targets, parts, payload });
}

/** Appends spans, each list of names as a request of its own. */
export async function appendSpans(queue: SendingQueue, ...requests: readonly (readonly string[])[]): Promise<void> {
  await Promise.all(requests.map((names) => append(queue, submission("traces", requestOf("traces", names)))));
}

/** The books of one signal, which must balance. */
export async function balanced(queue: SendingQueue, signal: SignalName) {
  const { abandoned, ...books } = (await queue.stats()).targets[0]!.books[signal];
  const { accepted, delivered, rejectedByCollector, deadLettered, expired, queued } = books;
  assert.equal(abandoned, 0);
  assert.equal(accepted, delivered + rejectedByCollector + deadLettered + expired + queued, JSON.stringify(books));
  return books;
}

/** The books of every signal balance. */
export async function allBalanced(queue: SendingQueue): Promise<void> {
  for (const signal of SIGNAL_NAMES) await balanced(queue, signal);
}
