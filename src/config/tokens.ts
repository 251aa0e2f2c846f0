/**
 * The senders, as a program writes them: the content of a tokens file as objects, under the file's own names.
 * @module
 */
import type { SignalName } from "../signal.ts";

/** Limits of one sender. Sizes are text such as `1MiB`, or bytes. */
export interface LimitsInput {
  /** Above it 429. */
  requests_per_second?: number;
  /** Spans, data points and log records; above it 429. */
  items_per_second?: number;
  /** Bodies as received; above it 429. */
  bytes_per_second?: string | number;
  /** Requests under way at once; above it 429. */
  concurrent_requests?: number;
  /** Above it 413. */
  max_request_body_size?: string | number;
  /** Share of the queue's size, from 0 to 1; above it 503. */
  queue_share?: number;
}

/** One token. */
export interface TokenInput {
  /** The sender: its name stays with its data. */
  id: string;
  /** SHA-256 of the token, in hex. The token itself is stored nowhere. */
  sha256: string;
  /** 403 for others; all of them by default. */
  signals?: SignalName[];
  /** Its own limits. */
  limits?: LimitsInput;
  /** Web pages that it may be used from; anywhere by default. */
  origins?: string[];
  /** ISO 8601 with a zone: 401 from then on. */
  not_after?: string;
  /** Set on each resource that arrives with it. */
  resource_attributes?: Record<string, string | number | boolean>;
}

/** A key with which a backend mints tokens for its pages. It has a secret or a public key. */
export interface SigningKeyInput {
  /** The `kid` of its tokens, and the sender. */
  id: string;
  /** HS256: 32 bytes or more, in base64url. */
  secret?: string;
  /** EdDSA (Ed25519): 32 bytes in base64url. */
  public_key?: string;
  /** The most that its tokens may be for. */
  origins: string[];
  /** The most that its tokens may send; all signals by default. */
  signals?: SignalName[];
  /** Limits of all its tokens together. */
  limits?: LimitsInput;
  /** Set on each resource that arrives with its tokens. */
  resource_attributes?: Record<string, string | number | boolean>;
  /** The longest lifetime of a token; `15m` by default. */
  max_age?: string;
}

/** What a tokens file holds. */
export interface TokensInput {
  /** Static tokens. */
  tokens?: TokenInput[];
  /** Keys of backends that mint tokens. */
  signing_keys?: SigningKeyInput[];
}
