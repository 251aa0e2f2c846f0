import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CLIENT, createAuthority } from "../../../src/pki/authority.ts";
import { issueCertificate, revocationsIn, revokeCertificate } from "../../../src/pki/folder.ts";
import { startCollector } from "../../support/tools/collector.ts";
import { clientFor } from "../../support/relay/exporting.ts";
import { startNginx } from "../../support/tools/nginx.ts";
import { refusal, withFolder } from "../../support/files/issued_folder.ts";
import { runTool } from "../../support/tools/tool.ts";

Deno.test("a revoked certificate: openssl and nginx refuse it by the list, the Collector does not read one", () =>
  withFolder(async (dir) => {
    const edge = await issueCertificate({ dir, usage: "clientAuth", name: "checkout-edge" });
    const second = await issueCertificate({ dir, usage: "clientAuth", name: "second" });
    assert.deepEqual(await revocationsIn(dir), []);
    await revokeCertificate(dir, edge.certificateFile);
    await revokeCertificate(dir, edge.certificateFile);
    assert.equal((await revokeCertificate(dir, second.certificateFile)).length, 2);
    const serials = (await revocationsIn(dir)).map(({ serialNumber }) => serialNumber.toUpperCase());
    assert.deepEqual(serials, [edge.facts.serialNumber, second.facts.serialNumber]);
    const stranger = await createAuthority({ commonName: "Stranger" });
    await writeFile(join(dir, "foreign.pem"), (await stranger.issue(CLIENT)).certificate);
    await assert.rejects(
      revokeCertificate(dir, join(dir, "foreign.pem")),
      refusal("wrong_issuer", /has not issued it; revoke it at its own CA/),
    );

    const [ca, crl] = [join(dir, "ca.crt"), join(dir, "ca.crl")];
    const verify = (file: string) => runTool("openssl", ["verify", "-crl_check", "-CAfile", ca, "-CRLfile", crl, file]);
    await verify(join(dir, "client.crt"));
    await assert.rejects(verify(edge.certificateFile), /certificate revoked/);

    const pair = async (name: string) => ({
      certificate: await readFile(join(dir, `${name}.crt`), "utf8"),
      key: await readFile(join(dir, `${name}.key`), "utf8"),
      certificateFile: join(dir, `${name}.crt`),
      keyFile: join(dir, `${name}.key`),
    });
    const says = async (url: string, name: string) => {
      const { certificate: cert, key } = await pair(name);
      const client = clientFor(url, { caCerts: [await readFile(ca, "utf8")], cert, key });
      try {
        const answer = await client.send("traces", new Uint8Array(0), "identity");
        return answer.kind === "answer" && answer.status === 200 ? "200" : client.diagnose(answer).code;
      } finally {
        client.close();
      }
    };
    await using collector = await startCollector({ certsDir: dir });
    await using nginx = await startNginx({
      servers: [
        { name: "front", server: await pair("server"), clientCaFile: ca, version: "TLSv1.3", crlFile: crl },
      ],
      upstream: { url: collector.httpUrl, ca: await pair("ca"), client: await pair("client") },
    });
    assert.deepEqual(
      [await says(nginx.url("front"), "client"), await says(nginx.url("front"), "checkout-edge")],
      ["200", "client_certificate_refused"],
    );
    assert.equal(await says(collector.httpUrl, "checkout-edge"), "200");
  }));
