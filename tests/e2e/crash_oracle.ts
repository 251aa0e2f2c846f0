/**
 * The crash oracle: senders issue numbered spans and write down every 200; the relay is killed at random moments and starts
 * again at once; the Collector is crashed, frozen and told to misbehave. At the end every span written down is at the far end or
 * in the dead letters, as it was sent, and the books balance. By hand:
 * `deno run -A tests/e2e/crash_oracle.ts --kills 200 --seed 7 [--far-end embedded|real] [--targets 2] [--out grpc] [--in grpc]`.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Protocol } from "../../src/config/exporter_settings.ts";
import { decodeRequest } from "../../src/otlp/decode.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { type FreezingProxy, startFreezingProxy } from "../support/far_end/freezing_proxy.ts";
import { type FarEnd, startEmbeddedFarEnd, startRealFarEnd, type Trouble } from "../support/far_end/far_end.ts";
import { NumberedSenders, post } from "../support/bodies/numbered_senders.ts";
import { arrivedSpans, numberedRequest, type Poison } from "../support/bodies/numbered_spans.ts";
import { countRows, readBooks, readDeadLetters } from "../support/relay/queue_file.ts";
import { Random } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { BATCH_BYTES, CONSUMERS, SPANS_MAX } from "./oracle_load.ts";

export interface OracleOptions {
  readonly kills: number;
  /** The schedule and all payloads follow from it. */
  readonly seed: number;
  readonly farEnd: FarEnd["name"];
  /** With two, everything goes to each of two Collectors, and one of them is struck at a time. */
  readonly targets?: 1 | 2;
  /** What the relay speaks to the Collectors; `grpc` to the real one alone. `http/protobuf` unless given. */
  readonly out?: Protocol;
  /** What senders speak: with `grpc` all but JSON goes by it. `http` unless given. */
  readonly in?: "http" | "grpc";
  readonly say?: (line: string) => void;
}

/** What a run came to. */
export interface OracleFigures {
  readonly kills: number;
  /** Times the relay was killed before it had begun to receive. */
  readonly killsDuringStart: number;
  readonly troubles: Readonly<Record<string, number>>;
  readonly requests: {
    readonly issued: number;
    readonly answered200: number;
    readonly refused: number;
    readonly unanswered: number;
  };
  readonly spans: {
    readonly issued: number;
    readonly answered: number;
    readonly delivered: number;
    readonly dead: number;
    /** Receipts of a span after its first. */
    readonly duplicates: number;
    readonly duplicatesMax: number;
  };
  /** The same at the second Collector, where there are two. */
  readonly ofSecond?: Pick<OracleFigures["spans"], "delivered" | "dead" | "duplicates" | "duplicatesMax">;
  readonly seconds: number;
}

const POISONED = 0.01;
/** Requests that each start answers before it is killed. */
const ANSWERED_EACH_MIN = 10;
const DRAIN_MS = 120_000;
/** As the relay's configuration has it. */
const EXPORTER_TIMEOUT_MS = 2_000;

/** What was in a socket when the relay or the far end came back may be taken so much later, in ms. */
const LATE_MS = 500;

/** What happens to the far end in one cycle. */
type Blow =
  | { readonly kind: "none" }
  | { readonly kind: "trouble"; readonly trouble: Trouble; readonly forMs: number }
  | { readonly kind: "freeze" | "crash"; readonly forMs: number }
  /** Another server comes in its place, that reads the first gzip member alone. */
  | { readonly kind: "impostor"; readonly absentMs: number; readonly forMs: number }
  /** The open connections to it go silent. */
  | { readonly kind: "silent connections" }
  /** The relay's clock is set. */
  | { readonly kind: "clock"; readonly byMs: number };

interface Cycle {
  readonly blow: Blow;
  readonly blowAfterMs: number;
  readonly killAfterMs: number;
  /** Killed again so long after its start, undefined: not. */
  readonly killStartAfterMs: number | undefined;
}

