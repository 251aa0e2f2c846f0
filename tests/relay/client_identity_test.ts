import assert from "node:assert/strict";
import { copyFile, mkdir, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startCollector } from "../../src/collector/server.ts";
import { CertificateError } from "../../src/errors.ts";
import { decodeRequest } from "../../src/otlp/decode.ts";
import { CLIENT, createAuthority, SERVER } from "../../src/pki/authority.ts";
import { ending, type Pair, testCertificates } from "../support/files/certificates.ts";
import { Journal } from "../support/relay/exporting.ts";
import { collecting, identityRelay, postTrace, serialOf } from "../support/relay/identity_relay.ts";
import { booksIn } from "../support/relay/relay.ts";

const INTERVAL = { reload_interval: "200ms" };

Deno.test("what the Collector would refuse is refused, and taken when it comes to take it, with no file touched", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  await using far = await collecting(certs);
  const { collector, serials } = far;
  await using relay = await here.start(collector.url, { exporter: { tls: INTERVAL } });
  assert.equal(await postTrace(relay.url, ["a"]), 200);
  await serials.until(() => serials.entries.length === 1, "the first");

  // Valid by itself, of a CA that the Collector does not know.
  const { otherClient } = certs;
  await here.replace({ cert: otherClient.certificate, key: otherClient.key });
  const refused = await here.log.find(({ message }) => message.startsWith("Refused a changed"), "a refusal");
  assert.equal(refused.level, "error");
  assert.match(
    String(refused["cause"]),
    /^Cannot use the new certificates: The Collector refused .* of another CA; issue /,
  );
  assert.equal(await postTrace(relay.url, ["b"]), 200);
  await serials.until(() => serials.entries.length === 2, "the second");
  assert.deepEqual(serials.entries, [serialOf(certs.client), serialOf(certs.client)]);

  collector.replaceTls({
    ca: [certs.ca.certificate, certs.otherCa.certificate],
    cert: certs.server.certificate,
    key: certs.server.key,
  });
  await here.tookUp(serialOf(otherClient));
  assert.equal(await postTrace(relay.url, ["c"]), 200);
  await serials.until(() => serials.entries.length === 3, "the third");
  assert.equal(serials.entries[2], serialOf(otherClient));
  // A disk that answers late, as on a busy machine, is told of as an ERROR too, and has nothing to do with it.
  const failures = here.log.entries.filter(({ message, level }) =>
    level === "error" && !message.startsWith("Refused a") && !message.startsWith("The queue's storage has not answered")
  );
  assert.deepEqual(failures, []);
});

Deno.test("a CA that does not vouch for the Collector is refused before it is trusted", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  await using far = await collecting(certs);
  await using relay = await here.start(far.collector.url, { exporter: { tls: INTERVAL } });
  await here.replace({ ca: certs.otherCa.certificate });
  const refused = await here.log.find(({ message }) => message.startsWith("Refused a changed"), "a refusal");
  assert.match(String(refused["cause"]), /not signed by the CA that the relay trusts; set exporter\.tls\.ca_file/);
  assert.equal(await postTrace(relay.url, ["a"]), 200);
  await far.serials.until(() => far.serials.entries.length === 1, "the first");
});

Deno.test("a Collector that is down holds no rotation up", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const far = await collecting(certs);
  const { port, url } = far.collector;
  await using relay = await here.start(url, { exporter: { tls: INTERVAL } });
  await far.collector.stop();
  assert.equal(await postTrace(relay.url, ["a"]), 200);
  const next = await certs.issueClient("next");
  await here.replace({ cert: next.certificate, key: next.key });
  const line = await here.tookUp(serialOf(next));
  assert.match(String(line["tried"]), /^not tried: Nothing listens at exporter\.endpoint$/);
  await using back = await collecting(certs, port);
  // What was under way at the change may still end on the old connection; what comes after it does not.
  assert.equal(await postTrace(relay.url, ["b"]), 200);
  await back.serials.find((serial) => serial === serialOf(next), "the new identity");
  await back.serials.until(() => back.collector.items.traces === 2, "what was queued");
});

Deno.test("where the Collector takes neither the old nor the new identity, the new one is shown", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  // The Collector was rolled to a CA of its own first.
  const authority = await createAuthority({ commonName: "NextCA" });
  const server = await authority.issue(SERVER);
  await using far = await collecting(certs);
  const { collector, serials } = far;
  collector.replaceTls({ ca: [authority.certificate], cert: server.certificate, key: server.key });
  await using relay = await here.start(collector.url, { exporter: { tls: INTERVAL } });
  assert.equal(await postTrace(relay.url, ["a"]), 200);
  await here.log.find(({ fault }) => fault === "wrong_ca", "the fault by its name");
  const both = certs.ca.certificate + authority.certificate;
  await here.replace({ ca: both });
  await here.log.find(({ message }) => message.startsWith("Took up"), "the bundle, with the old client");
  const next = await authority.issue(CLIENT);
  await here.replace({ cert: next.certificate, key: next.key });
  await here.tookUp(serialOf(next));
  await serials.until(() => serials.entries.length === 1, "what was queued");
  assert.equal(serials.entries[0], serialOf(next));
});

