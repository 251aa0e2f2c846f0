/**
 * The driver: the only file that imports it. `pg` is CommonJS, so that what it has stands below its default export.
 * @module
 */
// @deno-types="./pg.d.ts"
import pg, {
  type Client as PgClient,
  type ClientConfig,
  type DatabaseError as PgDatabaseError,
  type Notice,
  type QueryConfig,
  type QueryResult,
} from "pg";

export type { ClientConfig, Notice, QueryConfig, QueryResult };
/** A connection. It works on one statement at a time; others queue in the driver. */
export const Client = pg.Client;
export type Client = PgClient;
/** What the server refused: `code` is its SQLSTATE. */
export const DatabaseError = pg.DatabaseError;
export type DatabaseError = PgDatabaseError;
