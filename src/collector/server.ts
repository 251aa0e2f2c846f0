/**
 * The embedded development Collector: OTLP/HTTP over mutual TLS. It refuses whoever has no certificate of its CA, reads what it
 * is sent to the last byte, tells what it received, and misbehaves on request.
 * @module
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { inflateRawSync } from "node:zlib";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { codeOf, ConfigError, messageOf, type Statement } from "../errors.ts";
import { concatenate } from "../codec/bytes.ts";
import { type DecodedMessage, decodeRequest } from "../otlp/decode.ts";
import { gunzip } from "../codec/gzip.ts";
import { unzstd } from "../codec/zstd.ts";
import { transcodeJson } from "../otlp/json/transcode.ts";
import { encodeStatus, encodeSuccess, type MediaType } from "../otlp/response.ts";
import { bySignal, type Signal, type SignalName, SIGNALS } from "../signal.ts";
import { Walker } from "../otlp/wire.ts";

/** One request that was accepted. */
export interface Received {
  readonly signal: SignalName;
  /** Spans, data points, log records or profiles. */
  readonly items: number;
  /** Common name of the client's certificate. */
  readonly peer: string;
  /** Serial number of that certificate, hexadecimal. */
  readonly peerSerial: string;
  /** The request as protobuf, uncompressed. */
  readonly body: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

/** How to misbehave. */
export type Misbehaviour =
  /** Answers this status, with these headers and words. */
  | {
    readonly kind: "status";
    readonly status: number;
    readonly message?: string;
    readonly headers?: Readonly<Record<string, string>>;
  }
  /** Takes empty requests and refuses all with data, as a Collector does whose back end refuses everything. */
  | { readonly kind: "refuses_data" }
  /** Answers 200 with a page of HTML, and takes nothing, as a login page or a load balancer does. */
  | { readonly kind: "page" }
  /** Accepts, and rejects some items by `partial_success`. */
  | { readonly kind: "partial_success"; readonly rejected: number; readonly message: string }
  /** Never answers. */
  | { readonly kind: "silence" }
  /** Cuts the connection. `accepted`: after having taken the data, so that its acknowledgement is lost. */
  | { readonly kind: "disconnect"; readonly accepted?: boolean }
  /** Reads the first gzip member and is silent about the rest. */
  | { readonly kind: "first_member_only" };

/** The server's side of TLS, as PEM text. */
export interface CollectorTls {
  /** What clients' certificates must lead to. */
  readonly ca: readonly string[];
  readonly cert: string;
  readonly key: string;
}

/** Settings of an embedded Collector. */
export interface CollectorOptions {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly tls: CollectorTls & {
    /** The one version to speak; 1.2 and 1.3 unless given. */
    readonly version?: "TLSv1.2" | "TLSv1.3";
    /** Whether a client must show a certificate; true unless given. False is a misbehaviour, for those who check for it. */
    readonly demandsCertificate?: boolean;
  };
  /** Called for each accepted request. */
  readonly onReceived?: (received: Received) => void;
  /** Called for each client that was refused at the handshake, with its reason. */
  readonly onRefused?: (reason: string) => void;
  /** Asked for each request, with its number and its body as it came; undefined is to behave. Its answer may be waited for. */
  readonly misbehave?: (
    signal: SignalName,
    request: number,
    body: Uint8Array,
  ) => Misbehaviour | undefined | Promise<Misbehaviour | undefined>;
}

/** A running embedded Collector. */
export interface EmbeddedCollector extends AsyncDisposable {
  /** Base URL, on `localhost`, which its certificate is for. */
  readonly url: string;
  readonly port: number;
  /** Items accepted so far, duplicates included. */
  readonly items: Readonly<Record<SignalName, number>>;
  /** Takes another certificate and other trusted CAs for the connections to come. */
  replaceTls(tls: CollectorTls): void;
  stop(): Promise<void>;
}

/** The Collector's own limit on a request, inflated, in bytes. */
const BODY_BYTES_MAX = 20 * 1024 * 1024;

/**
 * Starts it.
 * @throws {ConfigError} when the port is taken or may not be bound.
 */
export async function startCollector(options: CollectorOptions): Promise<EmbeddedCollector> {
  const items = bySignal(() => 0);
  let requests = 0;
  const { version, demandsCertificate = true } = options.tls;
  const server = createServer({
    ca: [...options.tls.ca],
    cert: options.tls.cert,
    key: options.tls.key,
    ...(version === undefined ? {} : { minVersion: version, maxVersion: version }),
    requestCert: demandsCertificate,
    rejectUnauthorized: demandsCertificate,
  }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      // The client went away while its body was read, or the like: there is nobody to answer.
      request.socket.destroy(error instanceof Error ? error : undefined);
    });
  });
  server.on("tlsClientError", (error) => options.onRefused?.(reasonOf(error)));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const signal = SIGNALS.find(({ path }) => path === request.url);
    if (signal === undefined || request.method !== "POST") {
      response.writeHead(signal === undefined ? 404 : 405, { allow: "POST" }).end();
      request.resume();
      return;
    }
    const raw = await readAll(request);
    requests++;
    const mediaType = mediaTypeOf(request);
    const misbehaviour = await options.misbehave?.(signal.name, requests, raw ?? new Uint8Array(0));
    if (misbehaviour?.kind === "silence") return;
    if (misbehaviour?.kind === "disconnect" && misbehaviour.accepted !== true) {
      request.socket.destroy();
      return;
    }
    if (misbehaviour?.kind === "page") {
      response.writeHead(200, { "content-type": "text/html" }).end("<html><title>Please log in</title></html>");
      return;
    }
    if (misbehaviour?.kind === "status") {
      reply(
        response,
        mediaType,
        misbehaviour.status,
        misbehaviour.message ?? "told to misbehave",
        misbehaviour.headers,
      );
      return;
    }
    if (raw === undefined) return reply(response, mediaType, 400, "http: request body too large");
    const received = read(signal, request, raw, misbehaviour?.kind === "first_member_only");
    if (typeof received === "string") return reply(response, mediaType, 400, received);
    if (misbehaviour?.kind === "refuses_data" && received.items > 0) {
      return reply(response, mediaType, 400, "told to refuse all data");
    }
    const rejected = misbehaviour?.kind === "partial_success" ? misbehaviour : undefined;
    items[signal.name] += received.items - (rejected?.rejected ?? 0);
    options.onReceived?.(received);
    if (misbehaviour?.kind === "disconnect") {
      request.socket.destroy();
      return;
    }
    response.writeHead(200, { "content-type": mediaType }).end(encodeSuccess(signal.name, mediaType, rejected));
  }

  const listening = Promise.withResolvers<void>();
  server.once("error", (error) => listening.reject(error));
  server.listen(options.port, options.host, () => listening.resolve());
  try {
    await listening.promise;
  } catch (error) {
    throw cannotListen(options, error);
  }
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    server.closeAllConnections();
    await closed.promise;
  };
  const replaceTls = ({ ca, cert, key }: CollectorTls) => server.setSecureContext({ ca: [...ca], cert, key });
  return { url: `https://localhost:${port}`, port, items, replaceTls, stop, [Symbol.asyncDispose]: stop };
}

