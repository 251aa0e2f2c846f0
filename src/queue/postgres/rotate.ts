/**
 * Has partitions of the payloads come and go.
 * @module
 */
import type { Connections } from "./connections.ts";

/** It waits for no standby, for it would keep its locks meanwhile. @throws {PostgresFailure} */
export async function rotate(connections: Pick<Connections, "transaction">, withinMs: number): Promise<void> {
  await connections.transaction(async (ask) => {
    await ask({ text: "SET LOCAL synchronous_commit = off" });
    await ask({ text: "SELECT edgeferry.rotate()" });
  }, withinMs);
}
