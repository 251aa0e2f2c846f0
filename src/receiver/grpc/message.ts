/**
 * The one message of a unary call: a flag byte, four bytes of length, and as many of content ("gRPC over HTTP2", Length-Prefixed-
 * Message). The prefix is read before a byte of the content is held.
 * @module
 */
import { Refusal } from "../../errors.ts";
import { MESSAGE_PREFIX_BYTES } from "../../otlp/grpc.ts";

/** Reads it as it comes. */
export class MessageReader {
  /** A prefix that comes in parts; most come whole, and need no memory of their own. */
  #prefix: Uint8Array | undefined;
  #prefixLength = 0;
  #contentLength = 0;
  /** The length of the content, as it is sent, in bytes; undefined until the prefix is there. */
  length: number | undefined;
  compressed = false;

  /**
   * @returns what of a piece is content.
   * @throws {Refusal} at a flag byte that is none, and at more than one message.
   */
  take(piece: Uint8Array): Uint8Array {
    const taken = Math.min(MESSAGE_PREFIX_BYTES - this.#prefixLength, piece.length);
    if (taken > 0) this.#takePrefix(piece.subarray(0, taken));
    const content = piece.subarray(taken);
    this.#contentLength += content.length;
    if (this.length !== undefined && this.#contentLength > this.length) {
      throw new Refusal("malformed", "The call has bytes behind its message", { remedy: "send one message a call" });
    }
    return content;
  }

  /** All has come. @throws {Refusal} where it is not one whole message. */
  end(): void {
    if (this.#prefixLength === 0) throw new Refusal("malformed", "The call has no message", { remedy: "send one" });
    if (this.length === undefined) throw new Refusal("malformed", "The call ends within the prefix of its message");
    if (this.#contentLength < this.length) {
      throw new Refusal(
        "malformed",
        `The call ends within its message: it has ${this.#contentLength} bytes, its prefix says ${this.length}`,
      );
    }
  }

  #takePrefix(part: Uint8Array): void {
    let prefix = part;
    if (part.length < MESSAGE_PREFIX_BYTES) {
      prefix = this.#prefix ??= new Uint8Array(MESSAGE_PREFIX_BYTES);
      prefix.set(part, this.#prefixLength);
    }
    this.#prefixLength += part.length;
    const flag = prefix[0]!;
    if (flag > 1) throw new Refusal("malformed", "The message begins with neither 0 nor 1, its flag of compression");
    if (this.#prefixLength < MESSAGE_PREFIX_BYTES) return;
    this.compressed = flag === 1;
    this.length = (prefix[1]! << 24 | prefix[2]! << 16 | prefix[3]! << 8 | prefix[4]!) >>> 0;
  }
}