/** Deno's server says no more than "socket hang up" of every certificate that it does not take. */
function reasonOf(error: unknown): string {
  const text = messageOf(error);
  return text === "socket hang up"
    ? `${text}: its certificate is not of this CA, out of date or not for clients, or it went away`
    : text;
}

function cannotListen({ host, port }: CollectorOptions, error: unknown): ConfigError {
  const taken = codeOf(error) === "EADDRINUSE";
  const statement: Statement = taken
    ? {
      what: "Cannot start the embedded Collector",
      state: `port ${port} of ${host} is taken`,
      remedy:
        "to use the Collector that is there, run the relay without this one (deno task dev --no-collector), or free the port",
    }
    : { what: `Cannot start the embedded Collector on ${host}:${port}`, state: messageOf(error) };
  return new ConfigError(statement, { cause: error });
}

/** The body, or undefined when it is over the limit. */
async function readAll(request: IncomingMessage): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length <= BODY_BYTES_MAX) chunks.push(chunk);
  }
  if (length > BODY_BYTES_MAX) return undefined;
  return concatenate(chunks);
}

/** What is not said to be JSON is read as protobuf. */
function mediaTypeOf(request: IncomingMessage): MediaType {
  const [essence = ""] = (request.headers["content-type"] ?? "").split(";");
  return essence.trim().toLowerCase() === "application/json" ? "application/json" : "application/x-protobuf";
}

function isGzip(request: IncomingMessage): boolean {
  return request.headers["content-encoding"] === "gzip";
}

function contentOf(request: IncomingMessage, raw: Uint8Array<ArrayBuffer> | undefined): Uint8Array {
  if (raw === undefined) throw new RangeError("http: request body too large");
  const coding = request.headers["content-encoding"] ?? "identity";
  switch (coding) {
    case "gzip":
      return gunzip(raw, BODY_BYTES_MAX).content.take();
    case "zstd":
      return unzstd(raw, BODY_BYTES_MAX);
    case "identity":
      return raw;
    default:
      throw new RangeError(`unsupported Content-Encoding: ${coding}`);
  }
}

