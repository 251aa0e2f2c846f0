/**
 * The status page while it lives: samples the instruments, now and then when nobody looks and every two seconds when somebody
 * does, and tells who looks what has changed.
 * @module
 */
import type { ResourceMetrics } from "@opentelemetry/sdk-metrics";
import type { GroupedDeadLetters } from "../queue/inspection.ts";
import type { LiveRelay } from "../queue/postgres/inspect.ts";
import { groupDeadLetters } from "../queue/sqlite/inspect.ts";
import { INSTRUMENTS } from "../telemetry/metrics.ts";
import { VERSION } from "../version.ts";
import { healthOf, type HealthSources } from "./health.ts";
import { History, RANGE_DEFAULT, type RangeName, STEP_MS } from "./history.ts";
import { readHistory, writeHistory } from "./history_file.ts";
import type { PartId } from "./page_parts.tsx";
import { Reading, sampleOf } from "./reading.ts";
import { type Status, statusOf, type StatusParts } from "./status.ts";

/** What the page is made from. */
export interface StatusPageSources extends HealthSources {
  /** The relay's own instruments, as they are now. */
  readonly collect: () => Promise<ResourceMetrics>;
  /** What is kept of the senders' tokens; absent: nothing. */
  readonly lastUses?: StatusParts["lastUses"] | undefined;
  /** The durable queue's file, for its dead letters. */
  readonly queuePath?: string | undefined;
  /** The queue that several relays share, as of a few seconds ago; absent: it is this relay's alone. */
  readonly fleet?: (() => SharedQueue | undefined) | undefined;
  /** False: nothing is sampled but for somebody who asks, on hosts that freeze the process between requests. True unless given. */
  readonly background?: boolean;
  /** Where the history of the charts is kept; absent: with the process. */
  readonly historyFile?: string | undefined;
  /** ms since the Unix epoch. */
  readonly now?: () => number;
}

/** What is known of it. */
export interface SharedQueue {
  readonly relays: readonly LiveRelay[];
  readonly deadLetters: GroupedDeadLetters;
}

/** HTML by the id of the element that it stands in. */
export type Parts = Readonly<Record<PartId, string>>;

/** Between two samples while somebody looks, in ms. */
const WATCHED_MS = 2_000;
/** Browsers that may watch the page at once. */
const WATCHERS_MAX = 32;
/** Groups of dead letters shown. */
const GROUPS_SHOWN = 8;
/** The queue's file that commands use unless they are told another. */
const QUEUE_PATH_DEFAULT = "data/queue.db";
/** Between two times that the history is written, in ms. */
const KEEP_MS = 60_000;

/** One browser that looks. */
export interface Watcher extends Disposable {
  /** Resolves with the parts after the next sample; undefined when the page has ended, or this watcher has. */
  next(): Promise<Parts | undefined>;
}

/** A watcher that waits for the next sample, and the range that it shows. */
interface Waiting extends PromiseWithResolvers<Parts | undefined> {
  readonly range: RangeName;
}

type Letters = StatusParts["deadLetters"];

/** The page. Disposed of asynchronously it keeps its history, too. */
export class StatusPage implements Disposable, AsyncDisposable {
  readonly #sources: StatusPageSources;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #history = new History(INSTRUMENTS.edgeferry_queue_append_duration.boundaries);
  readonly #watchers = new Set<Waiting>();
  #watching = 0;
  #sampling: Promise<Reading> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #letters: { readonly key: string; readonly grouped: Letters } | undefined;
  #keptAt: number;
  readonly #restored: Promise<void>;
  #ended = false;

  constructor(sources: StatusPageSources) {
    this.#sources = sources;
    this.#now = sources.now ?? Date.now;
    this.#startedAt = this.#now();
    this.#keptAt = this.#startedAt;
    this.#restored = this.#restore();
    if (sources.background !== false) void this.#tick();
  }

  /** The relay's own instruments, as they are now. */
  collect(): Promise<ResourceMetrics> {
    return this.#sources.collect();
  }

