/**
 * The targets and the routes of a queue's file: a record names its route by a number, and a route is a set of targets. Both are few, never
 * change once they are there, and are known in memory.
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { SIGNAL_NAMES } from "../../../signal.ts";
import type { TargetId } from "../../queue.ts";

/** The books of what is not a target: by how much the accounts of all targets together exceed those of the door. */
export const OVERLAP: TargetId = 0;

export class Routes {
  readonly #db: DatabaseSync;
  readonly #targets = new Map<TargetId, string>();
  readonly #routes = new Map<number, readonly TargetId[]>();
  readonly #ids = new Map<string, number>();
  /** What the present transaction has made: a rollback takes it out of the file. */
  readonly #madeTargets: TargetId[] = [];
  readonly #madeRoutes: number[] = [];

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.load();
  }

  /** Reads them again: another process may have added some. */
  load(): void {
    for (const { id, name } of this.#db.prepare("SELECT id, name FROM targets").all()) {
      this.#targets.set(Number(id), String(name));
    }
    for (const { id, targets } of this.#db.prepare("SELECT id, targets FROM routes").all()) {
      this.#add(Number(id), JSON.parse(String(targets)) as TargetId[]);
    }
  }

  /** Every target that there has been, by number. */
  get targets(): ReadonlyMap<TargetId, string> {
    return this.#targets;
  }

  /** The number of a target; one that is new gets its books too. Inside a transaction. */
  targetOf(name: string): TargetId {
    for (const [id, known] of this.#targets) if (known === name) return id;
    // Another process may have made it meanwhile.
    const row = this.#db.prepare(
      "INSERT INTO targets (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id",
    ).get(name);
    const id = Number(row?.id);
    for (const signal of SIGNAL_NAMES) addBook(this.#db, id, signal);
    this.#targets.set(id, name);
    this.#madeTargets.push(id);
    return id;
  }

  /** The number of a route; inside a transaction. */
  idOf(targets: readonly TargetId[]): number {
    const key = targets.length === 1 ? String(targets[0]) : [...targets].sort((a, b) => a - b).join();
    let id = this.#ids.get(key);
    if (id !== undefined) return id;
    const sorted = [...targets].sort((a, b) => a - b);
    if (sorted.length > 1) { for (const signal of SIGNAL_NAMES) addBook(this.#db, OVERLAP, signal); }
    const row = this.#db.prepare(
      "INSERT INTO routes (targets) VALUES (?) ON CONFLICT (targets) DO UPDATE SET targets = excluded.targets RETURNING id",
    ).get(JSON.stringify(sorted));
    id = Number(row?.id);
    this.#add(id, sorted);
    this.#madeRoutes.push(id);
    return id;
  }

  /** What the transaction has made is in the file. */
  committed(): void {
    this.#madeTargets.length = 0;
    this.#madeRoutes.length = 0;
  }

  /** What the transaction has made is not in the file: a record that named it could be read by nobody. */
  rolledBack(): void {
    for (const id of this.#madeTargets) this.#targets.delete(id);
    for (const id of this.#madeRoutes) {
      this.#ids.delete(this.#routes.get(id)?.join() ?? "");
      this.#routes.delete(id);
    }
    this.committed();
  }

  /** The targets of a route, in ascending order. */
  targetsOf(route: number): readonly TargetId[] {
    let targets = this.#routes.get(route);
    if (targets === undefined) {
      this.load();
      targets = this.#routes.get(route);
    }
    if (targets === undefined) throw Object.assign(new Error(`Route ${route} is missing`), { errcode: 11 });
    return targets;
  }

  /** The routes that lead to a target. */
  to(target: TargetId): { readonly id: number; readonly targets: readonly TargetId[] }[] {
    return [...this.#routes].filter(([, targets]) => targets.includes(target)).map(([id, targets]) => ({
      id,
      targets,
    }));
  }

  #add(id: number, targets: readonly TargetId[]): void {
    this.#routes.set(id, targets);
    this.#ids.set(targets.join(), id);
  }
}

/** The books of one target and signal, if they are missing. */
export function addBook(db: DatabaseSync, target: TargetId, signal: string): void {
  db.prepare("INSERT OR IGNORE INTO books VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)").run(target, signal);
}
