import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { testCertificates } from "../../support/files/certificates.ts";
import { collecting, identityRelay, postTrace, serialOf } from "../../support/relay/identity_relay.ts";
import { startNginx } from "../../support/tools/nginx.ts";
import { booksIn } from "../../support/relay/relay.ts";

const INTERVAL = { reload_interval: "200ms" };

Deno.test("nginx answers 400 for a client certificate that it refuses: what that carried is kept, and sent later", async () => {
  await using certs = await testCertificates();
  await using far = await collecting(certs);
  await using nginx = await startNginx({
    servers: [{ name: "front", server: certs.server, clientCaFile: certs.ca.certificateFile, version: "TLSv1.3" }],
    upstream: { url: far.collector.url, ca: certs.ca, client: certs.client },
  });
  await using here = await identityRelay(certs, certs.otherClient);
  const relay = await here.start(nginx.url("front"), { exporter: { tls: INTERVAL } });
  for (const name of ["a", "b", "c"]) assert.equal(await postTrace(relay.url, [name]), 200);
  const told = await here.log.find(({ fault }) => fault === "client_certificate_unknown_ca", "the fault by its name");
  assert.equal(told.level, "error");
  await here.replace({ cert: await readFile(certs.client.certificateFile, "utf8"), key: certs.client.key });
  await here.tookUp(serialOf(certs.client));
  await far.serials.until(() => far.collector.items.traces === 3, "all three");
  await relay.stop();
  const { accepted, delivered, deadLettered } = booksIn(here.queuePath).traces;
  assert.deepEqual({ accepted, delivered, deadLettered }, { accepted: 3, delivered: 3, deadLettered: 0 });
});
