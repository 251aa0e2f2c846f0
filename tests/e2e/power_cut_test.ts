/** A power cut after `kill -9`: what was written and not synced is gone, and nothing that was answered 200 with it. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { testCertificates } from "../support/files/certificates.ts";
import { startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { makeMutant } from "../support/bodies/mutant.ts";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { PowerCut } from "../support/tools/power_cut.ts";
import { readBooks } from "../support/relay/queue_file.ts";
import { Random } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { drained } from "./crash_oracle.ts";

interface CutOptions {
  readonly cuts: number;
  readonly seed: number;
  /** Answers before each cut, at the least. */
  readonly answers: number;
  /** The Collector is away until the last cut, so that all that was answered hangs on the disk alone. */
  readonly away: boolean;
  readonly torn?: boolean;
  readonly root?: string;
}

interface CutFigures {
  readonly answered: number;
  readonly lost: number;
  readonly bytesLost: number;
  /** Length of the database at the largest cut: one page until the first checkpoint has been synced. */
  readonly databaseBytesMax: number;
}

/** Sends, cuts the power `cuts` times, drains, and counts what was answered 200 and is nowhere. */
async function cutPower(options: CutOptions): Promise<CutFigures> {
  const random = new Random(options.seed);
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  const queueDir = join(certs.dir, "data");
  await mkdir(queueDir);
  const power = await PowerCut.watch(queueDir, join(certs.dir, "shadow"));
  await using relay = await RestartableRelay.prepare({
    certs,
    collectorUrl: farEnd.url,
    queueDir,
    env: power.env,
    ...(options.root === undefined ? {} : { root: options.root }),
  });
  let bytesLost = 0;
  let databaseBytesMax = 0;
  if (options.away) await farEnd.trouble({ kind: "status", status: 503 });
  await relay.start();
  const senders = new NumberedSenders({ seed: options.seed, url: () => relay.url, spansMax: 12, poisoned: 0 });
  try {
    for (let cut = 1; cut <= options.cuts; cut++) {
      await senders.answered(senders.answered200 + options.answers);
      await delay(random.below(150));
      await relay.kill();
      const remains = await power.cut(options.torn === true ? random : undefined);
      bytesLost += remains.bytesLost;
      databaseBytesMax = Math.max(databaseBytesMax, remains.sizes.get("queue.db") ?? 0);
      await relay.start();
    }
  } finally {
    await senders.stop();
  }
  await farEnd.trouble(undefined);
  await drained(relay, 60_000);
  await relay.stop();
  const delivered = new Set(
    farEnd.receipts.flatMap(({ spans }) => spans.filter(({ intact }) => intact).map(({ id }) => id)),
  );
  const lost = [...senders.written].filter((id) => !delivered.has(id)).length;
  const books = readBooks(relay.queuePath);
  assert.equal(books.accepted, books.delivered + books.rejected + books.dead + books.expired + books.queued);
  return { answered: senders.written.size, lost, bytesLost, databaseBytesMax };
}

Deno.test("a power cut loses nothing that was answered 200", async () => {
  const figures = await cutPower({ cuts: 4, seed: 31, answers: 30, away: true });
  assert.equal(figures.lost, 0);
  // It did cut something: an answer waits for its fsync, the mark behind it does not.
  assert(figures.answered > 300 && figures.bytesLost > 0, JSON.stringify(figures));
});

Deno.test("nor does one that leaves some unsynced blocks behind, while the Collector takes and the WAL is copied", async () => {
  const figures = await cutPower({ cuts: 3, seed: 32, answers: 250, away: false, torn: true });
  assert.equal(figures.lost, 0);
  // More than the one page of a new file: the WAL had been copied into it, and the file synced.
  assert(figures.bytesLost > 0 && figures.databaseBytesMax > 4096, JSON.stringify(figures));
});

Deno.test("the same test finds the loss when SQLite is told not to sync", async () => {
  await using mutant = await makeMutant(
    "src/queue/sqlite/file/schema.ts",
    "PRAGMA synchronous = FULL;\n",
    "PRAGMA synchronous = OFF;\n",
  );
  const figures = await cutPower({ cuts: 1, seed: 31, answers: 30, away: true, root: mutant.root });
  assert(figures.lost > 0 && figures.lost >= figures.answered / 2, JSON.stringify(figures));
});
