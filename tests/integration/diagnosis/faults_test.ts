/** Every named fault by its real cause, over real TLS. */
import assert from "node:assert/strict";
import { testCertificates } from "../../support/files/certificates.ts";
import { startCollector as startRealCollector } from "../../support/tools/collector.ts";
import { CLIENTS, faultOf, identityOf, withClient } from "../../support/far_end/refused_clients.ts";

Deno.test("what is wrong with the client's certificate has a name, at the real Collector", async (t) => {
  await using certs = await testCertificates();
  await using collector = await startRealCollector({ certsDir: certs.dir });
  for (const [what, client, code] of CLIENTS) {
    await t.step(what, async () => {
      const fault = await faultOf(collector.httpUrl, withClient(certs, client(certs)));
      assert.equal(fault.code, code, fault.text);
    });
  }
  await t.step("its gRPC port", async () => {
    const fault = await faultOf(`https://localhost:${collector.grpcPort}`, identityOf(certs));
    assert.equal(fault.code, "wrong_protocol", fault.text);
  });
  await t.step("plain HTTP to its port", async () => {
    const fault = await faultOf(`http://localhost:${collector.httpPort}`, identityOf(certs));
    assert.equal(fault.code, "tls_wanted", fault.text);
  });
  await t.step("its own words to a path that it has not", async () => {
    const fault = await faultOf(`${collector.httpUrl}/elsewhere`, identityOf(certs));
    assert.equal(fault.code, "no_such_path", fault.text);
  });
});
