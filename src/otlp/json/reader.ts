/**
 * JSON (RFC 8259) read from its bytes, token by token: what `JSON.parse` refuses is refused here, and nothing is made of a value
 * but what the caller asks for. The bytes are valid UTF-8; the caller has looked.
 * @module
 */
import { Fault, JsonError } from "./error.ts";
import type { FieldPlan, MessagePlan } from "./plan.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const BRACKET_END = 0x5d;
const BRACE = 0x7b;
const BRACE_END = 0x7d;

/** What a byte within a string means: 0 that it stands for itself. */
const STRING_SPECIAL = new Uint8Array(256);
STRING_SPECIAL.fill(1, 0, 0x20);
STRING_SPECIAL[QUOTE] = STRING_SPECIAL[BACKSLASH] = 1;

/** What stands behind a backslash, and the byte that it means; 0 where it may not stand there. */
const ESCAPED = new Uint8Array(256);
for (const [escape, meant] of [['"', '"'], ["\\", "\\"], ["/", "/"], ["b", "\b"], ["f", "\f"], ["n", "\n"]] as const) {
  ESCAPED[escape.charCodeAt(0)] = meant.charCodeAt(0);
}
ESCAPED[0x72] = 0x0d;
ESCAPED[0x74] = 0x09;

/** The value of a hex digit in either case; 255 for every other byte. */
export const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

const TRUE = new TextEncoder().encode("true");
const FALSE = new TextEncoder().encode("false");
const NULL = new TextEncoder().encode("null");
const EMPTY = new Uint8Array(0);
const NO_VIEW = new DataView(EMPTY.buffer);
const UTF8 = new TextDecoder();

/** Levels of ignored nesting that are kept room for between bodies, 8 to the byte. */
const LEVEL_BYTES = 1024;

/**
 * Whether one of a word's four bytes is special in a string. Subtracting from all four at once sets the high bit of a byte that was
 * below what is subtracted; a borrow may set the one above it too, which only costs a second look.
 */
export function hasSpecial(word: number): boolean {
  const quote = word ^ 0x2222_2222;
  const backslash = word ^ 0x5c5c_5c5c;
  const low = ((quote - 0x0101_0101) & ~quote) | ((backslash - 0x0101_0101) & ~backslash) |
    ((word - 0x2020_2020) & ~word);
  return (low & 0x8080_8080) !== 0;
}

/** A text and a place in it. One instance reads body after body, which is safe because reading never awaits. */
export class JsonReader {
  /** The text. */
  bytes: Uint8Array = EMPTY;
  /** The same, to be read by words of four bytes. */
  view: DataView = NO_VIEW;
  /** The next byte to read. */
  position = 0;
  /** Whether each level of ignored nesting is an object, a bit each. */
  #levels = new Uint8Array(LEVEL_BYTES);

  /** Begins a text. A byte order mark before it is skipped, as `TextDecoder` does. */
  begin(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  }

  /** Lets go of the text, and of what it took. */
  end(): void {
    this.bytes = EMPTY;
    this.view = NO_VIEW;
    if (this.#levels.length > LEVEL_BYTES) this.#levels = new Uint8Array(LEVEL_BYTES);
  }

  /** The next byte that is not white space, which is not taken; 0, which no JSON has there, at the end. */
  peek(): number {
    const { bytes } = this;
    let { position } = this;
    if (position < bytes.length && bytes[position]! > 0x20) return bytes[position]!;
    while (position < bytes.length) {
      const byte = bytes[position]!;
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) {
        this.position = position;
        return byte;
      }
      position++;
    }
    this.position = position;
    return 0;
  }

  /** Takes the white space before the end. @throws {JsonError} when there is more. */
  finish(): void {
    this.peek();
    if (this.position < this.bytes.length) throw this.unexpected();
  }

  /** Opens an object or array, whose first byte is next. False when it is empty, and then it is taken whole. */
  open(end: number): boolean {
    this.position++;
    if (this.peek() !== end) return true;
    this.position++;
    return false;
  }

  /** Takes the comma after an element of what `end` ends and returns true, or takes the end and returns false. */
  more(end: number): boolean {
    const byte = this.peek();
    if (byte !== COMMA && byte !== end) throw this.unexpected();
    this.position++;
    return byte === COMMA;
  }

  /**
   * Takes a member's name and the colon.
   * @param expected The field that is likely.
   * @returns its field; undefined when the message has none of that name.
   */
  name(message: MessagePlan, expected: FieldPlan | undefined): FieldPlan | undefined {
    if (expected !== undefined && expected.spelling.standsIn(this.view, this.position)) {
      this.position += expected.spelling.length;
      return expected;
    }
    return this.#otherName(message, expected);
  }

