import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configFrom, loadConfig, type LoadedConfig, readDotEnvFile } from "../../src/config/load.ts";
import { ConfigError } from "../../src/errors.ts";

/** A working folder with these files, for as long as `body` runs. */
async function inFolder(files: Record<string, string>, body: (cwd: string) => Promise<void>): Promise<void> {
  const cwd = await mkdtemp(join(tmpdir(), "config-"));
  try {
    await mkdir(join(cwd, "config"));
    for (const [name, text] of Object.entries(files)) await writeFile(join(cwd, name), text);
    await body(cwd);
  } finally {
    await rm(cwd, { recursive: true });
  }
}

async function load(text: string, env: Record<string, string> = {}): Promise<LoadedConfig> {
  let loaded: LoadedConfig | undefined;
  await inFolder({ "relay.yaml": text }, async (cwd) => {
    loaded = await loadConfig({ file: "relay.yaml", cwd, env });
  });
  assert.ok(loaded);
  return loaded;
}

/** The faults of a file, one a line. */
async function faults(text: string, env: Record<string, string> = {}): Promise<string[]> {
  try {
    await load(text, env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split("\n");
  }
  return assert.fail("No fault");
}

Deno.test("without a file the defaults suffice; config/relay.yaml is read where it is", async () => {
  await inFolder({}, async (cwd) => {
    const loaded = await loadConfig({ env: {}, cwd });
    const { config, warnings, sources } = loaded;
    assert.deepEqual([config, warnings], [configFrom({}), []]);
    assert.deepEqual(sources, { file: undefined, environment: [] });
  });
  await inFolder({ "config/relay.yaml": "shutdown: { grace: 1s }\n" }, async (cwd) => {
    const loaded = await loadConfig({ env: {}, cwd });
    assert.equal(loaded.config.shutdown.grace, 1_000);
    assert.equal(loaded.sources.file, "config/relay.yaml");
  });
});

Deno.test("a named file that is missing or a folder is a fault with a remedy", async () => {
  await inFolder({}, async (cwd) => {
    await assert.rejects(loadConfig({ file: "absent.yaml", env: {}, cwd }), {
      name: "ConfigError",
      message: "Cannot read configuration absent.yaml: it does not exist; " +
        "name another with --config, or leave it out to use the defaults and the environment",
    });
    await assert.rejects(
      loadConfig({ file: "config", env: {}, cwd }),
      /Cannot read configuration config: it is a folder/,
    );
  });
});

Deno.test("an empty file and keys without a value are the defaults", async () => {
  for (const text of ["", "# nothing\n", "receiver:\nexporter:\n  tls:\n  timeout: ~\n"]) {
    assert.deepEqual((await load(text)).config, configFrom({}));
  }
});

Deno.test("bad YAML names line and column", async () => {
  assert.deepEqual(await faults("receiver:\n  http:\n\tendpoint: x\n"), [
    "relay.yaml:3:1: Not YAML: Tabs are not allowed as indentation",
  ]);
  assert.deepEqual(await faults("- a\n"), [
    "relay.yaml: Cannot use this file: it must be a mapping that begins with a key",
  ]);
});

Deno.test("an unknown key names its place and the nearest key", async () => {
  const text = [
    "receiver:",
    "  http: { endpoint: 127.0.0.1:1, max_request_body_sise: 1MiB }",
    "exporter:",
    "  tls:",
    "    cert_fiel: x",
    "queue_size: 1GiB",
    "colour: red",
    "telemetry: { <<: { log: x } }",
    "__proto__: { a: 1 }",
  ].join("\n");
  assert.deepEqual((await faults(text)).sort(), [
    "relay.yaml: Unknown key __proto__",
    "relay.yaml:2:34: Unknown key receiver.http.max_request_body_sise; did you mean receiver.http.max_request_body_size?",
    "relay.yaml:5:5: Unknown key exporter.tls.cert_fiel; did you mean exporter.tls.cert_file?",
    "relay.yaml:6:1: Unknown key queue_size; did you mean sending_queue.queue_size?",
    "relay.yaml:7:1: Unknown key colour; the keys here are role, receiver, redaction, sending_queue, exporter, exporters, groups, routes, telemetry, shutdown",
    "relay.yaml:8:14: Unknown key telemetry.<<; merge keys are not supported, write the keys out",
  ]);
});

Deno.test("a bad value names its place, the key, the value and what is wanted", async () => {
  assert.deepEqual(await faults("sending_queue:\n  queue_size: 8XiB\nexporter: { timeout: soon }\nreceiver: 5\n"), [
    "relay.yaml:4:11: Cannot use receiver: it must be a mapping with the keys http, grpc, auth, limits",
    'relay.yaml:2:15: Cannot use sending_queue.queue_size "8XiB": it must be a size such as 8MiB, 8MB or 1024 (bytes), from 1MiB to 16TiB',
    'relay.yaml:3:22: Cannot use exporter.timeout "soon": it must be a duration such as 200ms, 10s or 1m30s, from 1ms to 10m',
  ]);
});

Deno.test("a relay bound off loopback without authentication is refused where the endpoint is written", async () => {
  assert.deepEqual(await faults("receiver:\n  http: { endpoint: 0.0.0.0:4319 }\n  auth: { insecure: true }\n"), [
    "relay.yaml:2:21: Cannot bind receiver.http.endpoint 0.0.0.0:4319 without authentication: it is not loopback; " +
    "remove receiver.auth.insecure and add receiver.auth.tokens_file: config/tokens.yaml",
  ]);
  const [fault] = await faults("receiver: { auth: { insecure: true } }", {
    EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "0.0.0.0:1",
  });
  assert.match(fault ?? "", /^EDGEFERRY_RECEIVER_HTTP_ENDPOINT: Cannot bind/);
});

Deno.test("gRPC: off loopback it needs authentication, and a port that no other listener has", async () => {
  assert.deepEqual(await faults("receiver:\n  grpc: { endpoint: 0.0.0.0:4327 }\n  auth: { insecure: true }\n"), [
    "relay.yaml:2:21: Cannot bind receiver.grpc.endpoint 0.0.0.0:4327 without authentication: it is not loopback; " +
    "remove receiver.auth.insecure and add receiver.auth.tokens_file: config/tokens.yaml",
  ]);
  for (const [port, other] of [[4319, "receiver.http.endpoint"], [9464, "telemetry.admin.endpoint"]] as const) {
    assert.deepEqual(await faults(`receiver:\n  grpc: { endpoint: 127.0.0.1:${port} }\n`), [
      `relay.yaml:2:21: Cannot use receiver.grpc.endpoint 127.0.0.1:${port}: it is ${other} too, and a port takes either HTTP ` +
      "or gRPC; choose another port",
    ]);
  }
});

Deno.test("variables in the file: by the option's type when they are the whole value", async () => {
  const text = [
    "receiver: { http: { cors: { allowed_origins: '${env:ORIGINS}' } }, auth: { insecure: '${env:OPEN}' } }",
    "sending_queue: { num_consumers: '${env:CONSUMERS}', storage: '${env:EMPTY}' }",
    "exporter:",
    "  endpoint: https://${env:HOST:-localhost}:${env:PORT:-4318}",
    "  headers:",
    "    X-Number: ${env:NUMBER}",
    "    X-Dollar: $$5 and $6",
    "  tls: ${env:TLS}",
  ].join("\n");
  const { config, sources } = await load(text, {
    ORIGINS: '["https://a.example"]',
    OPEN: "true",
    CONSUMERS: "7",
    EMPTY: "",
    HOST: "c.example",
    NUMBER: "017",
    TLS: "{ca_file: other.crt}",
  });
  assert.deepEqual(config.receiver.http.cors.allowed_origins, ["https://a.example"]);
  assert.equal(config.receiver.auth.insecure, true);
  assert.equal(config.sending_queue.num_consumers, 7);
  assert.equal(config.sending_queue.storage, "sqlite");
  assert.equal(config.exporter.endpoint, "https://c.example:4318");
  assert.deepEqual(config.exporter.headers, { "X-Number": "017", "X-Dollar": "$5 and $6" });
  assert.equal(config.exporter.tls.ca_file, "other.crt");
  assert.deepEqual([...sources.environment].sort(), ["CONSUMERS", "EMPTY", "HOST", "NUMBER", "OPEN", "ORIGINS", "TLS"]);
});

Deno.test("a variable that is not set, and a ${…} of another form, are faults with their place", async () => {
  assert.deepEqual(
    await faults("exporter:\n  endpoint: https://${env:NO_HOST}:4318\n  headers: { a: '${file:x}' }\n"),
    [
      "relay.yaml:2:13: Cannot use exporter.endpoint: it needs the variable NO_HOST, which is not set; set it or write ${env:NO_HOST:-default}",
      "relay.yaml:3:17: Cannot use exporter.headers.a: it has a ${…} that is neither ${env:NAME} nor ${env:NAME:-default}; write $$ for a dollar sign",
    ],
  );
});

Deno.test("the environment wins over the file, key by key, and a PEM text over a file's path", async () => {
  const { config } = await load(
    "exporter:\n  timeout: 3s\n  tls: { ca_file: a.crt, cert_file: b.crt }\nshutdown: { grace: 2s }\n",
    {
      EDGEFERRY_SHUTDOWN_GRACE: "5s",
      OTEL_EXPORTER_OTLP_CERTIFICATE: "-----BEGIN CERTIFICATE-----\\nx\\n-----END CERTIFICATE-----",
    },
  );
  assert.equal(config.shutdown.grace, 5_000);
  assert.equal(config.exporter.timeout, 3_000);
  assert.match(config.exporter.tls.ca_pem ?? "", /^-----BEGIN CERTIFICATE-----\nx\n/);
  assert.equal(config.exporter.tls.cert_file, "b.crt");

  const back = await load("exporter: { tls: { ca_pem: '-----BEGIN X' } }", { EDGEFERRY_EXPORTER_TLS_CA_FILE: "c.crt" });
  assert.equal("ca_pem" in back.config.exporter.tls, false);
  assert.equal(back.config.exporter.tls.ca_file, "c.crt");
});

Deno.test("a bad variable is named, without the file's place", async () => {
  assert.deepEqual(await faults("exporter: { timeout: 3s }\n", { EDGEFERRY_EXPORTER_TIMEOUT: "soon" }), [
    'EDGEFERRY_EXPORTER_TIMEOUT: Cannot use exporter.timeout "soon": it must be a duration such as 200ms, 10s or 1m30s, from 1ms to 10m',
  ]);
});

Deno.test("no error repeats a secret", async () => {
  const secret = "hunter2";
  const texts = [
    `exporter: { tls: { key_passphrase: [${secret}] } }`,
    `exporter: { tls: { key_pem: ${secret} } }`,
    `exporter: { tls: { key_file: "-----BEGIN KEY-----\\n${secret}" } }`,
    `exporter: { headers: { Authorization: [${secret}] } }`,
    `exporter: { headers: ${secret} }`,
    `exporter: { headers: { Content-Type: ${secret} } }`,
    `exporter: { endpoint: "https://user:${secret}@host" }`,
    `exporter: { endpoint: "http://host/?key=${secret}" }`,
    `exporter: { tls: { key_passphrase: "a\${${secret}}" } }`,
    `exporter: { tls: { key_passphras: ${secret} } }`,
    `exporter: { tls: { key_passphrase: {{${secret}}} } }`,
    `receiver: { auth: { tokens: [${secret}] } }`,
    "exporter: { headers: '${env:SECRET}' }",
    "exporter: { tls: '${env:SECRET}' }",
    "exporter: { tls: { key_pem: '${env:SECRET}' } }",
  ];
  for (const text of texts) {
    const found = (await faults(text, { SECRET: secret })).join("\n");
    assert.ok(!found.includes(secret), found);
  }
  for (const variable of ["EDGEFERRY_EXPORTER_TLS_KEY_PEM", "EDGEFERRY_HEADERS", "EDGEFERRY_EXPORTER_HEADERS"]) {
    const found = (await faults("", { [variable]: secret })).join("\n");
    assert.ok(!found.includes(secret) && found.includes(variable), found);
  }
});

Deno.test("a long list of faults is cut", async () => {
  const found = await faults(Array.from({ length: 30 }, (_, index) => `zzzz${index}: 1`).join("\n"));
  assert.equal(found.length, 21);
  assert.equal(found.at(-1), "And 10 more");
});

Deno.test("what is allowed and yet worth a word is a warning", async () => {
  const { warnings } = await load(
    "receiver: { auth: { insecure: true } }\nexporter: { endpoint: 'http://localhost:4318' }\n" +
      "telemetry: { admin: { endpoint: '0.0.0.0:9464' } }\n",
  );
  assert.equal(warnings.length, 3);
  assert.match(
    warnings.join("\n"),
    /insecure is true[^]*0\.0\.0\.0:9464 is not loopback: only \/livez and[^]*exporter\.endpoint is http:\/\//,
  );
  const withToken = await load("telemetry: { admin: { endpoint: '0.0.0.0:9464', token: s3cret } }\n");
  assert.deepEqual(withToken.warnings, []);
});

Deno.test(".env lies below the environment, and is named where a value of it is wrong", async () => {
  const dotEnv = "EDGEFERRY_EXPORTER_TIMEOUT=soon\nEDGEFERRY_SHUTDOWN_GRACE=1s\nEDGEFERRY_TELEMETRY_LOG_LEVEL=debug\n";
  await inFolder({ ".env": dotEnv }, async (cwd) => assert.equal(await readDotEnvFile(cwd), dotEnv));
  await inFolder({}, async (cwd) => assert.equal(await readDotEnvFile(cwd), ""));
  await inFolder({}, async (cwd) => {
    await mkdir(join(cwd, ".env"));
    await assert.rejects(readDotEnvFile(cwd), { message: "Cannot read .env: it is a folder; name a file in it" });
  });
  const env = { EDGEFERRY_SHUTDOWN_GRACE: "2s", EDGEFERRY_TELEMETRY_LOG_LEVEL: "" };
  await assert.rejects(loadConfig({ env, dotEnv, file: null }), {
    message: /^EDGEFERRY_EXPORTER_TIMEOUT in \.env: Cannot use exporter\.timeout "soon"/,
  });
  const { config } = await loadConfig({ env: { ...env, EDGEFERRY_EXPORTER_TIMEOUT: "1s" }, dotEnv, file: null });
  assert.deepEqual([config.shutdown.grace, config.telemetry.log.level], [2_000, "info"]);
});

Deno.test("a line of .env that is not understood is a warning with its number", async () => {
  const dotEnv = "# fine\nexport A=1\nNAME: value\nB='x\n=y'\nhunter2\nset C=1\n\nD=\"hunter2\nE=1\n";
  const { warnings } = await loadConfig({ env: {}, dotEnv, file: null });
  assert.deepEqual(warnings, [
    ".env:3: Cannot read this line: it has a colon behind its name; write NAME=value",
    ".env:6: Cannot read this line: it is not NAME=value; correct it, or begin it with #",
    ".env:7: Cannot read this line: it is not NAME=value; correct it, or begin it with #",
    ".env:9: The quote that this line opens is not closed; close it, or leave it out",
  ]);
});

Deno.test("an issuer is named with all that is needed to believe it", async () => {
  assert.deepEqual(await faults("receiver: { auth: { jwt: { issuer: https://issuer.example } } }\n"), [
    "relay.yaml:1:26: Cannot use receiver.auth.jwt: it has no audience and no jwks_url; set issuer, audience, jwks_url, all three",
  ]);
});

Deno.test("redaction: each action has a key and a known action, and a hash has a salt", async () => {
  const wanted = "it must be a list of at most 64 such as [{ key: user.email, action: delete }], each with a key " +
    "(* and ? stand for others) and an action (delete, hash)";
  assert.deepEqual(await faults("redaction: { actions: [{ key: a, action: mask }] }\n"), [
    `relay.yaml:1:42: Cannot use redaction.actions.0.action "mask": ${wanted}`,
  ]);
  assert.deepEqual(await faults("redaction: { actions: [{ key: a, action: hash, pattern: b }], salt: x }\n"), [
    `relay.yaml:1:24: Cannot use redaction.actions.0 (a mapping): ${wanted}`,
  ]);
  const unsalted = "relay.yaml:1:23: Cannot use redaction.actions: it hashes user.* and redaction.salt is empty; " +
    "set a long random text there, e.g. ${env:REDACTION_SALT}";
  assert.deepEqual(await faults("redaction: { actions: [{ key: user.*, action: hash }] }\n"), [unsalted]);
  assert.deepEqual(
    await faults("redaction: { actions: [{ key: user.*, action: hash }], salt: '${env:SALT}' }\n", { SALT: "" }),
    [unsalted],
  );
  assert.match((await faults("redaction: { salt: '' }\n"))[0]!, /Cannot use redaction.salt \(empty\): it must be text/);
  const { config } = await load("redaction: { salt: '${env:SALT}' }\n", {
    SALT: "pepper",
    EDGEFERRY_REDACTION_ACTIONS: "[{ key: user.*, action: hash }]",
    EDGEFERRY_REDACTION_DRY_RUN: "true",
  });
  assert.deepEqual(config.redaction, {
    actions: [{ key: "user.*", action: "hash" }],
    salt: "pepper",
    dry_run: true,
  });
});

Deno.test("sizer, which had one word, is taken from files of before", async () => {
  const { config, warnings } = await load("sending_queue: { sizer: bytes, queue_size: 32MiB }\n");
  assert.deepEqual([config.sending_queue.queue_size, "sizer" in config.sending_queue, warnings], [
    33_554_432,
    false,
    [],
  ]);
  assert.match((await faults("sending_queue: { sizer: items }\n"))[0] ?? "", /Unknown key sending_queue\.sizer/);
});

Deno.test("each value knows where it came from", async () => {
  await inFolder({ "relay.yaml": "exporter:\n  timeout: 3s\nshutdown: { grace: 1s }\n" }, async (cwd) => {
    const { originOf } = await loadConfig({
      file: "relay.yaml",
      cwd,
      env: { OTEL_EXPORTER_OTLP_HEADERS: "a=b" },
      dotEnv: "OTEL_EXPORTER_OTLP_ENDPOINT=https://collector.example:4318\n",
    });
    assert.equal(originOf(["exporter", "endpoint"]), "OTEL_EXPORTER_OTLP_ENDPOINT in .env");
    assert.equal(originOf(["exporter", "headers"]), "OTEL_EXPORTER_OTLP_HEADERS");
    assert.equal(originOf(["exporter", "timeout"]), "relay.yaml:2:12");
    assert.equal(originOf(["shutdown", "grace"]), "relay.yaml:3:20");
    assert.equal(originOf(["exporter", "compression"]), "the default");
  });
});
