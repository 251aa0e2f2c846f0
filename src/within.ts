/**
 * Waiting that has an end.
 * @module
 */

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
