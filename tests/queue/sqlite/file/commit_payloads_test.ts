import assert from "node:assert/strict";
import { CommitPayloads } from "../../../../src/queue/sqlite/file/commit_payloads.ts";
import { packCommit, PACKED_BYTES_MAX, rowOf } from "../../../../src/queue/sqlite/packing.ts";
import { releasesAll } from "../../../support/owners.ts";
import { partBytes, record } from "../../records.ts";

/** Sizes of three payloads: the second and third go by themselves. */
const SIZES = [100, 2 * PACKED_BYTES_MAX, 3 * PACKED_BYTES_MAX];

/** A message of three appends, the second of which is asked back. */
function message() {
  const appends = SIZES.map((bytes, number) => {
    const { payload, ...rest } = record(number, { bytes });
    return { parts: rest.parts, payload, op: rowOf(rest, number) };
  });
  const packed = packCommit(appends, [], ({ enqueuedAt }) => enqueuedAt === 1, 0).message;
  for (const { payload } of appends) payload[Symbol.dispose]();
  return packed;
}

Deno.test("each append finds its payload, whether it was packed or came by itself", () =>
  releasesAll(() => {
    using payloads = new CommitPayloads(message());
    for (const [index, bytes] of SIZES.entries()) {
      assert.deepEqual(new Uint8Array(payloads.of(index)), partBytes(index, 0, bytes));
    }
    return Promise.resolve();
  }));

Deno.test("those that were asked back go back, and the memory of the others is given back", () =>
  releasesAll(() => {
    const { appends, packed } = message();
    const [, asked, other] = appends.map(({ payload }) => payload as Uint8Array);
    {
      using payloads = new CommitPayloads({ appends, packed });
      assert.deepEqual(payloads.takeReturned(), [asked]);
      assert.throws(() => payloads.of(1), ReferenceError, "whoever asked has it");
    }
    assert.deepEqual([asked!.length, other!.length], [SIZES[1], 0]);
    return Promise.resolve();
  }));

Deno.test("of a commit that failed nothing goes back, and all memory is given back", () =>
  releasesAll(() => {
    const { appends, packed } = message();
    new CommitPayloads({ appends, packed })[Symbol.dispose]();
    for (const { payload } of appends) assert(!(payload instanceof Uint8Array) || payload.length === 0);
    return Promise.resolve();
  }));
