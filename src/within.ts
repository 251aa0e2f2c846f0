/**
 * Waiting that has an end.
 * @module
 */

/** A timer that is so late, in ms, says that this thread has not run: its process was frozen, or others had the cores. */
const STALLED_MS = 100;

/** How long it then hears what has come meanwhile, in ms. */
const CATCH_UP_MS = 100;

/**
 * Calls `act` once the signal is aborted; at once, before this returns, where it has been aborted already.
 * @returns Takes it back.
 */
export function whenAborted(signal: AbortSignal, act: () => void): () => void {
  if (signal.aborted) {
    act();
    return () => {};
  }
  signal.addEventListener("abort", act, { once: true });
  return () => signal.removeEventListener("abort", act);
}

/**
 * Waits for `work`, `ms` at most; whether it came in time. Rejects as `work` does, if that comes in time. What came while this thread
 * did not run came in time: timers are looked at first when it runs again, and are no proof that nothing else has come.
 */
export async function within(work: PromiseLike<unknown>, ms: number): Promise<boolean> {
  const dueAt = performance.now() + ms;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => {
      if (performance.now() - dueAt < STALLED_MS) resolve(false);
      else timer = setTimeout(() => resolve(false), CATCH_UP_MS);
    }, ms);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
