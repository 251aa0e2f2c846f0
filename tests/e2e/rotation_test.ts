/**
 * Rotation under load: client certificate, key and CA change 50 times while 32 senders post. No request fails, no item is lost, and
 * what cannot be used changes nothing.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { startCollector } from "../../src/collector/server.ts";
import { type Authority, CLIENT, createAuthority, type Issued, SERVER } from "../../src/pki/authority.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { Journal } from "../support/relay/exporting.ts";
import { identityRelay, postTrace } from "../support/relay/identity_relay.ts";
import { stopAndAudit } from "../support/far_end/rotation_end.ts";

const ROTATIONS = 50;
const SENDERS = 32;
/** More than the relay has under way at once. */
const UNDER_WAY = 8;
/** A bad change after so many good ones. */
const BAD_EVERY = 10;
/** Between two requests of a sender: the load is to be steady, not the most that the machine can do. */
const PAUSE_MS = 20;
/** So that a change is taken up when the file system tells of it, or not at all. */
const RELOAD_INTERVAL = "1h";

/** Posts until it is told to stop; every answer must be 200. Resolves with the number of items answered so. */
async function sender(url: string, number: number, stopping: AbortSignal): Promise<number> {
  using client = Deno.createHttpClient({});
  let sent = 0;
  while (!stopping.aborted) {
    assert.equal(await postTrace(url, [`s${number}-${sent}`], client), 200);
    sent++;
    await delay(PAUSE_MS);
  }
  return sent;
}

function serialOf(certificate: string): string {
  return new X509Certificate(certificate).serialNumber;
}

Deno.test("50 rotations of client certificate, key and CA under 32 senders: nothing fails, nothing is lost", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const seen = new Journal<string>();
  const first = await createAuthority({ commonName: "CA 0" });
  let server = await first.issue(SERVER);
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [first.certificate], cert: server.certificate, key: server.key },
    onReceived: ({ items, peerSerial }) => items > 0 && seen.push(peerSerial),
  });
  const client = await first.issue(CLIENT);
  await here.replace({ ca: first.certificate, cert: client.certificate, key: client.key });
  const relay = await here.start(collector.url, { exporter: { tls: { reload_interval: RELOAD_INTERVAL } } });

  const stopping = new AbortController();
  const senders = Array.from({ length: SENDERS }, (_, number) => sender(relay.url, number, stopping.signal));
  const failedEarly = Promise.all(senders).then(() => new Promise<never>(() => {}));
  let slowestMs = 0;
  let authority = first;
  let current = client;
  try {
    for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
      const next = await createAuthority({ commonName: `CA ${rotation}` });
      const both = [authority.certificate, next.certificate];
      const renewed = await next.issue(CLIENT);
      // The overlap: each end trusts both CAs before either shows a certificate of the new one.
      collector.replaceTls({ ca: both, cert: server.certificate, key: server.key });
      const started = performance.now();
      await here.replace({ ca: both.join(""), cert: renewed.certificate, key: renewed.key });
      await Promise.race([
        seen.find((serial) => serial === serialOf(renewed.certificate), `rotation ${rotation}`),
        failedEarly,
      ]);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      // What was under way on the old connections ends there, and is given the time.
      const from = seen.entries.length;
      await Promise.race([seen.until(() => seen.entries.length > from + UNDER_WAY, "more requests"), failedEarly]);
      server = await next.issue(SERVER);
      collector.replaceTls({ ca: [next.certificate], cert: server.certificate, key: server.key });
      authority = next;
      current = renewed;
      if (rotation % BAD_EVERY === 0) {
        await tellsOfBadChange(rotation / BAD_EVERY, authority, current);
      }
    }
  } finally {
    stopping.abort();
  }
  const sent = (await Promise.all(senders)).reduce((sum, each) => sum + each, 0);
  await stopAndAudit({ relay, here, collector, seen, sent, meant: "Refused a changed" });

  assert.equal(new Set(seen.entries).size, ROTATIONS + 1, "the old identity and each new one delivered");
  console.log(
    `${ROTATIONS} rotations, ${sent} items; the new serial was at the Collector after ${
      Math.round(slowestMs)
    } ms at most`,
  );

  /** One change that cannot be used: it is told of, and what is shown stays. */
  async function tellsOfBadChange(kind: number, issuer: Authority, shown: Issued): Promise<void> {
    const stranger = await createAuthority({ commonName: "Stranger" });
    const other = await stranger.issue(CLIENT);
    const day = 86_400_000;
    const expired = await issuer.issue({ ...CLIENT, days: 1, now: new Date(Date.now() - 9 * day) });
    const forServers = await issuer.issue({ ...CLIENT, usages: ["serverAuth"] });
    const bad = [
      { cert: other.certificate },
      { cert: expired.certificate, key: expired.key },
      { cert: forServers.certificate, key: forServers.key },
      { cert: "no certificate\n" },
      // Sound by itself, and of a CA that the Collector does not know: only a trial finds that.
      { cert: other.certificate, key: other.key },
    ][(kind - 1) % 5]!;
    const before = here.log.entries.filter(({ message }) => message.startsWith("Refused a changed")).length;
    await here.replace(bad);
    const told = () => here.log.entries.filter(({ message }) => message.startsWith("Refused a changed")).length;
    await here.log.until(() => told() > before, "a refusal");
    const from = seen.entries.length;
    await seen.until(() => seen.entries.length > from + 5, "more requests");
    assert.deepEqual([...new Set(seen.entries.slice(from))], [serialOf(shown.certificate)]);
    await here.replace({ cert: shown.certificate, key: shown.key });
  }
});
