import assert from "node:assert/strict";
import process from "node:process";
import { Random } from "../../support/bodies/requests.ts";
import { FuzzReceiver } from "../../fuzz/receiver.ts";
import { FuzzSource } from "../../fuzz/requests.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { reasonOf, Referee, startForgettingCollector } from "../../fuzz/collector.ts";

/** The short run; the long one is `deno task fuzz`. */
const SEED = 20_261;

Deno.test("damaged requests: no defect, no 5xx, every refusal says why, what is kept is whole, memory stays flat", async () => {
  const source = new FuzzSource(new Random(SEED), 300);
  using receiver = new FuzzReceiver();
  const statuses = new Map<number, number>();
  const run = async (count: number) => {
    for (let number = 0; number < count; number++) {
      const request = source.next();
      try {
        const { status } = await receiver.ask(request);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      } catch (error) {
        throw new Error(`seed ${SEED}: ${request.method} ${request.path}, ${request.body.length} bytes`, {
          cause: error,
        });
      }
    }
  };
  await run(8_000);
  const before = process.memoryUsage().rss;
  await run(8_000);
  const grownMiB = (process.memoryUsage().rss - before) / 2 ** 20;
  assert(grownMiB < 160, `${grownMiB} MiB more after 8,000 requests`);
  // Each kind of answer has been given, or the damage is of one kind.
  for (const status of [200, 400, 404, 405, 413, 415]) assert((statuses.get(status) ?? 0) > 0, String(status));
});

Deno.test("damaged bodies get the real Collector's verdict, and it takes what would be forwarded", async () => {
  await using certs = await testCertificates();
  await using collector = await startForgettingCollector(certs);
  using referee = await Referee.of(collector, certs);
  const source = new FuzzSource(new Random(SEED), 300);
  using receiver = new FuzzReceiver();
  while (referee.asked < 1_500) {
    const request = source.next();
    if (!request.ordinary) continue;
    await referee.judge(request, await receiver.ask(request));
  }
  assert(referee.forwarded > 200, String(referee.forwarded));
  const unknown = referee.differences.filter((difference) => reasonOf(difference) === undefined);
  assert.deepEqual(
    unknown.map(({ relay, collector, request }) => ({ relay, collector, headers: request.headers })),
    [],
  );
});
