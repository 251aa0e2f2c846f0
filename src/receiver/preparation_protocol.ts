/**
 * What the event loop and the thread that prepares bodies say to each other.
 * @module
 */
import type { RefusalCode } from "../errors.ts";
import type { RequestBounds } from "../otlp/bounds.ts";
import type { RedactionSettings } from "../otlp/rewrite/redaction.ts";
import type { PayloadEncoding } from "../queue/queue.ts";
import type { BodyForm, Prepared } from "./preparation.ts";

/** The first message: `PreparationSettings`, as they travel. */
export interface Start {
  readonly payloadEncoding: PayloadEncoding;
  readonly bounds: RequestBounds;
  readonly redaction: RedactionSettings | undefined;
}

/** Every further one. The body's buffer is transferred. */
export interface Job {
  readonly form: BodyForm;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Answers a {@link Job}. The payload's buffer is transferred. */
export type Answer =
  | { readonly kind: "prepared"; readonly prepared: Prepared }
  | {
    readonly kind: "refused";
    readonly code: RefusalCode;
    readonly what: string;
    readonly remedy: string | undefined;
    readonly field: string | undefined;
    readonly cause: string | undefined;
  }
  /** A defect. */
  | { readonly kind: "failed"; readonly message: string };
