/** The relay dies once between each two steps of a record's way: written, synced, answered, sent, settled. */
import assert from "node:assert/strict";
import { type EmbeddedCollector, type Misbehaviour, startCollector } from "../../src/collector/server.ts";
import { decodeRequest } from "../../src/otlp/decode.ts";
import type { Fault } from "../../src/queue/sqlite/injected_faults.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { collectorTls } from "../support/far_end/far_end.ts";
import { post } from "../support/bodies/numbered_senders.ts";
import { arrivedSpans, type NumberedRequest, numberedRequest } from "../support/bodies/numbered_spans.ts";
import { readBooks } from "../support/relay/queue_file.ts";
import { Random } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { injectAtSync } from "../support/tools/strace.ts";
import { drained } from "./crash_oracle.ts";

/** The Collector in this process, which can act between the relay's steps. */
interface Watched extends AsyncDisposable {
  readonly url: string;
  /** How often each span has arrived, accepted. */
  readonly arrived: Map<string, number>;
  /** Called with each request that has spans, before it is accepted. */
  onRequest: () => Misbehaviour | undefined;
  /** Called when one has been accepted, before it is answered. */
  onAccepted: () => void;
}

async function watchedCollector(certsDir: string): Promise<Watched> {
  const arrived = new Map<string, number>();
  const collector: EmbeddedCollector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: await collectorTls(certsDir),
    misbehave: () => watched.onRequest(),
    onReceived: ({ signal, body }) => {
      for (const { id, intact } of arrivedSpans(decodeRequest(signal, body))) {
        assert(intact);
        arrived.set(id, (arrived.get(id) ?? 0) + 1);
      }
      watched.onAccepted();
    },
  });
  const watched: Watched = {
    url: collector.url,
    arrived,
    onRequest: () => undefined,
    onAccepted: () => {},
    [Symbol.asyncDispose]: () => collector.stop(),
  };
  return watched;
}

interface Outcome {
  /** The status of the request that was under way at the crash; undefined without one. */
  readonly status: number | undefined;
  /** How often its spans arrived in all: the same for each of them. */
  readonly arrivals: number;
}

interface Point {
  readonly name: string;
  /** A fault in the queue's transactions. */
  readonly fault?: Fault;
  /** A kill at a moment that is seen from outside. */
  readonly kill?: "syncing" | "answered" | "requested" | "accepted";
  readonly expected: Outcome;
}

const append = { act: "kill", only: "append", nth: 1 } as const;
const settle = { act: "kill", only: "settle", nth: 1 } as const;

const POINTS: readonly Point[] = [
  {
    name: "the transaction has begun, nothing is written",
    fault: { ...append, point: "begun" },
    expected: { status: undefined, arrivals: 0 },
  },
  {
    name: "the rows are written, not committed",
    fault: { ...append, point: "written" },
    expected: { status: undefined, arrivals: 0 },
  },
  // After kill -9 the page cache keeps what was written. It was not answered, so either would be right.
  { name: "committed, not synced", kill: "syncing", expected: { status: undefined, arrivals: 1 } },
  {
    name: "committed and synced, not answered",
    fault: { ...append, point: "committed" },
    expected: { status: undefined, arrivals: 1 },
  },
  {
    name: "the mark is written, not answered",
    fault: { ...append, point: "marked" },
    expected: { status: undefined, arrivals: 1 },
  },
  { name: "answered, not sent", kill: "answered", expected: { status: 200, arrivals: 1 } },
  { name: "sent, not accepted", kill: "requested", expected: { status: 200, arrivals: 1 } },
  { name: "accepted, its answer not read", kill: "accepted", expected: { status: 200, arrivals: 2 } },
  { name: "sent, settling has begun", fault: { ...settle, point: "begun" }, expected: { status: 200, arrivals: 2 } },
  {
    name: "sent, the settle not committed",
    fault: { ...settle, point: "written" },
    expected: { status: 200, arrivals: 2 },
  },
  { name: "the settle committed", fault: { ...settle, point: "committed" }, expected: { status: 200, arrivals: 1 } },
  { name: "the settle's mark written", fault: { ...settle, point: "marked" }, expected: { status: 200, arrivals: 1 } },
];

Deno.test("a crash between any two steps loses nothing that was answered", async (t) => {
  await using certs = await testCertificates();
  const random = new Random(41);
  for (const { name, fault, kill, expected } of POINTS) {
    await t.step(name, async () => {
      await using collector = await watchedCollector(certs.dir);
      await using relay = await RestartableRelay.start(
        { certs, collectorUrl: collector.url },
        fault === undefined ? {} : { faults: [fault] },
      );
      await using _strace = kill === "syncing"
        ? await injectAtSync(relay.pid, `${relay.queuePath}-wal`, "signal=SIGKILL")
        : undefined;
      const request = numberedRequest(random, "point", 5);
      const status = await crashAt(kill, collector, relay, request);
      assert.equal(status, expected.status);
      assert.equal((await relay.ended()).signal, "SIGKILL");
      await relay.start();
      await drained(relay, 20_000);
      await relay.stop();

      assert.deepEqual([...collector.arrived.keys()].sort(), expected.arrivals === 0 ? [] : [...request.ids].sort());
      assert(
        collector.arrived.values().every((times) => times === expected.arrivals),
        `${[...collector.arrived.values()]}`,
      );
      const kept = expected.arrivals > 0 ? request.ids.length : 0;
      const { accepted, delivered, queued, dead } = readBooks(relay.queuePath);
      assert.deepEqual({ accepted, delivered, queued, dead }, { accepted: kept, delivered: kept, queued: 0, dead: 0 });
    });
  }
});

/** Posts the request, and kills the relay at the moment, unless its own fault does. Resolves with the request's status. */
async function crashAt(
  kill: Point["kill"],
  collector: Watched,
  relay: RestartableRelay,
  request: NumberedRequest,
): Promise<number | undefined> {
  using client = Deno.createHttpClient({});
  const answered = Promise.withResolvers<void>();
  let killed = false;
  const strike = () => {
    if (killed) return;
    killed = true;
    relay.signal("SIGKILL");
  };
  // The Collector holds the exporter back until the sender has its answer: then the moments come in order.
  if (kill === "answered") collector.onRequest = () => killed ? undefined : { kind: "silence" };
  if (kill === "requested") {
    collector.onRequest = () => {
      if (killed) return undefined;
      void answered.promise.then(strike);
      return { kind: "silence" };
    };
  }
  if (kill === "accepted") {
    collector.onRequest = () => killed || released ? undefined : { kind: "status", status: 503 };
    collector.onAccepted = strike;
  }
  let released = false;
  const status = await post(relay.url, request, client);
  released = true;
  answered.resolve();
  if (kill === "answered") strike();
  return status;
}
