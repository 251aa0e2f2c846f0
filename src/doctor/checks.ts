/**
 * The steps of the data's path, in its order. What a step finds is named by the table of `src/diagnosis/faults.ts`, which the
 * running relay uses too.
 * @module
 */
import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import { dirname } from "node:path";
import { exporterSettings } from "../config/exporter_settings.ts";
import { exporterNames } from "../config/routes.ts";
import type { Config } from "../config/schema.ts";
import { formatSize } from "../config/units.ts";
import { concernsTheWay, diagnose, type Fault, type RefusedRole, SERVER_FORM_FAULTS } from "../diagnosis/faults.ts";
import { shakeHands } from "../diagnosis/handshake.ts";
import { CertificateError, messageOf } from "../errors.ts";
import type { Answer } from "../exporter/client.ts";
import { MembersProof } from "../exporter/members.ts";
import { SIGNAL_NAMES, type SignalName, signalOf } from "../signal.ts";
import {
  chainOf,
  checkDates,
  checkForm,
  checkIsCa,
  checkKeyMatches,
  checkKeyType,
  checkUsage,
  describe,
  exportPrivateKey,
  foreignIssuer,
  keyTypeOf,
  lifeLeft,
  parseCertificates,
  parsePrivateKey,
} from "../pki/certificate.ts";
import { expiryLevel } from "../pki/expiry.ts";
import { exposureOf } from "../pki/identity.ts";
import { readPem } from "../pki/pem.ts";
import { type Check, faultFrom, type Finding, ok, warning } from "./finding.ts";
import { proxyVariableFor } from "./proxy.ts";
import type { Way } from "./way.ts";

/** The process and the machine. */
export interface HostSubject {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly config: Config | undefined;
}

/** Where the queue is. */
export interface StorageSubject {
  readonly storage: Config["sending_queue"]["storage"];
  readonly path: string;
  readonly folder: string;
  readonly bytesMax: number;
}

/** Further apart than this, certificates of today fail on one side: they are made a few minutes in the past. */
const SKEW_MS_MAX = 5 * 60_000;

const NO_TLS: Finding = { status: "skipped", finding: "Skipped: the endpoint is http://, without TLS" };

/** Before any Collector is asked. */
export const HOST_CHECKS: readonly Check<HostSubject>[] = [
  {
    id: "trust",
    title: "whom Deno trusts",
    needs: [],
    run({ env }) {
      const more = [
        ...(env["DENO_TLS_CA_STORE"] === "" ? [] : ["Deno's own roots: DENO_TLS_CA_STORE is not empty"]),
        ...["DENO_CERT", "NODE_EXTRA_CA_CERTS"].filter((name) => (env[name] ?? "") !== "").map((name) =>
          `the roots of ${name}`
        ),
      ];
      return more.length === 0
        ? ok("The CA in exporter.tls.ca_file alone is trusted")
        : warning("trusts_more", "Other CAs are trusted beside the one in exporter.tls.ca_file", ...more);
    },
  },
  {
    id: "proxy",
    title: "proxy variables",
    needs: [],
    run({ env, config }) {
      // Every signal's own, whichever key it is from.
      const urls = config === undefined
        ? []
        : exporterNames(config).flatMap((name) =>
          SIGNAL_NAMES.map((signal) => new URL(exporterSettings(config, signal, name).url))
        );
      const used = urls.flatMap((url) => proxyVariableFor(url, env) ?? []);
      return used.length === 0
        ? ok("No proxy variable applies to the Collector")
        : warning("proxied", `Requests to the Collector go through the proxy of ${[...new Set(used)].join(", ")}`);
    },
  },
];

