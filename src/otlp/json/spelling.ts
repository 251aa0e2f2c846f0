/**
 * Text that is expected, compared by words of four bytes.
 * @module
 */

const WORD_BYTES = 4;

/** ASCII of four characters or more. */
export class Spelling {
  /** Bytes of it. */
  readonly length: number;
  /** The last one overlaps the one before it, where the length is no multiple of four. */
  readonly #words: Int32Array;
  readonly #last: number;

  constructor(text: string) {
    const bytes = new TextEncoder().encode(text);
    const view = new DataView(bytes.buffer);
    this.length = bytes.length;
    const whole = Math.floor((bytes.length - 1) / WORD_BYTES);
    this.#words = Int32Array.from({ length: whole }, (_, index) => view.getInt32(WORD_BYTES * index, true));
    this.#last = view.getInt32(bytes.length - WORD_BYTES, true);
  }

  /** Whether it stands in a text from `start` on. */
  standsIn(text: DataView, start: number): boolean {
    const last = start + this.length - WORD_BYTES;
    if (last + WORD_BYTES > text.byteLength || text.getInt32(last, true) !== this.#last) return false;
    const words = this.#words;
    for (let index = 0; index < words.length; index++) {
      if (text.getInt32(start + WORD_BYTES * index, true) !== words[index]) return false;
    }
    return true;
  }
}
