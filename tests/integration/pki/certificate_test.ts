import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { CLIENT, createAuthority } from "../../../src/pki/authority.ts";
import {
  chainOf,
  checkChain,
  checkDates,
  checkForm,
  checkIsCa,
  checkKeyMatches,
  checkKeyType,
  checkUsage,
  daysLeft,
  describe,
  exportPrivateKey,
  holdsCertificate,
  holdsPrivateKey,
  isEncryptedKey,
  keyTypeOf,
  parseCertificates,
  parsePrivateKey,
} from "../../../src/pki/certificate.ts";
import { type PemDocument, readPem } from "../../../src/pki/pem.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { runTool } from "../../support/tools/tool.ts";

const NO_PASSPHRASE = { setting: "exporter.tls.key_passphrase", value: undefined };
const PASSPHRASE = { ...NO_PASSPHRASE, value: "open sesame" };

/** By openssl x509 -req without -extfile; from OpenSSL 3.4 on the command writes version 3 instead. */
const VERSION_1 = `-----BEGIN CERTIFICATE-----
MIHCMHYCAQEwBQYDK2VwMA8xDTALBgNVBAMMBHYxY2EwHhcNMjYxMTI0MDMxMTQ5
WhcNMzYxMTIxMDMxMTQ5WjANMQswCQYDVQQDDAJ2MTAqMAUGAytlcAMhAMNsfgNl
/XcABUZhcDMpHs8H++3Md8nxgl+CPnOrZAOTMAUGAytlcANBAFIuPR8h+GG1vXJO
Q3qQLFQzwYXXBI9/npJma4rLxFNa/F9zEacK3FeMiItTbmeeq9fcVk8hNVHjkJ9F
f5twCAc=
-----END CERTIFICATE-----
`;

async function shell(script: string): Promise<string> {
  return (await runTool("bash", ["-euo", "pipefail", "-c", script])).stdout;
}

function textOf(text: string): PemDocument {
  return { name: "client key x.key", setting: "exporter.tls.key_file", text, path: "x.key", mode: 0o600 };
}

const KEY_FORMS: [form: string, script: string, type: string][] = [
  ["PKCS#8 RSA", "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null", "RSA 2048"],
  ["PKCS#1", "openssl genrsa -traditional 2048", "RSA 2048"],
  ["SEC1 with parameters", "openssl ecparam -name prime256v1 -genkey", "EC P-256"],
  ["SEC1", "openssl ecparam -name secp384r1 -genkey -noout", "EC P-384"],
  ["PKCS#8 EC", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521", "EC P-521"],
  ["Ed25519", "openssl genpkey -algorithm ed25519", "Ed25519"],
];

const ENCRYPTED_FORMS: [form: string, script: string][] = [
  ["PKCS#8, PBKDF2", "openssl pkcs8 -topk8 -v2 aes-256-cbc"],
  ["PKCS#8, scrypt", "openssl pkcs8 -topk8 -scrypt"],
  ["SEC1, older form", "openssl ec -aes256"],
];

for (const [form, script, type] of KEY_FORMS) {
  Deno.test(`a key as ${form} is parsed, and rustls takes what is exported`, async () => {
    const key = parsePrivateKey(textOf(await shell(script)), NO_PASSPHRASE);
    assert.equal(keyTypeOf(key), type);
    const pem = exportPrivateKey(key);
    assert.match(pem, /^-----BEGIN PRIVATE KEY-----\n/);
    const certificate = await shell(`openssl req -x509 -key <(cat <<'KEY'\n${pem}KEY\n) -subj /CN=client-app -days 2`);
    assert.equal(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(pem)), true);
    Deno.createHttpClient({ cert: certificate, key: pem }).close();
  });
}

for (const [form, script] of ENCRYPTED_FORMS) {
  Deno.test(`a key encrypted as ${form} needs its passphrase`, async () => {
    const plain = await shell("openssl ecparam -name prime256v1 -genkey -noout");
    const stdin = `<<'KEY'\n${plain}KEY\n`;
    const document = textOf(await shell(`${script} -passout 'pass:${PASSPHRASE.value}' ${stdin}`));
    assert.equal(isEncryptedKey(document), true);
    assert.equal(
      exportPrivateKey(parsePrivateKey(document, PASSPHRASE)),
      exportPrivateKey(createPrivateKey(plain)),
    );
    for (const value of [undefined, ""]) {
      assert.throws(() => parsePrivateKey(document, { ...PASSPHRASE, value }), {
        name: "CertificateError",
        code: "key_encrypted",
        message: "Cannot read client key x.key: it is encrypted; set exporter.tls.key_passphrase",
      });
    }
    assert.throws(() => parsePrivateKey(document, { ...PASSPHRASE, value: "wrong" }), {
      code: "key_encrypted",
      message:
        /^Cannot read client key x\.key: exporter\.tls\.key_passphrase does not decrypt it; correct the passphrase/,
    });
  });
}

