import assert from "node:assert/strict";
import { parsePostgresUrl, POSTGRES_URL_FORM, shownPostgresUrl } from "../../src/config/postgres_url.ts";
import { configFrom, loadConfig } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { ConfigError, messageOf } from "../../src/errors.ts";

Deno.test("a URL of libpq names its hosts, role, password and database", () => {
  assert.deepEqual(
    parsePostgresUrl("postgresql://relay%40x:p%2Fw@db-1.example,[2001:db8::7]:6432/queue%20one?sslmode=require"),
    {
      hosts: [{ host: "db-1.example", port: 5432 }, { host: "2001:db8::7", port: 6432 }],
      user: "relay@x",
      password: "p/w",
      database: "queue one",
      parameters: { sslmode: "require" },
    },
  );
  assert.equal(parsePostgresUrl("postgres://relay@db/edgeferry")?.password, undefined);
});

Deno.test("what is no such URL is refused, and nothing of it is shown", () => {
  const wrong = [
    "",
    "db:5432",
    "https://relay@db/edgeferry",
    "postgres://db/edgeferry",
    "postgres://relay@db",
    "postgres://relay@/edgeferry",
    "postgres://relay@db:0/edgeferry",
    "postgres://relay@db:65536/edgeferry",
    "postgres://relay@db,/edgeferry",
    "postgres://relay:%zz@db/edgeferry",
    "postgres://relay@db/edgeferry?sslmode=disable",
    "postgres://relay@db/edgeferry?sslmode=prefer",
    "postgres://relay@db/edgeferry?options=-c%20fsync%3Doff",
    "postgres://relay@db/edge%0Aferry",
    `postgres://relay@${Array.from({ length: 17 }, (_, index) => `db-${index}`).join(",")}/edgeferry`,
  ];
  for (const url of wrong) assert.equal(parsePostgresUrl(url), undefined, url);
  const secret = "postgres://relay:Hunter2hunter2@db:5432/edgeferry?sslmode=disable";
  assert.throws(() => configFrom({ sending_queue: { postgres: { url: secret } } }), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /sending_queue\.postgres\.url \(\d+ characters, a URL with a user name or password\)/);
    assert.doesNotMatch(error.message, /Hunter2/);
    return true;
  });
});

Deno.test("a URL is shown without role and password", () => {
  assert.equal(
    shownPostgresUrl("postgres://relay:Hunter2hunter2@db,[::1]:6432/edgeferry?sslmode=require"),
    "postgres://db:5432,[::1]:6432/edgeferry",
  );
});

Deno.test("the variable sets it, and one password is enough", async () => {
  const env = {
    EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: "postgres://relay:pw@db/edgeferry",
    EDGEFERRY_SENDING_QUEUE_POSTGRES_PASSWORD: "other",
  };
  await assert.rejects(loadConfig({ file: null, env }), {
    message:
      "EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: Cannot use sending_queue.postgres.url: it has a password, and so has " +
      "password or password_file; remove one of them",
  });
  const { config } = await loadConfig({
    file: null,
    env: { EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: "postgres://relay:pw@db/edgeferry" },
  });
  assert.equal(config.sending_queue.postgres.url, "postgres://relay:pw@db/edgeferry");
});

Deno.test("certificates for the database come in pairs, and not without TLS", () => {
  const postgres = (tls: Record<string, unknown>) => () => configFrom({ sending_queue: { postgres: { tls } } });
  assert.throws(postgres({ cert_file: "relay.crt" }), /it needs both cert_file and key_file/);
  assert.throws(postgres({ insecure: true, ca_file: "ca.crt" }), /insecure beside certificates/);
});

Deno.test("a role of two needs a queue that both can reach, and that queue a URL", () => {
  assert.throws(() => configFrom({ role: "receiver" }), {
    message: "Cannot use role receiver with sending_queue.storage sqlite: nobody else can reach that queue; " +
      "set sending_queue.storage: postgres, or role: both",
  });
  assert.throws(
    () => configFrom({ sending_queue: { storage: "postgres" } }),
    /sending_queue\.postgres\.url is not set/,
  );
});

Deno.test("an error that says what the URL is to be still says so where secrets of URLs are left out", () => {
  assert.notEqual(parsePostgresUrl(POSTGRES_URL_FORM.replace("<user>", "user")), undefined);
  const told = (sending_queue: NonNullable<ConfigInput["sending_queue"]>): string => {
    try {
      configFrom({ sending_queue });
    } catch (error) {
      return messageOf(error);
    }
    throw new Error("It was taken");
  };
  assert(told({ storage: "postgres" }).includes(POSTGRES_URL_FORM), told({ storage: "postgres" }));
  const nobody = told({ storage: "postgres", postgres: { url: "postgres://host:5432/database" } });
  assert(nobody.includes(POSTGRES_URL_FORM), nobody);
});
