/** The exporter and the real Collector: what is merged, in each compression, arrives whole and once. */
import assert from "node:assert/strict";
import type { Protocol } from "../../../src/config/exporter_settings.ts";
import type { Compression } from "../../../src/exporter/recode/recode.ts";
import { BLOCKS } from "../../docs/blocks.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { startSink } from "../../support/far_end/sink.ts";
import { append, appendSpans, balanced, exporting, requestOf, submission } from "../../support/relay/exporting.ts";
import { startCollector } from "../../support/tools/collector.ts";

const REQUESTS = 300;

Deno.test("requests are merged and compressed, small and large, and the real Collector reads all of them", async (t) => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using real = await startCollector({ certsDir: certs.dir, sink });
  const urls = { "http/protobuf": real.httpUrl, grpc: `https://${real.grpcEndpoint}` } as const;
  const cases = (Object.keys(urls) as Protocol[]).flatMap((protocol) =>
    (["passthrough", "gzip", "zstd", "none"] satisfies Compression[]).map((compression) => ({ protocol, compression }))
  );
  for (const { protocol, compression } of cases) {
    await t.step(`${protocol}, ${compression}`, async () => {
      sink.clear();
      const url = urls[protocol];
      await using ends = await exporting({ certs, url, protocol, compression, held: true, consumers: 1 });
      const small = Array.from({ length: REQUESTS }, (_, index) => `small-${index}`);
      // 100 of 20 KB each, which a thread compresses.
      const large = Array.from({ length: 100 }, (_, index) => `large-${index} ${"x".repeat(20_000)}`);
      await appendSpans(ends.queue, ...small.map((name) => [name]));
      await append(ends.queue, submission("traces", requestOf("traces", large)));
      ends.start();
      await ends.emptied();
      await sink.waitFor((each) => each.spans().length >= REQUESTS + 100);
      assert.deepEqual(sink.spans().map(({ name }) => name).toSorted(), [...small, ...large].toSorted());
      const sent = ends.told.entries.filter((told) => told.event === "sent");
      assert(sent.length < 20, `${sent.length} requests`);
      const proved = ends.told.entries.flatMap((told) => told.event === "members" ? [[told.form, told.members]] : []);
      const form = compression === "passthrough" ? "gzip_members" : compression;
      assert.deepEqual(proved, compression === "gzip" || compression === "none" ? [] : [[form, "all"]]);
      assert.equal((await balanced(ends.queue, "traces")).delivered, REQUESTS + 100);
    });
  }
});

Deno.test("over gRPC a request that is too large is cut down, and goes whole where the limit is raised as the page says", async (t) => {
  await using certs = await testCertificates();
  const raised = BLOCKS.find(({ page, text }) => page === "docs/answers.md" && text.startsWith("receivers:"))?.text;
  assert(raised !== undefined);
  const names = Array.from({ length: 250 }, (_, index) => `large-${index} ${"x".repeat(20_000)}`);
  for (const config of [undefined, raised]) {
    await t.step(config === undefined ? "4 MiB" : "raised", async () => {
      await using sink = startSink();
      await using real = await startCollector({
        certsDir: certs.dir,
        sink,
        ...(config === undefined ? {} : { config }),
      });
      const url = `https://${real.grpcEndpoint}`;
      await using ends = await exporting({ certs, url, protocol: "grpc", compression: "none" });
      await append(ends.queue, submission("traces", requestOf("traces", names), { encoding: "identity" }));
      await ends.emptied();
      await sink.waitFor((each) => each.spans().length >= names.length);
      assert.deepEqual(sink.spans().map(({ name }) => name).toSorted(), names.toSorted());
      const sent = ends.told.entries.filter((told) => told.event === "sent");
      assert.equal(sent.length === 1, config !== undefined, `${sent.length} requests`);
      assert.equal((await balanced(ends.queue, "traces")).delivered, names.length);
    });
  }
});
