import assert from "node:assert/strict";
import { resolverFor } from "../../src/relay/clients.ts";

const URLS = [new URL("https://collector.example:4317/")];
const PROXIED = () => ({ HTTPS_PROXY: "http://proxy.example:3128" });

Deno.test("the addresses of a name are asked for, but where a proxy does so", () => {
  assert(resolverFor("http/protobuf", URLS, () => ({})) !== undefined);
  assert.equal(resolverFor("http/protobuf", URLS, PROXIED), undefined);
  assert(resolverFor("http/protobuf", URLS, () => ({ ...PROXIED(), NO_PROXY: "collector.example" })) !== undefined);
});

Deno.test("OTLP/gRPC goes by no proxy, so that another address is gone by whatever the environment says", async () => {
  const resolve = resolverFor("grpc", URLS, PROXIED);
  assert.deepEqual(await resolve?.("127.0.0.1"), ["127.0.0.1"]);
});

Deno.test("without leave to read the environment nobody can tell whether a proxy asks", () => {
  const closed = () => {
    throw new Deno.errors.NotCapable("Requires env access");
  };
  assert.equal(resolverFor("http/protobuf", URLS, closed), undefined);
});
