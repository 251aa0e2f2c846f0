/**
 * What a peer may ask for without bringing a request: SETTINGS, PING, RST_STREAM, PRIORITY, WINDOW_UPDATE, CONTINUATION, frames that are
 * empty. Each costs a little; requests that end well and bytes of bodies earn it back, and so does time.
 * @module
 */
import { ConnectionFault, ERROR_CODE } from "./frame.ts";

/** Frames that are let pass at once. A peer resets as many streams as it may have open, in one go, and several times. */
const FRAMES_MAX = 1_000;
/** Earned by time, in frames a second: a peer that only keeps its connection alive sends fewer. */
const FRAMES_PER_S = 20;
/** Earned by a request that was answered: its windows, and a PING to measure them by. */
const FRAMES_PER_STREAM = 20;
/** Bytes of a body, either way, that earn a frame: peers give windows back in steps of some KiB, of the stream and the connection. */
const BYTES_PER_FRAME = 512;

/** The budget of one connection. */
export class FloodBudget {
  readonly #now: () => number;
  #frames = FRAMES_MAX;
  #bytes = 0;
  #at: number;

  /** @param now A clock, in ms. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#at = now();
  }

  /** @throws {ConnectionFault} ENHANCE_YOUR_CALM, when nothing is left. */
  spend(): void {
    if (this.#frames > 0) {
      this.#frames--;
      return;
    }
    // The clock is asked only here: most peers never come so far.
    const now = this.#now();
    const earned = Math.floor((now - this.#at) / 1_000 * FRAMES_PER_S);
    if (earned < 1) throw new ConnectionFault(ERROR_CODE.calm, "Too many frames that bring no request");
    this.#at = now;
    this.#frames = Math.min(FRAMES_MAX, earned) - 1;
  }

  /** A request has been answered, and both sides have ended. */
  earnStream(): void {
    this.#earn(FRAMES_PER_STREAM);
  }

  /** Bytes of a body have come or gone. */
  earnBytes(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_PER_FRAME) return;
    this.#earn(Math.floor(this.#bytes / BYTES_PER_FRAME));
    this.#bytes %= BYTES_PER_FRAME;
  }

  #earn(frames: number): void {
    this.#frames = Math.min(FRAMES_MAX, this.#frames + frames);
  }
}
