/**
 * What the event loop and the thread that recodes say to each other.
 * @module
 */
import type { Recoding } from "./recode.ts";

/** The buffer is transferred. */
export interface RecodeJob extends Recoding {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The buffer is transferred. */
export type RecodeReply =
  | { readonly kind: "recoded"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "damaged"; readonly message: string }
  /** A defect. */
  | { readonly kind: "failed"; readonly message: string };