Deno.test("a key that rustls would not use is refused", async () => {
  const cases: [script: string, code: string, message: RegExp][] = [
    ["openssl genrsa 1024", "key_too_weak", /its RSA key has 1024 bits, which is too weak; make a new one/],
    ["openssl ecparam -name secp256k1 -genkey -noout", "unsupported", /its key is EC secp256k1/],
    ["openssl genpkey -algorithm ed448", "unsupported", /its key is ED448/],
    ["openssl genpkey -algorithm RSA-PSS 2>/dev/null", "unsupported", /its key is RSA-PSS 2048/],
  ];
  for (const [script, code, message] of cases) {
    const pem = await shell(script);
    assert.throws(() => parsePrivateKey(textOf(pem), NO_PASSPHRASE), { name: "CertificateError", code, message });
  }
});

Deno.test("a text without a key, or with a damaged one, is refused", async () => {
  await using certificates = await testCertificates();
  const { client } = certificates;
  assert.throws(() => parsePrivateKey(textOf(client.certificate), NO_PASSPHRASE), {
    code: "not_pem",
    message: /it holds CERTIFICATE, but no PRIVATE KEY; set exporter\.tls\.key_file to the key \(are .* swapped\?\)$/,
  });
  assert.throws(() => parsePrivateKey(textOf(client.key.replace(/^M.{20}/m, "M")), NO_PASSPHRASE), {
    code: "unparsable",
    message: /its PRIVATE KEY is damaged or of an unknown kind/,
  });
});

Deno.test("certificates are parsed in the order of the text, and a key beside them is no hindrance", async () => {
  await using certificates = await testCertificates();
  const { client, ca } = certificates;
  const document = textOf(client.key + client.certificate + ca.certificate);
  const subjects = parseCertificates(document).map((each) => each.subject);
  assert.deepEqual(subjects, ["CN=client-app", "CN=MyRootCA"]);
  assert.equal(holdsCertificate(document), true);
  assert.equal(holdsPrivateKey(document), true);
  assert.equal(isEncryptedKey(document), false);
});

Deno.test("a text without a certificate, or with a damaged one, is refused", async () => {
  await using certificates = await testCertificates();
  const { client, ca } = certificates;
  const cases: [text: string, code: string, message: RegExp][] = [
    [client.key, "not_pem", /it holds PRIVATE KEY, but no CERTIFICATE; .* \(are certificate and key swapped\?\)$/],
    ["-----BEGIN nothing", "not_pem", /it holds no block that is complete, but no CERTIFICATE/],
    [client.certificate.replaceAll("CERTIFICATE", "TRUSTED CERTIFICATE"), "not_pem", /which only openssl reads/],
    [ca.certificate + client.certificate.replace(/^M.{20}/m, "M"), "unparsable", /certificate 2 in it is damaged/],
    [client.certificate.slice(0, 200), "unparsable", /has no END line/],
    [client.certificate.repeat(1001), "unparsable", /it holds more than 1000 certificates/],
  ];
  for (const [text, code, message] of cases) {
    assert.throws(() => parseCertificates(textOf(text)), { name: "CertificateError", code, message });
  }
});

Deno.test("a certificate in a form that peers refuse is refused", async () => {
  const sha1 = await shell(
    "openssl req -x509 -sha1 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=old 2>/dev/null",
  );
  const cases: [pem: string, message: RegExp][] = [
    [VERSION_1, /it is X\.509 version 1, and TLS here needs version 3; issue it again with extensions/],
    [sha1, /it is signed with SHA-1, which peers refuse; issue it again with SHA-256$/],
  ];
  for (const [pem, message] of cases) {
    assert.throws(() => checkForm(new X509Certificate(pem), "client certificate x.crt"), {
      name: "CertificateError",
      code: "unsupported",
      message,
    });
  }
  await using certificates = await testCertificates();
  checkForm(new X509Certificate(certificates.client.certificate), "client certificate x.crt");
});

