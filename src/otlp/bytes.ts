/**
 * Joining bytes. Encoded export requests joined are a request again (protobuf, "Encoding": the last of repeated messages are
 * appended), and so are gzip members (RFC 1952, 2.2).
 * @module
 */

/** All chunks in one buffer of its own, in order. */
export function concatenate(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
