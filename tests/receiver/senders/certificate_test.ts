import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import { Refusal } from "../../../src/errors.ts";
import { CertificateAuthenticator } from "../../../src/receiver/senders/certificate.ts";
import type { Sender } from "../../../src/receiver/senders/sender.ts";

const NOW = Date.parse("2027-01-01T00:00:00Z");
const dates = { valid_from: "Jan  1 00:00:00 2026 GMT", valid_to: "Jan  1 00:00:00 2028 GMT" };

/** A request over a connection whose peer has this certificate, which the listener has verified or not. */
function over(
  certificate: Record<string, unknown>,
  authorized = true,
): { incoming: IncomingMessage; looks: () => number } {
  let looks = 0;
  const socket: unknown = Object.create(TLSSocket.prototype, {
    authorized: { value: authorized },
    getPeerCertificate: {
      value: () => {
        looks += 1;
        return certificate;
      },
    },
  });
  return { incoming: { socket } as IncomingMessage, looks: () => looks };
}

function idOf(sender: Sender | Promise<Sender>): string {
  assert.ok(!(sender instanceof Promise));
  assert.match(sender.proof, /^(certificate|token )/);
  return sender.id;
}

function ask(certificate: Record<string, unknown>, authorized = true): string {
  const authenticator = new CertificateAuthenticator(() => NOW);
  try {
    return idOf(authenticator.authenticate(new Headers(), over(certificate, authorized).incoming));
  } catch (error) {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.status, error.headers["www-authenticate"]], [401, 'ClientCertificate realm="edgeferry"']);
    return error.message;
  }
}

Deno.test("the sender is the first subject alternative name, or the common name where there is none", () => {
  const subject = { CN: "by-common-name" };
  const table: [Record<string, unknown>, string][] = [
    [{ subject, subjectaltname: "DNS:shop, DNS:other" }, "shop"],
    [{ subject, subjectaltname: "URI:spiffe://example.org/shop" }, "spiffe://example.org/shop"],
    [{ subject, subjectaltname: "IP Address:10.0.0.1" }, "10.0.0.1"],
    [{ subject, subjectaltname: "email:shop@example.org" }, "shop@example.org"],
    [{ subject }, "by-common-name"],
    [{ subject: { CN: ["first", "second"] } }, "first"],
  ];
  for (const [certificate, id] of table) assert.equal(ask({ ...dates, ...certificate }), `certificate:${id}`);
});

Deno.test("a name that could be read as another is nobody's", () => {
  for (
    const certificate of [
      { subject: { CN: "two words" } },
      { subject: { CN: "" } },
      { subject: { O: "Shop" } },
      { subject: { CN: "x" }, subjectaltname: 'DNS:"shop, DNS:other"' },
      { subject: { CN: "x".repeat(256) } },
      { subject: { CN: "shop\u0000" } },
    ]
  ) {
    assert.match(
      ask({ ...dates, ...certificate }),
      /^Not authenticated: the client certificate of .* has no name that can be/s,
    );
  }
});

Deno.test("a certificate that is not good is named, with why", () => {
  const subject = { CN: "shop" };
  const issuer = { CN: "OtherCA" };
  assert.match(
    ask({}),
    /^Not authenticated: no client certificate; send one of a CA in receiver\.http\.tls\.client_ca_file$/,
  );
  assert.equal(
    ask({ ...dates, subject, issuer }, false),
    "Not authenticated: the client certificate of shop, issued by OtherCA, is not of a CA in " +
      "receiver.http.tls.client_ca_file, or not for clients",
  );
  assert.match(
    ask({ ...dates, valid_to: "Dec 31 00:00:00 2026 GMT", subject, issuer }, false),
    /of shop has expired, at Dec 31/,
  );
  assert.match(
    ask({ ...dates, valid_from: "Jan  2 00:00:00 2027 GMT", subject, issuer }, false),
    /is not valid before Jan {2}2/,
  );
});

Deno.test("a connection is looked at once; one that is not TLS proves nothing", () => {
  const authenticator = new CertificateAuthenticator(() => NOW);
  const { incoming, looks } = over({ ...dates, subject: { CN: "shop" } });
  for (let request = 0; request < 3; request++) {
    assert.equal(idOf(authenticator.authenticate(new Headers(), incoming)), "certificate:shop");
  }
  assert.equal(looks(), 1);
  assert.throws(() => authenticator.authenticate(new Headers()), { code: "unauthenticated" });
});

Deno.test("who shows no certificate may be asked otherwise; who shows a bad one is not", () => {
  const sender: Sender = { id: "by-token", proof: "token 5e884898", signals: new Set(["traces"]) };
  const otherwise = { authenticate: () => sender };
  const authenticator = new CertificateAuthenticator(() => NOW, otherwise);
  const none = over({});
  for (let round = 0; round < 2; round++) {
    assert.equal(idOf(authenticator.authenticate(new Headers(), none.incoming)), "by-token");
  }
  assert.equal(none.looks(), 1);
  const good = over({ ...dates, subject: { CN: "shop" } });
  assert.equal(idOf(authenticator.authenticate(new Headers(), good.incoming)), "certificate:shop");
  const bad = over({ ...dates, subject: { CN: "shop" } }, false);
  assert.throws(() => authenticator.authenticate(new Headers(), bad.incoming), /is not of a CA/);
});

Deno.test("what the log limits by is the fault, and not the name, which whoever makes a certificate chooses", () => {
  const authenticator = new CertificateAuthenticator(() => NOW);
  const kinds = new Set<string>();
  for (let index = 0; index < 100; index++) {
    const subject = { CN: `stranger-${index}` };
    const issuer = { CN: `CA-${index}` };
    for (
      const certificate of [
        { ...dates, subject, issuer },
        { ...dates, valid_to: "Dec 31 00:00:00 2026 GMT", subject, issuer },
        { ...dates, valid_from: "Jan  2 00:00:00 2027 GMT", subject, issuer },
      ]
    ) {
      assert.throws(() => authenticator.authenticate(new Headers(), over(certificate, false).incoming), (error) => {
        assert.ok(error instanceof Refusal);
        assert.match(error.message, new RegExp(`stranger-${index}\\b`));
        return kinds.add(error.kind) !== undefined;
      });
    }
  }
  assert.deepEqual([...kinds], ["certificate: not of the CA", "certificate: expired", "certificate: not yet valid"]);
});
