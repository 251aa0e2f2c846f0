/**
 * The receiver's own certificate, key and client CA change 50 times while 32 senders post over mutual TLS. No request fails, no item
 * is lost, new connections see the new certificate, and what cannot be used changes nothing.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, rename, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { type Authority, CLIENT, createAuthority, type Issued, SERVER } from "../../src/pki/authority.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startCollector } from "../../src/collector/server.ts";
import { type IdentityRelay, identityRelay, postTrace, TRACE_HEADERS } from "../support/relay/identity_relay.ts";
import { Journal, requestOf } from "../support/relay/exporting.ts";
import { stopAndAudit } from "../support/far_end/rotation_end.ts";

const ROTATIONS = 50;
const SENDERS = 32;
/** A bad change after so many good ones. */
const BAD_EVERY = 5;
/** Between two requests of a sender: the load is to be steady, not the most that the machine can do. */
const PAUSE_MS = 20;
/** So that a change is taken up when the file system tells of it, or not at all. */
const RELOAD_INTERVAL = "1h";
const TOOK_UP = "Took up a changed certificate of receiver.http.tls";
const REFUSED = "Refused a changed certificate of receiver.http.tls; the previous one stays in use";

/** The receiver's three files, replaced as `certs rotate` does it. */
async function replace(dir: string, texts: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(texts)) await writeFile(join(dir, `${name}.tmp`), text, { mode: 0o600 });
  for (const name of Object.keys(texts)) await rename(join(dir, `${name}.tmp`), join(dir, name));
}

function serialOf({ certificate }: { readonly certificate: string }): string {
  return new X509Certificate(certificate).serialNumber;
}

/** The serial number that a new sender is shown, whose request must be answered 200. */
async function shownAt(url: string, ca: string, { certificate: cert, key }: Issued, item: string): Promise<string> {
  const target = new URL(`${url}/v1/traces`);
  const request = httpsRequest(target, { agent: false, ca, cert, key, method: "POST", headers: TRACE_HEADERS });
  const answered = once(request, "response");
  request.end(requestOf("traces", [item]));
  const [response] = await answered as [IncomingMessage];
  const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate();
  // To its end: a connection that is cut off may be taken for a sender that sends nonsense.
  response.resume();
  await once(response, "end");
  assert.equal(response.statusCode, 200);
  return serialNumber;
}

/** Who sends now: the client of its sender is replaced when its certificate is. */
class Sender {
  #client: Deno.HttpClient;
  #identity: Issued;
  readonly #ca: string;
  /** What it showed in the last request that was answered. */
  answeredAs: Issued | undefined;

  constructor(ca: string, identity: Issued) {
    this.#ca = ca;
    this.#identity = identity;
    this.#client = this.#create(identity);
  }

