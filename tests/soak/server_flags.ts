/**
 * What the servers under soak have in common: their flags, and the port that they print.
 * @module
 */
import { readFileSync } from "node:fs";
import type { AddressInfo, Server } from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";

export const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    port: { type: "string", default: "0" },
    ca: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    mutual: { type: "boolean", default: false },
    guarded: { type: "boolean", default: false },
    ends: { type: "boolean", default: false },
  },
});

/** Options of TLS; undefined without it. */
export const TLS = flags.cert === undefined || flags.key === undefined || flags.ca === undefined ? undefined : {
  cert: readFileSync(flags.cert),
  key: readFileSync(flags.key),
  ca: readFileSync(flags.ca),
  requestCert: flags.mutual,
  rejectUnauthorized: flags.mutual,
};

/** Listens, and prints the port as a line of JSON. */
export function listen(server: Pick<Server, "address" | "listen">): void {
  server.listen(Number(flags.port), "127.0.0.1", 2048, () => {
    console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));
  });
}
