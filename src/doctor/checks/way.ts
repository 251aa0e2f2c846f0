/**
 * The steps from the name of the Collector to its answer.
 * @module
 */
import { connect, isIP } from "node:net";
import { concernsTheWay, diagnose, type Fault, SERVER_FORM_FAULTS } from "../../diagnosis/faults.ts";
import { shakeHands } from "../../diagnosis/handshake.ts";
import { messageOf } from "../../errors.ts";
import { type Answer, answeredCode } from "../../exporter/client/client.ts";
import { MembersProof, type ProvedForm } from "../../exporter/members.ts";
import { formOf } from "../../exporter/way.ts";
import { SIGNAL_NAMES, type SignalName, signalOf } from "../../signal.ts";
import { chainOf, describe, exportPrivateKey, lifeLeft } from "../../pki/certificate.ts";
import { expiryLevel } from "../../pki/expiry.ts";
import { type Check, type Finding, NO_TLS, ok, present, warning } from "../finding.ts";
import type { Way } from "../way.ts";

/** Further apart than this, certificates of today fail on one side: they are made a few minutes in the past. */
const SKEW_MS_MAX = 5 * 60_000;

/** From the name of the Collector to its answer. */
export const WAY_CHECKS: readonly Check<Way>[] = [
  {
    id: "dns",
    title: "name of the Collector",
    needs: [],
    async run(way) {
      const { host, endpoint } = way;
      if (isIP(host) !== 0) return ok(`${host} is an address`);
      try {
        way.addresses = [...new Set(await way.resolve(host))];
        return ok(`${host} is ${way.addresses.join(", ")}`);
      } catch (error) {
        const text = messageOf(error);
        const { code } = diagnose({ text });
        return {
          status: "fault",
          fault: code === "not_permitted" ? code : "name_not_resolved",
          finding: `No address is known for ${host}: ${endpoint}`,
          evidence: [text],
        };
      }
    },
  },
  { id: "tcp", title: "connection", needs: ["dns"], run: checkTcp },
  {
    id: "addresses",
    title: "each address of the name",
    needs: ["dns", "key_match", "permissions"],
    run: checkAddresses,
  },
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
    run({ handshake, secure, protocol }) {
      // It has been spoken by then, or there had been no answer.
      if (protocol === "grpc") return ok("HTTP/2, for gRPC");
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

const EMPTY = new Uint8Array(0);

function checkTcp({ host, port, attemptMs, endpoint }: Way): Promise<Finding> {
  const { promise, resolve } = Promise.withResolvers<Finding>();
  const socket = connect({ host, port });
  let finding: Finding = ok(`Something listens at ${host}:${port}`);
  const failed = (text: string, timedOut: boolean) => {
    finding = {
      status: "fault",
      fault: diagnose({ text, timedOut }).code === "unknown" ? "connection_refused" : diagnose({ text, timedOut }).code,
      finding: `No connection to ${endpoint}`,
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

/** The relay goes by one that answers; which it is that does not is worth knowing. */
async function checkAddresses(way: Way): Promise<Finding> {
  const { addresses, host } = way;
  if (addresses.length < 2) return ok(isIP(host) !== 0 ? "An address has no other" : `${host} has one address`);
  const states = await Promise.all(addresses.map((each) => way.client.askAt(present(way.signals[0]), each)));
  const evidence = addresses.map((each, index) => `${each} ${ADDRESS_WORDS[states[index] ?? "refuses"]}`);
  const silent = addresses.filter((_, index) => states[index] === "silent");
  if (silent.length > 0 && states.includes("answers")) {
    const finding = `Of the addresses of ${host}, there is no answer from ${silent.join(", ")}`;
    return warning("address_dead", finding, ...evidence);
  }
  // Where none answers, the next steps say why; one that refuses costs nothing, for the next one is tried at once.
  return ok(
    `${states.filter((state) => state === "answers").length} of ${addresses.length} addresses answer`,
    ...evidence,
  );
}

const ADDRESS_WORDS = { answers: "answers", silent: "is silent", refuses: "refuses" } as const;

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
  return unexplained(fault, `The TLS handshake with ${way.endpoint}, failed`, text);
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
  const http = way.client.httpFor(present(way.signals[0]));
  if (http === undefined) return ok("Over gRPC the Collector does not tell its time");
  const { url } = way.client.target(present(way.signals[0]));
  const before = way.now().getTime();
  const response = await fetch(url, {
    method: "HEAD",
    client: http,
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
  const { compression } = way;
  if (compression === "gzip" || compression === "none") {
    return { status: "skipped", finding: `Skipped: exporter.compression is ${compression}, which needs one member` };
  }
  const form = formOf(compression);
  const proof = new MembersProof({
    form,
    ask: (probe, encoding) => way.client.send(present(way.signals[0]), probe, encoding),
    connections: () => 0,
    onChange: () => {},
  });
  const members = await proof.prove();
  if (typeof members === "object") return unanswered(members, way.client.diagnose(members));
  if (members === "all") return ok(...READ[form]);
  return warning(...(members === "first_only" ? TAKES_MALFORMED : REFUSES_EMPTY)[form]);
}

const READ: Readonly<Record<ProvedForm, readonly [finding: string, evidence: string]>> = {
  gzip_members: ["Every member of a body is read", "a malformed second member was refused"],
  zstd: ["zstd is read", "a malformed body in zstd was refused"],
};

const TAKES_MALFORMED: Readonly<Record<ProvedForm, readonly [code: string, finding: string]>> = {
  gzip_members: [
    "first_member_only",
    "A body whose second gzip member is malformed was accepted: the first member alone was read",
  ],
  zstd: ["zstd_unread", "A malformed body in zstd was accepted: it was not read"],
};

const REFUSES_EMPTY: Readonly<Record<ProvedForm, readonly [code: string, finding: string]>> = {
  gzip_members: [
    "first_member_only",
    "An empty request of two gzip members was refused, or a field that OTLP does not have, as merged requests begin with one: " +
    "it cannot be found out whether merged requests would be read",
  ],
  zstd: ["zstd_unread", "An empty request in zstd was refused"],
};

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
  return answer.foreign ? words : `answered ${answeredCode(answer)} ${words}`.trim();
}

function shown(certificate: Parameters<typeof describe>[0]): string {
  const { subject, issuer, validTo } = describe(certificate);
  return `${subject}, issued by ${issuer}, until ${validTo.toISOString().slice(0, 10)}`;
}
