/** Certificates of a form that TLS here does not take, shown by a server of openssl: doctor and the exporter name the form. */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { testCertificates } from "../../support/files/certificates.ts";
import { ODD_FORMS, oddServers } from "../../support/tools/odd_servers.ts";
import { doctor } from "../../support/relay/relay_faults.ts";
import { faultOf } from "../../support/far_end/refused_clients.ts";

Deno.test("a Collector's certificate of an odd form has the fault of its name", async (t) => {
  await using certs = await testCertificates();
  await using odd = await oddServers();
  const files = { ca: odd.caFile, cert: certs.client.certificateFile, key: certs.client.keyFile };
  const identity = {
    caCerts: [await readFile(odd.caFile, "utf8")],
    cert: certs.client.certificate,
    key: certs.client.key,
  };
  for (const version of ["1.2", "1.3"] as const) {
    for (const [form, name, code] of ODD_FORMS) {
      await t.step(`${form}, TLS ${version}`, async () => {
        await using server = await odd.serve(name, version);
        const dir = join(certs.dir, `${name}-${version}`);
        await mkdir(dir);
        const { faults } = await doctor(dir, server.url, files);
        assert.deepEqual(faults, [code]);
        const fault = await faultOf(server.url, identity);
        assert.equal(fault.code, code);
      });
    }
    await t.step(`a sound one, TLS ${version}`, async () => {
      await using server = await odd.serve("sound", version);
      const dir = join(certs.dir, `sound-${version}`);
      await mkdir(dir);
      const { faults } = await doctor(dir, server.url, files);
      // It is no Collector, and asks for no certificate; its own is in order.
      assert.deepEqual(faults.filter((each) => each.startsWith("server_") || each === "wrong_ca"), []);
    });
  }
});
