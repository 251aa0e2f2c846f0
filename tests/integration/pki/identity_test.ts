import assert from "node:assert/strict";
import { join } from "node:path";
import { messageOf } from "../../../src/errors.ts";
import { loadIdentity } from "../../../src/pki/identity.ts";
import { opensslCertificates } from "../../support/tools/openssl.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { ask, withMutualTls } from "../../support/far_end/mutual_tls_server.ts";

/** Where each set of certificates comes from: folders with `ca`, `server` and `client`. */
const SETS: [name: string, folder: (use: (dir: string) => Promise<void>) => Promise<void>][] = [
  ["EC certificates", async (use) => {
    await using certificates = await testCertificates();
    await use(certificates.dir);
  }],
  ["RSA certificates", async (use) => {
    await using certificates = await testCertificates({ rsaBits: 2048 });
    await use(certificates.dir);
  }],
  ["certificates by the documented openssl steps", async (use) => use(await opensslCertificates())],
];

for (const [name, folder] of SETS) {
  Deno.test(`${name} authenticate both ends of a connection`, () =>
    folder(async (dir) => {
      const load = (role: "client" | "server") =>
        loadIdentity({ ca: join(dir, "ca.crt"), cert: join(dir, `${role}.crt`), key: join(dir, `${role}.key`), role });
      const client = await load("client");
      await using stranger = await testCertificates();
      await withMutualTls(await load("server"), async (url) => {
        const { caCerts, cert, key } = client;
        assert.equal(await ask(url, { caCerts, cert, key }), "client-app");
        assert.equal(await ask(url.replace("localhost", "127.0.0.1"), { caCerts, cert, key }), "client-app");
        await assert.rejects(ask(url, { caCerts }), TypeError, "without a client certificate");
        const { certificate, key: strangeKey } = stranger.client;
        await assert.rejects(ask(url, { caCerts, cert: certificate, key: strangeKey }), TypeError, "of another CA");
        await assert.rejects(
          ask(url, { caCerts: [stranger.otherCa.certificate], cert, key }),
          (error) => /UnknownIssuer/.test(messageOf(error)),
          "a server of another CA",
        );
      });
    }));
}
