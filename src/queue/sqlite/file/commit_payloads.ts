/**
 * The payloads of one commit, as they came with its message: the Worker's, until those that were asked back go. What stays is in the file
 * by then, and garbage here: this thread makes too little other garbage for it to be collected soon.
 * @module
 */
import { OwnedBytes } from "../../../codec/owned_bytes.ts";
import type { Request } from "../protocol.ts";

/** The message of a commit. */
type CommitMessage = Request & { readonly kind: "commit" };

export class CommitPayloads implements Disposable {
  readonly #appends: CommitMessage["appends"];
  readonly #packed: OwnedBytes;
  /** Of each append, in order; undefined of one whose payload is packed. */
  readonly #owned: readonly (OwnedBytes | undefined)[];

  constructor({ appends, packed }: Pick<CommitMessage, "appends" | "packed">) {
    this.#appends = appends;
    this.#packed = new OwnedBytes(new Uint8Array(packed));
    this.#owned = appends.map(({ payload }) => payload instanceof Uint8Array ? new OwnedBytes(payload) : undefined);
  }

  /** The payload of an append. @throws {ReferenceError} after it went back */
  of(index: number): Uint8Array {
    const owned = this.#owned[index];
    const { payload, bytes } = this.#appends[index]!;
    if (owned !== undefined || payload instanceof Uint8Array) return owned!.bytes;
    return this.#packed.bytes.subarray(payload.offset, payload.offset + bytes);
  }

  /** Those that were asked back, in order: whoever calls this has them. */
  takeReturned(): Uint8Array<ArrayBuffer>[] {
    return this.#owned.flatMap((owned, index) =>
      owned !== undefined && this.#appends[index]!.giveBack ? [owned.take()] : []
    );
  }

  [Symbol.dispose](): void {
    for (const owned of this.#owned) owned?.[Symbol.dispose]();
    this.#packed[Symbol.dispose]();
  }
}