/** From the files to the Collector's answer. */
export const WAY_CHECKS: readonly Check<Way>[] = [
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
  {
    id: "dns",
    title: "name of the Collector",
    needs: [],
    async run({ host }) {
      if (isIP(host) !== 0) return ok(`${host} is an address`);
      try {
        const found = await lookup(host, { all: true });
        return ok(`${host} is ${found.map(({ address }) => address).join(", ")}`);
      } catch (error) {
        const text = messageOf(error);
        const { code } = diagnose({ text });
        return {
          status: "fault",
          fault: code === "not_permitted" ? code : "name_not_resolved",
          finding: `No address is known for ${host}`,
          evidence: [text],
        };
      }
    },
  },
  { id: "tcp", title: "connection", needs: ["dns"], run: checkTcp },
  { id: "tls", title: "TLS handshake", needs: ["tcp"], run: checkTls },
  { id: "server_form", title: "form of the Collector's certificate", needs: ["pem", "tls"], run: checkServerForm },
  { id: "server_chain", title: "issuer of the Collector's certificate", needs: ["server_form"], run: checkServerChain },
  { id: "server_name", title: "names of the Collector's certificate", needs: ["server_form"], run: checkServerName },
  { id: "server_dates", title: "dates of the Collector's certificate", needs: ["server_form"], run: checkServerDates },
  { id: "server_usage", title: "usages of the Collector's certificate", needs: ["server_form"], run: checkServerUsage },
  {
    id: "demanded",
    title: "whether a client certificate is demanded",
    needs: ["server_chain", "server_name", "server_dates", "server_usage"],
    run: checkDemanded,
  },
  {
    id: "accepted",
    title: "whether ours is accepted",
    needs: ["tcp", "key_match", "permissions", "server_chain", "server_name", "server_dates", "server_usage"],
    async run(way) {
      const answer = await way.client.send(present(way.signals[0]), EMPTY, "identity");
      const taken = answer.kind === "answer" && !concernsTheWay(answer.status, answer.message);
      if (!taken) return unanswered(answer, way.client.diagnose(answer));
      return ok(way.secure ? "The Collector let our certificate in" : "The Collector answers", evidenceOf(answer));
    },
  },
  { id: "clock", title: "clocks", needs: ["accepted"], run: checkClock },
  {
    id: "http2",
    title: "HTTP version",
    needs: ["accepted"],
    run({ handshake, secure }) {
      if (!secure) return ok("HTTP/1.1: without TLS nothing else is agreed");
      return handshake?.alpn === "h2"
        ? ok("HTTP/2")
        : ok("HTTP/1.1: the Collector's side does not offer HTTP/2", `ALPN: ${handshake?.alpn ?? "nothing agreed"}`);
    },
  },
  ...SIGNAL_NAMES.map((signal): Check<Way> => ({
    id: `request_${signal}`,
    title: `an empty request of ${signal}`,
    needs: ["accepted"],
    run: (way) => checkRequest(way, signal),
  })),
  { id: "members", title: "bodies of several gzip members", needs: ["accepted"], run: checkMembers },
];

/** Behind the door. */
export const STORAGE_CHECKS: readonly Check<StorageSubject>[] = [
  {
    id: "queue_folder",
    title: "folder of the queue",
    needs: [],
    async run({ storage, path, folder }) {
      if (storage === "none") return ok("No disk is used: sending_queue.storage is none");
      try {
        const there = await existing(folder);
        await access(there, constants.R_OK | constants.W_OK | constants.X_OK);
        if (!(await stat(there)).isDirectory()) throw new Error(`${there} is not a folder`);
        await access(path, constants.R_OK | constants.W_OK).catch((error: unknown) => {
          if (codeOf(error) !== "ENOENT") throw error;
        });
        return ok(there === folder ? `${folder} can be written` : `${folder} will be made in ${there}`);
      } catch (error) {
        return {
          status: "fault",
          fault: "queue_unusable",
          finding: `The queue cannot be kept at ${path}`,
          evidence: [messageOf(error)],
        };
      }
    },
  },
  {
    id: "disk",
    title: "room on the disk",
    needs: ["queue_folder"],
    async run({ storage, path, folder, bytesMax }) {
      if (storage === "none") return ok("No disk is used: sending_queue.storage is none");
      const { bavail, bsize } = await statfs(await existing(folder));
      const used = await stat(path).then(({ size }) => size, () => 0);
      const freeBytes = Number(bavail) * Number(bsize);
      const evidence = `${formatSize(megabytes(freeBytes))} free, queue_size ${formatSize(bytesMax)}`;
      return freeBytes + used >= bytesMax
        ? ok("The disk has room for a full queue", evidence)
        : warning("disk_low", "A full queue does not fit on the disk", evidence);
    },
  },
];

