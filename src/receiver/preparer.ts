/**
 * Decides where each body is prepared. A body that is little work is prepared at once, on the event loop. One that may be much work, a
 * large body or a small one that inflates to a large one, goes to a thread: 20 MiB of JSON take it half a second, in which the event
 * loop serves everybody else. The thread serves the senders in turn, so that a sender with many such bodies makes only itself wait.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { Refusal } from "../errors.ts";
import { HelperThread, ThreadCrashError, ThreadlessError } from "../helper_thread.ts";
import {
  type BodyForm,
  type Budget,
  OverBudgetError,
  type PreparationSettings,
  prepare,
  type Prepared,
} from "./preparation.ts";
import type { Answer, Job, Start } from "./preparation_protocol.ts";
import { Turns } from "./turns.ts";

/**
 * The largest body that is prepared on the event loop: it takes 5 ms at the worst. The way to the thread and back takes 60 us of CPU,
 * so the bodies of stock senders stay here: 512 spans have 180 KB, and take 0.3 ms.
 */
export const INLINE: Budget = { inflatedBytes: 256 * 1024, rewrittenBytes: 1024 * 1024, hashes: 1_000, frames: 16 };
/** The same for JSON, and with redaction: each byte may take ten times as long, 12 ms at the worst. */
const INLINE_SLOW: Budget = { ...INLINE, inflatedBytes: 64 * 1024 };

/** How long a thread stays without work, in ms, before it ends: it holds some 10 MiB. */
const IDLE_MS = 30_000;

/** Hears what happens to the thread. */
export interface PreparerEvents {
  /** It cannot be started here, and bodies of all sizes are prepared on the event loop. */
  threadless(cause: string): void;
  /** The thread has ended by an error; the sender of the body that it was preparing was told to retry. */
  crashed(cause: string): void;
}

interface PendingJob {
  readonly form: BodyForm;
  readonly body: OwnedBytes;
  readonly resolve: (prepared: Prepared) => void;
  readonly reject: (error: unknown) => void;
}

/** Prepares bodies. */
export class Preparer implements Disposable {
  readonly settings: PreparationSettings;
  readonly #events: PreparerEvents;
  readonly #thread: HelperThread<Start, Job, Answer>;
  /** By sender, in turn: who has been served goes to the end. */
  readonly #waiting = new Map<string, PendingJob[]>();
  /** What is done on the event loop. */
  readonly #turns = new Turns();
  #threadless = false;
  #working: PendingJob | undefined;

