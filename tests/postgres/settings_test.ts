import assert from "node:assert/strict";
import { configFrom } from "../../src/config/load.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { databaseSettings } from "../../src/postgres/settings.ts";

type Input = NonNullable<NonNullable<ConfigInput["sending_queue"]>["postgres"]>;
const of = (postgres: Input) => databaseSettings(configFrom({ sending_queue: { postgres } }));

Deno.test("TLS is there unless it is switched off, or all hosts are this machine and nothing asks for it", () => {
  const away = "postgres://relay@db.example/edgeferry";
  const here = "postgres://relay@127.0.0.1,localhost:6432/edgeferry";
  assert.notEqual(of({ url: away }).tls, undefined);
  assert.equal(of({ url: away, tls: { insecure: true } }).tls, undefined);
  assert.equal(of({ url: here }).tls, undefined);
  assert.notEqual(of({ url: `${here}?sslmode=verify-full` }).tls, undefined);
  assert.equal(of({ url: here, tls: { ca_file: "ca.crt" } }).tls?.ca, "ca.crt");
  assert.notEqual(of({ url: "postgres://relay@localhost,db.example/edgeferry" }).tls, undefined);
});

Deno.test("the password comes from one place", () => {
  const url = "postgres://relay@db/edgeferry";
  assert.equal(of({ url }).password, undefined);
  assert.deepEqual(of({ url, password: "pw" }).password, { text: "pw" });
  assert.deepEqual(of({ url, password_file: "pw.txt" }).password, { file: "pw.txt" });
  assert.deepEqual(of({ url: "postgres://relay:pw@db/edgeferry" }).password, { text: "pw" });
});

Deno.test("what the URL asks for beyond the rest is kept", () => {
  const settings = of({ url: "postgres://relay@db/edgeferry?channel_binding=require", durability: "managed" });
  assert.deepEqual([settings.channelBinding, settings.managed, settings.connectMs], [true, true, 5_000]);
});

Deno.test("without a URL the error says what to set", () => {
  assert.throws(
    () => of({}),
    /sending_queue\.postgres\.url is not set; set it, or EDGEFERRY_SENDING_QUEUE_POSTGRES_URL/,
  );
});
