/**
 * The string table of a profiles request, and which of its strings have to go: those that stand for a value that is taken out,
 * unless something else in the request is called so too.
 * @module
 */
import { dictionaryStrings, type FieldAt } from "./fields.ts";

const KEPT = 1;
const SECRET = 2;

/** Strings by their place. Place 0 is the empty string, by definition. */
export class StringTable {
  readonly #strings: readonly FieldAt[];
  readonly #marks: Uint8Array;

  /** @param request A profiles request that a walk has found valid. */
  constructor(request: Uint8Array) {
    this.#strings = [...dictionaryStrings(request)];
    this.#marks = new Uint8Array(this.#strings.length);
  }

  /** The string at a place; undefined where there is none. */
  at(index: number): FieldAt | undefined {
    return this.#strings[index];
  }

  /** Something that stays refers to the string. */
  keep(index: number): void {
    if (index >= 0 && index < this.#marks.length) this.#marks[index]! |= KEPT;
  }

  /** Something that is taken out refers to the string. */
  remove(index: number): void {
    if (index >= 0 && index < this.#marks.length) this.#marks[index]! |= SECRET;
  }

  /** Whether the string at a place is to be emptied; all references have been noted by then. */
  isRemoved(index: number): boolean {
    return this.#marks[index] === SECRET;
  }
}