/** What the request holds, or why it is refused. */
function read(
  signal: Signal,
  request: IncomingMessage,
  raw: Uint8Array<ArrayBuffer>,
  firstMemberOnly: boolean,
): Received | string {
  try {
    const content = firstMemberOnly && isGzip(request)
      // Behind the ten bytes of a header without fields, zlib stops at the end of the first deflate stream.
      ? inflateRawSync(raw.subarray(10), { maxOutputLength: BODY_BYTES_MAX })
      : contentOf(request, raw);
    const body = mediaTypeOf(request) === "application/json"
      ? transcodeJson(signal.name, content, BODY_BYTES_MAX).protobuf
      : content;
    const { items } = new Walker().walk(signal.name, body);
    const certificate = (request.socket as TLSSocket).getPeerCertificate();
    const peer = certificate?.subject?.CN ?? "nobody";
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(request.headers)) headers[name] = String(value);
    return {
      signal: signal.name,
      items,
      peer: String(peer),
      peerSerial: certificate?.serialNumber ?? "",
      body: new Uint8Array(body),
      headers,
    };
  } catch (error) {
    return messageOf(error);
  }
}

function reply(
  response: ServerResponse,
  mediaType: MediaType,
  status: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": mediaType, ...headers })
    .end(encodeStatus(mediaType, { code: status === 400 ? 3 : 14, message }));
}

const NAMES_SHOWN_MAX = 3;
const NAME_CHARACTERS_MAX = 60;

/** One line about a request, for people: signal, services, counts, names, and who delivered it. */
export function describeReceived(
  received: Omit<Received, "peerSerial">,
  pointAttributes: ReadonlyMap<string, string> = new Map(),
): string {
  const signal = SIGNALS.find(({ name }) => name === received.signal)!;
  const services = new Set<string>();
  const names = new Set<string>();
  collect(decodeRequest(received.signal, received.body), services, names);
  const shown = [...names].slice(0, NAMES_SHOWN_MAX).map(printable);
  if (names.size > NAMES_SHOWN_MAX) shown.push(`and ${names.size - NAMES_SHOWN_MAX} more`);
  const count = `${received.items} ${signal.item}${received.items === 1 ? "" : "s"}`;
  const from = [...services].map(printable).join(", ") || "unnamed service";
  const what = shown.length === 0 ? "" : ` (${shown.join(", ")})`;
  const set = received.signal === "metrics" ? [...pointAttributes].map(([key, value]) => `${key}=${value}`) : [];
  const marks = set.length === 0 ? "" : ` with ${set.map(printable).join(", ")}`;
  return `${received.signal.padEnd(7)} ${count} of ${from}${what}${marks}, delivered by ${printable(received.peer)}`;
}

/** The `service.name` of each resource of a request, each once. */
export function servicesOf({ signal, body }: Pick<Received, "signal" | "body">): ReadonlySet<string> {
  const services = new Set<string>();
  collect(decodeRequest(signal, body), services, new Set());
  return services;
}

/** A sender's text on a terminal: short, on one line, without control characters. */
function printable(text: string): string {
  const plain = text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "?");
  return plain.length > NAME_CHARACTERS_MAX ? `${plain.slice(0, NAME_CHARACTERS_MAX - 1)}…` : plain;
}

/** Gathers service names, and the names of spans, metrics, log records and profiles' samples, wherever they stand. */
function collect(request: DecodedMessage, services: Set<string>, names: Set<string>): void {
  // In profiles, texts are indices into one table.
  const table = first(request["dictionary"])?.["stringTable"];
  const inTable = (place: unknown) => Array.isArray(table) && typeof place === "number" ? table[place] : undefined;
  for (const resource of Object.values(request).flatMap(messagesOf)) {
    for (const attribute of messagesOf(first(resource["resource"])?.["attributes"])) {
      const key = attribute["key"] ?? inTable(attribute["keyStrindex"]);
      const value = first(attribute["value"])?.["stringValue"] ??
        inTable(first(attribute["value"])?.["stringValueStrindex"]);
      if (key === "service.name" && typeof value === "string") services.add(value);
    }
    for (const scope of [...messagesOf(resource["scopeSpans"]), ...messagesOf(resource["scopeMetrics"])]) {
      for (const item of [...messagesOf(scope["spans"]), ...messagesOf(scope["metrics"])]) {
        if (typeof item["name"] === "string") names.add(item["name"]);
      }
    }
    for (const profile of messagesOf(resource["scopeProfiles"]).flatMap((scope) => messagesOf(scope["profiles"]))) {
      const name = inTable(first(profile["sampleType"])?.["typeStrindex"]);
      if (typeof name === "string" && name !== "") names.add(name);
    }
    for (const scope of messagesOf(resource["scopeLogs"])) {
      for (const record of messagesOf(scope["logRecords"])) {
        const body = first(record["body"])?.["stringValue"];
        const name = record["eventName"] ?? body;
        if (typeof name === "string" && name !== "") names.add(name);
      }
    }
  }
}

function messagesOf(value: unknown): DecodedMessage[] {
  return Array.isArray(value) ? value.filter((entry): entry is DecodedMessage => typeof entry === "object") : [];
}

function first(value: unknown): DecodedMessage | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as DecodedMessage : undefined;
}
