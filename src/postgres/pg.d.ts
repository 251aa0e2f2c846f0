/** The part of `pg` that is used: its own types are a package that brings all of Node's with it. */
import type { Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";

/** What a connection is made from. */
export interface ClientConfig {
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  /** Asked for at each connection, where it is a function. */
  readonly password?: string | (() => string | Promise<string>);
  readonly database?: string;
  readonly ssl?: boolean | ConnectionOptions;
  /** The password's proof is tied to the TLS connection (RFC 5802, SCRAM-SHA-256-PLUS). */
  readonly enableChannelBinding?: boolean;
  readonly application_name?: string;
  /** ms for the whole of it: the socket, TLS and the role. */
  readonly connectionTimeoutMillis?: number;
  /** ms that the driver waits for a statement; the server goes on. */
  readonly query_timeout?: number;
  /** Of the server, in ms. */
  readonly statement_timeout?: number | false;
  readonly lock_timeout?: number;
  readonly idle_in_transaction_session_timeout?: number;
  readonly keepAlive?: boolean;
  readonly keepAliveInitialDelayMillis?: number;
  /** Settings of the session, as `-c name=value`. */
  readonly options?: string;
  /** Where the socket comes from. */
  readonly stream?: () => Socket;
}

/** One statement. With a `name` it is prepared, and stays in the session. */
export interface QueryConfig {
  readonly text: string;
  readonly values?: readonly unknown[];
  readonly name?: string;
  /** Rows as arrays. */
  readonly rowMode?: "array";
}

/** What a statement came to. */
export interface QueryResult<Row = Record<string, unknown>> {
  readonly rows: Row[];
  readonly rowCount: number | null;
  readonly command: string;
}

/** What the server says beside an answer; `code` is its SQLSTATE. */
export interface Notice {
  readonly code?: string;
  readonly severity?: string;
  readonly message?: string;
}

export class Client {
  constructor(config?: string | ClientConfig);
  readonly processID: number | null;
  readonly host: string;
  readonly port: number;
  connect(): Promise<void>;
  end(): Promise<void>;
  /** @throws {DatabaseError} what the server refused; any other error where the connection is lost */
  query<Row = Record<string, unknown>>(
    text: string | QueryConfig,
    values?: readonly unknown[],
  ): Promise<QueryResult<Row>>;
  on(event: "error", listener: (error: Error) => void): this;
  on(event: "notice", listener: (notice: Notice) => void): this;
  on(event: "end", listener: () => void): this;
  off(event: "error", listener: (error: Error) => void): this;
  off(event: "notice", listener: (notice: Notice) => void): this;
  off(event: "end", listener: () => void): this;
  escapeIdentifier(name: string): string;
  escapeLiteral(text: string): string;
  readonly connection: { readonly stream: Socket };
}

export class DatabaseError extends Error {
  /** SQLSTATE. */
  readonly code: string | undefined;
  readonly severity: string | undefined;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
}

declare const pg: {
  readonly Client: typeof Client;
  readonly DatabaseError: typeof DatabaseError;
};
export default pg;