const EMPTY = new Uint8Array(0);

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
    const setting = way.tls.key.setting.replace(/\.[^.]+$/, ".key_passphrase");
    privateKey = parsePrivateKey(key, { setting, value: way.tls.keyPassphrase });
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

function checkTcp({ host, port, attemptMs }: Way): Promise<Finding> {
  const { promise, resolve } = Promise.withResolvers<Finding>();
  const socket = connect({ host, port });
  let finding: Finding = ok(`Something listens at ${host}:${port}`);
  const failed = (text: string, timedOut: boolean) => {
    finding = {
      status: "fault",
      fault: diagnose({ text, timedOut }).code === "unknown" ? "connection_refused" : diagnose({ text, timedOut }).code,
      finding: `No connection to ${host}:${port}`,
      evidence: [text],
    };
    socket.destroy();
  };
  const timer = setTimeout(() => failed(`no connection within ${attemptMs} ms`, true), attemptMs);
  socket.once("connect", () => socket.destroy());
  socket.once("error", (error) => failed(messageOf(error), false));
  socket.once("close", () => {
    clearTimeout(timer);
    resolve(finding);
  });
  return promise;
}

async function checkTls(way: Way): Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const { host, port, attemptMs } = way;
  const own = way.identity === undefined || !present(way.identity).certificates[0].checkPrivateKey(way.identity.key)
    ? {}
    : {
      cert: way.identity.certificates.map((each) => each.toString()).join(""),
      key: exportPrivateKey(way.identity.key),
    };
  const handshake = await shakeHands({ host, port, timeoutMs: attemptMs, ...own });
  way.handshake = handshake;
  if (handshake.secured) return ok(`${handshake.version ?? "TLS"}`, ...handshake.certificates.map(shown));
  const text = handshake.error ?? "";
  const fault = diagnose({ text, timedOut: handshake.timedOut });
  // What only says that a client was refused is a handshake as far as this step goes; why, the steps below find.
  if (CLIENT_REFUSED.has(fault.code)) {
    return ok("TLS 1.2: the handshake ended at the client certificate, before the Collector's could be seen", text);
  }
  // It verifies nothing, and yet ends at forms of certificates that TLS here does not read: an attempt that verifies says which.
  if (fault.code === "unknown" && way.identity !== undefined && (await checkServerForm(way)).status === "fault") {
    return ok("The handshake ended at the Collector's certificate", text);
  }
  return unexplained(fault, `The TLS handshake with ${host}:${port} failed`, text);
}

/** Codes that say no more than that a client was refused. */
const CLIENT_REFUSED: ReadonlySet<string> = new Set([
  "client_certificate_missing",
  "client_certificate_not_yet_valid",
  "client_certificate_expired",
  "client_certificate_usage",
  "client_certificate_unknown_ca",
  "client_certificate_refused",
  "handshake_cut",
]);

/**
 * What the Collector's certificate is like, where it has not been seen: an attempt that verifies it. rustls looks at it before it
 * shows its own, so that an attempt which ends with the client's refusal has found nothing wrong with it.
 */
async function verified(way: Way, ...codes: readonly string[]): Promise<Finding> {
  const client = way.identity !== undefined && present(way.identity).certificates[0].checkPrivateKey(way.identity.key)
    ? way.client
    : way.stranger;
  const answer = await client.send(present(way.signals[0]), EMPTY, "identity");
  const fault = client.diagnose(answer);
  if (codes.includes(fault.code)) return unanswered(answer, fault);
  return ok("Deno's TLS takes it", evidenceOf(answer));
}

function checkServerForm(way: Way): Finding | Promise<Finding> {
  if (!way.secure) return NO_TLS;
  return verified(way, ...SERVER_FORM_FAULTS);
}

