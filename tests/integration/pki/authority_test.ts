import assert from "node:assert/strict";
import { testCertificates } from "../../support/files/certificates.ts";
import { runTool } from "../../support/tools/tool.ts";

for (const [type, rsaBits] of [["EC P-256", undefined], ["RSA 2048", 2048]] as const) {
  Deno.test(`openssl takes what is issued with ${type} keys, by its strict rules`, async () => {
    await using certificates = await testCertificates({ rsaBits });
    const { ca, server, client, otherClient } = certificates;
    const verify = (...more: string[]) =>
      runTool("openssl", ["verify", "-x509_strict", "-CAfile", ca.certificateFile, ...more]);
    for (
      const check of [["-verify_hostname", "localhost"], ["-verify_hostname", "otel-collector"], [
        "-verify_ip",
        "127.0.0.1",
      ]]
    ) {
      const { stdout } = await verify("-purpose", "sslserver", ...check, server.certificateFile);
      assert.match(stdout, /: OK/);
    }
    assert.match((await verify("-purpose", "sslclient", client.certificateFile)).stdout, /: OK/);
    await assert.rejects(verify("-purpose", "sslclient", server.certificateFile));
    await assert.rejects(verify("-purpose", "sslserver", "-verify_hostname", "example.com", server.certificateFile));
    await assert.rejects(verify(otherClient.certificateFile));
  });
}
