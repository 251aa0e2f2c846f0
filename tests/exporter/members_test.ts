import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { unzstd } from "../../src/codec/zstd.ts";
import type { Answer } from "../../src/exporter/client/client.ts";
import {
  DOUBTED_MS,
  type Members,
  MembersProof,
  PROOF_MS_MAX,
  type ProvedForm,
  UNKNOWN_MS_MAX,
} from "../../src/exporter/members.ts";
import { SEAL } from "../../src/exporter/seal.ts";

function answered(status: number): Answer {
  return {
    kind: "answer",
    status,
    message: "",
    foreign: false,
    retryAfterMs: undefined,
    partialSuccess: undefined,
    durationMs: 1,
  };
}

function setup(answers: Answer[], form?: ProvedForm) {
  const clock = { ms: 0 };
  const pool = { connections: 0 };
  const told: Members[] = [];
  const probes: Uint8Array[] = [];
  const proof = new MembersProof({
    ...(form === undefined ? {} : { form }),
    ask: (probe, encoding) => {
      assert.equal(encoding, form === "zstd" ? "zstd" : "gzip");
      probes.push(probe);
      return Promise.resolve(answers.shift()!);
    },
    connections: () => pool.connections,
    onChange: (members) => told.push(members),
    now: () => clock.ms,
  });
  return { proof, clock, pool, told, probes };
}

Deno.test("after a control that is taken, 400 says that every member is read, 2xx that the first is; no decoder takes the probe's second", async () => {
  const all = setup([answered(200), answered(400)]);
  assert.equal(await all.proof.prove(), "all");
  assert.deepEqual(all.told, ["all"]);
  assert.deepEqual(all.probes[0], SEAL);
  assert.deepEqual([...gunzipSync(all.probes[1]!)], [0x0a, 0x7f]);
  // It reads the first member of the seal, a tag without a value.
  const first = setup([answered(400), answered(200), answered(200)]);
  assert.equal(await first.proof.prove(), "first_only");
  assert.deepEqual(first.told, ["first_only"]);
});

Deno.test("where the control is refused, a refusal proves nothing: it is not asked further, and it is unknown", async () => {
  for (const status of [400, 413, 422]) {
    const { proof, told, probes } = setup([answered(status), answered(status)]);
    assert.equal(await proof.prove(), "unknown", `${status}`);
    assert.deepEqual(told, ["unknown"]);
    assert.equal(probes.length, 2);
  }
});

Deno.test("who reads all members and refuses the seal gets nothing merged: each such body would be refused", async () => {
  const { proof, probes } = setup([answered(400), answered(200), answered(400)]);
  assert.equal(await proof.prove(), "unknown");
  assert.deepEqual(probes.map((probe) => gunzipSync(probe).length), [6, 0, 2]);
});

Deno.test("zstd is asked for in zstd, and where the coding itself is refused nothing is held up", async () => {
  const reads = setup([answered(200), answered(400)], "zstd");
  assert.equal(await reads.proof.prove(), "all");
  assert.deepEqual(reads.probes.map((probe) => [...unzstd(probe, 16)]), [[], [0x0a, 0x7f]]);
  for (const status of [400, 415]) assert.equal(await setup([answered(status)], "zstd").proof.prove(), "unknown");
  assert.equal(await setup([answered(200), answered(200)], "zstd").proof.prove(), "first_only");
  // A 415 to gzip, which everybody reads, is about the way.
  assert.deepEqual(await setup([answered(415)]).proof.prove(), answered(415));
});

Deno.test("another answer, or none, says neither, and is asked again", async () => {
  const none: Answer = { kind: "none", cause: "cut", timedOut: false, aborted: false, durationMs: 1 };
  const { proof, told } = setup([
    none,
    answered(503),
    answered(200),
    answered(404),
    { ...answered(200), foreign: true } as Answer,
    answered(200),
    answered(400),
  ]);
  assert.equal(await proof.prove(), none);
  assert.deepEqual(await proof.prove(), answered(503));
  assert.deepEqual(await proof.prove(), answered(404));
  assert.deepEqual(await proof.prove(), { ...answered(200), foreign: true });
  assert.deepEqual(told, []);
  assert.equal(await proof.prove(), "all");
});

Deno.test("an endpoint that asks to wait after each answer is asked the rest, and one that is lost after each is not asked for ever", async () => {
  const waits = setup([answered(200), answered(429), answered(400)]);
  assert.deepEqual(await waits.proof.prove(), answered(429));
  assert.equal(await waits.proof.prove(), "all", "the seal is not asked again, and the probe is answered");
  const none: Answer = { kind: "none", cause: "cut", timedOut: false, aborted: false, durationMs: 1 };
  const cuts = setup([
    answered(200),
    none,
    answered(200),
    none,
    none,
    answered(200),
    none,
    answered(200),
    answered(400),
  ]);
  for (let attempt = 1; attempt <= 3; attempt++) {
    assert.equal(await cuts.proof.prove(), none);
    cuts.proof.lost();
  }
  assert.equal(await cuts.proof.prove(), "unknown", "each request goes by itself meanwhile");
  cuts.clock.ms += UNKNOWN_MS_MAX;
  assert.equal(await cuts.proof.prove(), "all");
  assert.deepEqual(cuts.told, ["unknown", "all"]);
});

Deno.test("those who ask at once share one probe, and a proof is not asked for again while it holds", async () => {
  const { proof, probes } = setup([answered(200), answered(400)]);
  assert.deepEqual(await Promise.all([proof.prove(), proof.prove(), proof.prove()]), ["all", "all", "all"]);
  assert.equal(await proof.prove(), "all");
  assert.equal(probes.length, 2);
});

Deno.test("a lost connection, new connections and time end a proof; a change is told once", async () => {
  const { proof, pool, clock, told, probes } = setup(
    ["all", "all", "first", "first", "all"].flatMap((reads) =>
      (reads === "all" ? [200, 400] : [400, 200, 200]).map(answered)
    ),
  );
  assert.equal(await proof.prove(), "all");
  proof.lost();
  assert.equal(await proof.prove(), "all");
  pool.connections++;
  assert.equal(await proof.prove(), "first_only");
  clock.ms += PROOF_MS_MAX;
  assert.equal(await proof.prove(), "first_only");
  clock.ms += PROOF_MS_MAX - 1;
  assert.equal(await proof.prove(), "first_only");
  clock.ms += 1;
  assert.equal(await proof.prove(), "all");
  assert.equal(probes.length, 12);
  assert.deepEqual(told, ["all", "first_only", "all"]);
});

Deno.test("a refusal of what is merged ends a proof, and those that follow it soon end none", async () => {
  const { proof, clock, probes } = setup([1, 2, 3].flatMap(() => [answered(200), answered(400)]));
  assert.equal(await proof.prove(), "all");
  for (const [laterMs, asked] of [[0, 4], [DOUBTED_MS - 1, 4], [1, 6]] as const) {
    clock.ms += laterMs;
    proof.doubted();
    assert.equal(await proof.prove(), "all");
    assert.equal(probes.length, asked);
  }
});

Deno.test("that nothing can be learned holds for less long: an endpoint may refuse everything for a moment", async () => {
  const { proof, clock, told } = setup([answered(400), answered(400), answered(200), answered(400)]);
  assert.equal(await proof.prove(), "unknown");
  clock.ms += UNKNOWN_MS_MAX - 1;
  assert.equal(await proof.prove(), "unknown");
  clock.ms += 1;
  assert.equal(await proof.prove(), "all");
  assert.deepEqual(told, ["unknown", "all"]);
});