Deno.test("files that are switched by a link, as Kubernetes does, are taken up by the event alone", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  await using far = await collecting(certs);
  const next = await certs.issueClient("next");
  const mount = join(here.dir, "mount");
  const fill = async (version: string, pair: Pair) => {
    await mkdir(join(mount, version), { recursive: true });
    await copyFile(certs.ca.certificateFile, join(mount, version, "ca.crt"));
    await copyFile(pair.certificateFile, join(mount, version, "tls.crt"));
    await copyFile(pair.keyFile, join(mount, version, "tls.key"));
  };
  await fill("..2026_01", certs.client);
  await symlink("..2026_01", join(mount, "..data"));
  for (const name of ["ca.crt", "tls.crt", "tls.key"]) await symlink(join("..data", name), join(mount, name));
  const files = { ca_file: join(mount, "ca.crt"), cert_file: join(mount, "tls.crt"), key_file: join(mount, "tls.key") };
  await using _relay = await here.start(far.collector.url, { exporter: { tls: { ...files, reload_interval: "1h" } } });
  await fill("..2026_02", next);
  await symlink("..2026_02", join(mount, "..data_tmp"));
  await rename(join(mount, "..data_tmp"), join(mount, "..data"));
  await here.tookUp(serialOf(next));

  // And once more, by a link that the first one has led to.
  const third = await certs.issueClient("third");
  await fill("..2026_03", third);
  await symlink("..2026_03", join(mount, "..data_tmp"));
  await rename(join(mount, "..data_tmp"), join(mount, "..data"));
  await here.tookUp(serialOf(third));
});

Deno.test("a change of the CA alone says that, and not that the certificate has changed", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  await using far = await collecting(certs);
  await using _relay = await here.start(far.collector.url, { exporter: { tls: INTERVAL } });
  await writeFile(join(here.dir, "ca.crt"), certs.ca.certificate + certs.otherCa.certificate);
  const told = await here.log.find(({ message }) => message.startsWith("Took up"), "the change");
  assert.deepEqual([told.message, told["authorities"]], ["Took up changed CA certificates of exporter.tls.ca_file", 2]);
});

Deno.test("a half-written file is waited for, and told of only when it stays so", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  await using far = await collecting(certs);
  await using _relay = await here.start(far.collector.url, { exporter: { tls: { reload_interval: "1h" } } });
  const next = await certs.issueClient("next");
  const { certificate, key } = next;
  await writeFile(join(here.dir, "client.crt"), certificate.slice(0, 300));
  await writeFile(join(here.dir, "client.crt"), certificate);
  await writeFile(join(here.dir, "client.key"), key.slice(0, 40));
  await writeFile(join(here.dir, "client.key"), key);
  await here.tookUp(serialOf(next));
  assert.deepEqual(here.log.entries.filter(({ message }) => message.startsWith("Refused a changed")), []);
});

Deno.test("with a disk a relay starts with an expired certificate, keeps what it takes, and sends it when the file is renewed", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs, certs.expiredClient);
  await using far = await collecting(certs);
  const relay = await here.start(far.collector.url, { exporter: { tls: INTERVAL } });
  const told = await here.log.find(({ message }) => message.startsWith("Started with a certificate"), "an ERROR");
  assert.equal(told.level, "error");
  assert.match(String(told["cause"]), /client\.crt: it expired \d+ days ago/);
  assert.equal(await postTrace(relay.url, ["a"]), 200);
  await here.log.find(({ fault }) => fault === "client_certificate_expired", "the fault by its name");
  const ready = await fetch(`${relay.adminUrl}/readyz`);
  const { reasons } = await ready.json();
  assert.equal(ready.status, 503);
  assert.match(reasons[0], /^The client certificate CN=client-app ended \d+ days ago, at /);
  await here.replace({ cert: certs.client.certificate, key: certs.client.key });
  await far.serials.until(() => far.serials.entries.length === 1, "what was queued");
  assert.equal((await fetch(`${relay.adminUrl}/readyz`).then((each) => each.json())).status, "ready");
  await relay.stop();
  assert.deepEqual(booksIn(here.queuePath).traces.delivered, 1);
});

Deno.test("without a disk it does not start with an expired certificate, nor with other faults on a disk", async () => {
  await using certs = await testCertificates();
  for (
    const [storage, pair, code] of [
      ["none", certs.expiredClient, "expired"],
      ["sqlite", certs.mismatchedClient, "key_mismatch"],
      ["sqlite", certs.wrongUsageClient, "wrong_usage"],
    ] as const
  ) {
    await using here = await identityRelay(certs, pair);
    await assert.rejects(
      here.start("https://localhost:1", { sending_queue: { storage } }),
      (error) => error instanceof CertificateError && error.code === code,
      code,
    );
  }
});

