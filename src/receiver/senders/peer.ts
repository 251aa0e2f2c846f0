/**
 * What is there to know a sender by: the header fields of its request, and the connection that it came by.
 * @module
 */
import type { Socket } from "node:net";

/** Header fields by their names in small letters, as a `Headers` gives them: several of one name joined by `, `, null for none. */
export interface HeaderFields {
  get(name: string): string | null;
}

/** The other end of a request's connection. */
export interface Peer {
  /** The connection, where it ends in this process; one of TLS tells of the client's certificate. */
  readonly socket?: Socket | undefined;
}
