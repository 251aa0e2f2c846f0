/**
 * Numbers of OTLP/JSON: each integer type may be a number or a decimal string, doubles may be words too (proto3, "ProtoJSON Format").
 * What senders write, plain digits, is read from the bytes; what else is allowed goes by way of a string.
 * @module
 */
import { Fault } from "./error.ts";
import { isDigit, type JsonReader } from "./reader.ts";

const QUOTE = 0x22;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const WORD = 2 ** 32;

/** 10^0 to 10^22, the powers that a double holds. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));

/** The digits of an integer that may fit 64 bits. */
const DECIMAL = /^-?\d{1,20}$/;
const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n } as const;
const UINT64 = { min: 0n, max: 2n ** 64n - 1n } as const;

/** An integer of 64 bits in two words: those of its two's complement once it is known to fit. */
export class Words {
  low = 0;
  /** 2^32 or more where 64 bits do not hold the value. */
  high = 0;
  negative = false;

  /** Takes an int64 or sfixed64 (`signed`), a uint64 or fixed64. */
  read64(reader: JsonReader, signed: boolean): void {
    this.#read(reader);
    const { low, high } = this;
    if (!this.negative) {
      if (high < (signed ? WORD / 2 : WORD)) return;
    } else if (low === 0 && high === 0) return;
    else if (signed && (high < WORD / 2 || (high === WORD / 2 && low === 0))) {
      this.high = (~high + (low === 0 ? 1 : 0)) >>> 0;
      this.low = -low >>> 0;
      return;
    }
    const { min, max } = signed ? INT64 : UINT64;
    throw outOfRange(min, max);
  }

  /** Takes an integer of 32 bits. */
  read32(reader: JsonReader, min: number, max: number): number {
    this.#read(reader);
    const magnitude = this.high * WORD + this.low;
    const value = this.negative ? -magnitude : magnitude;
    if (value < min || value > max) throw outOfRange(min, max);
    return value;
  }

  /** Takes an integer: its magnitude in two words, and whether it is negative. */
  #read(reader: JsonReader): void {
    const { bytes } = reader;
    let position = reader.position;
    const quoted = bytes[position] === QUOTE;
    if (quoted) position++;
    this.negative = bytes[position] === MINUS;
    if (this.negative) position++;
    const start = position;
    // 9 digits fit 32 bits and 15 fit a double; a word times 10^5 does too.
    let end = Math.min(start + 9, bytes.length);
    let head = 0;
    while (position < end && isDigit(bytes[position]!)) head = head * 10 + (bytes[position++]! - ZERO);
    let next = bytes[position];
    if (position === end && next !== undefined && isDigit(next)) {
      const middleStart = position;
      let middle = 0;
      end = Math.min(start + 15, bytes.length);
      while (position < end && isDigit(bytes[position]!)) middle = middle * 10 + (bytes[position++]! - ZERO);
      head = head * POWERS_OF_TEN[position - middleStart]! + middle;
      next = bytes[position];
    }
    this.low = head >>> 0;
    this.high = Math.floor(head / WORD);
    if (position === end && next !== undefined && isDigit(next)) {
      const tailStart = position;
      let tail = 0;
      end = Math.min(start + 20, bytes.length);
      while (position < end && isDigit(bytes[position]!)) tail = tail * 10 + (bytes[position++]! - ZERO);
      const scale = POWERS_OF_TEN[position - tailStart]!;
      const product = this.low * scale + tail;
      this.low = product >>> 0;
      this.high = this.high * scale + Math.floor(product / WORD);
      next = bytes[position];
    }
    const plain = position > start && next !== undefined &&
      (quoted ? next === QUOTE : isSeparator(next) && (bytes[start] !== ZERO || position === start + 1));
    if (plain) reader.position = quoted ? position + 1 : position;
    else this.#readOdd(reader, quoted);
  }

  /** An integer in another spelling: with escapes, a fraction, an exponent, or of more digits. */
  #readOdd(reader: JsonReader, quoted: boolean): void {
    let text: string;
    if (quoted) {
      text = reader.string();
      if (!DECIMAL.test(text)) throw new Fault("a string that is no integer, an integer wanted");
    } else {
      const first = reader.peek();
      if (first !== MINUS && !isDigit(first)) throw reader.otherKind("an integer");
      text = reader.number();
    }
    if (DECIMAL.test(text)) {
      const value = BigInt(text);
      this.#set(value < 0n ? -value : value);
      return;
    }
    const value = Number(text);
    if (!Number.isInteger(value)) throw new Fault("a number that is no integer, an integer wanted");
    this.negative = value < 0;
    this.#set(BigInt(Math.abs(value)));
  }

  #set(magnitude: bigint): void {
    this.low = Number(magnitude & 0xffff_ffffn);
    this.high = Number(magnitude >> 32n);
  }
}

/** Takes a double. */
export function readDouble(reader: JsonReader): number {
  const { bytes } = reader;
  let position = reader.position;
  const negative = bytes[position] === MINUS;
  if (negative) position++;
  const start = position;
  // 15 digits and a point.
  const end = Math.min(start + 16, bytes.length);
  let digits = 0;
  let fraction = -1;
  for (; position < end; position++) {
    const byte = bytes[position]!;
    if (isDigit(byte)) digits = digits * 10 + (byte - ZERO);
    else if (byte === POINT && fraction < 0 && position > start) fraction = position + 1;
    else break;
  }
  const next = bytes[position];
  const decimals = fraction < 0 ? 0 : position - fraction;
  const long = fraction < 0 && position === start + 16;
  const leading = bytes[start] === ZERO && position > start + 1 && bytes[start + 1] !== POINT;
  if (position === start || position === fraction || leading || long || next === undefined || !isSeparator(next)) {
    return readOddDouble(reader);
  }
  reader.position = position;
  // Fewer than 16 digits and a power of ten are exact, so that their quotient is rounded once: the nearest double.
  const value = decimals === 0 ? digits : digits / POWERS_OF_TEN[decimals]!;
  return negative ? -value : value;
}

function readOddDouble(reader: JsonReader): number {
  const first = reader.peek();
  let text: string;
  if (first === QUOTE) {
    text = reader.string();
    if (text === "NaN" || text === "Infinity" || text === "-Infinity") return Number(text);
    if (!/^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(text)) throw new Fault("a string that is no number, a number wanted");
  } else if (first === MINUS || isDigit(first)) text = reader.number();
  else throw reader.otherKind("a number");
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Fault('a number over the range of a double; say "Infinity" for infinity');
  return value;
}

/** What may stand behind a number. Whatever else does, the long way tells what it is. */
function isSeparator(byte: number): boolean {
  return byte === 0x2c || byte === 0x7d || byte === 0x5d || byte <= 0x20;
}

function outOfRange(min: number | bigint, max: number | bigint): Fault {
  return new Fault(`an integer that is not between ${min} and ${max}`);
}