  /** A name that is not the expected one, or is spelled with white space or escapes. */
  #otherName(message: MessagePlan, expected: FieldPlan | undefined): FieldPlan | undefined {
    if (this.peek() !== QUOTE) throw this.unexpected();
    const { bytes, position } = this;
    let field = expected;
    if (expected !== undefined) {
      const { nameBytes } = expected;
      const start = position + 1;
      let index = 0;
      while (index < nameBytes.length && bytes[start + index] === nameBytes[index]) index++;
      if (index === nameBytes.length) this.position = start + index;
      else field = undefined;
    }
    if (field === undefined) {
      const escaped = this.#skipString();
      field = escaped ? message.named(this.#text(position)) : message.find(bytes, position + 1, this.position - 1);
    }
    if (this.peek() !== COLON) throw this.unexpected();
    this.position++;
    return field;
  }

  /** Takes `true` or `false`, whose first byte is next. */
  boolean(): boolean {
    const value = this.bytes[this.position] === TRUE[0];
    this.#literal(value ? TRUE : FALSE);
    return value;
  }

  /** Takes `null`, whose first byte is next. */
  null(): void {
    this.#literal(NULL);
  }

  #literal(literal: Uint8Array): void {
    for (const byte of literal) {
      if (this.bytes[this.position] !== byte) throw this.unexpected();
      this.position++;
    }
  }

  /**
   * Takes a string, whose quote is next, and writes what it means as UTF-8. Half a surrogate pair becomes U+FFFD.
   * @param target Has room for as many bytes as are left of the text.
   * @returns the byte behind the last one written.
   */
  copyString(target: Uint8Array, start: number): number {
    const { bytes, view } = this;
    let from = this.position + 1;
    let to = start;
    for (;;) {
      for (const last = bytes.length - 4; from <= last; from += 4) {
        const word = view.getInt32(from, true);
        if (hasSpecial(word)) break;
        target[to] = word;
        target[to + 1] = word >> 8;
        target[to + 2] = word >> 16;
        target[to + 3] = word >> 24;
        to += 4;
      }
      while (from < bytes.length) {
        const byte = bytes[from]!;
        if (STRING_SPECIAL[byte] !== 0) break;
        target[to++] = byte;
        from++;
      }
      this.position = from;
      if (bytes[from] === QUOTE) {
        this.position++;
        return to;
      }
      to = this.#copyEscape(target, to);
      from = this.position;
    }
  }

  #copyEscape(target: Uint8Array, start: number): number {
    if (this.bytes[this.position] !== BACKSLASH) throw this.unexpected();
    const escape = this.bytes[++this.position];
    const meant = escape === undefined ? 0 : ESCAPED[escape]!;
    if (meant !== 0) {
      target[start] = meant;
      this.position++;
      return start + 1;
    }
    let code = this.#unit();
    const { bytes, position } = this;
    if (code >= 0xd800 && code <= 0xdfff) {
      const pair = code < 0xdc00 && bytes[position] === BACKSLASH && bytes[position + 1] === 0x75;
      let low = 0;
      if (pair) {
        this.position++;
        low = this.#unit();
      }
      if (low >= 0xdc00 && low <= 0xdfff) code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      else {
        // Alone; what follows is read by itself.
        this.position = position;
        code = 0xfffd;
      }
    }
    return putUtf8(target, start, code);
  }

  /** Takes `u` and four hex digits. */
  #unit(): number {
    if (this.bytes[this.position] !== 0x75) throw this.unexpected();
    let unit = 0;
    for (let digits = 0; digits < 4; digits++) {
      const byte = this.bytes[++this.position];
      const digit = byte === undefined ? 255 : HEX[byte]!;
      if (digit === 255) throw this.unexpected();
      unit = unit * 16 + digit;
    }
    this.position++;
    return unit;
  }

  /** Takes a string, whose quote is next, and tells whether it has escapes. */
  #skipString(): boolean {
    const { bytes, view } = this;
    let escaped = false;
    for (let index = this.position + 1;;) {
      for (const last = bytes.length - 4; index <= last && !hasSpecial(view.getInt32(index, true)); index += 4);
      while (index < bytes.length && STRING_SPECIAL[bytes[index]!] === 0) index++;
      this.position = index;
      if (bytes[index] === QUOTE) {
        this.position++;
        return escaped;
      }
      this.#copyEscape(SCRATCH, 0);
      escaped = true;
      index = this.position;
    }
  }

  /** Bytes that are left of the text. */
  get left(): number {
    return this.bytes.length - this.position;
  }

  /** How many bytes the string takes whose quote is next, quotes and escapes with it. */
  stringLength(): number {
    const start = this.position;
    this.#skipString();
    const length = this.position - start;
    this.position = start;
    return length;
  }

  /** Takes a string, whose quote is next. For the odd ones: most are never made. */
  string(): string {
    const start = this.position;
    this.#skipString();
    return this.#text(start);
  }

  #text(start: number): string {
    return JSON.parse(UTF8.decode(this.bytes.subarray(start, this.position))) as string;
  }

  /** Takes a number and returns its text. */
  number(): string {
    const start = this.position;
    this.#skipNumber();
    return this.ascii(start);
  }

  /** The text from `start` to here, of ASCII alone. */
  ascii(start: number): string {
    return UTF8.decode(this.bytes.subarray(start, this.position));
  }

  #skipNumber(): void {
    if (this.bytes[this.position] === MINUS) this.position++;
    if (this.bytes[this.position] === ZERO) this.position++;
    else this.#skipDigits();
    if (this.bytes[this.position] === POINT) {
      this.position++;
      this.#skipDigits();
    }
    if ((this.bytes[this.position]! | 0x20) === 0x65) {
      const sign = this.bytes[++this.position];
      if (sign === 0x2b || sign === MINUS) this.position++;
      this.#skipDigits();
    }
  }

  /** Takes digits, one at least. */
  #skipDigits(): void {
    const { bytes } = this;
    let { position } = this;
    while (position < bytes.length && isDigit(bytes[position]!)) position++;
    const none = position === this.position;
    this.position = position;
    if (none) throw this.unexpected();
  }

  /** Takes a value of any kind and depth. It keeps its own stack, so that no nesting exhausts ours. */
  skip(): void {
    let depth = 0;
    for (;;) {
      const byte = this.peek();
      let open = 0;
      switch (byte) {
        case QUOTE:
          this.#skipString();
          break;
        case BRACE:
          open = BRACE_END;
          break;
        case BRACKET:
          open = BRACKET_END;
          break;
        case 0x74:
          this.#literal(TRUE);
          break;
        case 0x66:
          this.#literal(FALSE);
          break;
        case 0x6e:
          this.#literal(NULL);
          break;
        default:
          if (byte !== MINUS && !isDigit(byte)) throw this.unexpected();
          this.#skipNumber();
      }
      if (open !== 0 && this.open(open)) {
        this.#setLevel(depth++, open === BRACE_END);
      } else {
        while (depth > 0 && !this.more(this.#isObject(depth - 1) ? BRACE_END : BRACKET_END)) depth--;
        if (depth === 0) return;
      }
      if (this.#isObject(depth - 1)) {
        if (this.peek() !== QUOTE) throw this.unexpected();
        this.#skipString();
        if (this.peek() !== COLON) throw this.unexpected();
        this.position++;
      }
    }
  }

  #isObject(level: number): boolean {
    return (this.#levels[level >> 3]! & (1 << (level & 7))) !== 0;
  }

  #setLevel(level: number, object: boolean): void {
    const index = level >> 3;
    if (index === this.#levels.length) {
      const grown = new Uint8Array(2 * this.#levels.length);
      grown.set(this.#levels);
      this.#levels = grown;
    }
    const bit = 1 << (level & 7);
    if (object) this.#levels[index]! |= bit;
    else this.#levels[index]! &= ~bit;
  }

  /**
   * Takes the next value and says what it is, where another kind is wanted.
   * @param wanted E.g. `an object`.
   */
  otherKind(wanted: string): Fault {
    const kind = kindOf(this.peek());
    this.skip();
    return new Fault(`${kind}, ${wanted} wanted`);
  }

  /** That the next byte may not stand here, or that one is missing. A sender's data has no place in the words. */
  unexpected(): JsonError {
    const { bytes, position } = this;
    let start = 0;
    if (position >= bytes.length) {
      this.begin(bytes);
      const empty = this.peek() === 0;
      return new JsonError(
        `Malformed JSON: ${empty ? "the body is empty, {} is the empty request" : "the body ends too early"}`,
      );
    }
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) start = 3;
    // In the units of JavaScript's strings, as every JSON parser there counts.
    let character = 0;
    for (let index = start; index < position; index++) {
      const byte = bytes[index]!;
      if ((byte & 0xc0) !== 0x80) character += byte >= 0xf0 ? 2 : 1;
    }
    return new JsonError(`Malformed JSON: unexpected character ${character} of the body, counted from 0`);
  }
}

/** Room for one character that is only read. */
const SCRATCH = new Uint8Array(4);

/** Whether a byte is a decimal digit. */
export function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= 0x39;
}

/** What a value is, by its first byte; a name for an answer. */
export function kindOf(first: number): string {
  switch (first) {
    case QUOTE:
      return "a string";
    case BRACE:
      return "an object";
    case BRACKET:
      return "an array";
    case 0x6e:
      return "null";
    case 0x74:
    case 0x66:
      return "a boolean";
    default:
      return "a number";
  }
}

function putUtf8(target: Uint8Array, start: number, code: number): number {
  let at = start;
  if (code < 0x80) target[at++] = code;
  else {
    if (code < 0x800) target[at++] = 0xc0 | (code >> 6);
    else {
      if (code < 0x1_0000) target[at++] = 0xe0 | (code >> 12);
      else {
        target[at++] = 0xf0 | (code >> 18);
        target[at++] = 0x80 | ((code >> 12) & 0x3f);
      }
      target[at++] = 0x80 | ((code >> 6) & 0x3f);
    }
    target[at++] = 0x80 | (code & 0x3f);
  }
  return at;
}
