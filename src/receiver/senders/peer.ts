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
  /** The connection, where it ends in this process; a TLS connection has the client's certificate. */
  readonly socket?: Socket | undefined;
}

/**
 * The value of a field that may stand once: fields of one name that say the same are one (RFC 9110, 5.3 leaves that to us; the
 * Collector takes the first of any). What differs is returned joined, as it came.
 */
export function soleValue(field: string): string {
  const [first = "", ...rest] = field.split(", ");
  return rest.length > 0 && rest.every((value) => value === first) ? first : field;
}
