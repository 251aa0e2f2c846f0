/**
 * The steps of the identity that the relay shows to the Collector, before it shows it. What a step finds is named by the table of
 * `src/diagnosis/faults.ts`, which the running relay uses too.
 * @module
 */
import type { RefusedRole } from "../../diagnosis/faults.ts";
import { CertificateError } from "../../errors.ts";
import {
  chainOf,
  checkDates,
  checkForm,
  checkIsCa,
  checkKeyMatches,
  checkKeyType,
  checkUsage,
  describe,
  foreignIssuer,
  keyTypeOf,
  lifeLeft,
  parseCertificates,
  parsePrivateKey,
} from "../../pki/certificate.ts";
import { expiryLevel } from "../../pki/expiry.ts";
import { exposureOf } from "../../pki/identity.ts";
import { readPem } from "../../pki/pem.ts";
import { type Check, errorOf, faultFrom, type Finding, judged, NO_TLS, ok, present, warning } from "../finding.ts";
import type { Way } from "../way.ts";

/** Checks of the relay's own identity: the files and their contents. */
export const IDENTITY_CHECKS: readonly Check<Way>[] = [
  { id: "files", title: "files", needs: [], run: checkFiles },
  {
    id: "permissions",
    title: "permissions of the key",
    needs: ["files"],
    run(way) {
      if (!way.secure) return NO_TLS;
      const { key } = present(way.documents);
      const exposure = exposureOf(key, "exporter.tls.key_readable_by_others");
      if (exposure === undefined) return ok(`Nobody but its owner can read the ${key.name}`);
      const finding = `The ${key.name} ${exposure.state}`;
      const fault = "key_exposed";
      return exposure.to === "all" && !way.tls.exposedKeyAllowed
        ? { status: "fault", fault, finding, remedy: exposure.remedy }
        : { status: "warning", fault, finding, remedy: "run chmod 600 on it" };
    },
  },
  { id: "pem", title: "shape of the PEM", needs: ["files"], run: checkPem },
  {
    id: "key_match",
    title: "key and certificate",
    needs: ["pem"],
    run: (way) =>
      way.secure
        ? judged("key", () => {
          const { key, certificates } = present(way.identity);
          const { key: keyDocument, cert } = present(way.documents);
          checkKeyMatches(key, keyDocument.name, certificates, cert.name);
          return ok(`The ${keyDocument.name} belongs to ${describe(certificates[0]).subject}`);
        })
        : NO_TLS,
  },
  { id: "dates", title: "dates of our certificates", needs: ["pem"], run: checkOurDates },
  { id: "chain", title: "issuer of our certificate", needs: ["pem"], run: checkOurChain },
  {
    id: "usages",
    title: "usages of our certificates",
    needs: ["pem"],
    async run(way) {
      if (!way.secure) return NO_TLS;
      const { certificates, authorities } = present(way.identity);
      const { cert, ca } = present(way.documents);
      const own = await judged("certificate", () => {
        checkUsage(certificates[0], cert.name, "clientAuth");
        return ok(
          "The client certificate is for clients",
          describe(certificates[0]).usages.join(", ") || "unrestricted",
        );
      });
      if (own.status !== "ok") return own;
      const faults = authorities.flatMap((each) => errorOf(() => checkIsCa(each, ca.name)) ?? []);
      return faults.length === authorities.length && faults[0] !== undefined ? faultFrom(faults[0], "ca") : own;
    },
  },
];

async function checkFiles(way: Way): Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const { tls } = way;
  const read = async (what: string, { setting, value }: { setting: string; value: string }) => {
    try {
      return await readPem({ what, setting, value });
    } catch (error) {
      if (error instanceof CertificateError) return error;
      throw error;
    }
  };
  const ca = await read("CA certificate", tls.ca);
  const cert = await read("client certificate", tls.cert);
  const key = await read("client key", tls.key);
  const errors = [[ca, "ca"], [cert, "certificate"], [key, "key"]] as const;
  const first = errors.find(([each]) => each instanceof CertificateError);
  if (ca instanceof CertificateError || cert instanceof CertificateError || key instanceof CertificateError) {
    const found = faultFrom(first?.[0] as CertificateError, first?.[1] ?? "ca");
    const more = errors.flatMap(([each]) =>
      each instanceof CertificateError && each !== first?.[0] ? [each.message] : []
    );
    return { ...found, evidence: more };
  }
  way.documents = { ca, cert, key };
  return ok([ca, cert, key].map(({ name }) => name).join(", "));
}