function checkServerChain(way: Way): Finding | Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const [leaf, ...intermediates] = present(way.handshake).certificates;
  if (leaf === undefined) return verified(way, "wrong_ca");
  const chain = chainOf(leaf, intermediates, present(way.identity).authorities);
  if (chain.kind === "anchored") return ok(`It leads to ${describe(present(chain.path.at(-1))).subject}`);
  const finding = chain.kind === "bad_signature"
    ? `Its issuer is called ${chain.issuer}, and so is a CA in ${way.tls.ca.setting}, but another key signed it`
    : `Its issuer ${chain.issuer} is not in ${way.tls.ca.setting}`;
  return { status: "fault", fault: "wrong_ca", finding, evidence: [shown(leaf)] };
}

function checkServerName(way: Way): Finding | Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const { host } = way;
  const [leaf] = present(way.handshake).certificates;
  if (leaf === undefined) return verified(way, "server_name_mismatch");
  // RFC 9525, 6.3: the subject's common name counts for nothing.
  const matches = isIP(host) !== 0 ? leaf.checkIP(host) : leaf.checkHost(host, { subject: "never" });
  const names = describe(leaf).subjectAltNames.join(", ") || "none";
  return matches !== undefined ? ok(`${host} is among its names`, `names: ${names}`) : {
    status: "fault",
    fault: "server_name_mismatch",
    finding: `The endpoint's host ${host} is not among the names of the Collector's certificate`,
    evidence: [`names: ${names}`],
  };
}

function checkServerDates(way: Way): Finding | Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const [leaf] = present(way.handshake).certificates;
  if (leaf === undefined) return verified(way, "server_certificate_expired");
  const now = way.now();
  const evidence = [shown(leaf)];
  if (now > leaf.validToDate) {
    const finding = `It ended at ${leaf.validToDate.toISOString()}`;
    return { status: "fault", fault: "server_certificate_expired", finding, evidence };
  }
  if (now < leaf.validFromDate) {
    const finding = `It begins at ${leaf.validFromDate.toISOString()}, and the clock says ${now.toISOString()}`;
    return { status: "fault", fault: "server_certificate_not_yet_valid", finding, evidence };
  }
  const left = lifeLeft(leaf.validToDate, now);
  const level = expiryLevel(describe(leaf), way.tls.expiry, now);
  if (level === "ok") return ok(`It is in date: ${left}`);
  return {
    ...warning("expires_soon", `The Collector's certificate is near its end: ${left}`, ...evidence),
    ...(level === "error" ? { status: "fault", goesOn: true } : {}),
    remedy: "renew it on the Collector's side",
  };
}

function checkServerUsage(way: Way): Finding | Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const [leaf] = present(way.handshake).certificates;
  if (leaf === undefined) return verified(way, "server_certificate_usage");
  const { usages } = describe(leaf);
  return usages.length === 0 || usages.includes("serverAuth") || usages.includes("any")
    ? ok("It is for servers", usages.join(", ") || "unrestricted")
    : {
      status: "fault",
      fault: "server_certificate_usage",
      finding: `Its extended key usage is ${usages.join(", ")}, without serverAuth`,
      evidence: [shown(leaf)],
    };
}

async function checkDemanded(way: Way): Promise<Finding> {
  if (!way.secure) return NO_TLS;
  const answer = await way.stranger.send(present(way.signals[0]), EMPTY, "identity");
  if (answer.kind === "answer") {
    // 403: what ends TLS may let the handshake pass and refuse the request.
    return concernsTheWay(answer.status, answer.message) || answer.status === 403
      ? ok("A request without a client certificate is refused", evidenceOf(answer))
      : {
        status: "fault",
        fault: "client_certificate_not_demanded",
        finding: "A request without a client certificate was answered",
        evidence: [evidenceOf(answer)],
      };
  }
  const fault = way.stranger.diagnose(answer);
  return CLIENT_REFUSED.has(fault.code)
    ? ok("A connection without a client certificate is refused", answer.cause)
    : unanswered(answer, fault);
}

async function checkClock(way: Way): Promise<Finding> {
  const { url } = way.client.target(present(way.signals[0]));
  const before = way.now().getTime();
  const response = await fetch(url, {
    method: "HEAD",
    client: way.client.http,
    redirect: "manual",
    signal: AbortSignal.timeout(way.attemptMs),
  });
  await response.body?.cancel();
  // RFC 9110, 6.6.1: when the answer was made, in whole seconds.
  const theirs = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(theirs)) return ok("The Collector does not tell its time");
  const skewMs = theirs - before;
  const evidence = `here ${new Date(before).toISOString()}, there ${new Date(theirs).toISOString()}`;
  return Math.abs(skewMs) <= SKEW_MS_MAX
    ? ok("The clocks agree", evidence)
    : warning("clock_skew", `The clocks differ by ${Math.round(skewMs / 1000)} s`, evidence);
}

