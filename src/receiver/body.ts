/**
 * The body of a request, read bounded in bytes and in time.
 * @module
 */
import { discard } from "../codec/bytes.ts";
import { leaveGarbage } from "../codec/memory.ts";
import { Refusal } from "../errors.ts";
import type { Deadlines } from "./deadlines.ts";
import type { InboundBody } from "./inbound.ts";

/** Limits on one body. */
export interface BodyLimits {
  /** The most bytes of a body, as received and after inflating. */
  readonly bodyBytesMax: number;
  /** By when a body has to have arrived. */
  readonly deadlines: Deadlines;
}

/** The 413 for a body over the limit. */
export function tooLarge(bytesMax: number, what: string): Refusal {
  return new Refusal("too_large", `${what} is over the limit of ${bytesMax} bytes`, { remedy: "send smaller batches" });
}

/**
 * Reads the whole body, never holding more than the limit.
 * @param stated Its length in bytes, where the request states one.
 * @param arrived Called with the length of each piece before it is held; throws a {@link Refusal} when there is no room.
 * @returns the body in a buffer of its own; a promise only where it was not all there.
 * @throws {Refusal} `too_large`, `malformed`, `body_timeout`, `body_incomplete`, and what `arrived` throws.
 */
export function readBody(
  body: InboundBody,
  stated: number | undefined,
  limits: BodyLimits,
  arrived: (bytes: number) => void,
): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
  const pieces = new Pieces(stated, limits.bodyBytesMax, arrived);
  let reading: Promise<void> | undefined;
  try {
    reading = body.forEachPiece((piece, lent) => pieces.add(piece, lent));
    if (reading === undefined) return pieces.whole();
  } catch (error) {
    body.cancel();
    pieces.forget();
    throw refusalOf(error);
  }
  return late(reading, body, pieces, limits.deadlines);
}

/** Waits for the rest. No race against a promise of the deadline: that would hold the body until its end. */
function late(
  reading: Promise<void>,
  body: InboundBody,
  pieces: Pieces,
  deadlines: Deadlines,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    // An answer follows, and the connection is given up with the rest of the body.
    const giveUp = (error: unknown) => {
      lift();
      body.cancel();
      pieces.forget();
      reject(refusalOf(error));
    };
    const lift = deadlines.set((early) =>
      giveUp(
        early
          ? new Refusal("shutting_down", "The relay is shutting down, and the body has not arrived", {
            remedy: "retry",
          })
          : new Refusal("body_timeout", `Body did not arrive within ${deadlines.ms} ms`, { remedy: "retry" }),
      )
    );
    reading.then(() => {
      lift();
      resolve(pieces.whole());
    }).catch(giveUp);
  });
}

/** The connection broke, or the server is closing: what is there says nothing about the data, so the sender may retry. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal("body_incomplete", "Body ended before it was complete", { remedy: "send it again", cause: error });
}

/** The first buffer of a body of no stated length, in bytes; it is doubled as often as needed. */
const ROOM_BYTES_MIN = 4 * 1024;
/** From this size on, in bytes, a piece is counted as garbage once it has been copied. */
const GARBAGE_BYTES_MIN = 16 * 1024;

/**
 * Pieces on their way into one buffer. None of them is kept: one of a byte may hold the memory of the packet that it came in.
 */
class Pieces {
  readonly #stated: number | undefined;
  readonly #bytesMax: number;
  readonly #arrived: (bytes: number) => void;
  #buffer: Uint8Array<ArrayBuffer> = EMPTY;
  #length = 0;

  constructor(stated: number | undefined, bytesMax: number, arrived: (bytes: number) => void) {
    this.#stated = stated;
    this.#bytesMax = bytesMax;
    this.#arrived = arrived;
  }

  add(piece: Uint8Array, lent = false): void {
    const length = this.#length + piece.length;
    // `statedLength` has checked that the stated length is within the limit.
    if (this.#stated === undefined && length > this.#bytesMax) throw tooLarge(this.#bytesMax, "Body");
    if (this.#stated !== undefined && length > this.#stated) throw otherLength(length, this.#stated);
    this.#arrived(piece.length);
    if (length === this.#stated && this.#length === 0 && !lent) this.#buffer = owned(piece);
    else {
      if (length > this.#buffer.length) this.#grow(length);
      this.#buffer.set(piece, this.#length);
      // Piece by piece, and not once the body is complete: 24 bodies of 20 MiB at once had left all their garbage by then.
      // One that is lent counts, too: it leaves no buffer, but what the stream makes of it.
      if (piece.length >= GARBAGE_BYTES_MIN) leaveGarbage(piece.length);
    }
    this.#length = length;
  }

  whole(): Uint8Array<ArrayBuffer> {
    if (this.#stated !== undefined && this.#length < this.#stated) throw otherLength(this.#length, this.#stated);
    const buffer = this.#buffer;
    this.#buffer = EMPTY;
    // The empty one is shared, and not given away.
    if (buffer === EMPTY) return new Uint8Array(0);
    return buffer.length === this.#length ? buffer : new Uint8Array(buffer.buffer.transfer(this.#length));
  }

  /** Gives back the bytes that have come: many large bodies that are refused half way would hold more than may be in flight. */
  forget(): void {
    discard(this.#buffer);
    this.#buffer = EMPTY;
    this.#length = 0;
  }

  /** Pages of a buffer are memory once they are written to, so that a length which is only stated takes none. */
  #grow(length: number): void {
    const room = this.#stated ??
      Math.min(this.#bytesMax, Math.max(ROOM_BYTES_MIN, length, 2 * this.#buffer.length));
    this.#buffer = new Uint8Array(this.#buffer === EMPTY ? new ArrayBuffer(room) : this.#buffer.buffer.transfer(room));
  }
}

const EMPTY = new Uint8Array(0);

/** A piece that has a buffer to itself stays in it. */
function owned(piece: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = piece;
  return buffer instanceof ArrayBuffer && buffer.byteLength === piece.byteLength
    ? new Uint8Array(buffer)
    : new Uint8Array(piece);
}

function otherLength(bytes: number, stated: number): Refusal {
  return new Refusal("malformed", `Body has ${bytes} bytes, its Content-Length says ${stated}`, {
    remedy: "make them agree",
  });
}
