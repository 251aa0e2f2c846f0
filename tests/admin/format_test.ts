import assert from "node:assert/strict";
import { bytes, count, duration, moment, rate } from "../../src/admin/format.ts";

Deno.test("numbers and times as people read them", () => {
  assert.deepEqual([0, 999, 1_234_567].map(count), ["0", "999", "1,234,567"]);
  assert.deepEqual([0, 0.001, 0.25, 3.14, 12.7, 1_204.2].map(rate), ["0", "<0.01", "0.25", "3.1", "13", "1,204"]);
  assert.deepEqual([0, 1_023, 1_024, 12_595, 1 << 20, 2 ** 30, 2 ** 50].map(bytes), [
    "0 B",
    "1,023 B",
    "1.0 KiB",
    "12.3 KiB",
    "1.0 MiB",
    "1.0 GiB",
    "1,024 TiB",
  ]);
  assert.deepEqual([0, 0.00085, 0.0042, 0.012, 4.21, 59.6, 60, 200, 18_720, 3 * 86_400 + 14_400].map(duration), [
    "0 s",
    "850 us",
    "4.2 ms",
    "12 ms",
    "4.2 s",
    "1 min",
    "1 min",
    "3 min 20 s",
    "5 h 12 min",
    "3 d 4 h",
  ]);
  assert.equal(moment(Date.UTC(2026, 10, 26, 23, 34, 46, 500)), "2026-11-26 23:34:46Z");
});
