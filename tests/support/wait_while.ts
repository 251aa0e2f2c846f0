/** Waiting for what no event tells. */

const POLL_MS = 1;
/** Long enough for a busy machine: what has not come by then does not come. */
const WAIT_MS_MAX = 60_000;

/** Waits for as long as `holds` says so. @throws {Error} with the condition as it is written, when it has held for a minute */
export async function waitWhile(holds: () => boolean | PromiseLike<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (await holds()) {
    if (performance.now() > deadline) throw new Error(`Still holds after ${WAIT_MS_MAX / 1000} s: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
