import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { readDotEnv } from "../../src/config/environment.ts";
import { deployConfig } from "../../src/hosted/relay.ts";
import { ConfigError } from "../../src/errors.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const ENOUGH = {
  EDGEFERRY_EXPORTER_OTLP_ENDPOINT: "https://collector.example:4318",
  EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: PEM,
  EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE: PEM,
  EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY: PEM,
  EDGEFERRY_RECEIVER_AUTH_TOKENS: `{tokens: [{id: edge, sha256: ${digestOf("x")}}]}`,
};

Deno.test("five variables are enough; the rest is what such a host wants", async () => {
  const { config, warnings } = await deployConfig(ENOUGH);
  assert.deepEqual(warnings, []);
  const { receiver, telemetry, sending_queue: queue, shutdown, exporter } = config;
  assert.deepEqual(receiver.http.endpoint, { hostname: "0.0.0.0", port: 8000 });
  assert.deepEqual(telemetry.admin.endpoint, receiver.http.endpoint);
  assert.deepEqual([queue.storage, telemetry.log.format], ["none", "json"]);
  assert.equal(shutdown.grace, 4_000);
  assert.equal(exporter.tls.ca_pem, PEM);
});

Deno.test("the host's port is taken; a variable of ours beats it and the defaults; an empty one does not", async () => {
  const port = async (env: Record<string, string>) =>
    (await deployConfig({ ...ENOUGH, ...env })).config.receiver.http.endpoint;
  assert.deepEqual(await port({ PORT: "8080" }), { hostname: "0.0.0.0", port: 8080 });
  const own = { PORT: "8080", EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "127.0.0.1:9000" };
  assert.deepEqual(await port(own), { hostname: "127.0.0.1", port: 9000 });
  const { config } = await deployConfig({
    ...ENOUGH,
    EDGEFERRY_SENDING_QUEUE_STORAGE: "",
    EDGEFERRY_SHUTDOWN_GRACE: "2s",
  });
  assert.deepEqual([config.sending_queue.storage, config.shutdown.grace], ["none", 2_000]);
});

Deno.test("what is missing is named all at once, by its variable", async () => {
  await assert.rejects(deployConfig({}), (error) => {
    assert(error instanceof ConfigError);
    for (const name of Object.keys(ENOUGH).slice(1)) assert.match(error.message, new RegExp(`without ${name}: `));
    return true;
  });
  const jwt = {
    EDGEFERRY_RECEIVER_AUTH_JWT_ISSUER: "https://login.example",
    EDGEFERRY_RECEIVER_AUTH_JWT_AUDIENCE: "edgeferry",
    EDGEFERRY_RECEIVER_AUTH_JWT_JWKS_URL: "https://login.example/jwks.json",
  };
  await deployConfig({ ...ENOUGH, EDGEFERRY_RECEIVER_AUTH_TOKENS: "", ...jwt });
});

Deno.test("a disk, and nobody asked for a token, are refused", async () => {
  await assert.rejects(
    deployConfig({ ...ENOUGH, EDGEFERRY_SENDING_QUEUE_STORAGE: "sqlite" }),
    /Cannot use sending_queue\.storage sqlite here: .*; set EDGEFERRY_SENDING_QUEUE_STORAGE to postgres or remove it/,
  );
  await assert.rejects(
    deployConfig({ ...ENOUGH, EDGEFERRY_RECEIVER_AUTH_INSECURE: "true" }),
    /without authentication: it is not loopback/,
  );
});

Deno.test("on a database an instance receives alone, and needs nothing of the way to the Collector", async () => {
  const { EDGEFERRY_RECEIVER_AUTH_TOKENS } = ENOUGH;
  const env = {
    EDGEFERRY_RECEIVER_AUTH_TOKENS,
    EDGEFERRY_SENDING_QUEUE_STORAGE: "postgres",
    EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: "postgres://relay@db.example/edgeferry",
  };
  assert.equal((await deployConfig(env)).config.role, "receiver");
  await assert.rejects(
    deployConfig({ ...env, EDGEFERRY_ROLE: "both" }),
    /Cannot use role both here: .*; remove EDGEFERRY_ROLE, and run src\/main\.ts run --role exporter/,
  );
  await assert.rejects(
    deployConfig({ ...env, EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: "" }),
    /sending_queue\.postgres\.url is not set/,
  );
});

Deno.test("config/relay.deploy.env, filled in, is what a host is given", async () => {
  const file = readDotEnv(await readFile(new URL("../../config/relay.deploy.env", import.meta.url), "utf8"));
  for (const name of Object.keys(ENOUGH)) assert(name in file, `${name} is in the file`);
  // PEM on one line, as the file says.
  const line = readDotEnv(`PEM="${PEM.replaceAll("\n", "\\n")}"`)["PEM"]!;
  assert.equal(line, PEM);
  const filled = Object.fromEntries(
    Object.keys(file).map((
      name,
    ) => [name, file[name] || Object.entries(ENOUGH).find(([key]) => key === name)?.[1] || ""]),
  );
  const { config, warnings } = await deployConfig(filled);
  assert.deepEqual(warnings, []);
  assert.deepEqual(config, (await deployConfig(ENOUGH)).config);
});
