/**
 * A Map for what comes and goes: requests, streams, records on their way. V8 gives a Map or a Set another table with each few dozen that
 * come and go. The table before, once it has grown old, still refers to all that was in it then, and to the next table, so that nothing
 * that was ever in one of them is found to be garbage but by a thorough collection: with some thousands of requests a second one was due
 * each two seconds, and delayed all that came meanwhile. Here a table refers to cells, and a cell lets go of what is deleted.
 * @module
 */

/** Where one value is. */
interface Cell<Value> {
  /** Undefined once it is deleted. */
  value: Value | undefined;
}

/** A Map by number, in the order of insertion. */
export class PassingMap<Value extends object> {
  readonly #cells = new Map<number, Cell<Value>>();

  get size(): number {
    return this.#cells.size;
  }

  has(key: number): boolean {
    return this.#cells.has(key);
  }

  get(key: number): Value | undefined {
    return this.#cells.get(key)?.value;
  }

  set(key: number, value: Value): void {
    const cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, { value });
    else cell.value = value;
  }

  /** @returns whether there was one. */
  delete(key: number): boolean {
    const cell = this.#cells.get(key);
    if (cell === undefined) return false;
    cell.value = undefined;
    return this.#cells.delete(key);
  }

  /** What is there. As with a Map, any may be deleted meanwhile, and what is set meanwhile comes last. */
  *values(): Generator<Value, void, undefined> {
    for (const { value } of this.#cells.values()) if (value !== undefined) yield value;
  }
}

/** Promises that have not settled yet. */
export class UnderWay {
  readonly #promises = new PassingMap<Promise<unknown>>();
  #last = 0;

  /** Has {@link settled} wait for a promise; returns it. */
  track<Value>(promise: Promise<Value>): Promise<Value> {
    const key = ++this.#last;
    this.#promises.set(key, promise);
    const done = () => void this.#promises.delete(key);
    promise.then(done, done);
    return promise;
  }

  /** Resolves once all that is under way now has settled, whatever came of it. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#promises.values());
  }
}
