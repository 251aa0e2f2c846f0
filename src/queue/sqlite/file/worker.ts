/**
 * The queue's thread: answers each request of `sqlite/queue.ts` in order, with one call of the store.
 * @module
 */
import { messageOf, type Statement } from "../../../errors.ts";
import { WorkerCrash } from "../injected_faults.ts";
import type { FromWorker, Replies, Request, ToWorker } from "../protocol.ts";
import type { StoreNews } from "./recovery.ts";
import { SqliteStore, WATCH_MS } from "./store.ts";
import { CANNOT_USE, StorageError, type StorageErrorCode } from "../../storage_error.ts";

/** The global scope of a Worker; the compiler knows only the main thread's. */
interface WorkerScope {
  postMessage(message: FromWorker, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
}

const scope = self as unknown as WorkerScope;

let store: SqliteStore | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;

const news: StoreNews = {
  log: (level, message, fields) => scope.postMessage({ kind: "log", level, message, fields }, []),
  rows: (reset, totals) => scope.postMessage({ kind: "rows", reset, totals }, []),
  trouble: (text) => scope.postMessage({ kind: "trouble", text }, []),
};

// Also while nobody asks: nobody else would notice that the files are gone.
setInterval(() => {
  store?.watch();
  idle();
}, WATCH_MS);

scope.onmessage = ({ data: { seq, ...request } }) => {
  const transfer: Transferable[] = [];
  let message: FromWorker;
  try {
    message = { kind: "reply", to: seq, reply: answer(request, transfer) };
  } catch (error) {
    if (error instanceof WorkerCrash) throw error;
    message = {
      kind: "error",
      to: seq,
      ...partsOf(error),
    };
  }
  scope.postMessage(message, transfer);
  idle();
};

function partsOf(error: unknown): { readonly code: StorageErrorCode; readonly statement: Statement } {
  if (!(error instanceof StorageError)) {
    return { code: "unusable", statement: { what: CANNOT_USE, state: messageOf(error) } };
  }
  const { code, what, state, remedy } = error;
  return { code, statement: { what, state, remedy } };
}

function answer(request: Request, transfer: Transferable[]): Replies[keyof Replies] {
  if (request.kind === "open") {
    store = new SqliteStore(request.settings, request.disowned, news);
    return { targets: store.targets, totals: store.totals, clockSteps: store.clockSteps };
  }
  if (request.kind === "close") {
    store?.close();
    store = undefined;
    return { closed: true };
  }
  if (store === undefined) throw new StorageError("unusable", { what: CANNOT_USE, state: "it is not open" });
  switch (request.kind) {
    case "commit": {
      const reply = store.commit(request);
      for (const payload of reply.returned) transfer.push(payload.buffer);
      return reply;
    }
    case "read": {
      const reply = store.read(request);
      for (const { payload } of reply.rows) if (payload !== undefined) transfer.push(payload.buffer);
      return reply;
    }
    case "load": {
      const reply = store.load(request.ids);
      for (const payload of reply.payloads) if (payload !== undefined) transfer.push(payload.buffer);
      return reply;
    }
    case "release":
      return store.release();
    case "poll":
      return store.poll();
    case "stats":
      return store.stats();
    case "senders":
      return store.senders();
    case "clock":
      return store.clock(request.step);
  }
}

/** After each answer, and while there is more to do: the next message comes first. */
function idle(): void {
  const againMs = store?.idle();
  if (againMs === undefined || (timer !== undefined && againMs > 0)) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    timer = undefined;
    idle();
  }, againMs);
}
