import assert from "node:assert/strict";
import { Evidence } from "../../src/exporter/evidence.ts";
import { Marks, type Suspicion } from "../../src/exporter/marks.ts";
import { type Piece, piecesOf } from "../../src/exporter/payload.ts";
import { type Cut, REFUSED_IN_A_ROW_MAX, Suspects } from "../../src/exporter/suspects.ts";
import { waitWhile } from "../support/wait_while.ts";

function scene(bySender = false, wait = { initialMs: 100, maxMs: 1_000 }) {
  const marks = new Marks();
  const evidence = new Evidence(bySender);
  const suspects = new Suspects({ marks, evidence, wait, bySender });
  let id = 0;
  return {
    suspects,
    evidence,
    pieceOf: (sender = "s"): Piece => {
      const [piece] = piecesOf({
        id: ++id,
        target: 1,
        signal: "traces",
        encoding: "gzip",
        mergeable: true,
        enqueuedAt: 0,
        payload: new Uint8Array(1),
        parts: [{ sender, items: 1, bytes: 1, inflatedBytes: 1 }],
        settle: () => Promise.resolve(),
      });
      return piece!;
    },
    refuse: (piece: Piece, cut?: Cut) => {
      evidence.send();
      return suspects.refused(piece, { sentBefore: evidence.sent }, cut);
    },
    contradict: () => evidence.contradicted(),
    take: (sender = "s") => evidence.took(evidence.send(), sender, undefined),
    of: (piece: Piece): Suspicion => {
      const suspicion = marks.of(piece)?.suspicion;
      assert(suspicion !== undefined);
      return suspicion;
    },
  };
}

Deno.test("one is guilty at its third refusal, where other data was taken in each time between", () => {
  const { suspects, pieceOf, refuse, take, of } = scene();
  const piece = pieceOf();
  refuse(piece);
  assert.equal(suspects.proven(piece, of(piece)), false);
  take();
  assert.equal(suspects.proven(piece, of(piece)), false, "once may be chance");
  refuse(piece);
  assert.equal(suspects.proven(piece, of(piece)), false);
  refuse(piece);
  assert.equal(suspects.proven(piece, of(piece)), false, "nothing was taken between");
  take();
  assert.equal(suspects.proven(piece, of(piece)), true);
});

Deno.test("where the endpoint has taken what it had refused, one is guilty at its sixteenth refusal", () => {
  const { suspects, pieceOf, refuse, take, contradict, of } = scene();
  contradict();
  const piece = pieceOf();
  for (let refusal = 1; refusal <= 15; refusal++) {
    refuse(piece);
    assert.equal(suspects.proven(piece, of(piece)), false, `refusal ${refusal}`);
    take();
  }
  assert.equal(suspects.proven(piece, of(piece)), true);
  refuse(piece, "some");
  take();
  assert.equal(suspects.proven(piece, of(piece)), false, "what is left of it is proven anew");
});

Deno.test("one waits longer each time while nothing is taken, and has waited enough after ten times the longest wait", async () => {
  const { suspects, pieceOf, refuse, take, of } = scene(false, { initialMs: 1, maxMs: 10 });
  const piece = pieceOf();
  const started = performance.now();
  for (const mostMs of [1, 2, 4, 8, 10, 10]) {
    const { waitMs } = refuse(piece);
    assert(waitMs >= mostMs / 2 && waitMs <= mostMs, `${waitMs} of ${mostMs}`);
  }
  await waitWhile(() => !suspects.waited(piece, of(piece)));
  assert(performance.now() - started >= 100);
  // As soon as something is taken that tells more, it is looked at again soon.
  take();
  assert.equal(suspects.waited(piece, of(piece)), false);
  assert(refuse(piece).waitMs <= 1);
});

Deno.test("many that are refused with nothing taken between are the endpoint's fault: none has waited enough", async () => {
  const { suspects, pieceOf, refuse, take, of } = scene(false, { initialMs: 1, maxMs: 1 });
  const pieces = Array.from({ length: REFUSED_IN_A_ROW_MAX }, () => pieceOf());
  const [first] = pieces;
  for (let times = 0; times < 6; times++) {
    for (const piece of pieces.slice(1)) refuse(piece);
    // However often the same ones are.
    assert.equal(suspects.everything(first!), false);
  }
  await waitWhile(() => !suspects.waited(pieces[1]!, of(pieces[1]!)));
  refuse(first!);
  assert.equal(suspects.everything(first!), true);
  assert.equal(suspects.waited(pieces[1]!, of(pieces[1]!)), false);
  take();
  assert.equal(suspects.everything(first!), false);
});

Deno.test("how many were refused in a row says nothing of another endpoint that the data goes to since", () => {
  const { suspects, evidence, pieceOf } = scene();
  const pieces = Array.from({ length: REFUSED_IN_A_ROW_MAX }, () => pieceOf());
  for (const one of pieces) suspects.refused(one, { sentBefore: evidence.sent, by: "a" });
  assert.ok(suspects.everything(pieces[0]!));
  evidence.moved();
  assert.ok(!suspects.everything(pieces[0]!));
  for (const one of pieces) suspects.refused(one, { sentBefore: evidence.sent, by: "b" });
  assert.ok(suspects.everything(pieces[0]!), "which may refuse everything, too");
});

Deno.test("where the endpoint tells senders apart, one that is refused says nothing of another", () => {
  const { suspects, pieceOf, refuse, take } = scene(true);
  for (let times = 0; times < REFUSED_IN_A_ROW_MAX; times++) refuse(pieceOf("a"));
  assert.equal(suspects.everything(pieceOf("a")), true);
  assert.equal(suspects.everything(pieceOf("b")), false);
  take("b");
  assert.equal(suspects.everything(pieceOf("a")), true);
});

for (const cut of ["some", "nothing"] as const) {
  Deno.test(`what is left of one that was cut down needs one proof more; ${cut} of it was taken`, () => {
    const { suspects, pieceOf, refuse, take, of } = scene();
    const piece = pieceOf();
    assert(refuse(piece, cut).waitMs <= 100);
    assert.deepEqual([of(piece).vain, suspects.proven(piece, of(piece))], [cut === "nothing", false]);
    take();
    assert.equal(suspects.proven(piece, of(piece)), true);
  });
}
