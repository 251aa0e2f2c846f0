/** Something that changes, to be waited for. */
import { within } from "../../../src/within.ts";

export class Changes {
  #next = Promise.withResolvers<void>();

  tell(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers<void>();
  }

  /** Resolves with whether it has come about within `ms`. */
  async until(comeAbout: () => boolean, ms: number): Promise<boolean> {
    const end = performance.now() + ms;
    while (!comeAbout() && performance.now() < end) await within(this.#next.promise, end - performance.now());
    return comeAbout();
  }
}
