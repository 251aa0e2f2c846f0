import assert from "node:assert/strict";
import { parse, stringify } from "@std/yaml";
import { configFrom } from "../../src/config/load.ts";
import { type ConfigInput, ConfigSchema } from "../../src/config/schema.ts";
import { shownConfig } from "../../src/config/show.ts";

Deno.test("what is shown is a file that means the same", () => {
  const inputs: ConfigInput[] = [
    {},
    {
      receiver: { http: { endpoint: "[::1]:1", max_request_body_size: 1_000_001, cors: { allowed_origins: ["*"] } } },
      sending_queue: { max_age: "90m" },
      exporter: { timeout: "1500ms", signals: { logs: { timeout: "1ms", tls: { ca_file: "certs/x" } } } },
    },
  ];
  for (const input of inputs) {
    const config = configFrom(input);
    assert.deepEqual(ConfigSchema.parse(parse(stringify(shownConfig(config)))), config);
  }
});

Deno.test("secrets are hidden, and a file whose text is given is left out", () => {
  const shown = shownConfig(configFrom({
    receiver: { auth: { tokens: "hunter2" } },
    exporter: {
      endpoint: "https://host/?key=hunter2",
      headers: { Authorization: "hunter2" },
      tls: { key_pem: "-----BEGIN KEY----- hunter2", key_passphrase: "hunter2" },
      signals: { logs: { headers: { a: "hunter2" }, tls: { key_passphrase: "hunter2" } } },
    },
  }));
  const text = stringify(shown);
  assert.ok(!text.includes("hunter2"), text);
  assert.match(text, /Authorization: \(hidden\)/);
  assert.match(text, /key_pem: \(hidden\)/);
  assert.ok(!text.includes("key_file") && !text.includes("tokens_file"));
});
