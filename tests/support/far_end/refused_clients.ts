/** Clients whose certificate a far end refuses, and the fault that the relay names for it. */
import type { Fault } from "../../../src/diagnosis/faults.ts";
import type { ClientIdentity } from "../../../src/exporter/client/transport.ts";
import type { Issued } from "../../../src/pki/authority.ts";
import type { TestCertificates } from "../files/certificates.ts";
import { clientFor, requestOf } from "../relay/exporting.ts";

export const BODY = requestOf("traces", ["a"]);

/** One attempt with this identity, and the fault that it ends in. The text comes along, for the message of a failed test. */
export async function faultOf(
  url: string,
  identity: ClientIdentity,
  timeoutMs = 20_000,
): Promise<Fault & { text: string }> {
  const client = clientFor(url, identity, timeoutMs);
  try {
    const answer = await client.send("traces", BODY, "identity");
    const text = answer.kind === "none" ? answer.cause : `${answer.status} ${answer.message}`;
    return { ...client.diagnose(answer), text };
  } finally {
    client.close();
  }
}

export function identityOf(certs: TestCertificates, client: Issued = certs.client): ClientIdentity {
  return { caCerts: [certs.ca.certificate], cert: client.certificate, key: client.key };
}

export const CLIENTS: [string, (certs: TestCertificates) => Issued | undefined, string][] = [
  ["none", () => undefined, "client_certificate_missing"],
  ["of another CA", ({ otherClient }) => otherClient, "client_certificate_unknown_ca"],
  ["of another CA of the same name", ({ namesakeClient }) => namesakeClient, "client_certificate_unknown_ca"],
  ["expired", ({ expiredClient }) => expiredClient, "client_certificate_expired"],
  ["not valid yet", ({ futureClient }) => futureClient, "client_certificate_not_yet_valid"],
  ["for servers", ({ wrongUsageClient }) => wrongUsageClient, "client_certificate_usage"],
];

export function withClient(certs: TestCertificates, client: Issued | undefined): ClientIdentity {
  return client === undefined ? { caCerts: [certs.ca.certificate] } : identityOf(certs, client);
}