Deno.test("a certificate near its end: a WARN, then an ERROR with which the relay is not ready; both can be set", async () => {
  await using certs = await testCertificates();
  await using far = await collecting(certs);
  const readiness = async (days: number, tls: object = {}) => {
    const pair = await certs.issueClient(`days-${days}`, ending(days));
    await using here = await identityRelay(certs, pair);
    await using relay = await here.start(far.collector.url, { exporter: { tls } });
    const response = await fetch(`${relay.adminUrl}/readyz`);
    const lines = here.log.entries.filter(({ message }) => message.startsWith("The client certificate"));
    return { status: response.status, body: await response.json(), levels: lines.map(({ level }) => level) };
  };
  const far40 = await readiness(40);
  assert.deepEqual([far40.status, far40.levels, far40.body.warnings], [200, [], []]);
  const near20 = await readiness(20);
  assert.deepEqual([near20.status, near20.levels], [200, ["warn"]]);
  assert.match(near20.body.warnings[0], /^The client certificate CN=client-app ends in 19 days, at 2/);
  const roles = near20.body.certificates.map(({ role }: { role: string }) => role);
  assert.deepEqual(roles.filter((role: string) => role !== "collector"), ["client", "ca"]);
  const near2 = await readiness(2);
  assert.deepEqual([near2.status, near2.levels], [503, ["error"]]);
  assert.match(near2.body.reasons[0], /ends in 1 day, at /);
  assert.deepEqual([(await readiness(2, { expiry_error: "24h" })).status], [200]);
  assert.deepEqual([(await readiness(20, { expiry_error: "720h", expiry_warning: "2400h" })).status], [503]);
});

Deno.test("the Collector's own certificate, as the handshake shows it: told of, and no reason not to be ready", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const server = await certs.issueServer("ending", ending(2));
  await using far = await collecting(certs);
  far.collector.replaceTls({ ca: [certs.ca.certificate], cert: server.certificate, key: server.key });
  await using relay = await here.start(far.collector.url, { exporter: { tls: INTERVAL } });
  const line = await here.log.find(({ message }) => message.startsWith("The Collector's certificate"), "its end");
  assert.deepEqual([line.level, line["remedy"]], ["error", "renew it on the Collector's side"]);
  const response = await fetch(`${relay.adminUrl}/readyz`);
  const { warnings, certificates } = await response.json();
  assert.equal(response.status, 200);
  assert.match(warnings[0], /^The Collector's certificate CN=otel-collector ends in 1 day, at /);
  assert.deepEqual(
    certificates.map(({ role, daysLeft }: { role: string; daysLeft: number }) => [role, daysLeft < 3]),
    [["client", false], ["ca", false], ["collector", true]],
  );
  // Both are rolled: when ours is taken up, theirs is looked at again.
  far.collector.replaceTls({
    ca: [certs.ca.certificate],
    cert: certs.server.certificate,
    key: certs.server.key,
  });
  const next = await certs.issueClient("next");
  await here.replace({ cert: next.certificate, key: next.key });
  await here.tookUp(serialOf(next));
  await here.log.find(
    ({ message, serial }) => message.startsWith("Looked at the Collector's") && serial === serialOf(certs.server),
    "another look",
  );
  assert.deepEqual((await fetch(`${relay.adminUrl}/readyz`).then((each) => each.json())).warnings, []);
});

Deno.test("the days left of every certificate arrive as a metric, by what it is to the relay", async () => {
  await using certs = await testCertificates();
  await using here = await identityRelay(certs);
  const server = await certs.issueServer("server-20", { days: 20 });
  const receiver = await certs.issueServer("receiver-10", { days: 10 });
  const days = new Journal<Record<string, number>>();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: server.certificate, key: server.key },
    onReceived: ({ signal, body }) => signal === "metrics" && days.push(daysByRole(body)),
  });
  await using _relay = await here.start(collector.url, {
    receiver: {
      http: {
        tls: {
          cert_file: receiver.certificateFile,
          key_file: receiver.keyFile,
          client_ca_file: certs.otherCa.certificateFile,
        },
      },
    },
    telemetry: { metrics: { enabled: true, interval: "1s" } },
  });
  const told = await days.find(({ collector }) => collector !== undefined, "the Collector's own");
  const { ca, client, receiver_client_ca: clientCa, ...rest } = told;
  assert.deepEqual(rest, { receiver: 9, collector: 19 });
  assert(client! > 300 && ca! > 3_000 && clientCa! > 3_000, JSON.stringify(told));
});

/** The points of `edgeferry_certificate_days_left` in an export request. */
function daysByRole(body: Uint8Array): Record<string, number> {
  const messages = (value: unknown) => (Array.isArray(value) ? value : []) as Record<string, unknown>[];
  const metrics = messages(decodeRequest("metrics", body)["resourceMetrics"])
    .flatMap((each) => messages(each["scopeMetrics"])).flatMap((each) => messages(each["metrics"]));
  const gauge = metrics.find(({ name }) => name === "edgeferry_certificate_days_left")?.["gauge"];
  const points = messages((gauge as Record<string, unknown> | undefined)?.["dataPoints"]);
  return Object.fromEntries(points.map((point) => {
    const role = messages(point["attributes"]).find(({ key }) => key === "role")?.["value"];
    return [String((role as Record<string, unknown>)["stringValue"]), Number(point["asInt"])];
  }));
}
