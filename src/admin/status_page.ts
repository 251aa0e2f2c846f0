/**
 * The status page while it lives: samples the instruments, now and then when nobody looks and every two seconds when somebody
 * does, and tells who looks what has changed.
 * @module
 */
import type { ResourceMetrics } from "@opentelemetry/sdk-metrics";
import type { DeadLetterHead } from "../queue/sqlite/inspect.ts";
import { listDeadLetters } from "../queue/sqlite/inspect.ts";
import { INSTRUMENTS } from "../telemetry/metrics.ts";
import { VERSION } from "../version.ts";
import { healthOf, type HealthSources } from "./health.ts";
import { History, STEP_MS } from "./history.ts";
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
  /** ms since the Unix epoch. */
  readonly now?: () => number;
}

/** HTML by the id of the element that it stands in. */
export type Parts = Readonly<Record<PartId, string>>;

/** Between two samples while somebody looks, in ms. */
const WATCHED_MS = 2_000;
/** Who may look at once. */
const WATCHERS_MAX = 32;
const LETTERS_SHOWN = 10;

/** One browser that looks. */
export interface Watcher extends Disposable {
  /** Resolves with the parts after the next sample; undefined when the page has ended, or this watcher has. */
  next(): Promise<Parts | undefined>;
}

/** The page. */
export class StatusPage implements Disposable {
  readonly #sources: StatusPageSources;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #history = new History(INSTRUMENTS.edgeferry_queue_append_duration.boundaries);
  readonly #watchers = new Set<PromiseWithResolvers<Parts | undefined>>();
  #watching = 0;
  #sampling: Promise<Reading> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #letters: { readonly key: string; readonly heads: readonly DeadLetterHead[] | undefined } | undefined;
  #ended = false;

  constructor(sources: StatusPageSources) {
    this.#sources = sources;
    this.#now = sources.now ?? Date.now;
    this.#startedAt = this.#now();
    void this.#tick();
  }

  /** The relay's own instruments, as they are now. */
  collect(): Promise<ResourceMetrics> {
    return this.#sources.collect();
  }

  /** The page as it is now. */
  async html(): Promise<string> {
    const { pageHtml } = await import("./page.tsx");
    return pageHtml(this.#status(await this.#sample()));
  }

  /** Tells a browser of what comes. Undefined when as many look as may. */
  watch(): Watcher | undefined {
    if (this.#watching >= WATCHERS_MAX || this.#ended) return undefined;
    this.#watching++;
    let waiting: PromiseWithResolvers<Parts | undefined> | undefined;
    let open = true;
    // Who comes is told at once, and the others with it.
    void this.#tick();
    return {
      next: () => {
        if (!open || this.#ended) return Promise.resolve(undefined);
        waiting = Promise.withResolvers<Parts | undefined>();
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

  async #tick(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const reading = await this.#sample();
      if (!this.#ended && this.#watchers.size > 0) {
        const { partHtml, PARTS } = await import("./page_parts.tsx");
        const status = this.#status(reading);
        const parts = Object.fromEntries(
          (Object.keys(PARTS) as PartId[]).map((id) => [id, partHtml(id, status)]),
        ) as Parts;
        const waiting = [...this.#watchers];
        this.#watchers.clear();
        for (const each of waiting) each.resolve(parts);
      }
    } catch {
      // What cannot be collected is told by whoever collects; the hour has a gap, and the next sample is tried.
    } finally {
      clearTimeout(this.#timer);
      if (!this.#ended) this.#timer = setTimeout(() => void this.#tick(), this.#watching > 0 ? WATCHED_MS : STEP_MS);
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

  #status(reading: Reading): Status {
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
      recentDeadLetters: this.#recentDeadLetters(reading),
    });
  }

  /** Read from the file when their number has changed, and only for somebody who looks. */
  #recentDeadLetters(reading: Reading): readonly DeadLetterHead[] | undefined {
    const { queuePath } = this.#sources;
    const records = reading.value("edgeferry_dead_letter_records");
    if (queuePath === undefined || records === 0) return [];
    const condemned = Object.values(reading.bySignal("edgeferry_dead_letter_items"));
    const key = [records, reading.value("edgeferry_dead_letter_size"), ...condemned].join(" ");
    if (this.#letters?.key !== key) this.#letters = { key, heads: newestOf(queuePath) };
    return this.#letters.heads;
  }
}

function newestOf(path: string): readonly DeadLetterHead[] | undefined {
  try {
    return listDeadLetters(path, { limit: LETTERS_SHOWN, newestFirst: true });
  } catch {
    // The storage is in trouble, which readiness and the log tell.
    return undefined;
  }
}
