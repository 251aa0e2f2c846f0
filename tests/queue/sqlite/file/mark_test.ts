import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { Buffer } from "node:buffer";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { decodeMark, encodeMark, MarkFile } from "../../../../src/queue/sqlite/file/mark.ts";

const MARK = { identity: 2 ** 53 - 1, lastId: 123_456_789_012, records: 42, accepted: [1, 2, 3, 4] };

Deno.test("a mark is read as it was written; any bit that differs makes it none", () => {
  const bytes = encodeMark(MARK);
  assert.deepEqual(decodeMark(bytes), MARK);
  for (let index = 0; index < bytes.length; index++) {
    const torn = bytes.slice();
    torn[index]! ^= 0x10;
    assert.equal(decodeMark(torn), undefined, `byte ${index}`);
  }
  assert.equal(decodeMark(bytes.subarray(0, bytes.length - 1)), undefined);
  assert.equal(decodeMark(new Uint8Array(bytes.length)), undefined);
});

Deno.test("a mark that was written before there were profiles is read", () => {
  // magic, identity 7, id 9, 2 records, accepted 1, 2 and 3, CRC32: as edgeferry 0.1 wrote them.
  const old = Buffer.alloc(56);
  old.writeUInt32LE(0x65664d31, 0);
  for (const [index, number] of [7, 9, 2, 1, 2, 3].entries()) old.writeDoubleLE(number, 4 + 8 * index);
  old.writeUInt32LE(crc32(old.subarray(0, 52)), 52);
  const expected = { identity: 7, lastId: 9, records: 2, accepted: [1, 2, 3, 0] };
  assert.deepEqual(decodeMark(old), expected);
  // A relay of then that runs again leaves the rest of a longer mark behind its own.
  assert.deepEqual(decodeMark(Buffer.concat([old, encodeMark(MARK).subarray(56)])), expected);
});

Deno.test("a mark's file is overwritten in place, for its owner alone", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-mark-"));
  try {
    const path = join(folder, "queue.db.mark");
    const file = new MarkFile(path);
    assert.equal(file.read(), undefined);
    file.write(MARK);
    const { size, mode } = statSync(path);
    assert.equal(mode & 0o777, 0o600);
    file.write({ ...MARK, lastId: 7 });
    file.close();
    assert.equal(statSync(path).size, size);
    const again = new MarkFile(path);
    assert.equal(again.read()?.lastId, 7);
    again.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
