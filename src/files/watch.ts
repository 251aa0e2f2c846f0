/**
 * A watch over something that is read from files. It compares contents, so that rewriting, renaming over and switching a symbolic link
 * are noticed, and touching a file is not.
 * @module
 */
import { watchFolders } from "./events.ts";

/** What a look found. */
export type Look = "unchanged" | "changed" | "refused";

/** What is watched, and who hears of it. No callback is called once the watch has ended. */
export interface WatchedSource<Content, Fault> {
  /** Reads the files. @param digest That of the content in use. @returns the content, and what tells it from another */
  read(digest: string | undefined): Promise<{ readonly content: Content; readonly digest: string }>;
  /**
   * Takes a changed content. When it throws, the change is refused: the previous content stays in use.
   * @param ended The watch has ended: nothing may be taken any more.
   */
  take(content: Content, ended: AbortSignal): void | Promise<void>;
  /** What an error says to people; undefined where it is no fault. @param digest That of the content in use. */
  faultOf(error: unknown, digest: string | undefined): Fault | undefined;
  /** Two faults of one content with the same name are the same fault. */
  nameOf(fault: Fault): string;
  /** Whether the fault may pass while the content stays as it is: then the content is offered again at each look. */
  passes?(fault: Fault): boolean;
  /** Hears once of each change that cannot be used. */
  onRefused(fault: Fault): void;
  /** Hears once that a change is undone whose refusal was told. */
  onRestored?(): void;
}

/** When it looks. */
export interface WatchTimes {
  /** ms between two looks; 0 means that only `checkNow` looks. */
  readonly intervalMs: number;
  /** Files whose events lead to a look besides. Unless given there are none. */
  readonly paths?: readonly string[];
  /** A change in progress is no fault: what an event or an interval finds is told when a later look finds it again. */
  readonly confirms?: boolean;
}

/** A watch. Disposing of it stops it. */
export interface Watch extends AsyncDisposable {
  /** Looks at once, after a look that is under way, and reports a fault at once. Never rejects. */
  checkNow(): Promise<Look>;
}

type Occasion = "asked" | "interval" | "event";

/** What an event has led to, and could not be used, is looked at again after this time, in ms. */
const CONFIRM_MS = 1_000;

/** Begins to watch. @param current The digest of the content in use; undefined where there is none yet. */
export function watchSource<Content, Fault>(
  source: WatchedSource<Content, Fault>,
  current: string | undefined,
  { intervalMs, paths = [], confirms = false }: WatchTimes,
): Watch {
  let used = current;
  let refused: { readonly digest: string | undefined; readonly fault: Fault; readonly told: boolean } | undefined;
  const ended = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let confirmation: { readonly of: string | undefined; readonly timer: ReturnType<typeof setTimeout> } | undefined;
  let last: Promise<unknown> = Promise.resolve();

  async function look(occasion: Occasion): Promise<Look> {
    if (ended.signal.aborted) return "unchanged";
    let digest: string | undefined;
    try {
      const read = await source.read(used);
      digest = read.digest;
      if (ended.signal.aborted) return "unchanged";
      if (digest === used) {
        if (refused?.told === true) source.onRestored?.();
        refused = undefined;
        return "unchanged";
      }
      // Decrypting a key takes long on purpose: done again only where time alone can change the outcome.
      if (refused?.told === true && digest === refused.digest && source.passes?.(refused.fault) !== true) {
        return "refused";
      }
      await source.take(read.content, ended.signal);
      used = digest;
      refused = undefined;
      return "changed";
    } catch (error) {
      if (ended.signal.aborted) return "unchanged";
      const fault = source.faultOf(error, used);
      if (fault === undefined) return "unchanged";
      const same = refused !== undefined && refused.digest === digest &&
        source.nameOf(refused.fault) === source.nameOf(fault);
      const told = same && refused?.told === true;
      const tells = !told && (!confirms || occasion === "asked" || (occasion === "interval" && same));
      refused = { digest, fault, told: told || tells };
      if (tells) source.onRefused(fault);
      return "refused";
    }
  }

  function after(occasion: Occasion): Promise<Look> {
    const result = last.then(() => look(occasion));
    last = result;
    return result;
  }

  function schedule(): void {
    if (ended.signal.aborted || intervalMs === 0) return;
    timer = setTimeout(() => void after("interval").then(schedule), intervalMs);
  }

  async function onEvent(): Promise<void> {
    if (await after("event") !== "refused" || ended.signal.aborted || refused === undefined || refused.told) return;
    const { digest } = refused;
    // Each change in the folder is an event: only another content puts the confirmation off.
    if (confirmation !== undefined && confirmation.of === digest) return;
    clearTimeout(confirmation?.timer);
    const timer = setTimeout(() => {
      confirmation = undefined;
      void after("interval");
    }, CONFIRM_MS);
    confirmation = { of: digest, timer };
  }

  const events = intervalMs === 0 || paths.length === 0 ? undefined : watchFolders(paths, onEvent);
  schedule();
  return {
    checkNow: () => after("asked"),
    async [Symbol.asyncDispose]() {
      ended.abort();
      clearTimeout(timer);
      clearTimeout(confirmation?.timer);
      events?.close();
      await last;
    },
  };
}
