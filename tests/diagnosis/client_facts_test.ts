import assert from "node:assert/strict";
import { clientFacts } from "../../src/diagnosis/client_facts.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";

Deno.test("what a client shows, in facts", async () => {
  await using certs = await testCertificates();
  const now = new Date();
  const of = (pair: Pair) => clientFacts({ caCerts: [certs.ca.certificate], cert: pair.certificate }, false, now);
  const sound = { shown: true, dates: "valid", clientAuth: true, anchored: true, accepted: false };
  assert.deepEqual(of(certs.client), sound);
  assert.deepEqual(of(certs.expiredClient), { ...sound, dates: "expired" });
  assert.deepEqual(of(certs.futureClient), { ...sound, dates: "not_yet_valid" });
  assert.deepEqual(of(certs.wrongUsageClient), { ...sound, clientAuth: false });
  assert.deepEqual(of(certs.otherClient), { ...sound, anchored: false });
  assert.deepEqual(of(certs.namesakeClient), { ...sound, anchored: false });
  assert.deepEqual(clientFacts({ caCerts: [] }, true, now), { ...sound, shown: false, accepted: true });
  assert.deepEqual(clientFacts({ caCerts: [], cert: "words" }, false, now), sound, "what cannot be read tells nothing");
});
