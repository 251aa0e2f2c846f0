/**
 * How one request is carried: what differs between OTLP/HTTP and OTLP/gRPC. Times, identities and what an answer means are the client's.
 * @module
 */
import type { PartialSuccess } from "../../otlp/response.ts";
import type { SignalName } from "../../signal.ts";
import type { Coding } from "../recode/recode.ts";

/** The identity that the relay shows, and the CA that it trusts: PEM texts, as `pki/identity.ts` has checked them. */
export interface ClientIdentity {
  readonly caCerts: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

/** Where a connection is opened to. */
export interface Place {
  readonly address: string;
  readonly port: number;
  /** A proxy that leads there, for TLS over Deno's HTTP client. */
  readonly tunnel?: TunnelAccess | undefined;
}

/** How a client learns of a tunnel. */
export interface TunnelAccess {
  readonly url: string;
  readonly basicAuth: { readonly username: string; readonly password: string };
}

/** The Collector answered. */
export interface Answered {
  readonly kind: "answer";
  /** The HTTP status; of a gRPC code the one that means the same (see `disposition.ts`). */
  readonly status: number;
  /** The name of the gRPC code; undefined over HTTP, and where what stands before the Collector has answered without one. */
  readonly grpc?: string;
  /** The Collector's own words; empty for a success. For a 2xx that is {@link foreign}: why it is. */
  readonly message: string;
  /** A 2xx that is no success of OTLP: whoever answered has not taken the data. */
  readonly foreign: boolean;
  readonly retryAfterMs: number | undefined;
  readonly partialSuccess: PartialSuccess | undefined;
}

/** One request, as it is carried. */
export interface Carried {
  readonly signal: SignalName;
  /** Complete, path included. */
  readonly url: string;
  /** Beside those that the transport sets itself. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
  /** How the body is encoded; it is sent as it is. */
  readonly encoding: Coding;
  /** When `abort` comes at the latest, in ms from now. */
  readonly timeoutMs: number;
  readonly abort: AbortSignal;
}

/** A pool of connections that show one identity. */
export interface Transport {
  /** Sends once. Rejects where no answer came, with an error whose text says why. */
  post(request: Carried): Promise<Answered>;
  /** Takes no more requests; those under way end. */
  close(): void;
}
