/**
 * The queue's Worker, kept going: opened, replaced when it ends by an error, and tried again while storage fails.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Alarm } from "../alarm.ts";
import type { Fault } from "./injected_faults.ts";
import type { ClockStep, Disowned, Replies, Request, WorkerSettings } from "./protocol.ts";
import type { Totals } from "../totals.ts";
import { RunningTime } from "./running_time.ts";
import { type News, WorkerLink } from "./worker_link.ts";

/** When settles that could not be written, and a storage that failed, are tried again, in ms: doubled each time, up to the second. */
const RETRY_FIRST_MS = 50;
export const RETRY_MS = 1000;

/** How often a connection is to be told that its thread runs, in ms. */
export const TICK_MS = 1_000;

/**
 * A question that has been open for so long, in ms in which this thread ran, is one that hangs: an fsync that does not come back, or a
 * disk that is gone. While this thread did not run, the answer may have come.
 */
const HUNG_MS = 3_000;

/** Hears what happens here. */
export interface ConnectionListener {
  /** What the file has, each time that a Worker has opened it. */
  opened(targets: Replies["open"]["targets"], totals: Totals, clockSteps: readonly ClockStep[]): void;
  news(message: News): void;
  /** Storage failed a while ago: a transaction is wanted, of nothing if need be, to see whether it works again. */
  retry(): void;
  /** A new Worker has the file. */
  replaced(): void;
}

export class Connection {
  readonly #settings: Omit<WorkerSettings, "faults">;
  readonly #alarm: Alarm;
  readonly #listener: ConnectionListener;
  readonly #startThread: (() => Worker) | undefined;
  readonly #running: RunningTime;
  #link: WorkerLink;
  /** Records of the transaction in which the Worker ended. */
  #disowned: Disowned[] = [];
  #trouble: string | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_FIRST_MS;
  #closing = false;

  /** @param startThread Starts each Worker, where it is not the usual way. @param now ms that only rise. */
  constructor(
    settings: Omit<WorkerSettings, "faults">,
    alarm: Alarm,
    listener: ConnectionListener,
    startThread?: () => Worker,
    now = () => performance.now(),
  ) {
    this.#settings = settings;
    this.#alarm = alarm;
    this.#listener = listener;
    this.#startThread = startThread;
    this.#running = new RunningTime(TICK_MS, now);
    this.#link = this.#newLink();
  }

  /** No question can be asked now. */
  get ended(): boolean {
    return this.#link.ended;
  }

  /** Why appends are not tried now; undefined when all is well. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** This thread runs: each {@link TICK_MS}. */
  tick(): void {
    this.#running.tick();
  }

  /** How long storage has owed an answer, in ms in which this thread ran; 0 when it owes none. */
  get waitMs(): number {
    const { oldestAskedAt } = this.#link;
    return oldestAskedAt === undefined ? 0 : this.#running.ms - oldestAskedAt;
  }

  /** What to say while storage does not answer; undefined while it does. */
  get hung(): string | undefined {
    const { waitMs } = this;
    if (waitMs < HUNG_MS) return undefined;
    const seconds = Math.floor(waitMs / 1000);
    return `The queue's storage has not answered for ${seconds} s: a write to ${this.#settings.path} hangs; check its disk`;
  }

  get closing(): boolean {
    return this.#closing;
  }

  /** @throws {StorageError} when the file cannot be used */
  async open(faults: readonly Fault[]): Promise<void> {
    const { targets, totals, clockSteps } = await this.#link.ask("open", {
      settings: { ...this.#settings, faults },
      disowned: this.#disowned,
    });
    this.#disowned = [];
    this.#listener.opened(targets, totals, clockSteps);
  }

  /** Answers come in the order of the questions. @throws {StorageError} or the error that ended the Worker */
  ask<Kind extends keyof Replies>(
    kind: Kind,
    request: Omit<Request & { kind: Kind }, "kind">,
    transfer?: Transferable[],
  ): Promise<Replies[Kind]> {
    return this.#link.ask(kind, request, transfer);
  }

  /** Records that were refused after a commit whose end nobody knows: should the next Worker find them, they are not to stay. */
  disown(records: readonly Disowned[]): void {
    this.#disowned.push(...records);
  }

  /** Storage failed: told at most twice a minute, and tried again until it works. */
  failed(text: string): void {
    this.#trouble = text;
    this.#alarm.raise("storage", `The queue's storage failed: ${text}`, { path: this.#settings.path });
    if (this.#closing) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      if (this.#link.ended) void this.#replace();
      else this.#listener.retry();
    }, this.#retryMs);
    this.#retryMs = Math.min(RETRY_MS, this.#retryMs * 2);
  }

  /** A question failed by which nobody loses anything: no trouble any more once the queue is closing. */
  questionFailed(error: unknown): void {
    if (!this.#closing) this.failed(messageOf(error));
  }

  /** A transaction was made. */
  wellAgain(): void {
    this.#trouble = undefined;
    this.#retryMs = RETRY_FIRST_MS;
  }

  /** From now on nothing is tried again. */
  close(): void {
    this.#closing = true;
    clearTimeout(this.#retryTimer);
  }

  /** Ends the Worker; open questions are rejected. */
  end(): void {
    this.#link.end();
  }

  #newLink(): WorkerLink {
    return new WorkerLink(
      {
        news: (message) => this.#listener.news(message),
        crashed: (message) => {
          if (!this.#closing) this.failed(message);
        },
      },
      this.#startThread,
      () => this.#running.ms,
    );
  }

  /** A new Worker opens the file; of the transaction that was under way nothing may be kept. */
  async #replace(): Promise<void> {
    this.#link = this.#newLink();
    try {
      await this.open([]);
      this.#trouble = undefined;
      this.#listener.replaced();
    } catch (error) {
      this.#link.end();
      this.failed(messageOf(error));
    }
  }
}