/** A time in which acknowledgements can be lost, in ms since the Unix epoch: only there may a span begin to arrive twice. */
interface Loss {
  readonly from: number;
  until: number;
}

/** Runs it, and fails where the promise is broken. */
export async function runOracle(options: OracleOptions): Promise<OracleFigures> {
  const { seed, kills, out = "http/protobuf", say = () => {} } = options;
  const urlOf = (end: FarEnd): string => {
    const url = out === "grpc" ? end.grpcUrl : end.url;
    assert(url !== undefined, "The embedded Collector does not speak gRPC");
    return url;
  };
  const started = performance.now();
  await using certs = await testCertificates();
  await using farEnds = new AsyncDisposableStack();
  const startFarEnd = async (dir: string): Promise<FarEnd> =>
    farEnds.use(
      options.farEnd === "real" ? await startRealFarEnd(certs) : await startEmbeddedFarEnd(certs, dir),
    );
  const farEnd = await startFarEnd(certs.dir);
  const secondDir = join(certs.dir, "second");
  await mkdir(secondDir);
  const second = options.targets === 2 ? await startFarEnd(secondDir) : undefined;
  await using proxy = await startFreezingProxy(Number(new URL(urlOf(farEnd)).port));
  const clockFile = join(certs.dir, "clock");
  await writeFile(clockFile, "0");
  await using relay = await RestartableRelay.start({
    certs,
    collectorUrl: `https://localhost:${proxy.port}`,
    clockFile,
    settings: {
      ...(options.in === "grpc" ? { receiver: { grpc: { endpoint: "127.0.0.1:0" } } } : {}),
      sending_queue: { num_consumers: CONSUMERS, batch: { max_size: BATCH_BYTES } },
      ...(second === undefined ? { exporter: { protocol: out } } : {
        exporters: { first: { protocol: out }, second: { protocol: out, endpoint: urlOf(second) } },
        routes: [{ exporters: ["first", "second"] }],
      }),
    },
  });
  const poisons: readonly Poison[] = options.farEnd === "real"
    ? ["refused", "fails"]
    : ["refused", "refused", "fails", "cuts", "empties"];
  const senders = new NumberedSenders({
    seed,
    url: () => relay.url,
    ...(options.in === "grpc" ? { grpcUrl: () => relay.grpcUrl } : {}),
    spansMax: SPANS_MAX,
    poisoned: POISONED,
    poisons,
  });
  const random = new Random(seed);
  const losses: Loss[] = [];
  const troubles: Record<string, number> = {};
  let killsDuringStart = 0;
  try {
    for (let kill = 1; kill <= kills;) {
      const cycle = plan(random, options.farEnd);
      const name = nameOf(cycle.blow);
      troubles[name] = (troubles[name] ?? 0) + 1;
      say(`kill ${kill}: after ${cycle.killAfterMs} ms, ${name}`);
      const end = second !== undefined && random.chance(0.5) ? second : farEnd;
      const struck = strike({ farEnd: end, proxy, clockFile }, cycle, losses);
      // However slow the machine is, each start has something to lose.
      await senders.answered(senders.answered200 + ANSWERED_EACH_MIN);
      await delay(cycle.killAfterMs);
      const loss: Loss = { from: Date.now(), until: Infinity };
      losses.push(loss);
      await relay.kill();
      kill++;
      if (cycle.killStartAfterMs !== undefined && kill <= kills) {
        relay.launch();
        await delay(cycle.killStartAfterMs);
        await relay.kill();
        kill++;
        killsDuringStart++;
      }
      await relay.start();
      loss.until = Date.now();
      await struck;
    }
    // Nothing ever arrives twice before the first loss; some time without one at the end shows that all is well again.
    await delay(300);
  } finally {
    await senders.stop();
  }
  say("draining");
  await writeFile(clockFile, "0");
  await farEnd.mend();
  await second?.mend();
  await drainedBesideOthers(relay, senders, seed);
  await relay.stop();

  const figures = judge({ relay, farEnd, target: second === undefined ? undefined : "first", senders, losses });
  const ofSecond = second && judge({ relay, farEnd: second, target: "second", senders, losses });
  const { issued, answered200, refused, unanswered } = senders;
  return {
    kills,
    killsDuringStart,
    troubles,
    requests: { issued, answered200, refused, unanswered },
    spans: { issued: senders.spans.size, answered: senders.written.size, ...figures },
    ...(ofSecond === undefined ? {} : { ofSecond }),
    seconds: Math.round((performance.now() - started) / 100) / 10,
  };
}

