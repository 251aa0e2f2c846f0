/**
 * The way to the queue's Worker: questions and their answers, news, and its end.
 * @module
 */
import type { FromWorker, Replies, Request, ToWorker } from "./protocol.ts";
import { CANNOT_USE, StorageError } from "../storage_error.ts";

/** What the Worker says unasked. */
export type News = Exclude<FromWorker, { kind: "reply" | "error" }>;

export interface LinkListener {
  news(message: News): void;
  /** The Worker has ended by an error; every question that was open has been rejected. */
  crashed(message: string): void;
}

/** A question that is open. */
interface Asked {
  /** By the link's time. */
  readonly at: number;
  readonly resolve: (reply: Replies[keyof Replies]) => void;
  readonly reject: (error: Error) => void;
}

/** Starts the thread that has the file. */
export function startThread(): Worker {
  return new Worker(new URL("./file/worker.ts", import.meta.url), { type: "module" });
}

export class WorkerLink {
  readonly #worker: Worker;
  readonly #asked = new Map<number, Asked>();
  readonly #listener: LinkListener;
  readonly #now: () => number;
  #seq = 0;
  #ended = false;

  /** @param start Gives the Worker, which is ended with the link. @param now ms that only rise. */
  constructor(listener: LinkListener, start: () => Worker = startThread, now = () => performance.now()) {
    this.#listener = listener;
    this.#now = now;
    this.#worker = start();
    this.#worker.onmessage = (event: MessageEvent<FromWorker>) => this.#hear(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#crash(event.message);
    };
    this.#worker.onmessageerror = () => this.#crash("A message of it cannot be read");
  }

  /** No question can be asked any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** When the oldest question was asked that is open, by the link's time; undefined without one. */
  get oldestAskedAt(): number | undefined {
    return this.#asked.values().next().value?.at;
  }

  /** Answers come in the order of the questions. @throws {StorageError} or the error that ended the Worker */
  ask<Kind extends keyof Replies>(
    kind: Kind,
    request: Omit<Request & { kind: Kind }, "kind">,
    transfer: Transferable[] = [],
  ): Promise<Replies[Kind]> {
    if (this.#ended) {
      return Promise.reject(new StorageError("unusable", { what: CANNOT_USE, state: "its thread has ended" }));
    }
    return new Promise<Replies[keyof Replies]>((resolve, reject) => {
      const seq = ++this.#seq;
      this.#asked.set(seq, { at: this.#now(), resolve, reject });
      this.#worker.postMessage({ seq, kind, ...request } as ToWorker, transfer);
    }) as Promise<Replies[Kind]>;
  }

  /** Ends the Worker; open questions are rejected. */
  end(): void {
    this.#end("it is closed");
  }

  #end(state: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#worker.terminate();
    for (const { reject } of this.#asked.values()) reject(new StorageError("unusable", { what: CANNOT_USE, state }));
    this.#asked.clear();
  }

  #crash(message: string): void {
    if (this.#ended) return;
    this.#end(`its thread ended by an error: ${message}`);
    this.#listener.crashed(`The queue's thread ended by an error: ${message}`);
  }

  #hear(message: FromWorker): void {
    if (message.kind !== "reply" && message.kind !== "error") {
      this.#listener.news(message);
      return;
    }
    const asked = this.#asked.get(message.to);
    this.#asked.delete(message.to);
    if (message.kind === "reply") asked?.resolve(message.reply);
    else asked?.reject(new StorageError(message.code, message.statement));
  }
}
