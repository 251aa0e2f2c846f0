/**
 * The high-water mark beside the database. SQLite drops the WAL's frames from the first bad checksum on and says nothing;
 * the mark, written after each commit without an fsync of its own, is what shows that answered records are gone.
 * @module
 */
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import { SIGNAL_NAMES } from "../../../signal.ts";

/** What the mark says of the last transaction that was committed. */
export interface Mark {
  /** Which database it belongs to: the random number in its `meta` row. */
  readonly identity: number;
  /** The highest id given out. */
  readonly lastId: number;
  /** Items accepted since the database was made, in the order of the signals. */
  readonly accepted: readonly number[];
  /** Records queued after it. */
  readonly records: number;
}

const MAGIC = 0x65664d31; // "efM1"
const lengthFor = (signals: number): number => 4 + (3 + signals) * 8 + 4;
const LENGTH = lengthFor(SIGNAL_NAMES.length);
/** The signals that the first marks had. */
const SIGNALS_MIN = 3;

/** The mark as bytes: magic, doubles, CRC32 of all before it; little-endian. */
export function encodeMark(mark: Mark): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  [mark.identity, mark.lastId, mark.records, ...mark.accepted].forEach((number, index) =>
    view.setFloat64(4 + index * 8, number, true)
  );
  view.setUint32(LENGTH - 4, crc32(bytes.subarray(0, LENGTH - 4)), true);
  return bytes;
}

/** The mark in `bytes`, also one of a relay that knew fewer signals; undefined where they are torn, foreign or empty. */
export function decodeMark(bytes: Uint8Array): Mark | undefined {
  for (let signals = SIGNAL_NAMES.length; signals >= SIGNALS_MIN; signals--) {
    const mark = decodeMarkOf(signals, bytes);
    if (mark !== undefined) return mark;
  }
  return undefined;
}

function decodeMarkOf(signals: number, bytes: Uint8Array): Mark | undefined {
  const length = lengthFor(signals);
  if (bytes.length < length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  if (view.getUint32(length - 4, true) !== crc32(bytes.subarray(0, length - 4))) return undefined;
  const number = (index: number) => view.getFloat64(4 + index * 8, true);
  return {
    identity: number(0),
    lastId: number(1),
    records: number(2),
    accepted: SIGNAL_NAMES.map((_, index) => index < signals ? number(3 + index) : 0),
  };
}

/** The mark's file, held open. */
export class MarkFile {
  readonly #fd: number;

  /** @throws what `node:fs` throws when the file cannot be opened for writing */
  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  read(): Mark | undefined {
    const bytes = new Uint8Array(LENGTH);
    const length = readSync(this.#fd, bytes, 0, LENGTH, 0);
    return decodeMark(bytes.subarray(0, length));
  }

  write(mark: Mark): void {
    writeSync(this.#fd, encodeMark(mark), 0, LENGTH, 0);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
