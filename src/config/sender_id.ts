/**
 * The ids of senders: each kind of proof has its own space, so that no issuer of tokens can name a sender that is another's.
 * @module
 */

/** What a sender proves itself by: a static token, one minted with a signing key, a JWT, a certificate; `none` where nobody is asked. */
export type ProofKind = "token" | "key" | "jwt" | "certificate" | "none";

const PREFIXED: ReadonlySet<string> = new Set<ProofKind>(["key", "jwt", "certificate"]);

/**
 * The id of a sender, in the queue, limits, shares and metrics: `checkout` is a static token's, `jwt:checkout` that of a JWT. A
 * static token's id has no colon.
 */
export function senderId(kind: ProofKind, name: string): string {
  return PREFIXED.has(kind) ? `${kind}:${name}` : name;
}

/** The kind that an id is of; `token` for one without a prefix. */
export function kindOfSender(id: string): ProofKind {
  const prefix = id.slice(0, Math.max(0, id.indexOf(":")));
  return PREFIXED.has(prefix) ? prefix as ProofKind : "token";
}

/** The name in an id. */
export function nameOfSender(id: string): string {
  return kindOfSender(id) === "token" ? id : id.slice(id.indexOf(":") + 1);
}
