/**
 * Bytes that `fetch` reads piece by piece. It holds two copies of a body in one piece until the garbage collector comes by: twelve bodies of
 * 20 MiB left 140 MiB behind, and read by pieces 5 MiB. A stream would do the same, but states no length over HTTP/1.1; a Blob's
 * length is known.
 * @module
 */

/**
 * A body of `fetch` for large bytes: read piece by piece, where this Deno reads a Blob by its `stream`, as is made sure of once. One that
 * did otherwise would send an empty body, which a Collector answers with a success; there the bytes go in one piece.
 * @param bytes They must stay as they are until the body has been read.
 */
export async function largeBody(bytes: Uint8Array<ArrayBuffer>): Promise<Blob | Uint8Array<ArrayBuffer>> {
  return await (streamed ??= isStreamed()) ? new BytesBlob(bytes) : bytes;
}

let streamed: Promise<boolean> | undefined;

/** `Response` takes a body as `fetch` does (Fetch standard, "extract a body"). */
async function isStreamed(): Promise<boolean> {
  const sample = new Uint8Array(PIECE_BYTES + 1).fill(7);
  try {
    const read = new Uint8Array(await new Response(new BytesBlob(sample)).arrayBuffer());
    return read.length === sample.length && read[PIECE_BYTES] === 7;
  } catch {
    return false;
  }
}

/** What is read at once, in bytes. */
const PIECE_BYTES = 64 * 1024;

/** A Blob over bytes that are not copied; they must stay as they are until it has been read. */
export class BytesBlob extends Blob {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #size: number;
  /** How far it has been read. */
  #offset = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    super([]);
    this.#bytes = bytes;
    this.#size = bytes.length;
  }

  override get size(): number {
    return this.#bytes.length;
  }

  /** Whether its last byte has been read. */
  get isRead(): boolean {
    return this.#offset >= this.#size;
  }

  override stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const bytes = this.#bytes;
    this.#offset = 0;
    return new ReadableStream({
      pull: (controller) => {
        // Given up while it was read: its request has been answered, or nobody waits for it.
        if (this.#offset >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(this.#offset, this.#offset += PIECE_BYTES));
      },
    }, { highWaterMark: 0 });
  }
}
