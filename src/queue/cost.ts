/**
 * What a record costs, on disk and in memory: by it the queue is bounded, so that a million records of two bytes are not taken for two
 * megabytes.
 * @module
 */

/** A row without its payload and its parts, with its place in the index, in bytes: 65 were measured in a file
 * that was just filled; where records come and go its pages are half full. */
export const RECORD_BYTES = 96;

/** What a part takes in its record's row, in bytes: its numbers and its sender's id. */
const PART_BYTES = 64;

/** An entry of a record that is known in memory, without its payload and its parts, in bytes: some 500 were measured. */
const ENTRY_BYTES = 512;

/** What a record costs the queue, in bytes. @param partsChars Characters of its parts as they stand in its row. */
export function costOf(payloadBytes: number, partsChars: number): number {
  return payloadBytes + partsChars + RECORD_BYTES;
}

/** What a part counts for its sender, in bytes: it may be alone in its record. */
export function costOfPart(payloadBytes: number): number {
  return payloadBytes + PART_BYTES + RECORD_BYTES;
}

/** What a record costs in memory, in bytes: its parts are an object each there. @param partsChars As for {@link costOf}. */
export function memoryOf(payloadBytes: number, partsChars: number): number {
  return payloadBytes + 4 * partsChars + ENTRY_BYTES;
}
