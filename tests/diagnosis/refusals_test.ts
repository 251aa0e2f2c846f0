import assert from "node:assert/strict";
import type { ClientFacts } from "../../src/diagnosis/client_facts.ts";
import { concernsTheWay, diagnose, faultNamed, NAMED_FAULTS } from "../../src/diagnosis/faults.ts";
import { dispositionOf } from "../../src/exporter/client/disposition.ts";

const SOUND: ClientFacts = { shown: true, dates: "valid", clientAuth: true, anchored: true, accepted: false };
const CUT = "fetch failed: peer closed connection without sending TLS close_notify";
const ALERT = "fetch failed: received fatal alert: BadCertificate";
const PAGE = (title: string) => `<html>\r\n<head><title>400 ${title}</title></head>`;

Deno.test("a refusal that gives no reason is named by what is known of the certificate", () => {
  const cases: [Partial<ClientFacts>, string][] = [
    [{ shown: false }, "client_certificate_missing"],
    [{ dates: "expired" }, "client_certificate_expired"],
    [{ dates: "not_yet_valid" }, "client_certificate_not_yet_valid"],
    [{ clientAuth: false }, "client_certificate_usage"],
    [{ anchored: false }, "client_certificate_unknown_ca"],
  ];
  for (const [facts, code] of cases) {
    const client = () => ({ ...SOUND, ...facts });
    assert.equal(diagnose({ text: CUT, client }).code, code);
    assert.equal(diagnose({ text: ALERT, client }).code, code);
    assert.equal(diagnose({ status: 400, text: PAGE("The SSL certificate error"), client }).code, code);
  }
  assert.equal(diagnose({ text: CUT, client: () => SOUND }).code, "handshake_cut");
  assert.equal(diagnose({ text: ALERT, client: () => SOUND }).code, "client_certificate_refused");
});

Deno.test("a cut by a peer that took this certificate before says nothing of it, unless it has ended since", () => {
  const accepted = { ...SOUND, anchored: false, accepted: true };
  assert.equal(diagnose({ text: CUT, client: () => accepted }).code, "handshake_cut");
  assert.equal(
    diagnose({ text: CUT, client: () => ({ ...accepted, dates: "expired" }) }).code,
    "client_certificate_expired",
  );
  assert.equal(diagnose({ text: ALERT, client: () => accepted }).code, "client_certificate_unknown_ca");
});

Deno.test("a 400 of a proxy is about the way; one of a Collector is about what was sent, whatever its words", () => {
  for (
    const words of [
      PAGE("No required SSL certificate was sent"),
      PAGE("The SSL certificate error"),
      PAGE("The plain HTTP request was sent to HTTPS port"),
      "Client sent an HTTP request to an HTTPS server.",
    ]
  ) {
    assert(concernsTheWay(400, words), words);
    assert.equal(dispositionOf({ status: 400, message: words }), "hold");
    assert(!concernsTheWay(413, words));
  }
  for (const words of ["http: request body too large", 'unknown field "The SSL certificate error"', "", PAGE("Bad")]) {
    assert(!concernsTheWay(400, words), words);
    assert.equal(dispositionOf({ status: 400, message: words }), "inspect");
  }
});

Deno.test("what a file is refused for has a name, whichever file it was", () => {
  const named = (code: Parameters<typeof refused>[0], role: Parameters<typeof refused>[1]) => refused(code, role);
  assert.equal(named("expired", "certificate"), "client_certificate_expired");
  assert.equal(named("expired", "ca"), "ca_unusable");
  assert.equal(named("wrong_usage", "certificate"), "client_certificate_usage");
  assert.equal(named("wrong_usage", "ca"), "ca_unusable");
  assert.equal(named("wrong_issuer", "certificate"), "client_certificate_unknown_ca");
  assert.equal(named("unreadable", "key"), "permissions");
  // A file's own words never count as a peer's.
  assert.equal(named("not_pem", "key"), "not_pem");
});

type Refused = NonNullable<Parameters<typeof diagnose>[0]["refused"]>;

function refused(code: Refused["code"], role: Refused["role"]): string {
  return diagnose({ text: "certificate expired, UnknownIssuer, connection refused", refused: { code, role } }).code;
}

Deno.test("every named fault has its own name, a sentence and a remedy", () => {
  assert.equal(new Set(NAMED_FAULTS.map(({ code }) => code)).size, NAMED_FAULTS.length);
  for (const { code, what, remedy } of NAMED_FAULTS) {
    assert.match(what, /^[A-Z].*[^.]$/, code);
    assert.match(remedy, /^[a-z].*[^.]$/, code);
    assert.equal(faultNamed(code).what, what);
  }
  assert.throws(() => faultNamed("no such"), TypeError);
});
