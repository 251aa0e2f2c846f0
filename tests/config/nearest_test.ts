import assert from "node:assert/strict";
import { nearest } from "../../src/config/nearest.ts";

Deno.test("a slip finds the name that was meant", () => {
  const keys = ["endpoint", "timeout", "headers", "compression"];
  assert.equal(nearest("endpont", keys), "endpoint");
  assert.equal(nearest("tiemout", keys), "timeout");
  assert.equal(nearest("Headers", keys), "headers");
  assert.equal(nearest("compresion", keys), "compression");
});

Deno.test("another word finds none", () => {
  assert.equal(nearest("retries", ["endpoint", "tls"]), undefined);
  assert.equal(nearest("endpoint", []), undefined);
  assert.equal(nearest("x".repeat(1_000_000), ["endpoint"]), undefined);
});

Deno.test("the fewest edits win, and a swap of neighbours is one", () => {
  assert.equal(nearest("ab", ["abcd", "ba"]), "ba");
  assert.equal(nearest("cert_fiel", ["cert_pem", "cert_file", "key_file"]), "cert_file");
});
