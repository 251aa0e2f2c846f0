/**
 * Where a body is compressed anew: a small one where it is, a large one in a thread, so that 16 MiB hold up nobody on the event loop.
 * @module
 */
import { concatenate } from "../../codec/bytes.ts";
import { HelperThread, ThreadCrashError, ThreadlessError } from "../../helper_thread.ts";
import { DamagedError, inArrayBuffer, recode, type Recoding } from "./recode.ts";
import type { RecodeJob, RecodeReply } from "./recode_protocol.ts";

/** What is done on the event loop, in bytes inflated: 0.5 ms. The way to the thread and back takes 60 us of CPU. */
export const INLINE_BYTES_MAX = 64 * 1024;

/** A thread that has had nothing to do for so long ends, in ms: it holds some 10 MiB. */
const IDLE_MS = 30_000;

/** Hears what happens to the thread. */
export interface RecoderEvents {
  /** It cannot be used, and bodies of all sizes are compressed on the event loop from now on. */
  recodesInline(cause: string): void;
}

/** Recodes bodies, one after the other. */
export class Recoder implements Disposable {
  readonly #events: RecoderEvents;
  readonly #thread: HelperThread<undefined, RecodeJob, RecodeReply>;
  #inline = false;
  #ended = false;
  #last: Promise<unknown> = Promise.resolve();

  /** @param module Of the thread; for tests. */
  constructor(events: RecoderEvents, module: URL = new URL("./recode_thread.ts", import.meta.url)) {
    this.#events = events;
    this.#thread = new HelperThread({ module, start: undefined, idleMs: IDLE_MS });
  }

  /** Whether a thread runs. */
  get threaded(): boolean {
    return this.#thread.running;
  }

  /**
   * The runs after each other, inflated and compressed anew.
   * @param runs They stay as they are, and must until it is done.
   * @returns at once, where it is little work.
   * @throws {DamagedError}
   */
  recode(runs: readonly Uint8Array[], recoding: Recoding): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const { encoding, inflatedBytes, compression } = recoding;
    const untouched = encoding === "identity" && compression === "none";
    if (inflatedBytes <= INLINE_BYTES_MAX || untouched || this.#inline) return recodeHere(runs, recoding);
    const recoded = this.#last.then(() => this.#byThread(runs, recoding));
    this.#last = recoded.catch(() => {});
    return recoded;
  }

  async #byThread(runs: readonly Uint8Array[], recoding: Recoding): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#inline || this.#ended) return recodeHere(runs, recoding);
    let reply: RecodeReply;
    try {
      reply = await this.#thread.run(() => {
        const bytes = concatenate(runs);
        return { content: { ...recoding, bytes }, transfer: [bytes.buffer] };
      });
    } catch (error) {
      if (!(error instanceof ThreadlessError || error instanceof ThreadCrashError)) throw error;
      // Nothing is lost by it: the queue has the bytes.
      if (!this.#ended && !this.#inline) this.#events.recodesInline(error.message);
      this.#inline = true;
      return recodeHere(runs, recoding);
    }
    if (reply.kind === "recoded") return reply.bytes;
    throw reply.kind === "damaged" ? new DamagedError(reply.message) : new Error(reply.message);
  }

  /** Ends the thread. */
  [Symbol.dispose](): void {
    this.#ended = true;
    this.#thread[Symbol.dispose]();
  }
}

function recodeHere(runs: readonly Uint8Array[], recoding: Recoding): Uint8Array<ArrayBuffer> {
  return recode(runs.length === 1 ? inArrayBuffer(runs[0]!) : concatenate(runs), recoding);
}
