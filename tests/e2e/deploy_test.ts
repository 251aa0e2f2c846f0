/**
 * src/deploy.ts and src/serve.ts as a host starts them: the task's own words, or those of `deno serve`; an environment of nothing
 * but the names of config/relay.deploy.env and what Deno Deploy sets, a folder that is empty and stays so. With the embedded and
 * the real Collector.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { type FarEnd, startEmbeddedFarEnd, startRealFarEnd } from "../support/far_end/far_end.ts";
import { folder } from "../support/files/folder.ts";
import { numberedRequest } from "../support/bodies/numbered_spans.ts";
import { startProgram } from "../support/program/program.ts";
import { Random } from "../support/bodies/requests.ts";
import { collectorVariables, DEPLOY, type Deployed, SERVE, startDeployed } from "../support/relay/deployed.ts";
import { ROOT } from "../support/relay/restartable_relay.ts";

/** From SIGINT to SIGKILL at Deno Deploy, in ms. */
const KILL_MS = 5_000;

const FAR_ENDS: Readonly<Record<FarEnd["name"], (certs: TestCertificates, dir: string) => Promise<FarEnd>>> = {
  embedded: startEmbeddedFarEnd,
  real: startRealFarEnd,
};

async function statusOf(answer: Promise<Response>): Promise<number> {
  const response = await answer;
  await response.body?.cancel();
  return response.status;
}

/** SIGINT, and the end of the process before the host would kill it. */
async function interrupt({ program }: Deployed): Promise<void> {
  const timer = setTimeout(() => program.signal("SIGKILL"), KILL_MS);
  program.signal("SIGINT");
  const { code, signal } = await program.ended;
  clearTimeout(timer);
  assert.deepEqual([code, signal], [0, null], program.lines.join("\n"));
}

const RUNS = [["embedded", DEPLOY], ["real", DEPLOY], ["embedded", SERVE]] as const;

for (const [name, entry] of RUNS) {
  Deno.test(`a Deploy-style host with ${entry.module}, Collector: ${name}`, async (t) => {
    await using certs = await testCertificates();
    await using dir = await folder();
    await using end = await FAR_ENDS[name](certs, dir.path);
    const random = new Random(8);
    let count = 0;
    const next = () => numberedRequest(random, `r${count++}`, 3);
    const arrived = () =>
      new Set(end.receipts.flatMap(({ spans }) => spans).filter((span) => span.intact).map(({ id }) => id));
    const taken = async (relay: Deployed, request = next()) => {
      assert.equal(await statusOf(relay.send(request)), 200);
      // 200 means that the Collector has it: there is nothing to wait for.
      for (const id of request.ids) assert(arrived().has(id), id);
    };

    await t.step("sends on within the request, answers health on the one port, without a warning", async () => {
      await using relay = await startDeployed(entry, collectorVariables(certs, end.url));
      await taken(relay);
      assert.equal(await statusOf(fetch(`${relay.url}/livez`)), 200);
      assert.equal(await statusOf(fetch(`${relay.url}/readyz`)), 200);
      assert.equal(await statusOf(fetch(`${relay.url}/v1/traces`, { method: "POST" })), 401);
      await interrupt(relay);
      const said = relay.program.lines.filter((line) => /warn|error/i.test(line) && !line.includes("unauthenticated"));
      // Deno's own telemetry has nobody to send to here, and is not ours.
      assert.deepEqual(said.filter((line) => !line.includes("OpenTelemetry")), []);
    });

    await t.step("frozen between requests, while the Collector is another one", async () => {
      await using relay = await startDeployed(entry, collectorVariables(certs, end.url));
      await taken(relay);
      relay.program.signal("SIGSTOP");
      await end.crash();
      await end.revive();
      relay.program.signal("SIGCONT");
      await taken(relay);
      await end.crash();
      for (let tries = 0; tries < 3; tries++) {
        const answer = await relay.send(next());
        assert.equal(answer.status, 503, await answer.text());
        assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/);
      }
      assert.equal(await statusOf(fetch(`${relay.url}/readyz`)), 503);
      relay.program.signal("SIGSTOP");
      await end.revive();
      relay.program.signal("SIGCONT");
      await taken(relay);
      assert.equal(await statusOf(fetch(`${relay.url}/readyz`)), 200);
    });

    await t.step(
      "a Collector that refuses all data: the sender has its answer, and nothing is answered 200",
      async () => {
        await using relay = await startDeployed(entry, collectorVariables(certs, end.url));
        await end.trouble(name === "embedded" ? { kind: "refuses_data" } : { kind: "status", status: 400 });
        const refused = Array.from({ length: 12 }, next);
        const statuses = await Promise.all(refused.map((request) => statusOf(relay.send(request))));
        assert.deepEqual(new Set(statuses), new Set([400]));
        await end.trouble(undefined);
        await taken(relay);
        for (const { ids } of refused) assert(ids.every((id) => !arrived().has(id)));
      },
    );

    await t.step("stopped under load: what was answered 200 is there, the rest was refused", async () => {
      await using relay = await startDeployed(entry, collectorVariables(certs, end.url));
      const requests = Array.from({ length: 32 }, next);
      const first = Promise.withResolvers<void>();
      const statuses = Promise.all(requests.map(async (request) => {
        // No answer: the host had closed the port, and the sender knows that nothing was taken.
        const status = await statusOf(relay.send(request)).catch(() => 0);
        first.resolve();
        return status;
      }));
      await first.promise;
      await interrupt(relay);
      for (const [index, status] of (await statuses).entries()) {
        assert([0, 200, 503].includes(status), String(status));
        if (status !== 200) continue;
        for (const id of requests[index]!.ids) assert(arrived().has(id), id);
      }
    });

    await t.step("stopped while the Collector is silent: the sender is told 503 before the host kills", async () => {
      await using relay = await startDeployed(entry, collectorVariables(certs, end.url));
      await taken(relay);
      end.freeze();
      try {
        const status = statusOf(relay.send(next()));
        assert.equal(await statusOf(fetch(`${relay.url}/livez`)), 200);
        await interrupt(relay);
        assert.equal(await status, 503);
      } finally {
        end.thaw();
      }
    });
  });
}

Deno.test("what is missing is named, and ends it with 1; with `deno serve` too", async () => {
  await using dir = await folder();
  for (const entry of [DEPLOY, SERVE]) {
    const args = (await entry.args()).map((word) => word === entry.module ? join(ROOT, word) : word);
    await using program = startProgram({ command: Deno.execPath(), args, cwd: dir.path });
    assert.equal((await program.ended).code, 1, entry.module);
    assert.match(
      program.lines.join("\n"),
      /^Cannot start without EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: it is not set; /m,
    );
  }
});

Deno.test("a Deno that is too old meets its version first: nothing else is loaded with the entry", async () => {
  for (const module of [DEPLOY.module, SERVE.module]) {
    const source = await readFile(join(ROOT, module), "utf8");
    const loaded = [...source.matchAll(/^import (?!type ).* from "([^"]+)"/gm)].map(([, from]) => from);
    assert.deepEqual(loaded, ["node:process", "./hosted/deno_version.ts", "./errors.ts"], module);
  }
});