function plan(random: Random, farEnd: FarEnd["name"]): Cycle {
  const forMs = 100 + random.below(700);
  const blow = random.pick<() => Blow>([
    () => ({ kind: "none" }),
    ...[429, 503, 500, 401].map((status) => () => ({
      kind: "trouble" as const,
      trouble: { kind: "status" as const, status, ...(status === 429 ? { retryAfterS: 1 } : {}) },
      forMs,
    })),
    // Beyond the exporter's timeout of 2 s now and then.
    () => ({ kind: "freeze", forMs: 100 + random.below(2_600) }),
    () => ({ kind: "crash", forMs: random.below(600) }),
    () => ({ kind: "silent connections" }),
    () => ({ kind: "clock", byMs: (random.chance(0.5) ? -1 : 1) * (1_000 + random.below(20_000)) }),
    // Refuses everything: an empty request too where it is embedded; the real one takes that.
    () => ({ kind: "trouble", trouble: { kind: "status", status: 400 }, forMs }),
    // What the real Collector's server cannot be told.
    ...(farEnd === "real" ? [] : [
      () => ({ kind: "trouble" as const, trouble: { kind: "disconnect" as const, accepted: true }, forMs }),
      () => ({ kind: "trouble" as const, trouble: { kind: "disconnect" as const, accepted: false }, forMs }),
      () => ({ kind: "trouble" as const, trouble: { kind: "silence" as const }, forMs }),
      () => ({ kind: "trouble" as const, trouble: { kind: "page" as const }, forMs }),
      () => ({ kind: "trouble" as const, trouble: { kind: "refuses_data" as const }, forMs }),
      () => ({
        kind: "impostor" as const,
        absentMs: random.chance(0.5) ? 0 : 1_000,
        forMs: 1_000 + random.below(500),
      }),
    ]),
  ])();
  return {
    blow,
    blowAfterMs: random.below(400),
    killAfterMs: 50 + random.below(1_000),
    killStartAfterMs: random.chance(0.15) ? random.below(500) : undefined,
  };
}

function nameOf(blow: Blow): string {
  if (blow.kind !== "trouble") return blow.kind;
  const { trouble } = blow;
  if (trouble.kind === "status") return String(trouble.status);
  return trouble.kind === "disconnect" && trouble.accepted ? "accepted, then disconnect" : trouble.kind;
}

/** What is struck. */
interface Scene {
  readonly farEnd: FarEnd;
  readonly proxy: FreezingProxy;
  readonly clockFile: string;
}

async function strike(
  { farEnd, proxy, clockFile }: Scene,
  { blow, blowAfterMs }: Cycle,
  losses: Loss[],
): Promise<void> {
  await delay(blowAfterMs);
  const loss: Loss = { from: Date.now(), until: Infinity };
  switch (blow.kind) {
    case "none":
      return;
    case "trouble":
      if (!["status", "refuses_data"].includes(blow.trouble.kind)) losses.push(loss);
      await farEnd.trouble(blow.trouble);
      await delay(blow.forMs);
      await farEnd.trouble(undefined);
      break;
    case "freeze":
      losses.push(loss);
      farEnd.freeze();
      await delay(blow.forMs);
      farEnd.thaw();
      break;
    case "crash":
      losses.push(loss);
      await farEnd.crash();
      await delay(blow.forMs);
      await farEnd.revive();
      break;
    case "impostor":
      losses.push(loss);
      await farEnd.crash();
      // In an instant, on an idle connection, it is not noticed.
      await delay(blow.absentMs);
      await farEnd.trouble({ kind: "first_member_only" });
      await farEnd.revive();
      await delay(blow.forMs);
      await farEnd.crash();
      await farEnd.trouble(undefined);
      await farEnd.revive();
      break;
    case "silent connections":
      losses.push(loss);
      proxy.freeze();
      // Until the exporter has given up waiting.
      await delay(EXPORTER_TIMEOUT_MS);
      break;
    case "clock":
      await writeFile(clockFile, String(blow.byMs));
      return;
  }
  loss.until = Date.now();
}

