import assert from "node:assert/strict";
import { testCertificates } from "../../support/files/certificates.ts";
import { Random } from "../../support/bodies/requests.ts";
import { reasonOf, Referee, startForgettingCollector } from "../../fuzz/collector.ts";
import { FuzzReceiver } from "../../fuzz/receiver.ts";
import { FuzzSource } from "../../fuzz/requests.ts";

/** The short run; the long one is `deno task fuzz`. */
const SEED = 20_261;

Deno.test("damaged bodies get the real Collector's verdict, and it takes what would be forwarded", async () => {
  await using certs = await testCertificates();
  await using collector = await startForgettingCollector(certs);
  using referee = await Referee.of(collector, certs);
  const source = new FuzzSource(new Random(SEED), 300);
  const receiver = new FuzzReceiver();
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
