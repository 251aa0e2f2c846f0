/**
 * The connections of a listener, bounded in all and for each address. Connections without proof make room, the one that has been
 * silent longest first. So strangers keep each other out, and not the senders.
 * @module
 */
import type { DropReason } from "../../errors.ts";

/** Bounds on connections. */
export interface ConnectionBounds {
  /** Open at once. */
  readonly connectionsMax: number;
  /** Connections of one address that are open at once and without proof; 0: no bound but the one above. */
  readonly addressConnectionsMax: number;
}

/** What is done to a connection. */
export interface Closable {
  destroy(): void;
}

/** One connection. */
interface Known {
  readonly address: string;
  proved: boolean;
}

/** The share of connections that is closed at once to make room: one, or a few where there are many, so that a flood asks for room less often. */
const EVICTED_SHARE = 1 / 100;
const EVICTED_AT_ONCE_MAX = 8;

/** The connections that are open. */
export class Connections<Connection extends Closable> {
  readonly #bounds: ConnectionBounds;
  readonly #dropped: (reason: DropReason) => void;
  readonly #open = new Map<Connection, Known>();
  /** Those without proof, the one that was silent longest first. */
  readonly #unproved = new Set<Connection>();
  /** How many of those each address has. */
  readonly #byAddress = new Map<string, number>();

  /** @param dropped Told of each connection that is closed here. */
  constructor(bounds: ConnectionBounds, dropped: (reason: DropReason) => void) {
    this.#bounds = bounds;
    this.#dropped = dropped;
  }

  /** How many are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Those that are open. */
  all(): Iterable<Connection> {
    return this.#open.keys();
  }

  /** Takes a connection in that has just opened; false where there is no room for it, and it is closed. */
  opened(connection: Connection, address: string): boolean {
    const { connectionsMax, addressConnectionsMax } = this.#bounds;
    if (addressConnectionsMax > 0 && (this.#byAddress.get(address) ?? 0) >= addressConnectionsMax) {
      this.#evict("max_connections_per_address", 1, address);
    }
    if (this.#open.size >= connectionsMax) {
      this.#evict("max_connections", Math.min(EVICTED_AT_ONCE_MAX, Math.ceil(connectionsMax * EVICTED_SHARE)));
    }
    if (this.#open.size >= connectionsMax) {
      this.#dropped("max_connections");
      connection.destroy();
      return false;
    }
    this.#open.set(connection, { address, proved: false });
    this.#unproved.add(connection);
    this.#count(address, 1);
    return true;
  }

  /** A request has come on it. */
  used(connection: Connection): void {
    // Deleted and added again, it is the last of them.
    if (this.#unproved.delete(connection)) this.#unproved.add(connection);
  }

  /** Its sender has proved who it is. */
  proved(connection: Connection): void {
    const known = this.#open.get(connection);
    if (known === undefined || known.proved) return;
    known.proved = true;
    this.#unproved.delete(connection);
    this.#count(known.address, -1);
  }

  /** It has closed. */
  closed(connection: Connection): void {
    const known = this.#open.get(connection);
    if (known === undefined) return;
    this.#open.delete(connection);
    if (known.proved) return;
    this.#unproved.delete(connection);
    this.#count(known.address, -1);
  }

  #evict(reason: DropReason, count: number, address?: string): void {
    let left = count;
    for (const connection of this.#unproved) {
      if (left === 0) return;
      if (address !== undefined && this.#open.get(connection)?.address !== address) continue;
      left--;
      this.closed(connection);
      this.#dropped(reason);
      connection.destroy();
    }
  }

  #count(address: string, change: 1 | -1): void {
    const count = (this.#byAddress.get(address) ?? 0) + change;
    if (count > 0) this.#byAddress.set(address, count);
    else this.#byAddress.delete(address);
  }
}
