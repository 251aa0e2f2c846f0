/**
 * Payloads as they come from PostgreSQL.
 * @module
 */
import { OwnedBytes } from "../../codec/owned_bytes.ts";

/** A payload of the tables, whose owner the caller is. @throws {TypeError} where it is none */
export function payloadOf(value: unknown): OwnedBytes {
  return new OwnedBytes(bytesOf(value));
}

/** The bytes of a `bytea`, in a buffer of their own: the driver keeps small ones in a pool. @throws {TypeError} where it is none */
export function bytesOf(value: unknown): Uint8Array<ArrayBuffer> {
  if (!(value instanceof Uint8Array)) throw new TypeError("A payload in the queue's tables is no bytea");
  return new Uint8Array(value);
}