Deno.test("a key is matched to the first certificate, and the fault says where the right one stands", async () => {
  await using certificates = await testCertificates();
  const { client, ca, mismatchedClient } = certificates;
  const key = createPrivateKey(client.key);
  const leaf = new X509Certificate(client.certificate);
  checkKeyMatches(key, "key", [leaf], "certificate");
  assert.throws(() => checkKeyMatches(createPrivateKey(mismatchedClient.key), "client key k", [leaf], "c.crt"), {
    name: "CertificateError",
    code: "key_mismatch",
    message: /^Cannot use client key k: it does not match c\.crt \(CN=client-app\); give the key that was made with/,
  });
  assert.throws(() => checkKeyMatches(key, "client key k", [new X509Certificate(ca.certificate), leaf], "c.crt"), {
    code: "key_mismatch",
    message: /\(CN=MyRootCA\); it belongs to certificate 2 in that file: put that one first$/,
  });
});

Deno.test("dates are checked against the clock given", async () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const ca = await createAuthority({ commonName: "MyRootCA", now });
  const certificate = new X509Certificate((await ca.issue({ ...CLIENT, now, days: 10 })).certificate);
  const at = (text: string) => () => checkDates(certificate, "client certificate c.crt", new Date(text));
  at("2026-03-01T11:55:00Z")();
  at("2026-03-11T12:00:00Z")();
  assert.throws(at("2026-03-14T12:00:01Z"), {
    name: "CertificateError",
    code: "expired",
    message:
      "Cannot use client certificate c.crt: it expired 3 days ago, at 2026-03-11T12:00:00Z; issue a new one and " +
      "replace the file",
  });
  assert.throws(at("2026-03-11T12:00:01Z"), { code: "expired", message: /expired less than a minute ago/ });
  assert.throws(at("2026-03-11T15:00:01Z"), { code: "expired", message: /expired 3 hours ago/ });
  assert.throws(at("2026-03-12T12:00:01Z"), { code: "expired", message: /expired 1 day ago/ });
  assert.throws(at("2026-03-01T11:54:59Z"), {
    code: "not_yet_valid",
    message: /valid only from 2026-03-01T11:55:00Z on/,
  });
  assert.equal(daysLeft(certificate.validToDate, now), 10);
  assert.equal(daysLeft(certificate.validToDate, new Date("2026-03-12T12:00:00Z")), -1);
});

Deno.test("usage is checked where the certificate restricts it", async () => {
  const ca = await createAuthority({ commonName: "MyRootCA" });
  const check = async (usages: ("clientAuth" | "serverAuth")[]) =>
    checkUsage(
      new X509Certificate((await ca.issue({ ...CLIENT, usages })).certificate),
      "client certificate",
      "clientAuth",
    );
  await check([]);
  await check(["clientAuth"]);
  await check(["serverAuth", "clientAuth"]);
  await assert.rejects(check(["serverAuth"]), {
    name: "CertificateError",
    code: "wrong_usage",
    message:
      "Cannot use client certificate: its extended key usage is serverAuth, without clientAuth; issue it again " +
      "with clientAuth",
  });
});

Deno.test("a CA is a CA certificate, or one that vouches for itself", async () => {
  await using certificates = await testCertificates();
  checkIsCa(new X509Certificate(certificates.ca.certificate), "CA certificate ca.crt");
  const pinned = await shell(
    "openssl req -x509 -newkey ed25519 -nodes -keyout /dev/null -subj /CN=pinned " +
      "-addext basicConstraints=critical,CA:FALSE -config <(printf '[req]\\ndistinguished_name=d\\n[d]\\n') 2>/dev/null",
  );
  const certificate = new X509Certificate(pinned);
  assert.equal(certificate.ca, false);
  checkIsCa(certificate, "CA certificate ca.crt");
  assert.throws(() => checkIsCa(new X509Certificate(certificates.client.certificate), "CA certificate ca.crt"), {
    name: "CertificateError",
    code: "wrong_usage",
    message:
      "Cannot use CA certificate ca.crt: CN=client-app in it is not a CA certificate but issued by CN=MyRootCA; " +
      "give the certificate of that CA",
  });
});

