/**
 * A sender that has proved who it is, and what it may do.
 * @module
 */
import { nameOfSender, type ProofKind } from "../../config/sender_id.ts";
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

/** How a sender has proved who it is; a static token with the first digits of its digest, which tell two of one id apart. */
export type Proof = `token ${string}` | Exclude<ProofKind, "token">;

/** The kind of a proof, also of one that a file has. */
export function kindOfProof(proof: string): ProofKind {
  switch (proof) {
    case "key":
    case "jwt":
    case "certificate":
    case "none":
      return proof;
    default:
      return "token";
  }
}

/** A sender that has proved who it is. */
export interface Sender {
  /** Its id: on its parts in the queue, in limits, metrics and dead letters. See `config/sender_id.ts`. */
  readonly id: string;
  readonly proof: Proof;
  /** The signals that it may send. */
  readonly signals: ReadonlySet<SignalName>;
  /** The web origins that its requests must come from; absent: it is not bound to any. */
  readonly origins?: readonly string[];
  readonly limits?: SenderLimits;
  /** Set on each resource that it sends; absent: its data goes on as it came. */
  readonly resourceAttributes?: ResourceAttributes;
}

/** What a sender has proved itself by, in the words that its operator knows it by, and how it is let in from one more origin. */
const WORDS: Readonly<Record<ProofKind, { called: (name: string) => string; forOrigin: string }>> = {
  token: { called: (name) => `Token ${name}`, forOrigin: "add the origin to its origins" },
  key: {
    called: (name) => `The token that was minted with key ${name}`,
    forOrigin: "mint one for the origin, which has to be among the key's",
  },
  jwt: { called: (name) => `The JWT of ${name}`, forOrigin: "add the origin to the origins that it claims" },
  certificate: { called: (name) => `The certificate of ${name}`, forOrigin: "use a token that is for it" },
  none: { called: (name) => `Sender ${name}`, forOrigin: "use a token that is for it" },
};

/** Refuses with 403 a signal that the sender may not send, and an origin that it may not send from. */
export function authorize(sender: Sender, signal: SignalName, origin: string | null): void {
  if (!sender.signals.has(signal)) {
    throw forbidden(
      sender,
      "signal",
      (called) => [`${called} may not send ${signal}; it may send ${[...sender.signals].join(", ") || "nothing"}`],
    );
  }
  if (sender.origins === undefined || (origin !== null && sender.origins.includes(origin))) return;
  throw forbidden(
    sender,
    origin === null ? "no origin" : "origin",
    (called, forOrigin) =>
      origin === null
        ? [`${called} is for web pages, and the request has no Origin`, "use another token outside a browser"]
        : [`${called} may not be used from this origin`, forOrigin],
  );
}

/** Each sender that the tokens file names is another fault to mend, with a log line of its own; others are named by strangers. */
function forbidden(
  { id, proof }: Sender,
  what: string,
  words: (called: string, forOrigin: string) => readonly [what: string, remedy?: string],
): Refusal {
  const kind = kindOfProof(proof);
  const { called, forOrigin } = WORDS[kind];
  const own = kind === "token" || kind === "key";
  const [text, remedy] = words(called(nameOfSender(id)), forOrigin);
  return new Refusal("forbidden", text, {
    remedy,
    kind: `forbidden ${what} ${own ? id : kind}`,
  });
}