  /** @param options For tests: how long a thread without work is kept, and its module. */
  constructor(
    settings: PreparationSettings,
    events: PreparerEvents,
    options: { readonly idleMs?: number; readonly threadUrl?: URL } = {},
  ) {
    this.settings = settings;
    this.#events = events;
    const { payloadEncoding, bounds, redactor } = settings;
    this.#thread = new HelperThread({
      module: options.threadUrl ?? new URL("./preparation_thread.ts", import.meta.url),
      start: { payloadEncoding, bounds, redaction: redactor?.settings },
      idleMs: options.idleMs ?? IDLE_MS,
    });
  }

  /** Whether a thread runs. */
  get threaded(): boolean {
    return this.#thread.running;
  }

  /**
   * Prepares one body of a sender, which is taken over.
   * @returns at once, where it is little work and no other sender's turn.
   * @throws {Refusal} as {@link prepare} does.
   */
  prepare(form: BodyForm, sender: string, body: Uint8Array<ArrayBuffer>): Prepared | Promise<Prepared> {
    const received = new OwnedBytes(body);
    if (this.#threadless) return this.#turns.run(sender, () => prepare(this.settings, form, received));
    const slow = form.mediaType === "application/json" || this.settings.redactor !== undefined;
    const budget = slow ? INLINE_SLOW : INLINE;
    if (isLarge(form, body, budget)) return this.#byThread(form, sender, received);
    const prepared = this.#turns.run(sender, () => this.#within(budget, form, received));
    if (!(prepared instanceof Promise)) return prepared ?? this.#byThread(form, sender, received);
    return prepared.then((one) => one ?? this.#byThread(form, sender, received));
  }

  /** @returns undefined where it is more work than the budget. */
  #within(budget: Budget, form: BodyForm, received: OwnedBytes): Prepared | undefined {
    try {
      return prepare(this.settings, form, received, budget);
    } catch (error) {
      if (!(error instanceof OverBudgetError)) throw error;
      return undefined;
    }
  }

  #byThread(form: BodyForm, sender: string, body: OwnedBytes): Promise<Prepared> {
    return new Promise<Prepared>((resolve, reject) => {
      const waiting = { form, body, resolve, reject };
      const others = this.#waiting.get(sender);
      if (others === undefined) this.#waiting.set(sender, [waiting]);
      else others.push(waiting);
      this.#next();
    });
  }

  #next(): void {
    if (this.#working !== undefined) return;
    const [first] = this.#waiting;
    if (first === undefined) return;
    const [sender, theirs] = first;
    const waiting = theirs.shift()!;
    this.#waiting.delete(sender);
    if (theirs.length > 0) this.#waiting.set(sender, theirs);
    this.#working = waiting;
    this.#thread.run(() => {
      const body = waiting.body.take();
      return { content: { form: waiting.form, body }, transfer: [body.buffer] };
    }).then((answer) => this.#hear(answer), (error: unknown) => this.#fail(error));
  }

  #hear(answer: Answer): void {
    const working = this.#working;
    this.#working = undefined;
    if (answer.kind === "prepared") working?.resolve(answer.prepared);
    else if (answer.kind === "refused") {
      const { code, what, remedy, field, cause } = answer;
      const options = { remedy, ...(field === undefined ? {} : { field }), ...(cause === undefined ? {} : { cause }) };
      working?.reject(new Refusal(code, what, options));
    } else working?.reject(new Error(answer.message));
    this.#next();
  }

  #fail(error: unknown): void {
    const working = this.#working;
    if (error instanceof ThreadlessError) {
      this.#threadless = true;
      this.#events.threadless(error.message);
      this.#withoutThread();
      return;
    }
    this.#working = undefined;
    if (working === undefined) return;
    if (error instanceof ThreadCrashError) {
      this.#events.crashed(error.message);
      working.reject(new Error(`The thread that prepares bodies ended by an error: ${error.message}`));
    } else working.reject(error);
    this.#next();
  }

  /** Prepares all waiting bodies here. */
  #withoutThread(): void {
    const all = [...(this.#working === undefined ? [] : [this.#working]), ...[...this.#waiting.values()].flat()];
    this.#working = undefined;
    this.#waiting.clear();
    for (const { form, body, resolve, reject } of all) {
      try {
        resolve(prepare(this.settings, form, body));
      } catch (error) {
        reject(error);
      }
    }
  }

  /** Ends the thread. Bodies that wait are refused, and their senders send them again. */
  [Symbol.dispose](): void {
    const all = [...(this.#working === undefined ? [] : [this.#working]), ...[...this.#waiting.values()].flat()];
    this.#working = undefined;
    this.#waiting.clear();
    for (const { reject } of all) reject(new Refusal("shutting_down", "The relay is shutting down"));
    this.#thread[Symbol.dispose]();
  }
}

/** Whether a body is over the budget, as far as can be seen from outside. */
function isLarge({ encoding, bytesMax }: BodyForm, body: Uint8Array, { inflatedBytes }: Budget): boolean {
  if (bytesMax <= inflatedBytes) return false;
  if (body.length > inflatedBytes) return true;
  if (encoding !== "gzip" || body.length < 18) return false;
  // What its last member says of its length (RFC 1952, 2.3.1). Where that is not true it shows while it is inflated.
  const { length } = body;
  const low = body[length - 4]! | (body[length - 3]! << 8) | (body[length - 2]! << 16);
  return low + body[length - 1]! * 2 ** 24 > inflatedBytes;
}