/** The pause between two requests of the sender that is well, in ms. */
const WELL_PAUSE_MS = 500;

/** The same while a sender that is well goes on: many that are refused are held, with nothing else taken, however long that lasts. */
async function drainedBesideOthers(relay: RestartableRelay, senders: NumberedSenders, seed: number): Promise<void> {
  const random = new Random(seed + 1);
  const ended = new AbortController();
  const others = (async () => {
    using client = Deno.createHttpClient({});
    let poisoned = false;
    for (let number = 0; !ended.signal.aborted; number++) {
      // Of as few requests as a slow machine sends none may have had anything wrong with it.
      const { ids, poison, ...request } = numberedRequest(
        random,
        `well-${number}`,
        1,
        poisoned ? undefined : "refused",
      );
      for (const id of ids) senders.spans.set(id, poison);
      if (await post(relay.url, request, client) === 200) {
        poisoned = true;
        for (const id of ids) senders.written.add(id);
      }
      await delay(WELL_PAUSE_MS);
    }
  })();
  try {
    await drained(relay, DRAIN_MS);
  } finally {
    ended.abort();
    await others;
  }
  await drained(relay, DRAIN_MS);
}

/** Resolves when the queue's file is empty: a record may be left that has no spans. The file is another process's, so it can only be looked at. */
export async function drained(relay: RestartableRelay, deadlineMs: number): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const { queued, records } = readBooks(relay.queuePath);
    if (records === 0) return;
    assert(
      Date.now() < deadline,
      `${records} records of ${queued} spans are still queued after ${deadlineMs} ms; the relay said:\n${
        relay.lines.slice(-30).join("\n")
      }`,
    );
    await delay(50);
  }
}

interface Evidence {
  readonly relay: RestartableRelay;
  readonly farEnd: FarEnd;
  /** Whose it is; undefined where there is one alone. */
  readonly target: string | undefined;
  readonly senders: NumberedSenders;
  readonly losses: readonly Loss[];
}

