/** The programs of tests/examples that hold a relay, as processes of their own. The Hono app without one is in direct_test.ts. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { folder } from "../support/files/folder.ts";
import { startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { startProgram } from "../support/program/program.ts";
import { ROOT } from "../support/relay/restartable_relay.ts";

const EXAMPLES = {
  "relay.ts": { says: /Senders post to (\S+), health is at (\S+)/, path: "" },
  "embedded_relay.ts": { says: /Listening on (\S+)\//, path: "/otlp" },
};

for (const [name, { says, path }] of Object.entries(EXAMPLES)) {
  Deno.test(`the example ${name}`, async () => {
    await using certs = await testCertificates();
    await using endpoint = await startMtlsEndpoint(certs);
    await using dir = await folder();
    const token = newSecret();
    const env = {
      PORT: "0",
      EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "127.0.0.1:0",
      EDGEFERRY_RECEIVER_AUTH_TOKENS: `tokens: [{ id: shop, sha256: "${digestOf(token)}" }]`,
      EDGEFERRY_SENDING_QUEUE_PATH: join(dir.path, "queue.db"),
      EDGEFERRY_EXPORTER_ENDPOINT: endpoint.url,
      EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: certs.ca.certificate,
      EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE: certs.client.certificate,
      EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY: certs.client.key,
      EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: "127.0.0.1:0",
      EDGEFERRY_TELEMETRY_METRICS_ENABLED: "false",
      DENO_TLS_CA_STORE: "",
    };
    const command = {
      command: Deno.execPath(),
      args: ["run", "-A", join(ROOT, "tests/examples", name)],
      cwd: dir.path,
    };
    await using program = startProgram({ ...command, env });
    const url = says.exec(await program.line(says))![1]!;
    const answer = await fetch(`${url}${path}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf", authorization: `Bearer ${token}` },
      body: requestOf("traces", ["a"]),
    });
    assert.equal(answer.status, 200, await answer.text());
    // Its stop sends what it has taken.
    const { code } = await program.stop();
    assert.equal(code, 0, program.lines.join("\n"));
    assert.equal(endpoint.requests.length, 1);

    await using wrong = startProgram({ ...command, env: { ...env, EDGEFERRY_SHUTDOWN_GRACE: "soon" } });
    assert.equal((await wrong.ended).code, 1);
    assert.match(wrong.lines.join("\n"), /EDGEFERRY_SHUTDOWN_GRACE: Cannot use shutdown\.grace "soon"/);
  });
}