  #create({ certificate: cert, key }: Issued): Deno.HttpClient {
    return Deno.createHttpClient({ caCerts: [this.#ca], cert, key });
  }

  renew(identity: Issued): void {
    const old = this.#client;
    this.#client = this.#create(identity);
    this.#identity = identity;
    old.close();
  }

  /** Posts until it is told to stop; every answer must be 200. Resolves with the number of items answered so. */
  async run(url: string, number: number, answers: Journal<number>, stopping: AbortSignal): Promise<number> {
    let sent = 0;
    while (!stopping.aborted) {
      const identity = this.#identity;
      assert.equal(await postTrace(url, [`s${number}-${sent}`], this.#client), 200);
      sent++;
      this.answeredAs = identity;
      answers.push(number);
      await delay(PAUSE_MS);
    }
    this.#client.close();
    return sent;
  }
}

Deno.test("50 rotations of the receiver's certificate, key and client CA under 32 senders: nothing fails, nothing is lost", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const seen = new Journal<string>();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
    onReceived: ({ items, peer }) => items > 0 && seen.push(peer),
  });
  // What senders trust stays; whom the receiver trusts is rolled.
  const root = await createAuthority({ commonName: "Receiver's CA" });
  let authority = await createAuthority({ commonName: "Senders' CA 0" });
  let identity = await authority.issue(CLIENT);
  let server = await root.issue(SERVER);
  const files = (pair: Issued, ...authorities: readonly Authority[]) => ({
    "clients.crt": authorities.map(({ certificate }) => certificate).join(""),
    "receiver.key": pair.key,
    "receiver.crt": pair.certificate,
  });
  await replace(here.dir, files(server, authority));
  const relay = await here.start(collector.url, {
    receiver: {
      http: {
        tls: {
          cert_file: join(here.dir, "receiver.crt"),
          key_file: join(here.dir, "receiver.key"),
          client_ca_file: join(here.dir, "clients.crt"),
          reload_interval: RELOAD_INTERVAL,
        },
      },
    },
  });

  const stopping = new AbortController();
  const senders = Array.from({ length: SENDERS }, () => new Sender(root.certificate, identity));
  const answers = new Journal<number>();
  const running = senders.map((sender, number) => sender.run(relay.url, number, answers, stopping.signal));
  const failedEarly = Promise.all(running).then(() => new Promise<never>(() => {}));
  /** As many items more as there are senders: requests to the Collector are merged from theirs. */
  const more = () => {
    const from = collector.items.traces;
    return seen.until(() => collector.items.traces >= from + SENDERS, "more items");
  };
  let looks = 0;
  const shown = (as: Issued) => shownAt(relay.url, root.certificate, as, `look-${looks++}`);
  let slowestMs = 0;
  let bad = 0;
  try {
    for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
      const next = await createAuthority({ commonName: `Senders' CA ${rotation}` });
      server = await root.issue(SERVER);
      const serial = serialOf(server);
      const started = performance.now();
      // The overlap: senders of either CA are let in until all have moved.
      await replace(here.dir, files(server, next, authority));
      await Promise.race([
        here.log.find((line) => line.message === TOOK_UP && line["serial"] === serial, `rotation ${rotation}`),
        failedEarly,
      ]);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      authority = next;
      identity = await next.issue(CLIENT);
      assert.equal(await shown(identity), serial, "what a new connection is shown");
      for (const sender of senders) sender.renew(identity);
      // Before the next rotation, which no longer lets in who shows a certificate of the CA before.
      const moved = answers.until(
        () => senders.every(({ answeredAs }) => answeredAs === identity),
        "every sender's move",
      );
      await Promise.race([moved, failedEarly]);
      if (rotation % BAD_EVERY === 0) {
        await tellsOfBadChange(here, bad++ % BAD.length);
        assert.equal(await shown(identity), serial, "what a bad change has left");
        await Promise.race([more(), failedEarly]);
      }
    }
  } finally {
    stopping.abort();
  }
  const sent = (await Promise.all(running)).reduce((sum, each) => sum + each, looks);
  await stopAndAudit({ relay, here, collector, seen, sent, meant: REFUSED });

  console.log(
    `${ROTATIONS} rotations, ${bad} bad ones, ${sent} items; taken up after ${Math.round(slowestMs)} ms at most`,
  );

  /** One change that cannot be used: it is told of, with the reason. */
  async function tellsOfBadChange({ dir, log }: IdentityRelay, kind: number): Promise<void> {
    const { texts, reason } = await BAD[kind]!({ dir, root, server });
    const before = log.entries.length;
    await replace(dir, texts);
    await log.until(
      () => log.entries.slice(before).some((line) => line.message === REFUSED && reason.test(String(line["cause"]))),
      `a refusal: ${reason}`,
    );
  }
});

interface Scene {
  readonly dir: string;
  readonly root: Authority;
  readonly server: Issued;
}

const DAY_MS = 86_400_000;

/** Changes that cannot be used, each after one that could. */
const BAD: readonly ((scene: Scene) => Promise<{ texts: Readonly<Record<string, string>>; reason: RegExp }>)[] = [
  async ({ root }) => ({
    texts: { "receiver.key": (await root.issue(SERVER)).key },
    reason: /server key .*: it does not match server certificate/,
  }),
  async ({ dir }) => {
    const whole = await readFile(join(dir, "receiver.crt"), "utf8");
    return { texts: { "receiver.crt": whole.slice(0, whole.length / 2) }, reason: /its CERTIFICATE block has no END/ };
  },
  async ({ root }) => {
    const expired = await root.issue({ ...SERVER, days: 1, now: new Date(Date.now() - 9 * DAY_MS) });
    return {
      texts: { "receiver.crt": expired.certificate, "receiver.key": expired.key },
      reason: /server certificate .*: it expired 8 days ago/,
    };
  },
  async ({ root }) => {
    const client = await root.issue(CLIENT);
    return {
      texts: { "receiver.crt": client.certificate, "receiver.key": client.key },
      reason: /its extended key usage is clientAuth, without serverAuth/,
    };
  },
  ({ server }) =>
    Promise.resolve({
      texts: { "clients.crt": server.certificate },
      reason: /client CA certificate .* is not a CA certificate/,
    }),
  () =>
    Promise.resolve({
      texts: { "receiver.key": "-----BEGIN PRIVATE KEY-----\nAAAA\n" },
      reason: /its PRIVATE KEY block has no END line/,
    }),
];
