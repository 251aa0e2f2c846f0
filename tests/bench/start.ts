/**
 * `deno run -A tests/bench/start.ts [ROUNDS]`: from the start of the process to the first 200, with an empty queue and with nothing
 * cached but what Deno caches of modules. The Collector is away: a durable 200 does not need it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initCertificates } from "../../src/pki/init.ts";
import { makeBodies } from "./bodies.ts";
import { kill, startRelay } from "./processes.ts";
import { TOKEN, writeRelayFiles } from "./relay_files.ts";
import { median } from "./table.ts";

const rounds = Number(Deno.args[0] ?? "7");
const folder = await mkdtemp(join(tmpdir(), "edgeferry-start-"));
try {
  const certs = join(folder, "certs");
  await initCertificates({ dir: certs });
  const [body] = makeBodies("gzip", 10, 1);
  const took: number[] = [];
  // The first one is not counted: it may compile.
  for (let round = 0; round <= rounds; round++) {
    const dir = join(folder, String(round));
    await writeRelayFiles(dir, { certs });
    const started = performance.now();
    const { url, child } = await startRelay(dir);
    try {
      const { status } = await fetch(`${url}/v1/traces`, {
        method: "POST",
        headers: { ...body!.headers, authorization: `Bearer ${TOKEN}` },
        body: new Uint8Array(body!.bytes),
      });
      if (status !== 200) throw new Error(`The first request was answered ${status}`);
      if (round > 0) took.push(performance.now() - started);
    } finally {
      await kill(child);
    }
  }
  console.log(
    `start to first 200: ${median(took).toFixed(0)} ms (${Math.min(...took).toFixed(0)}-${
      Math.max(...took).toFixed(0)
    })`,
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
