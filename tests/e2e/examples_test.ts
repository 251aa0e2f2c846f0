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

Deno.test("the example session_relay.ts: the session's cookie stands in place of a token", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  await using dir = await folder();
  await using program = startProgram({
    command: Deno.execPath(),
    args: ["run", "-A", join(ROOT, "tests/examples/session_relay.ts")],
    cwd: dir.path,
    env: {
      PORT: "0",
      PASSWORD: "open sesame",
      EDGEFERRY_SENDING_QUEUE_PATH: join(dir.path, "queue.db"),
      EDGEFERRY_EXPORTER_ENDPOINT: endpoint.url,
      EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: certs.ca.certificate,
      EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE: certs.client.certificate,
      EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY: certs.client.key,
      EDGEFERRY_TELEMETRY_METRICS_ENABLED: "false",
      DENO_TLS_CA_STORE: "",
    },
  });
  const url = /Listening on (\S+)\//.exec(await program.line(/Listening on/))![1]!;
  const post = async (path: string, body: BodyInit, headers: Record<string, string> = {}) => {
    const answer = await fetch(url + path, { method: "POST", headers, body });
    await answer.body?.cancel();
    return answer;
  };
  const send = async (headers: Record<string, string>) =>
    (await post("/otlp/v1/traces", requestOf("traces", ["page view"]), {
      "content-type": "application/x-protobuf",
      ...headers,
    })).status;
  const form = (password: string) => new URLSearchParams({ password });
  assert.equal((await post("/login", form("guess"))).status, 403);
  const cookie = (await post("/login", form("open sesame"))).headers.get("set-cookie")!;
  assert.match(cookie, /HttpOnly; SameSite=Strict/);
  const session = { cookie: cookie.split(";")[0]! };
  assert.deepEqual(
    [await send({}), await send({ cookie: "session=made-up" }), await send(session)],
    [401, 401, 200],
  );
  assert.equal(await send({ ...session, "sec-fetch-site": "cross-site" }), 403);
  await post("/logout", "", session);
  assert.equal(await send(session), 401);
  const { code } = await program.stop();
  assert.equal(code, 0, program.lines.join("\n"));
  assert.equal(endpoint.requests.length, 1);
});
