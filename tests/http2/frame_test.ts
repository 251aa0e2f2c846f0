import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  ConnectionFault,
  FLAG,
  frame,
  FRAME_BYTES_MAX,
  FRAME_TYPE,
  FrameReader,
  numbersFrame,
  settingsFrame,
} from "../../src/http2/frame.ts";

/** What a reader told, the pieces of a frame of DATA joined. */
function told(chunks: readonly Buffer[]): string[] {
  const lines: string[] = [];
  let data = "";
  const reader = new FrameReader({
    frame: ({ type, flags, id }, body) => void lines.push(`${type} ${flags} ${id} ${body.toString("hex")}`),
    dataBegins: ({ length }) => void (data = `data of ${length}: `),
    dataPiece: (_, piece) => void (data += piece.toString("hex")),
    dataEnds: ({ flags, id }, padding) => void lines.push(`${data} ${flags} ${id} padding ${padding}`),
  });
  for (const chunk of chunks) reader.read(chunk);
  return lines;
}

const STREAM = Buffer.concat([
  settingsFrame([[3, 100], [4, 70_000]]),
  frame(FRAME_TYPE.settings, FLAG.ack, 0, Buffer.alloc(0)),
  frame(FRAME_TYPE.headers, FLAG.endHeaders, 1, Buffer.from("abc")),
  frame(FRAME_TYPE.data, 0, 1, Buffer.from("hello")),
  frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.from([2, 0x61, 0, 0])),
  frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.from([0])),
  frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.from([1, 0])),
  frame(FRAME_TYPE.data, FLAG.endStream, 1, Buffer.alloc(0)),
  numbersFrame(FRAME_TYPE.goaway, 0, 1, 0),
]);
const TOLD = [
  "4 0 0 000300000064000400011170",
  "4 1 0 ",
  "1 4 1 616263",
  "data of 5: 68656c6c6f 0 1 padding 0",
  "data of 4: 61 8 1 padding 3",
  "data of 1:  8 1 padding 1",
  "data of 2:  8 1 padding 2",
  "data of 0:  1 1 padding 0",
  "7 0 0 0000000100000000",
];

Deno.test("reads frames wherever they are cut", () => {
  assert.deepEqual(told([STREAM]), TOLD);
  assert.deepEqual(told([...STREAM].map((byte) => Buffer.from([byte]))), TOLD);
  for (let at = 1; at < STREAM.length; at++) {
    assert.deepEqual(told([STREAM.subarray(0, at), STREAM.subarray(at)]), TOLD);
  }
});

Deno.test("holds no piece of DATA back", () => {
  const pieces: string[] = [];
  const reader = new FrameReader({
    frame() {},
    dataBegins() {},
    dataPiece: (_, piece) => void pieces.push(piece.toString()),
    dataEnds() {},
  });
  const whole = frame(FRAME_TYPE.data, 0, 1, Buffer.from("hello"));
  reader.read(whole.subarray(0, 11));
  reader.read(whole.subarray(11));
  assert.deepEqual(pieces, ["he", "llo"]);
});

Deno.test("refuses a frame over the limit by its head alone", () => {
  const head = frame(FRAME_TYPE.headers, 0, 1, Buffer.alloc(FRAME_BYTES_MAX + 1)).subarray(0, 9);
  assert.throws(() => told([head]), (error) => error instanceof ConnectionFault && error.code === 6);
});

Deno.test("refuses DATA whose padding is longer than it", () => {
  const fault = (code: number) => (error: unknown) => error instanceof ConnectionFault && error.code === code;
  assert.throws(() => told([frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.from([3, 0, 0]))]), fault(1));
  assert.throws(() => told([frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.alloc(0))]), fault(6));
});

Deno.test("says whether a frame has begun that is not DATA", () => {
  const reader = new FrameReader({ frame() {}, dataBegins() {}, dataPiece() {}, dataEnds() {} });
  const settings = settingsFrame([[3, 1]]);
  assert.equal(reader.within, false);
  reader.read(settings.subarray(0, 3));
  assert.equal(reader.within, true);
  reader.read(settings.subarray(3, 12));
  assert.equal(reader.within, true);
  reader.read(settings.subarray(12));
  assert.equal(reader.within, false);
  reader.read(frame(FRAME_TYPE.data, 0, 1, Buffer.from("hello")).subarray(0, 11));
  assert.equal(reader.within, false);
});
