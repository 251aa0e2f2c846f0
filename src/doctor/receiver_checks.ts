/**
 * The steps at the relay's own door: where it serves TLS what it shows to its senders and whom it lets in, and whether one that runs
 * answers.
 * @module
 */
import type { Endpoint } from "../config/units.ts";
import { CertificateError } from "../errors.ts";
import { lifeLeft } from "../pki/certificate.ts";
import { expiryText } from "../pki/expiry.ts";
import { type IdentityFacts, loadIdentity } from "../pki/identity.ts";
import { serverExpiries, serverIdentityConfig, type ServerTls } from "../receiver/listener/tls_identity.ts";
import { checkListener } from "./checks/listener.ts";
import { type Check, faultFrom, type Finding, ok, warning } from "./finding.ts";

/** The door. A check reads what those that it needs have set. */
export interface ReceiverSubject {
  readonly tls: ServerTls;
  readonly http: Endpoint;
  /** Undefined where it takes no OTLP/gRPC. */
  readonly grpc: Endpoint | undefined;
  readonly now: Date;
  facts?: IdentityFacts;
}

const WITHOUT_TLS = ok("The receiver serves without TLS: receiver.http.tls names no certificate");

/** Before the way to the Collector, as the data comes. */
export const RECEIVER_CHECKS: readonly Check<ReceiverSubject>[] = [
  { id: "receiver_certificate", title: "the receiver's certificate", needs: [], run: checkCertificate },
  {
    id: "receiver_dates",
    title: "dates of the receiver's certificates",
    needs: ["receiver_certificate"],
    run: checkDates,
  },
  { id: "receiver_http", title: "the listener of OTLP/HTTP", needs: ["receiver_certificate"], run: checkHttp },
  { id: "receiver_grpc", title: "the listener of OTLP/gRPC", needs: ["receiver_certificate"], run: checkGrpc },
];

function checkHttp(subject: ReceiverSubject): Promise<Finding> {
  return checkListener({ ...shown(subject), protocol: "OTLP/HTTP", setting: HTTP_SETTING, endpoint: subject.http });
}

function checkGrpc(subject: ReceiverSubject): Finding | Promise<Finding> {
  const { grpc: endpoint } = subject;
  if (endpoint === undefined) return ok(`No OTLP/gRPC is taken: ${GRPC_SETTING} is not set`);
  return checkListener({ ...shown(subject), protocol: "OTLP/gRPC", setting: GRPC_SETTING, endpoint });
}

const HTTP_SETTING = "receiver.http.endpoint";
const GRPC_SETTING = "receiver.grpc.endpoint";

function shown({ facts }: ReceiverSubject) {
  return { secure: facts !== undefined, fingerprint: facts?.certificate.fingerprintSha256 };
}

async function checkCertificate(subject: ReceiverSubject): Promise<Finding> {
  const config = serverIdentityConfig(subject.tls);
  if (config === undefined) return WITHOUT_TLS;
  try {
    // The relay starts with certificates outside their dates: those are the next step's.
    const { facts } = await loadIdentity({ ...config, datesAllowed: true }, subject.now);
    subject.facts = facts;
    const { subject: name, subjectAltNames, keyType } = facts.certificate;
    const [first, ...more] = facts.warnings;
    if (first !== undefined) return { status: "warning", finding: first, evidence: more };
    const { length } = facts.authorities;
    const clients = length === 0 ? "senders show tokens" : `senders show certificates of ${length} CA`;
    return ok(`${name || "It"}, ${keyType}, for ${subjectAltNames.join(", ") || "no name"}; ${clients}`);
  } catch (error) {
    if (error instanceof CertificateError) return faultFrom(error, "receiver");
    throw error;
  }
}

function checkDates({ facts, tls, now }: ReceiverSubject): Finding {
  if (facts === undefined) return WITHOUT_TLS;
  const [fault, ...more] = facts.faults;
  if (fault !== undefined) {
    const evidence = more.map(({ message }) => message);
    return { ...faultFrom(fault, "receiver"), evidence };
  }
  const ends = serverExpiries(facts, tls, now).sort((a, b) => a.validTo.getTime() - b.validTo.getTime());
  const near = ends.filter(({ level }) => level !== "ok").map(expiryText);
  const [first] = near;
  if (first === undefined) {
    return ok(ends.map(({ subject, validTo }) => `${subject}: ${lifeLeft(validTo, now)}`).join(", "));
  }
  const found = warning("expires_soon", first, ...near.slice(1));
  return ends.some(({ level }) => level === "error") ? { ...found, status: "fault" } : found;
}
