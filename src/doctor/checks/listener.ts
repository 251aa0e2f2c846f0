/**
 * The steps at the sockets of a relay that runs: whether each listener answers as the relay does, and with which certificate. Doctor is run
 * before a relay is started, too, so that nothing is wrong where nothing listens.
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectSecure, TLSSocket } from "node:tls";
import { type Endpoint, formatEndpoint, reachableHost } from "../../config/units.ts";
import { diagnose } from "../../diagnosis/faults.ts";
import { messageOf } from "../../errors.ts";
import { Http2Connection } from "../../http2/connection.ts";
import { fieldOf } from "../../http2/fields.ts";
import { encodeFields } from "../../http2/hpack.ts";
import { MESSAGE_PREFIX_BYTES, messagePrefix } from "../../otlp/grpc.ts";
import { readFields } from "../../otlp/small_message.ts";
import { HEALTH_CHECK_PATH, HEALTH_STATUS } from "../../receiver/grpc/health.ts";
import { SIGNALS } from "../../signal.ts";
import { type Finding, ok, warning } from "../finding.ts";

/** One listener, as it is configured. */
export interface ListenerSubject {
  readonly protocol: "OTLP/HTTP" | "OTLP/gRPC";
  /** The setting that has its address. */
  readonly setting: string;
  readonly endpoint: Endpoint;
  readonly secure: boolean;
  /** Of the certificate that it is to show; undefined where that is not known. */
  readonly fingerprint: string | undefined;
  /** How long it may take to answer, in ms; 5 s unless given. */
  readonly answerMs?: number;
}

/** How long a listener of this machine may take to answer, in ms. */
const ANSWER_MS = 5_000;

/** What came of asking. */
type Asked =
  & {
    /** Of the certificate that was shown. */
    readonly fingerprint?: string | undefined;
  }
  & (
    | { readonly kind: "silent" | "unpermitted" }
    | { readonly kind: "nothing" | "foreign"; readonly evidence: string }
    | { readonly kind: "relay"; readonly evidence: string; readonly ready: boolean }
  );

/** Asks a listener, as a sender without a token would. */
export async function checkListener(subject: ListenerSubject): Promise<Finding> {
  const { protocol, setting, endpoint, answerMs = ANSWER_MS } = subject;
  const place = `${setting} ${formatEndpoint(endpoint)}`;
  if (endpoint.port === 0) return ok(`The port of ${setting} is chosen at the start`);
  const asked = await (protocol === "OTLP/gRPC" ? askByGrpc : askByHttp)(subject, answerMs);
  switch (asked.kind) {
    case "nothing":
      return ok(`Nothing listens at ${place}: the relay does not run`, asked.evidence);
    case "unpermitted":
      return { status: "skipped", finding: `Skipped: Deno may not connect to ${place}` };
    case "silent":
      return { status: "fault", fault: "receiver_silent", finding: `No answer from ${place} within ${answerMs} ms` };
    case "foreign":
      return {
        status: "fault",
        fault: "receiver_foreign",
        finding: `What listens at ${place} does not answer as the relay would`,
        evidence: [asked.evidence],
      };
  }
  if (asked.fingerprint !== undefined && subject.fingerprint !== undefined) {
    if (asked.fingerprint !== subject.fingerprint) {
      return warning(
        "receiver_certificate_stale",
        `The relay at ${place} shows another certificate than receiver.http.tls.cert_file has`,
        `shown: SHA-256 ${asked.fingerprint}`,
        `in the file: SHA-256 ${subject.fingerprint}`,
      );
    }
  }
  if (!asked.ready) return warning("relay_not_ready", `The relay at ${place} is not ready`, asked.evidence);
  return ok(`The relay answers at ${place}`, asked.evidence);
}

/** Nothing is verified: what is shown is compared with the file. Without `ca`, Deno verifies all the same. */
const UNVERIFIED = { rejectUnauthorized: false, ca: [] };

function fingerprintOf(socket: Socket | null): string | undefined {
  const raw = socket instanceof TLSSocket ? socket.getPeerCertificate().raw : undefined;
  return raw === undefined ? undefined : new X509Certificate(raw).fingerprint256;
}