function checkPem(way: Way): Finding {
  if (!way.secure) return NO_TLS;
  const { ca, cert, key } = present(way.documents);
  const steps: [role: RefusedRole, step: () => void][] = [];
  let authorities: ReturnType<typeof parseCertificates> | undefined;
  let certificates: ReturnType<typeof parseCertificates> | undefined;
  let privateKey: ReturnType<typeof parsePrivateKey> | undefined;
  steps.push(["ca", () => {
    authorities = parseCertificates(ca);
    for (const each of authorities) checkKeyType(each.publicKey, ca.name);
  }]);
  steps.push(["certificate", () => {
    certificates = parseCertificates(cert);
    checkForm(certificates[0], cert.name);
    checkKeyType(certificates[0].publicKey, cert.name);
  }]);
  steps.push(["key", () => {
    privateKey = parsePrivateKey(key, way.tls.keyPassphrase);
  }]);
  const found = steps.flatMap(([role, step]) => {
    const error = errorOf(step);
    return error === undefined ? [] : [{ role, error }];
  });
  const [first, ...more] = found;
  if (first !== undefined) {
    return { ...faultFrom(first.error, first.role), evidence: more.map(({ error }) => error.message) };
  }
  way.identity = {
    authorities: present(authorities),
    certificates: present(certificates),
    key: present(privateKey),
  };
  const { length } = present(authorities);
  return ok(
    `${describe(present(certificates)[0]).subject}, ${keyTypeOf(present(privateKey))}, with ${length} ` +
      `CA certificate${length === 1 ? "" : "s"}`,
  );
}

function checkOurDates(way: Way): Finding {
  if (!way.secure) return NO_TLS;
  const { authorities, certificates } = present(way.identity);
  const { ca, cert } = present(way.documents);
  const now = way.now();
  const own = certificates.flatMap((each) => errorOf(() => checkDates(each, cert.name, now)) ?? [])[0];
  if (own !== undefined) return faultFrom(own, "certificate");
  const ofCa = authorities.flatMap((each) => errorOf(() => checkDates(each, ca.name, now)) ?? []);
  if (ofCa[0] !== undefined && ofCa.length === authorities.length) return faultFrom(ofCa[0], "ca");
  const ends = [...certificates, ...authorities].map(describe).map((facts) => ({
    leftMs: facts.validTo.getTime() - now.getTime(),
    level: expiryLevel(facts, way.tls.expiry, now),
    text: `${facts.subject}: ${lifeLeft(facts.validTo, now)}`,
  }));
  const near = ends.filter(({ leftMs, level }) => leftMs > 0 && level !== "ok").sort((a, b) => a.leftMs - b.leftMs);
  const worst = near.find(({ level }) => level === "error") ?? near[0];
  const evidence = [...ends.map(({ text }) => text), ...ofCa.map(({ message }) => message)];
  if (worst !== undefined) {
    const status = worst.level === "error" ? "fault" : "warning";
    return { status, fault: "expires_soon", finding: `A certificate is near its end: ${worst.text}`, evidence };
  }
  if (ofCa.length > 0) return warning("ca_unusable", "A CA certificate of the bundle is out of date", ...evidence);
  return ok(ends.map(({ text }) => text).join(", "));
}

function checkOurChain(way: Way): Finding {
  if (!way.secure) return NO_TLS;
  const { authorities, certificates: [leaf, ...intermediates] } = present(way.identity);
  const { ca, cert } = present(way.documents);
  const chain = chainOf(leaf, intermediates, authorities);
  if (chain.kind !== "anchored") {
    // Lawful: the Collector may trust another CA than the relay does. Whether it does is found out below.
    return {
      status: "warning",
      fault: "client_certificate_unknown_ca",
      finding: foreignIssuer(chain, cert.name, ca.name),
      remedy: "nothing, if the Collector's client_ca_file has that issuer",
    };
  }
  return ok(`Our certificate leads to ${describe(present(chain.path.at(-1))).subject}`);
}
