/**
 * A sender that has proved who it is, and what it may do.
 * @module
 */
import { Refusal } from "../../errors.ts";
import type { ResourceAttributes } from "../../otlp/rewrite/resource_attributes.ts";
import type { SignalName } from "../../signal.ts";

/** Limits of one sender; what is absent is not limited. */
export interface SenderLimits {
  /** Requests a second, as a token bucket that holds one second's worth, and at least one request. */
  readonly requestsPerSecond?: number;
  /** Spans, data points or log records a second. */
  readonly itemsPerSecond?: number;
  /** Bytes of bodies a second, as received. */
  readonly bytesPerSecond?: number;
  /** Requests under way at once. */
  readonly concurrentRequests?: number;
  /** The largest body, as received and inflated, in bytes. */
  readonly bodyBytesMax?: number;
  /** The part of the queue that its data may take, above 0 up to 1. */
  readonly queueShare?: number;
}

/** A sender that has proved who it is. */
export interface Sender {
  /** Its id: on its parts in the queue, in metrics, in dead letters. */
  readonly id: string;
  /** How it has proved it: `token` and the first digits of the token's digest, `key`, `jwt`, `certificate` or `none`. */
  readonly proof: string;
  /** The signals that it may send. */
  readonly signals: ReadonlySet<SignalName>;
  /** The web origins that its requests must come from; absent: it is not bound to any. */
  readonly origins?: readonly string[];
  readonly limits?: SenderLimits;
  /** Set on each resource that it sends; absent: its data goes on as it came. */
  readonly resourceAttributes?: ResourceAttributes;
}

/** What a sender has proved itself by, in the words that its operator knows it by, and how it is let in from one more origin. */
const PROOFS = {
  token: { called: (id: string) => `Token ${id}`, forOrigin: "add the origin to its origins" },
  key: {
    called: (id: string) => `The token that was minted with key ${id}`,
    forOrigin: "mint one for the origin, which has to be among the key's",
  },
  jwt: { called: (id: string) => `The JWT of ${id}`, forOrigin: "add the origin to the origins that it claims" },
  certificate: { called: (id: string) => `The certificate of ${id}`, forOrigin: "use a token that is for it" },
  none: { called: (id: string) => `Sender ${id}`, forOrigin: "use a token that is for it" },
} as const;

/** By the first word of {@link Sender.proof}. */
function proofOf({ proof }: Sender): typeof PROOFS[keyof typeof PROOFS] {
  const kind = proof.split(" ", 1)[0] ?? "";
  return PROOFS[Object.hasOwn(PROOFS, kind) ? kind as keyof typeof PROOFS : "none"];
}

/** Refuses with 403 a signal that the sender may not send, and an origin that it may not send from. */
export function authorize(sender: Sender, signal: SignalName, origin: string | null): void {
  if (!sender.signals.has(signal)) {
    throw new Refusal(
      "forbidden",
      `${proofOf(sender).called(sender.id)} may not send ${signal}; it may send ${
        [...sender.signals].join(", ") || "nothing"
      }`,
    );
  }
  if (sender.origins === undefined || (origin !== null && sender.origins.includes(origin))) return;
  const { called, forOrigin } = proofOf(sender);
  throw new Refusal(
    "forbidden",
    origin === null
      ? `${called(sender.id)} is for web pages, and the request has no Origin; use another token outside a browser`
      : `${called(sender.id)} may not be used from this origin; ${forOrigin}`,
  );
}