/** A GET where only POST is taken: it names the method, needs no token, and is counted as one refused request. */
function askByHttp({ endpoint, secure }: ListenerSubject, answerMs: number): Promise<Asked> {
  const { promise, resolve } = Promise.withResolvers<Asked>();
  let connected = false;
  const request = secure ? requestSecure : requestPlain;
  const sent = request({
    ...(secure ? UNVERIFIED : {}),
    host: reachableHost(endpoint.hostname),
    port: endpoint.port,
    path: SIGNALS[0]!.path,
    agent: false,
  }, (answer) => {
    const fingerprint = fingerprintOf(answer.socket);
    const { allow = "" } = answer.headers;
    const evidence = `GET ${SIGNALS[0]!.path} was answered ${answer.statusCode}${
      allow === "" ? "" : `, Allow: ${allow}`
    }`;
    const isRelay = answer.statusCode === 405 && allow.includes("POST");
    resolve(isRelay ? { kind: "relay", ready: true, evidence, fingerprint } : { kind: "foreign", evidence });
  });
  const timer = setTimeout(() => resolve({ kind: "silent" }), answerMs);
  sent.on("socket", (socket) => void socket.once("connect", () => connected = true));
  sent.on("error", (error) => resolve(failed(error, connected)));
  sent.end();
  return promise.finally(() => {
    clearTimeout(timer);
    sent.destroy();
  });
}

function failed(error: unknown, connected: boolean): Asked {
  const evidence = messageOf(error);
  if (diagnose({ text: evidence }).code === "not_permitted") return { kind: "unpermitted" };
  return { kind: connected ? "foreign" : "nothing", evidence };
}

/** The health service of gRPC, which asks for no token and says whether the relay is ready. */
function askByGrpc({ endpoint, secure }: ListenerSubject, answerMs: number): Promise<Asked> {
  const { promise, resolve } = Promise.withResolvers<Asked>();
  let connected = false;
  const at = { host: reachableHost(endpoint.hostname), port: endpoint.port };
  const socket = secure ? connectSecure({ ...at, ...UNVERIFIED, ALPNProtocols: ["h2"] }) : connectPlain(at);
  const timer = setTimeout(() => resolve({ kind: "silent" }), answerMs);
  socket.once("connect", () => connected = true);
  socket.on("error", (error) => resolve(failed(error, connected)));
  socket.once(secure ? "secureConnect" : "connect", () => {
    const fingerprint = fingerprintOf(socket);
    const connection = new Http2Connection(socket, {
      side: "client",
      limits: LIMITS,
      events: {
        closed: ({ message }) => resolve({ kind: "foreign", evidence: message }),
        failed: (error) => resolve({ kind: "foreign", evidence: messageOf(error) }),
      },
    });
    let status: string | undefined;
    let body: Uint8Array = Buffer.alloc(0);
    const stream = connection.request(HEALTH_REQUEST, {
      headers: (fields) => void (status = fieldOf(fields, "grpc-status")),
      data: (piece) => void (body = Buffer.concat([body, piece])),
      trailers: (fields) => void (status = fieldOf(fields, "grpc-status") ?? status),
      end() {
        const state = readFields(body.subarray(MESSAGE_PREFIX_BYTES)).get(1);
        const evidence = `Health/Check was answered ${status === "0" ? NAMES.get(state) ?? state : `code ${status}`}`;
        const known = status === "0" && NAMES.has(state);
        const ready = state === HEALTH_STATUS.SERVING;
        resolve(known ? { kind: "relay", ready, evidence, fingerprint } : { kind: "foreign", evidence });
      },
      cut: ({ message }) => resolve({ kind: "foreign", evidence: message }),
    });
    stream?.sendData(messagePrefix(0, false), true);
  });
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

const NAMES: ReadonlyMap<unknown, string> = new Map(
  Object.entries(HEALTH_STATUS).map(([name, value]) => [value, name]),
);

const HEALTH_REQUEST = encodeFields([
  [":method", "POST"],
  [":scheme", "http"],
  [":path", HEALTH_CHECK_PATH],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
]);

/** An answer of a few bytes; one timer bounds all of it. */
const LIMITS = {
  streamsMax: 0,
  streamWindowBytes: 65_535,
  windowBytes: 65_535,
  headerListBytesMax: 16_384,
  headerMs: 0,
  idleMs: 0,
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};
