import assert from "node:assert/strict";
import { ConfigError } from "../../src/errors.ts";
import { checkTlsFiles, readTlsFiles } from "../../src/receiver/tls_files.ts";
import { testCertificates } from "../support/certificates.ts";

Deno.test("a certificate with its key, and the client CA, are read as they are", async () => {
  await using certs = await testCertificates();
  const { server, ca } = certs;
  const files = { cert: server.certificateFile, key: server.keyFile, clientCa: undefined };
  assert.deepEqual(checkTlsFiles(await readTlsFiles(files)), { cert: server.certificate, key: server.key });
  assert.deepEqual(checkTlsFiles(await readTlsFiles({ ...files, clientCa: ca.certificateFile })), {
    cert: server.certificate,
    key: server.key,
    ca: ca.certificate,
  });
});

Deno.test("what does not fit together is named by its setting", async () => {
  await using certs = await testCertificates();
  const { server, client, ca } = certs;
  const check = (...texts: string[]) => () => checkTlsFiles(JSON.stringify(texts));
  const table: [() => unknown, RegExp][] = [
    [check("", server.key), /cert_file: it has no certificate in PEM/],
    [check(server.certificate, "no key"), /key_file: it is no private key in PEM, or encrypted; decrypt it$/],
    [check(server.certificate, client.key), /key_file: it is not the key of cert_file; name the two of a pair$/],
    [check(certs.expiredClient.certificate, certs.expiredClient.key), /cert_file: it has expired, at \d{4}-/],
    [check(server.certificate, server.key, client.certificate), /client_ca_file: its certificate is not a CA's/],
    [check(server.certificate, server.key, "none"), /client_ca_file: it has no certificate in PEM/],
  ];
  for (const [work, message] of table) {
    assert.throws(work, (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      return true;
    });
  }
  const missing = { cert: server.certificateFile, key: `${certs.dir}/none.key`, clientCa: ca.certificateFile };
  await assert.rejects(readTlsFiles(missing), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^Cannot read receiver\.http\.tls\.key_file .*none\.key: /);
    return true;
  });
});