Deno.test("issuers are followed by name and signature, through intermediates", async () => {
  await using certificates = await testCertificates();
  const { ca, client, otherCa, otherClient, namesakeClient } = certificates;
  const parse = (pem: string) => new X509Certificate(pem);
  const root = parse(ca.certificate);
  const leaf = parse(client.certificate);
  assert.deepEqual(chainOf(leaf, [], [parse(otherCa.certificate), root]), { kind: "anchored", path: [leaf, root] });
  assert.deepEqual(chainOf(root, [], [root]), { kind: "anchored", path: [root] });

  const unknown = chainOf(parse(otherClient.certificate), [], [root]);
  assert.deepEqual(unknown, { kind: "unknown_issuer", issuer: "CN=OtherCA" });
  assert.throws(() => checkChain(unknown, "client certificate", "CA certificate ca.crt"), {
    name: "CertificateError",
    code: "wrong_issuer",
    message: /its issuer CN=OtherCA is not in CA certificate ca\.crt; give the CA that signed it$/,
  });
  // Servers and files send their root along: not trusted, it is an unknown issuer all the same, and no namesake of itself.
  const withRoot = chainOf(parse(otherClient.certificate), [parse(otherCa.certificate)], [root]);
  assert.deepEqual(withRoot, { kind: "unknown_issuer", issuer: "CN=OtherCA" });
  const namesake = chainOf(parse(namesakeClient.certificate), [], [root]);
  assert.deepEqual(namesake, { kind: "bad_signature", issuer: "CN=MyRootCA" });
  assert.throws(() => checkChain(namesake, "client certificate", "CA certificate ca.crt"), {
    code: "wrong_issuer",
    message: /its issuer is called CN=MyRootCA, and so is a certificate in CA certificate ca\.crt, but another key/,
  });

  const files = await shell(`dir=$(mktemp -d); cd "$dir"; trap 'rm -r "$dir"' EXIT
    make() { openssl req -newkey ed25519 -nodes -keyout $1.key -subj /CN=$1 -out $1.csr 2>/dev/null; }
    openssl req -x509 -newkey ed25519 -nodes -keyout root.key -subj /CN=root -out root.crt 2>/dev/null
    make middle; openssl x509 -req -in middle.csr -CA root.crt -CAkey root.key -set_serial 2 \
      -extfile <(echo basicConstraints=critical,CA:TRUE) -out middle.crt 2>/dev/null
    make leaf; openssl x509 -req -in leaf.csr -CA middle.crt -CAkey middle.key -set_serial 3 \
      -extfile <(echo basicConstraints=critical,CA:FALSE) -out leaf.crt 2>/dev/null
    cat leaf.crt middle.crt root.crt`);
  const [deepLeaf, middle, deepRoot] = parseCertificates(textOf(files));
  assert.ok(middle !== undefined && deepRoot !== undefined);
  assert.deepEqual(chainOf(deepLeaf, [middle], [deepRoot]), { kind: "anchored", path: [deepLeaf, middle, deepRoot] });
  assert.deepEqual(chainOf(deepLeaf, [], [deepRoot]), { kind: "unknown_issuer", issuer: "CN=middle" });
});

Deno.test("a certificate is described as openssl shows it", async () => {
  await using certificates = await testCertificates();
  const { server } = certificates;
  const facts = describe(new X509Certificate(server.certificate));
  const printed = await shell(
    `openssl x509 -in '${server.certificateFile}' -noout -subject -issuer -serial -fingerprint -sha256 -nameopt RFC2253`,
  );
  assert.equal(
    printed,
    `subject=${facts.subject}\nissuer=${facts.issuer}\nserial=${facts.serialNumber}\n` +
      `sha256 Fingerprint=${facts.fingerprintSha256}\n`,
  );
  assert.equal(facts.commonName, "otel-collector");
  assert.deepEqual(facts.keyUsages, ["digitalSignature"]);
  assert.equal(facts.isCa, false);
});

Deno.test("names of several parts, other names and unknown usages are described", async () => {
  const pem = await shell(
    `openssl req -x509 -newkey ed25519 -nodes -keyout /dev/null -subj '/C=DE/O=A, B/CN=x' 2>/dev/null \
    -addext 'subjectAltName=DNS:a.example,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:me,URI:spiffe://x/y,IP:::1' \
    -addext 'extendedKeyUsage=clientAuth,1.2.3.4'`,
  );
  const facts = describe(new X509Certificate(pem));
  assert.equal(facts.subject, "C=DE, O=A, B, CN=x");
  assert.equal(facts.commonName, "x");
  for (const name of ["DNS:a.example", "URI:spiffe://x/y"]) assert.ok(facts.subjectAltNames.includes(name));
  assert.deepEqual(facts.usages, ["clientAuth", "1.2.3.4"]);
});

Deno.test("the public key of a certificate is held to the same types", () => {
  checkKeyType(generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey, "client certificate");
  assert.throws(
    () => checkKeyType(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey, "client certificate c.crt"),
    { code: "key_too_weak", message: /^Cannot use client certificate c\.crt: its RSA key has 1024 bits/ },
  );
});

Deno.test("what readPem gives is what the parsers take", async () => {
  await using certificates = await testCertificates();
  const { client } = certificates;
  const document = await readPem({ what: "client certificate", setting: "cert_file", value: client.certificateFile });
  assert.equal(parseCertificates(document)[0].subject, "CN=client-app");
});
