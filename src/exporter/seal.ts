/**
 * What stands before gzip members that share one body, so that whoever reads the first member alone cannot answer with a success: an
 * address may have another server behind it from one request to the next, and `fetch` tells nothing of a new connection.
 * @module
 */
import { concatenate } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";

/**
 * The tag of a varint field (protobuf encoding: `number << 3 | 0`) of the highest number there is, 2^29 - 1. OTLP has no such field: whoever
 * reads all skips it, as protobuf demands.
 */
const TAG = new Uint8Array([0xf8, 0xff, 0xff, 0xff, 0x0f]);
const VALUE = new Uint8Array([0]);

/** Two members: a tag without a value, which no decoder takes, and the value. */
export const SEAL: Uint8Array<ArrayBuffer> = concatenate([gzipMember(TAG), gzipMember(VALUE)]);

/** How many members it is. */
export const SEAL_MEMBERS = 2;

/** What it inflates to, in bytes. */
export const SEAL_INFLATED_BYTES: number = TAG.length + VALUE.length;
