/**
 * A request as the receiver's steps take it, and the answer that they give. No transport owns either: each way in brings the first
 * and writes the second, and has no steps of its own. A message of gRPC comes the same way, its content as the body, still compressed, and
 * `grpc-encoding` as the field `content-encoding`.
 * @module
 */
import type { Refusal } from "../errors.ts";
import type { HeaderFields, Peer } from "./senders/peer.ts";

/** The body of a request, as it arrives. */
export interface InboundBody {
  /**
   * Hands over each piece in order; a piece is nobody else's from then on, unless it is `lent`: then it is overwritten once `take` has
   * returned. What `take` throws ends the reading.
   * @returns undefined where the whole body was there and has been handed over; else a promise of its end, which rejects where the
   * body breaks off.
   */
  forEachPiece(take: (piece: Uint8Array, lent?: boolean) => void): Promise<void> | undefined;
  /** Forgets what is still to come. */
  cancel(): void;
}

/** The sender, as far as its connection shows. */
export interface InboundPeer extends Peer {
  /** Its address; of a proxy, where one stands before the relay. Costs a system call. */
  address(): string | undefined;
  /** The sender has proved who it is: its connection is worth keeping. */
  proved(): void;
}

/** One request. */
export interface Inbound {
  /** Absolute, with its query; scheme, path and query are the request's, the host need not be. */
  readonly url: string;
  readonly headers: HeaderFields;
  readonly body: InboundBody;
  readonly peer: InboundPeer;
}

/** What a request is answered. */
export interface Answer {
  readonly status: number;
  /** Names in small letters. No `content-length`: the writer of the answer adds it. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
  /** That it is a refusal, for a way in that says so in words of its own. `toldS`: what the sender is told to wait, in seconds. */
  readonly refused?: { readonly refusal: Refusal; readonly toldS: number | undefined } | undefined;
}
