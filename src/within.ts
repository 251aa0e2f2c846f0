/**
 * Waiting that has an end.
 * @module
 */

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

/** Waits for `work`, `ms` at most; whether it came in time. Rejects as `work` does, if that comes in time. */
export async function within(work: PromiseLike<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => timer = setTimeout(() => resolve(false), ms));
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
