/**
 * `deno task conformance`: the table of what OTLP 1.11 obliges a server and a client to, by HTTP and by gRPC, and what is answered. Without
 * arguments it asks a relay of its own; `--collector` adds a column for the real Collector (Go is needed to build it);
 * `--url URL` asks any server instead. Ends with 1 when a relay or the server at `--url` is not as expected.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { testCertificates } from "../support/files/certificates.ts";
import { flagsOf } from "../support/program/flags.ts";
import { CLIENT_ROWS, runClientRow } from "./client_rows.ts";
import { GRPC_CLIENT_ROWS, runGrpcClientRow } from "./grpc_client_rows.ts";
import { askCollector, askCollectorByGrpc, askRelay, askRelayByGrpc, askServer } from "./subjects.ts";
import { differencesOf, type RowResult, tableOf } from "./table.ts";

const flags = flagsOf("conformance", {
  url: { type: "string" },
  token: { type: "string" },
  "traces-token": { type: "string" },
  "spent-token": { type: "string" },
  ca: { type: "string" },
  cert: { type: "string" },
  key: { type: "string" },
  /** The server's limit on a body, in bytes. */
  limit: { type: "string", default: String(20 * 1024 * 1024) },
  collector: { type: "boolean", default: false },
});

const file = async (path: string | undefined) => path === undefined ? undefined : await readFile(path, "utf8");

if (flags.url !== undefined) {
  const ca = await file(flags.ca);
  const results = await askServer({
    url: flags.url,
    token: flags.token,
    tls: ca === undefined ? undefined : { ca, cert: await file(flags.cert), key: await file(flags.key) },
  }, { bodyBytesMax: Number(flags.limit), tracesToken: flags["traces-token"], spentToken: flags["spent-token"] });
  console.log(tableOf([{ name: flags.url, results }]));
  process.exitCode = differencesOf(results).length === 0 ? 0 : 1;
} else {
  const server = await askRelay();
  const servers = [{ name: "relay", results: server }];
  if (flags.collector) servers.push({ name: "Collector", results: await askCollector() });
  console.log(tableOf(servers));
  const byGrpc = await askRelayByGrpc();
  const grpcServers = [{ name: "relay, gRPC", results: byGrpc }];
  if (flags.collector) grpcServers.push({ name: "Collector, gRPC", results: await askCollectorByGrpc() });
  console.log(`\n${tableOf(grpcServers)}`);
  const client = await askClient();
  console.log(`\n${tableOf([{ name: "relay, as a client", results: client }])}`);
  const grpc = await askGrpcClient();
  console.log(`\n${tableOf([{ name: "relay, as a client of OTLP/gRPC", results: grpc }])}`);
  process.exitCode = differencesOf([...server, ...byGrpc, ...client, ...grpc]).length === 0 ? 0 : 1;
}

async function askClient(): Promise<RowResult[]> {
  await using certs = await testCertificates();
  const results: RowResult[] = [];
  for (const row of CLIENT_ROWS) {
    const fault = await runClientRow(row, certs);
    results.push({ row: { ...row, request: row.situation }, cases: [{ name: "traces", fault }] });
  }
  return results;
}

async function askGrpcClient(): Promise<RowResult[]> {
  await using certs = await testCertificates();
  const results: RowResult[] = [];
  for (const row of GRPC_CLIENT_ROWS) {
    const fault = await runGrpcClientRow(row, certs);
    results.push({ row: { ...row, request: row.situation }, cases: [{ name: "traces", fault }] });
  }
  return results;
}
