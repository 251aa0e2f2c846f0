/**
 * What the outcomes of a record's parts come to: in the books, among the dead letters, and in what is left of it. No I/O here.
 * @module
 */
import { concatenate } from "../codec/bytes.ts";
import type { PartSettlement } from "./outcomes.ts";
import { costOfRow, encodeParts, partsOfRow, type RecordHead } from "./record_head.ts";

/** Data that the Collector will never take, and its sender. */
export interface Burial {
  readonly sender: string;
  readonly items: number;
  readonly inflatedBytes: number;
  readonly reason: string;
  readonly status?: number;
  readonly payload: Uint8Array;
}

/** What became of a record, in items, and what is left of it. */
export interface SettledParts {
  readonly delivered: number;
  readonly rejected: number;
  readonly dead: number;
  readonly buried: readonly Burial[];
  /** To be sent again. */
  readonly retried: Remnant;
  /** What the Collector will never take, and what the dead letters have no room for. */
  readonly held: Remnant;
}

/**
 * @param outcomes One of each part, in order.
 * @param hasRoom Whether the dead letters have room for so many bytes; asked once for each burial, in order, and it is made where they do.
 */
export function settleParts(
  head: Pick<RecordHead, "parts" | "items" | "bytes" | "inflatedBytes">,
  payload: Uint8Array,
  outcomes: readonly PartSettlement[],
  hasRoom: (bytes: number) => boolean,
): SettledParts {
  const retried = new Remnant();
  const held = new Remnant();
  const buried: Burial[] = [];
  let [delivered, rejected, dead, offset] = [0, 0, 0, 0];
  /** Some items have left, of which so many were rejected: no more than there were. */
  const leave = (items: number, rejectedOf = 0): void => {
    const refused = Math.min(rejectedOf, items);
    rejected += refused;
    delivered += items - refused;
  };
  const bury = (burial: Burial): void => {
    if (hasRoom(burial.payload.length)) {
      buried.push(burial);
      dead += burial.items;
    } else {
      held.add(burial, burial.payload);
    }
  };
  for (const [index, part] of partsOfRow(head).entries()) {
    const bytes = payload.subarray(offset, offset + part.bytes);
    offset += part.bytes;
    const { sender } = part;
    const outcome = outcomes[index]!;
    if (outcome.kind === "retry" && outcome.remains === undefined) {
      retried.add(part, bytes);
    } else if (outcome.kind === "retry") {
      const { rest, dead: guilty, rejected: refused } = outcome.remains!;
      const deadItems = Math.min(guilty?.items ?? 0, part.items);
      const restItems = Math.min(rest.items, part.items - deadItems);
      leave(part.items - deadItems - restItems, refused);
      retried.add({ sender, items: restItems, inflatedBytes: rest.inflatedBytes }, rest.payload);
      if (guilty !== undefined) bury({ ...guilty, sender, items: deadItems });
    } else if (outcome.kind === "delivered") {
      leave(part.items, outcome.rejected);
    } else {
      const { reason, status } = outcome;
      const items = Math.min(outcome.items ?? part.items, part.items);
      leave(part.items - items, outcome.rejected);
      bury({
        sender,
        items,
        inflatedBytes: part.inflatedBytes,
        reason,
        ...(status === undefined ? {} : { status }),
        payload: outcome.payload ?? bytes,
      });
    }
  }
  return { delivered, rejected, dead, buried, retried, held };
}

/** Parts of a record that stay in the queue after its settle. */
export class Remnant {
  readonly #parts: { sender: string; items: number; bytes: number; inflatedBytes: number }[] = [];
  readonly #payloads: Uint8Array[] = [];

  get empty(): boolean {
    return this.#parts.length === 0;
  }

  add({ sender, items, inflatedBytes }: Pick<Burial, "sender" | "items" | "inflatedBytes">, payload: Uint8Array): void {
    this.#parts.push({ sender, items, inflatedBytes, bytes: payload.length });
    this.#payloads.push(payload);
  }

  head<Head extends Omit<RecordHead, "id">>(of: Head): Head {
    const sum = (pick: (part: { items: number; bytes: number; inflatedBytes: number }) => number) =>
      this.#parts.reduce((total, part) => total + pick(part), 0);
    const bytes = sum((part) => part.bytes);
    const parts = encodeParts(this.#parts);
    return {
      ...of,
      items: sum(({ items }) => items),
      bytes,
      cost: costOfRow(bytes, parts),
      inflatedBytes: sum(({ inflatedBytes }) => inflatedBytes),
      parts,
    };
  }

  payload(): Uint8Array<ArrayBuffer> {
    return concatenate(this.#payloads);
  }
}
