/**
 * Garbage of large requests, collected when it has become much: V8 lets old objects grow to a multiple of what lives before it looks
 * at them.
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Garbage that is let lie, in bytes: less than one body of the largest size leaves behind. 32 MiB took 24 senders of such to 250 MiB. */
const GARBAGE_BYTES_MAX = 16 * 1024 * 1024;

/** V8's collector; undefined until it has been asked for, null where it cannot be called. */
let collector: (() => void) | null | undefined;
let left = 0;

/**
 * Says that about as many bytes of garbage have been left behind; now and then collects it, in 10 to 20 ms. For what is large only: of
 * small objects V8 takes care at less cost.
 */
export function leaveGarbage(bytes: number): void {
  left += bytes;
  if (left < GARBAGE_BYTES_MAX) return;
  left = 0;
  if (collector === undefined) collector = findCollector();
  collector?.();
}

/** Node and Deno have no other way to it that needs no flag at the start. */
function findCollector(): (() => void) | null {
  try {
    setFlagsFromString("--expose-gc");
    const found: unknown = runInNewContext("gc");
    return typeof found === "function" ? () => void found() : null;
  } catch {
    return null;
  }
}