/** The verdict: all that the promise says, from what each side has written down. */
function judge({ relay, farEnd, target, senders, losses }: Evidence) {
  const receipts = new Map<string, number[]>();
  const changed: string[] = [];
  for (const { at, spans } of farEnd.receipts) {
    for (const { id, intact } of spans) {
      if (!intact || !senders.spans.has(id)) changed.push(id);
      const times = receipts.get(id);
      if (times === undefined) receipts.set(id, [at]);
      else times.push(at);
    }
  }
  const dead = new Map<string, number>();
  const letters = readDeadLetters(relay.queuePath, "traces", target);
  for (const letter of letters) {
    // The embedded Collector's own words come through; the real one says what its exporter was answered.
    assert.match(letter.reason, farEnd.name === "embedded" ? /refused: poison/ : /HTTP Status Code 400/);
    assert.equal(letter.status, 400);
    const spans = arrivedSpans(decodeRequest("traces", letter.request));
    assert.equal(spans.length, letter.items);
    for (const { id, intact } of spans) {
      if (!intact || !senders.spans.has(id)) changed.push(id);
      dead.set(id, (dead.get(id) ?? 0) + 1);
    }
  }
  assert.deepEqual(changed, [], "spans that were not sent so");

  const lost: string[] = [];
  for (const id of senders.written) if (!receipts.has(id) && !dead.has(id)) lost.push(id);
  assert.deepEqual(lost, [], `${lost.length} spans answered 200 are lost`);

  // What the far end failed on it takes once it is mended; beside empty resources the spans are good.
  const poisoned = (id: string) => senders.spans.get(id) === "refused";
  assert.deepEqual([...receipts.keys()].filter(poisoned), [], "poisoned spans that the far end took");
  assert.deepEqual([...dead.keys()].filter((id) => !poisoned(id)), [], "innocent spans among the dead letters");
  assert.deepEqual([...dead].filter(([, times]) => times > 1), [], "spans that died twice");

  const duplicates = judgeDuplicates(receipts, Math.max(...farEnd.receipts.map(({ spans }) => spans.length)), losses);

  const books = readBooks(relay.queuePath, "traces", target);
  const { queued, records } = countRows(relay.queuePath);
  const rows = { queued, records, dead: letters.reduce((sum, { items }) => sum + items, 0) };
  assert.equal(books.accepted, books.delivered + books.rejected + books.dead + books.expired + books.queued);
  assert.deepEqual(
    [books.delivered, books.dead, books.queued, books.records, books.bytes, books.rejected, books.expired],
    [receipts.size, dead.size, 0, 0, 0, 0, 0],
    "the books against the far end: delivered, dead, queued, records, bytes, rejected, expired",
  );
  assert.deepEqual(rows, { queued: 0, records: 0, dead: books.dead }, "the rows against the books");
  // Kept though the sender never heard of it: allowed. Written down though not kept: not.
  assert(books.accepted >= senders.written.size && books.accepted <= senders.spans.size);
  return { delivered: receipts.size, dead: dead.size, ...duplicates };
}

function judgeDuplicates(
  receipts: ReadonlyMap<string, readonly number[]>,
  requestSpansMax: number,
  losses: readonly Loss[],
) {
  let duplicates = 0;
  const unexplained: string[] = [];
  for (const [id, times] of receipts) {
    for (let index = 1; index < times.length; index++) {
      duplicates++;
      const [first, again] = [times[index - 1]!, times[index]!];
      if (!losses.some(({ from, until }) => first <= until + LATE_MS && again >= from)) unexplained.push(id);
    }
  }
  assert.deepEqual(unexplained, [], "spans that arrived twice with no acknowledgement lost in between");
  // In flight are as many requests as there are consumers. A loss that lasts is met by all of them once, and then by one probe
  // at a time: after 25, 50 and 100 ms at the least, and 200 ms from then on.
  const duplicatesMax = losses.reduce(
    (sum, { from, until }) => sum + requestSpansMax * (CONSUMERS + 3 + Math.ceil((until - from) / 200)),
    0,
  );
  assert(duplicates <= duplicatesMax, `${duplicates} duplicates, where ${duplicatesMax} can have been in flight`);
  return { duplicates, duplicatesMax };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      "kills": { type: "string", default: "200" },
      "seed": { type: "string", default: String(Date.now() % 1_000_000) },
      "far-end": { type: "string", default: "embedded" },
      "targets": { type: "string", default: "1" },
      "out": { type: "string", default: "http/protobuf" },
      "in": { type: "string", default: "http" },
    },
  });
  const farEnd = values["far-end"] === "real" ? "real" : "embedded";
  console.log(`seed ${values.seed}, ${values.kills} kills, ${farEnd} Collector`);
  const figures = await runOracle({
    kills: Number(values.kills),
    seed: Number(values.seed),
    farEnd,
    targets: values.targets === "2" ? 2 : 1,
    out: values.out === "grpc" ? "grpc" : "http/protobuf",
    in: values.in === "grpc" ? "grpc" : "http",
    say: (line) => console.error(line),
  });
  console.log(JSON.stringify(figures, null, 2));
}