  /** The page as it is now. */
  async html(range: RangeName = RANGE_DEFAULT): Promise<string> {
    const { pageHtml } = await import("./page.tsx");
    await this.#restored;
    return pageHtml(this.#status(await this.#sample(), range));
  }

  /** Tells a browser of what comes. Undefined when as many look as may. */
  watch(range: RangeName = RANGE_DEFAULT): Watcher | undefined {
    if (this.#watching >= WATCHERS_MAX || this.#ended) return undefined;
    this.#watching++;
    let waiting: Waiting | undefined;
    let open = true;
    // A new watcher gets a sample at once, and the others get it with him.
    void this.#tick();
    return {
      next: () => {
        if (!open || this.#ended) return Promise.resolve(undefined);
        waiting = { ...Promise.withResolvers<Parts | undefined>(), range };
        this.#watchers.add(waiting);
        return waiting.promise;
      },
      [Symbol.dispose]: () => {
        if (!open) return;
        open = false;
        this.#watching--;
        if (waiting === undefined) return;
        this.#watchers.delete(waiting);
        waiting.resolve(undefined);
      },
    };
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    for (const waiting of this.#watchers) waiting.resolve(undefined);
    this.#watchers.clear();
  }

  /** Ends the page, and keeps its history for the next. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#restored;
    await this.#keep();
  }

  async #restore(): Promise<void> {
    const { historyFile } = this.#sources;
    const kept = historyFile === undefined ? undefined : await readHistory(historyFile);
    if (kept !== undefined) this.#history.restore(kept, this.#now());
  }

  async #keep(): Promise<void> {
    const { historyFile } = this.#sources;
    if (historyFile === undefined || this.#history.last === undefined) return;
    this.#keptAt = this.#now();
    // Where it cannot be written, the queue beside it cannot either, which readiness and the log tell.
    await writeHistory(historyFile, this.#history.snapshot()).catch(() => {});
  }

  async #tick(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      await this.#restored;
      const reading = await this.#sample();
      if (!this.#ended && this.#watchers.size > 0) {
        const { partHtml, PARTS } = await import("./page_parts.tsx");
        const waiting = [...this.#watchers];
        this.#watchers.clear();
        for (const [range, alike] of Map.groupBy(waiting, ({ range }) => range)) {
          const status = this.#status(reading, range);
          const parts = Object.fromEntries(
            (Object.keys(PARTS) as PartId[]).map((id) => [id, partHtml(id, status)]),
          ) as Parts;
          for (const each of alike) each.resolve(parts);
        }
      }
      if (!this.#ended && this.#now() - this.#keptAt >= KEEP_MS) await this.#keep();
    } catch {
      // What cannot be collected is told by whoever collects; the charts have a gap, and the next sample is tried.
    } finally {
      clearTimeout(this.#timer);
      const watched = this.#watching > 0;
      if (!this.#ended && (watched || this.#sources.background !== false)) {
        this.#timer = setTimeout(() => void this.#tick(), watched ? WATCHED_MS : STEP_MS);
      }
    }
  }

  /** Those who ask while one is under way share it. */
  #sample(): Promise<Reading> {
    return this.#sampling ??= (async () => {
      try {
        const reading = new Reading(await this.#sources.collect());
        this.#history.add(sampleOf(reading, this.#now()));
        return reading;
      } finally {
        this.#sampling = undefined;
      }
    })();
  }

  #status(reading: Reading, range: RangeName): Status {
    const { exporter, queue, lastUses = () => new Map() } = this.#sources;
    return statusOf({
      at: this.#now(),
      startedAt: this.#startedAt,
      version: VERSION,
      durable: queue.capabilities.durable,
      health: healthOf(this.#sources),
      exporter,
      history: this.#history,
      reading,
      lastUses,
      range,
      relays: this.#sources.fleet?.()?.relays,
      deadLetters: this.#deadLetters(reading),
    });
  }

  /** Read from the file when their number has changed, and only for somebody who looks. */
  #deadLetters(reading: Reading): Letters {
    const { queuePath, fleet } = this.#sources;
    if (fleet !== undefined) {
      return { ...fleet()?.deadLetters ?? { groups: undefined, groupsMore: 0, ungrouped: 0 }, path: undefined };
    }
    const records = reading.value("edgeferry_dead_letter_records");
    if (queuePath === undefined || records === 0) return { groups: [], groupsMore: 0, ungrouped: 0, path: undefined };
    const condemned = Object.values(reading.bySignal("edgeferry_dead_letter_items"));
    const key = [records, reading.value("edgeferry_dead_letter_size"), ...condemned].join(" ");
    if (this.#letters?.key !== key) this.#letters = { key, grouped: grouped(queuePath) };
    return this.#letters.grouped;
  }
}

function grouped(queuePath: string): Letters {
  const path = queuePath === QUEUE_PATH_DEFAULT ? undefined : queuePath;
  try {
    return { ...groupDeadLetters(queuePath, { limit: GROUPS_SHOWN }), path };
  } catch {
    // The storage is in trouble, which readiness and the log tell.
    return { groups: undefined, groupsMore: 0, ungrouped: 0, path };
  }
}