async function checkRequest(way: Way, signal: SignalName): Promise<Finding> {
  if (!way.signals.includes(signal)) return { status: "skipped", finding: `Skipped: ${signal} go another way` };
  const answer = await way.client.send(signal, EMPTY, "identity");
  // The steps before were answered, and after a timeout the client goes by a new connection.
  if (answer.kind === "none" && answer.timedOut) {
    const again = await way.client.send(signal, EMPTY, "identity");
    if (again.kind === "answer") {
      const what = "A request got no answer on an open connection, and one on a new connection did";
      return warning("connection_silent", what, answer.cause, evidenceOf(again));
    }
  }
  if (!signalOf(signal).stable && answer.kind === "answer" && answer.status === 404) {
    return ok(`The Collector has no pipeline for ${signal}, which are in development; what is sent would be held`);
  }
  return answer.kind === "answer" && answer.status >= 200 && answer.status < 300 && !answer.foreign
    ? ok(`The Collector takes ${signal}`, evidenceOf(answer))
    : unanswered(answer, way.client.diagnose(answer));
}

async function checkMembers(way: Way): Promise<Finding> {
  if (way.compression !== "passthrough") {
    return {
      status: "skipped",
      finding: `Skipped: exporter.compression is ${way.compression}, which needs one member`,
    };
  }
  const proof = new MembersProof({
    ask: (probe) => way.client.send(present(way.signals[0]), probe, "gzip"),
    connections: () => 0,
    onChange: () => {},
  });
  const members = await proof.prove();
  if (members === "all") return ok("Every member of a body is read", "a malformed second member was refused");
  if (members === "first_only") {
    return warning(
      "first_member_only",
      "A body whose second gzip member is malformed was accepted: the first member alone was read",
    );
  }
  if (members === "unknown") {
    return warning(
      "first_member_only",
      "An empty request of two gzip members was refused, so that it cannot be found out whether both are read",
    );
  }
  return unanswered(members, way.client.diagnose(members));
}

function errorOf(check: () => void): CertificateError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof CertificateError) return error;
    throw error;
  }
}

function judged(role: RefusedRole, check: () => Finding): Promise<Finding> {
  let finding: Finding | undefined;
  const error = errorOf(() => void (finding = check()));
  return Promise.resolve(error === undefined ? present(finding) : faultFrom(error, role));
}

function unanswered(answer: Answer, fault: Fault): Finding {
  return unexplained(fault, fault.what, evidenceOf(answer));
}

function unexplained(fault: Fault, finding: string, evidence: string): Finding {
  return fault.code === "unknown"
    ? { status: "fault", finding: fault.what, remedy: fault.remedy, evidence: [evidence] }
    : { status: "fault", fault: fault.code, finding, evidence: [evidence] };
}

function evidenceOf(answer: Answer): string {
  if (answer.kind === "none") return answer.cause;
  const words = answer.message.replaceAll(/<[^>]*>|\s+/g, " ").replaceAll(/ +/g, " ").trim().slice(0, 200);
  return `answered ${answer.status} ${words}`.trim();
}

function shown(certificate: Parameters<typeof describe>[0]): string {
  const { subject, issuer, validTo } = describe(certificate);
  return `${subject}, issued by ${issuer}, until ${validTo.toISOString().slice(0, 10)}`;
}

/** What a check needs, an earlier one has set. */
function present<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new TypeError("A check ran before the one that it needs");
  return value;
}

async function existing(folder: string): Promise<string> {
  let current = folder;
  for (;;) {
    try {
      await stat(current);
      return current;
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || dirname(current) === current) throw error;
      current = dirname(current);
    }
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

/** Whole MiB, so that it reads well. */
function megabytes(bytes: number): number {
  return Math.floor(bytes / 1_048_576) * 1_048_576;
}
