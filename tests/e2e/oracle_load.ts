/** What both crash oracles send and how their relays send it on; the bounds on duplicates are reckoned from it. */

/** Spans of one request, at most. */
export const SPANS_MAX = 12;
/** `sending_queue.num_consumers`. */
export const CONSUMERS = 4;
/** `sending_queue.batch.max_size`: payload bytes of one take, and so of what one consumer has in flight. */
export const BATCH_BYTES = 16 * 1024;
