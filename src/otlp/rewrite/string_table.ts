/**
 * The string table of a profiles request, and which of its strings have to go: those that stand for a value that is taken out,
 * unless something else in the request is called so too.
 * @module
 */
import { type FieldAt, fieldCursor, LEN, readField } from "./fields.ts";

const KEPT = 1;
const SECRET = 2;

/** Strings by their place. Place 0 is the empty string, by definition. */
export class StringTable {
  readonly #request: Uint8Array;
  /** Where the field of each begins: a table of millions is held in four bytes each. */
  readonly #starts: Uint32Array;
  readonly #marks: Uint8Array;

  /** @param request A profiles request that a walk has found valid. */
  constructor(request: Uint8Array) {
    this.#request = request;
    let count = 0;
    eachString(request, () => count++);
    this.#starts = new Uint32Array(count);
    this.#marks = new Uint8Array(count);
    let index = 0;
    eachString(request, (start) => this.#starts[index++] = start);
  }

  /** How many there are. */
  get length(): number {
    return this.#starts.length;
  }

  /** The string at a place; undefined where there is none. */
  at(index: number): FieldAt | undefined {
    const start = this.#starts[index];
    if (start === undefined) return undefined;
    const field = fieldCursor();
    readField(this.#request, start, field);
    return field;
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

/** Where each string begins, in order: field 5 of `dictionary = 2`. A dictionary that is there twice is one. */
function eachString(request: Uint8Array, take: (start: number) => void): void {
  const dictionary = fieldCursor();
  const string = fieldCursor();
  for (let at = 0; at < request.length; at = dictionary.end) {
    readField(request, at, dictionary);
    if (dictionary.number !== 2 || dictionary.wireType !== LEN) continue;
    for (let inner = dictionary.contentStart; inner < dictionary.end; inner = string.end) {
      readField(request, inner, string);
      if (string.number === 5 && string.wireType === LEN) take(string.start);
    }
  }
}
