/**
 * One thread beside the event loop, for work that would hold everybody up there: started when it is first needed, ended when it has
 * had nothing to do for a while. It does one job at a time.
 * @module
 */
import { messageOf } from "./errors.ts";

/** No thread can be started here. */
export class ThreadlessError extends Error {
  override readonly name = "ThreadlessError";
}

/** The thread ended by an error; the job that it was at is lost with what was handed to it. */
export class ThreadCrashError extends Error {
  override readonly name = "ThreadCrashError";
}

/** What is handed to the thread. `transfer`: buffers that are gone here afterwards. */
export interface Handed<Content> {
  readonly content: Content;
  readonly transfer: readonly ArrayBuffer[];
}

/** Settings of a thread. */
export interface HelperThreadOptions<Start> {
  /** A module that calls {@link serveJobs}. */
  readonly module: URL;
  /** Handed to each thread as it begins. */
  readonly start: Start;
  /** A thread that has had nothing to do for so long ends, in ms. */
  readonly idleMs: number;
}

type ToThread<Start, Job> = { readonly start: Start } | { readonly job: Job };
type FromThread<Reply> = { readonly begun: true } | { readonly reply: Reply };

interface Running<Job, Reply> {
  readonly make: () => Handed<Job>;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/** A thread as those who use it see it. */
export class HelperThread<Start, Job, Reply> implements Disposable {
  readonly #options: HelperThreadOptions<Start>;
  #worker: Worker | undefined;
  /** Whether a thread has ever begun. */
  #proved = false;
  #working: Running<Job, Reply> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(options: HelperThreadOptions<Start>) {
    this.#options = options;
  }

  /** Whether a thread runs. */
  get running(): boolean {
    return this.#worker !== undefined;
  }

  /**
   * Has one job done. Not to be called while another is under way.
   * @param make The job; asked for when the thread has begun, so that nothing is handed over where there are no threads.
   * @throws {ThreadlessError} {ThreadCrashError}
   */
  run(make: () => Handed<Job>): Promise<Reply> {
    if (this.#working !== undefined) throw new Error("The thread is at another job");
    clearTimeout(this.#idle);
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.#working = { make, resolve, reject };
    try {
      this.#worker ??= this.#start();
    } catch (error) {
      this.#fail(new ThreadlessError(messageOf(error)));
      return promise;
    }
    if (this.#proved) this.#hand();
    return promise;
  }

  #start(): Worker {
    const worker = new Worker(this.#options.module, { type: "module" });
    // What an earlier thread says late concerns no job of the present one.
    worker.onmessage = ({ data }: MessageEvent<FromThread<Reply>>) => {
      if (worker === this.#worker) this.#hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === this.#worker) this.#crash(event.message);
    };
    worker.onmessageerror = () => {
      if (worker === this.#worker) this.#crash("A message of it cannot be read");
    };
    worker.postMessage({ start: this.#options.start } satisfies ToThread<Start, Job>);
    return worker;
  }

  #hand(): void {
    const { content, transfer } = this.#working!.make();
    this.#worker?.postMessage({ job: content } satisfies ToThread<Start, Job>, [...transfer]);
  }

  #hear(message: FromThread<Reply>): void {
    if ("begun" in message) {
      const waits = !this.#proved && this.#working !== undefined;
      this.#proved = true;
      if (waits) this.#hand();
      return;
    }
    const working = this.#working;
    this.#working = undefined;
    this.#idle = setTimeout(() => this.#end(), this.#options.idleMs);
    working?.resolve(message.reply);
  }

  #crash(cause: string): void {
    this.#end();
    this.#fail(this.#proved ? new ThreadCrashError(cause) : new ThreadlessError(cause));
  }

  #fail(error: Error): void {
    const working = this.#working;
    this.#working = undefined;
    working?.reject(error);
  }

  #end(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Ends the thread, and with it the job that it is at. */
  [Symbol.dispose](): void {
    this.#end();
    this.#fail(new ThreadCrashError("It was ended"));
  }
}

/** The global scope of a Worker; the compiler knows only the main thread's. */
interface WorkerScope<Start, Job, Reply> {
  postMessage(message: FromThread<Reply>, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToThread<Start, Job>>) => void) | null;
}

/** In the thread's module: does the jobs. @param begin Called once with what it is started with. */
export function serveJobs<Start, Job, Reply>(begin: (start: Start) => (job: Job) => Handed<Reply>): void {
  const scope = self as unknown as WorkerScope<Start, Job, Reply>;
  let work: ((job: Job) => Handed<Reply>) | undefined;
  scope.onmessage = ({ data }) => {
    if ("start" in data) {
      work = begin(data.start);
      scope.postMessage({ begun: true }, []);
      return;
    }
    const { content, transfer } = work!(data.job);
    scope.postMessage({ reply: content }, [...transfer]);
  };
}
