/** The real Collector's verdicts on requests, over HTTP and mutual TLS; what it takes it forgets. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "../conformance/exchange.ts";
import type { TestCertificates } from "../support/files/certificates.ts";
import { PROFILES_GATE, type RealCollector, startCollector } from "../support/tools/collector.ts";
import type { Outcome } from "./receiver.ts";
import type { FuzzRequest } from "./requests.ts";

/** Where relay and Collector do not say the same of one request. */
export interface Difference {
  readonly relay: number;
  readonly collector: number;
  readonly json: boolean;
  readonly request: FuzzRequest;
}

/**
 * Why a difference is known and loses nothing; undefined where nobody knows why. What the relay forwards is protobuf that the
 * Collector has taken in every case.
 */
export function reasonOf({ relay, collector, json, request }: Difference): string | undefined {
  const coding = request.headers.find(([name]) => name === "content-encoding")?.[1];
  if (request.body.length === 0 && coding !== undefined) return "an empty body is empty in every coding";
  if (relay === 413 && collector === 200) return "the bound is lower here than the Collector's";
  // The Collector takes text that no JSON parser does.
  if (json && relay === 400) return "JSON to the letter";
  // Unknown fields may hold anything that is JSON; the Collector refuses numbers and names in them that it cannot read.
  if (json && relay === 200) return "unknown fields are ignored";
  if (coding === "deflate" && relay === 400) return "bytes behind a deflate stream";
  return undefined;
}

/** A Collector whose pipelines end nowhere. */
export async function startForgettingCollector(certs: TestCertificates): Promise<RealCollector> {
  return await startCollector({
    certsDir: certs.dir,
    config: `
exporters: { nop: {} }
service:
  pipelines:
    traces: { exporters: [nop] }
    metrics: { processors: [], exporters: [nop] }
    logs: { exporters: [nop] }
    profiles: { receivers: [otlp], exporters: [nop] }
`,
    featureGates: PROFILES_GATE,
  });
}

/** Puts the same requests to the Collector. */
export class Referee implements Disposable {
  readonly #clients: Client[];
  readonly differences: Difference[] = [];
  asked = 0;
  forwarded = 0;
  #next = 0;

  private constructor(clients: Client[]) {
    this.#clients = clients;
  }

  static async of(collector: RealCollector, certs: TestCertificates): Promise<Referee> {
    const pem = async (name: string) => await readFile(join(certs.dir, name), "utf8");
    const tls = { ca: await pem("ca.crt"), cert: await pem("client.crt"), key: await pem("client.key") };
    return new Referee(Array.from({ length: 4 }, () => new Client({ url: collector.httpUrl, tls })));
  }

  /**
   * Both ways: what one takes the other takes, and what the relay would forward is taken as it is.
   * @throws {Error} when the Collector refuses what the relay would forward.
   */
  async judge(request: FuzzRequest, { status, payload }: Outcome): Promise<void> {
    const client = this.#clients[this.#next++ % this.#clients.length]!;
    this.asked++;
    const answer = await client.send({
      method: request.method,
      path: request.path,
      headers: Object.fromEntries(request.headers),
      body: request.body,
    });
    if ((answer.status === 200) !== (status === 200)) {
      this.differences.push({ relay: status, collector: answer.status, json: request.json, request });
    }
    if (payload === undefined) return;
    this.forwarded++;
    const forwarded = await client.send({
      method: "POST",
      path: request.path,
      headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
      body: payload,
    });
    if (forwarded.status !== 200) {
      throw new Error(`The Collector answers ${forwarded.status} to what the relay would forward: ${forwarded.body}`);
    }
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client[Symbol.dispose]();
  }
}
