import assert from "node:assert/strict";
import { testCertificates } from "../../support/files/certificates.ts";
import { CLIENT_ROWS, runClientRow } from "../../conformance/client_rows.ts";
import { GRPC_CLIENT_ROWS, runGrpcClientRow } from "../../conformance/grpc_client_rows.ts";
import { COLLECTOR_DIFFERENCES, COLLECTOR_GRPC_DIFFERENCES } from "../../conformance/differences.ts";
import { askCollector, askCollectorByGrpc } from "../../conformance/subjects.ts";
import { differencesOf } from "../../conformance/table.ts";

Deno.test("as a client the relay does what OTLP/HTTP demands", async (t) => {
  await using certs = await testCertificates();
  for (const row of CLIENT_ROWS) {
    await t.step(`${row.situation}: ${row.expected}`, async () => {
      assert.equal(await runClientRow(row, certs), undefined);
    });
  }
});

Deno.test("as a client the relay does what OTLP/gRPC demands", async (t) => {
  await using certs = await testCertificates();
  for (const row of GRPC_CLIENT_ROWS) {
    await t.step(`${row.situation}: ${row.expected}`, async () => {
      assert.equal(await runGrpcClientRow(row, certs), undefined);
    });
  }
});

Deno.test("the real Collector differs where it is known to", async () => {
  assert.deepEqual(differencesOf(await askCollector()), COLLECTOR_DIFFERENCES);
});

Deno.test("the real Collector differs by gRPC where it is known to", async () => {
  assert.deepEqual(differencesOf(await askCollectorByGrpc()), COLLECTOR_GRPC_DIFFERENCES);
});
