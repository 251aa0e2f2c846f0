import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { described, pemTextOf, shownName, shownPath, shownPlain, shownText, shownUrl } from "../../src/config/shown.ts";

const PEM = `-----BEGIN PRIVATE KEY-----\n${
  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg".repeat(2)
}\n-----END PRIVATE KEY-----\n`;
const TOKEN = "kPz3vQ8mXw1LrT6yBn0cHsJd4FgAe2Ui9OoKtVbMqNR";

Deno.test("PEM text is read as it is, from one line, and from base64 of either alphabet", () => {
  const base64 = Buffer.from(PEM).toString("base64");
  for (
    const value of [
      PEM,
      PEM.replaceAll("\n", "\\n"),
      PEM.replaceAll("\n", "\\r\\n"),
      base64,
      base64.replace(/.{64}/g, "$&\n"),
      base64.replace(/.{64}/g, "$&\\n"),
      base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", ""),
      `"${base64}"`,
    ]
  ) assert.equal(pemTextOf(value), PEM, value);
  for (
    const value of [
      "certs/client.key",
      "",
      TOKEN,
      "MII".repeat(100),
      Buffer.from("plain ".repeat(20)).toString("base64"),
    ]
  ) {
    assert.equal(pemTextOf(value), undefined, value);
  }
});

Deno.test("words that can be no secret are shown as they are", () => {
  for (
    const value of ["200mss", "8 MiB", "127.0.0.1:99999", "sqllite", "true", "-1", "http/json", "2027-01-31T12:00:00Z"]
  ) {
    assert.equal(shownText(value), JSON.stringify(value));
  }
  for (
    const path of [
      "certs/client.key",
      "/run/secrets/edgeferry_client_key",
      "/etc/ssl/certs/ca-certificates.crt",
      "..\\keys\\a.pem",
      "/var/lib/kubelet/pods/6f1c3c9e-11aa-4c2e-9d7c-0a1b2c3d4e5f/ca.crt",
      "/tmp/edgeferry-certs-Ab3xYz/client.crt",
    ]
  ) {
    assert.equal(shownPath(path), path);
  }
  for (
    const url of [
      "https://localhost:4318",
      "https://collector.example/otlp/v1/traces",
      "http://[::1]:4318",
      "localhost:4318",
    ]
  ) {
    assert.equal(shownUrl(url), url);
  }
  assert.equal(shownPlain("checkout-service"), "checkout-service");
  assert.equal(shownPlain(TOKEN, true), TOKEN);
  assert.equal(shownName("exporter.endpoimt"), "exporter.endpoimt");
});

Deno.test("what may be a secret is told by its length and what it looks like", () => {
  const random = `(${TOKEN.length} characters, random letters and digits, such as a token)`;
  assert.equal(shownText(TOKEN), random);
  assert.equal(shownName(TOKEN), random);
  assert.equal(shownPath(TOKEN), random);
  assert.equal(
    shownPath(`keys/${TOKEN}`),
    `(${TOKEN.length + 5} characters, random letters and digits, such as a token)`,
  );
  assert.equal(shownPlain(TOKEN), random);
  assert.equal(shownPath("hunter2"), "(7 characters, plain text)");
  assert.equal(shownUrl("hunter2"), "(7 characters, plain text)");
  assert.equal(described(PEM), `${PEM.length} characters, PEM text of a private key`);
  assert.equal(described("   "), "3 characters, all blank");
  assert.equal(described("x"), "1 character, plain text");
  const body = PEM.split("\n")[1] ?? "";
  assert.equal(described(body), `${body.length} characters, the body of a PEM without its BEGIN and END lines`);
  assert.match(shownText("ada:hunter2@host:1"), /^\(18 characters, a URL with a user name or password\)$/);
});

Deno.test("of a URL its user name, password, query, fragment and random names are hidden", () => {
  for (
    const [url, shown] of [
      ["https://ada:hunter2@host:1/x", "https://(hidden)@host:1/x"],
      ["https://ada:p/w@host/x", "https://(hidden)@host/x"],
      ["https://host/x?key=hunter2", "https://host/x?(hidden)"],
      ["https://host/x#hunter2", "https://host/x#(hidden)"],
      [`https://host/in/${TOKEN}/x`, "https://host/in/(hidden)/x"],
    ] as const
  ) assert.equal(shownUrl(url), shown);
});
