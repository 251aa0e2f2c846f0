/**
 * Takes attributes out of an encoded export request, or puts a keyed hash in place of their values, by their keys. Changed on the
 * wire: nothing is decoded into objects, and all that no rule is for stays byte for byte.
 *
 * A rule is for every KeyValue of a request, wherever the schema has one: attributes of resource, scope, span, event, link, data
 * point, exemplar and log record, a metric's metadata, and maps inside of values and log bodies at any depth. In a profiles
 * request the attribute table too, and the strings that only what is taken out refers to; `original_payload`, which cannot be read
 * here, is taken out of it.
 *
 * Fields that the schema does not have stay as they are: a newer Collector may know them, and dropping them would lose data behind
 * a 200.
 * @module
 */
import { Buffer } from "node:buffer";
import { type FieldCursor, fieldCursor, int32At, LEN, readField, varint, varint64 } from "./fields.ts";
import { HmacSha256 } from "./hmac.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../schema.ts";
import type { SignalName } from "../../signal.ts";
import { StringTable } from "./string_table.ts";

/** What is done with an attribute; the names are those of the Collector's attributes processor. */
export type RedactionAction = "delete" | "hash";

/** One rule. */
export interface RedactionRule {
  /** An attribute key, or a glob over keys: `*` is any run of characters, `?` any one. Case counts. */
  readonly key: string;
  readonly action: RedactionAction;
}

/** What was found in one request. */
export interface Redaction {
  /** The request without it, in a buffer of its own; undefined where nothing is to be changed. */
  readonly request: Uint8Array<ArrayBuffer> | undefined;
  /** Attributes that each rule was for, by the rule's index; undefined where there was none. */
  readonly hits: readonly number[] | undefined;
}

const NOTHING: Redaction = { request: undefined, hits: undefined };

/** Keys whose rule is remembered: at most so many, none of them longer than this. */
const REMEMBERED_MAX = 4_096;
const REMEMBERED_KEY_BYTES_MAX = 256;

/** The rules of a relay. One at a time: a call never awaits, so what it works with is used again. */
export class Redactor {
  readonly rules: readonly RedactionRule[];
  readonly #hmac: HmacSha256 | undefined;
  readonly dryRun: boolean;
  /** Keys by their hash, with the index of their rule; -1 where there is none. Of two with one hash the last is there. */
  readonly #remembered = new Map<number, { readonly key: Uint8Array; readonly rule: number }>();
  readonly #field = fieldCursor();
  readonly #attribute = new Attribute();

  /**
   * @param rules Of several that are for a key a `delete` counts, or else the first.
   * @param salt The key of the HMAC. @param dryRun Counts alone.
   * @throws {TypeError} A rule hashes and there is no salt.
   */
  constructor(rules: readonly RedactionRule[], salt: string | undefined, dryRun: boolean) {
    if (!salt && rules.some(({ action }) => action === "hash")) throw new TypeError("Cannot hash without a salt");
    this.rules = rules;
    this.#hmac = salt ? new HmacSha256(salt) : undefined;
    this.dryRun = dryRun;
  }

  /** @param request One that a walk has found valid. */
  redact(signal: SignalName, request: Uint8Array): Redaction {
    const edits = new Edits(request);
    if (signal !== "profiles") {
      const hits = this.#read(signal, request, this.dryRun ? undefined : edits, undefined);
      return hits === undefined ? NOTHING : { request: edits.joined(), hits };
    }
    // What refers to each string is known at the end alone: first it is noted, then the request is changed.
    const strings = new StringTable(request);
    const hits = this.#read(signal, request, undefined, strings);
    if (!this.dryRun) this.#read(signal, request, edits, strings);
    return { request: edits.joined(), hits };
  }

  /** Reads a request and notes what is to be changed. @returns how often each rule was for an attribute; undefined for never. */
  #read(
    signal: SignalName,
    request: Uint8Array,
    edits: Edits | undefined,
    strings: StringTable | undefined,
  ): number[] | undefined {
    const field = this.#field;
    let hits: number[] | undefined;
    let stringIndex = 0;
    // A stack of its own, since messages may nest deeper than functions can.
    const open: OpenMessage[] = [];
    let within: OpenMessage = {
      message: REQUEST_MESSAGE[signal],
      end: request.length,
      lengthAt: -1,
      contentStart: 0,
      growth: 0,
    };
    for (let at = 0;;) {
      if (at >= within.end) {
        const around = open.pop();
        if (around === undefined) return hits;
        if (within.growth !== 0 && edits !== undefined) around.growth += within.growth + edits.setLength(within);
        within = around;
        continue;
      }
      readField(request, at, field);
      at = field.end;
      if (strings !== undefined) {
        within.growth += this.#inProfiles(request, within.message, field, strings, edits, stringIndex);
        if (isTableString(within.message, field)) stringIndex++;
      }
      const message = field.wireType === LEN ? CHILDREN[within.message].get(field.number) : undefined;
      if (message === undefined) continue;
      if (message === "KeyValue" || message === "KeyValueAndUnit") {
        const attribute = this.#attribute;
        attribute.read(request, message, field);
        const rule = this.#ruleFor(request, attribute, strings);
        if (rule >= 0) {
          hits ??= this.rules.map(() => 0);
          hits[rule]! += 1;
          strings?.keep(attribute.keyIndex);
          if (strings !== undefined) noteRemoved(request, message, field, strings);
          if (edits !== undefined) {
            within.growth += this.#change(request, edits, this.rules[rule]!.action, attribute, field, strings);
          }
          continue;
        }
        // Most values have nothing inside of them.
        if (strings === undefined && !attribute.holdsMore) continue;
      }
      open.push(within);
      within = { message, end: field.end, lengthAt: field.tagEnd, contentStart: field.contentStart, growth: 0 };
      at = field.contentStart;
    }
  }

  /** What a profiles request has beside attributes. @returns by how many bytes the message grows. */
  #inProfiles(
    request: Uint8Array,
    message: MessageName,
    field: FieldCursor,
    strings: StringTable,
    edits: Edits | undefined,
    stringIndex: number,
  ): number {
    if (STRING_INDICES[message].has(field.number)) strings.keep(int32At(request, field.contentStart));
    // The profile once more in its first form, with its attributes: nothing that can be read here.
    if (message === "Profile" && field.number === ORIGINAL_PAYLOAD) {
      return edits?.replace(field.start, field.end, NO_BYTES) ?? 0;
    }
    if (!isTableString(message, field) || !strings.isRemoved(stringIndex)) return 0;
    return edits?.replace(field.tagEnd, field.end, EMPTY_CONTENT) ?? 0;
  }

  #change(
    request: Uint8Array,
    edits: Edits,
    action: RedactionAction,
    attribute: Attribute,
    { start, tagEnd, contentStart, end }: FieldCursor,
    strings: StringTable | undefined,
  ): number {
    if (action === "hash") {
      const hash = this.#hmac!.hex(valueOf(request, contentStart, end, strings));
      return edits.replace(tagEnd, end, attribute.with(request, hash));
    }
    // Others of an attribute table are called by their place, so an entry of it is emptied and stays.
    return attribute.message === "KeyValueAndUnit"
      ? edits.replace(tagEnd, end, EMPTY_CONTENT)
      : edits.replace(start, end, NO_BYTES);
  }

  #ruleFor(bytes: Uint8Array, attribute: Attribute, strings: StringTable | undefined): number {
    const { message, keyStart, keyEnd, keyIndex, hasValue } = attribute;
    // Place 0 of an attribute table is empty, by definition.
    if (message === "KeyValueAndUnit" && keyIndex === 0 && !hasValue) return -1;
    const inTable = strings?.at(keyIndex);
    const rule = keyEnd > keyStart || inTable === undefined ? this.#ruleForKey(bytes, keyStart, keyEnd) : -1;
    return rule >= 0 || inTable === undefined ? rule : this.#ruleForKey(bytes, inTable.contentStart, inTable.end);
  }

  #ruleForKey(bytes: Uint8Array, start: number, end: number): number {
    const hash = fnv1a(bytes, start, end);
    const remembered = this.#remembered.get(hash);
    if (remembered !== undefined && isSame(remembered.key, bytes, start, end)) return remembered.rule;
    const key = bytes.slice(start, end);
    const text = utf8.decode(key);
    const matching = [...this.rules.keys()].filter((index) => matches(this.rules[index]!.key, text));
    const rule = matching.find((index) => this.rules[index]!.action === "delete") ?? matching[0] ?? -1;
    if (key.length <= REMEMBERED_KEY_BYTES_MAX) {
      if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
      this.#remembered.set(hash, { key, rule });
    }
    return rule;
  }
}

const STRING_VALUE_TAG = 0x0a;
/** The field of both kinds of attribute that has the value. */
const VALUE = 2;
const ARRAY_VALUE = 5;
const KVLIST_VALUE = 6;
/** Profile.original_payload. */
const ORIGINAL_PAYLOAD = 10;
/** The field that names the key by its place in the string table. */
const KEY_INDEX = { KeyValue: 3, KeyValueAndUnit: 1 } as const;
const NO_BYTES = new Uint8Array(0);
/** A length of 0. */
const EMPTY_CONTENT = Uint8Array.of(0);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** What is known of one attribute; read into again and again. Of a key that is there more than once the last counts. */
class Attribute {
  message: "KeyValue" | "KeyValueAndUnit" = "KeyValue";
  keyStart = 0;
  keyEnd = 0;
  /** The key's place in the string table. */
  keyIndex = 0;
  hasValue = false;
  /** Whether its value is a list or a map. */
  holdsMore = false;
  readonly #field = fieldCursor();
  readonly #value = fieldCursor();

  read(bytes: Uint8Array, message: "KeyValue" | "KeyValueAndUnit", { contentStart, end }: FieldCursor): void {
    const field = this.#field;
    this.message = message;
    this.keyStart = this.keyEnd = this.keyIndex = 0;
    this.hasValue = this.holdsMore = false;
    for (let at = contentStart; at < end; at = field.end) {
      readField(bytes, at, field);
      if (field.number === 1 && field.wireType === LEN) {
        this.keyStart = field.contentStart;
        this.keyEnd = field.end;
      } else if (field.number === VALUE && field.wireType === LEN) this.#readValue(bytes, field);
      else if (field.number === KEY_INDEX[message]) this.keyIndex = int32At(bytes, field.contentStart);
    }
  }

  #readValue(bytes: Uint8Array, { contentStart, end }: FieldCursor): void {
    const value = this.#value;
    this.hasValue = true;
    for (let at = contentStart; at < end; at = value.end) {
      readField(bytes, at, value);
      this.holdsMore ||= value.number === ARRAY_VALUE || value.number === KVLIST_VALUE;
    }
  }

  /** Length and content of the attribute with the same key and a text for its value; what else was in it is gone. */
  with(bytes: Uint8Array, value: string): Uint8Array {
    const key = bytes.subarray(this.keyStart, this.keyEnd);
    const index = this.keyIndex === 0
      ? []
      : [KEY_INDEX[this.message] << 3, ...varint64(BigInt.asUintN(64, BigInt(this.keyIndex)))];
    const head = [
      ...(key.length === 0 ? [] : [1 << 3 | LEN, ...varint(key.length)]),
      ...(this.message === "KeyValueAndUnit" ? index : []),
    ];
    const text = [VALUE << 3 | LEN, value.length + 2, STRING_VALUE_TAG, value.length];
    const tail = this.message === "KeyValue" ? index : [];
    const length = varint(head.length + key.length + text.length + value.length + tail.length);
    const out = new Uint8Array(length.length + head.length + key.length + text.length + value.length + tail.length);
    let at = 0;
    for (const piece of [length, head, key, text]) {
      out.set(piece, at);
      at += piece.length;
    }
    for (let index = 0; index < value.length; index++) out[at++] = value.charCodeAt(index);
    out.set(tail, at);
    return out;
  }
}

const MESSAGE_NAMES = Object.keys(MESSAGES) as MessageName[];

/** The fields of each message that name a string by its place in the string table of a profiles request. */
const STRING_INDICES = byMessage((name) =>
  new Set(MESSAGES[name].filter((field) => field.name.endsWith("trindex")).map(({ number }) => number))
);

/** The messages below each message, by field, as far as an attribute or a place in the string table may be in them. */
const CHILDREN = childrenOfInterest();

function childrenOfInterest(): Readonly<Record<MessageName, ReadonlyMap<number, MessageName>>> {
  const wanted = new Set<MessageName>(MESSAGE_NAMES.filter((name) => STRING_INDICES[name].size > 0));
  for (let size = 0; size < wanted.size;) {
    size = wanted.size;
    for (const name of MESSAGE_NAMES) {
      if (MESSAGES[name].some(({ kind }) => isMessage(kind) && wanted.has(kind))) wanted.add(name);
    }
  }
  return byMessage((name) => {
    const children = new Map<number, MessageName>();
    for (const { number, kind } of MESSAGES[name]) if (isMessage(kind) && wanted.has(kind)) children.set(number, kind);
    return children;
  });
}

function byMessage<Value>(make: (name: MessageName) => Value): Readonly<Record<MessageName, Value>> {
  return Object.fromEntries(MESSAGE_NAMES.map((name) => [name, make(name)])) as Record<MessageName, Value>;
}

/** A message that is being read. */
interface OpenMessage {
  readonly message: MessageName;
  readonly end: number;
  /** Where its length is; -1 for the request itself. */
  readonly lengthAt: number;
  readonly contentStart: number;
  /** Bytes that it has got more, or fewer. */
  growth: number;
}

/** What is to be changed of a request. */
class Edits {
  readonly #request: Uint8Array;
  readonly #edits: { readonly start: number; readonly end: number; readonly bytes: Uint8Array }[] = [];

  constructor(request: Uint8Array) {
    this.#request = request;
  }

  /** @returns by how many bytes it grows. */
  replace(start: number, end: number, bytes: Uint8Array): number {
    this.#edits.push({ start, end, bytes });
    return bytes.length - (end - start);
  }

  /** Writes a message's length anew. @returns by how many bytes the length itself grows. */
  setLength({ lengthAt, contentStart, end, growth }: OpenMessage): number {
    return this.replace(lengthAt, contentStart, Uint8Array.from(varint(end - contentStart + growth)));
  }

  /** The request with every change; undefined where there is none. */
  joined(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#edits.length === 0) return undefined;
    // A length stands before what made it change, and was noted after it.
    this.#edits.sort((a, b) => a.start - b.start);
    const growth = this.#edits.reduce((sum, { start, end, bytes }) => sum + bytes.length - (end - start), 0);
    const joined = new Uint8Array(this.#request.length + growth);
    let from = 0;
    let to = 0;
    for (const { start, end, bytes } of this.#edits) {
      joined.set(this.#request.subarray(from, start), to);
      to += start - from;
      joined.set(bytes, to);
      to += bytes.length;
      from = end;
    }
    joined.set(this.#request.subarray(from), to);
    return joined;
  }
}

function isTableString(message: MessageName, { number }: FieldCursor): boolean {
  return message === "ProfilesDictionary" && number === 5;
}

/** Notes every string that an attribute names by its place, at any depth. */
function noteRemoved(
  bytes: Uint8Array,
  message: MessageName,
  { contentStart, end }: FieldCursor,
  strings: StringTable,
) {
  const field = fieldCursor();
  const open: { readonly message: MessageName; readonly end: number }[] = [{ message, end }];
  for (let at = contentStart; open.length > 0;) {
    const within = open.at(-1)!;
    if (at >= within.end) {
      open.pop();
      continue;
    }
    readField(bytes, at, field);
    at = field.end;
    if (STRING_INDICES[within.message].has(field.number)) strings.remove(int32At(bytes, field.contentStart));
    const below = field.wireType === LEN ? CHILDREN[within.message].get(field.number) : undefined;
    if (below === undefined) continue;
    open.push({ message: below, end: field.end });
    at = field.contentStart;
  }
}

/**
 * What of an attribute's value is hashed: the text of a string, number or bool, so that `42` and `"42"` are one; the bytes of
 * bytes; a list or map as it is encoded. Values that are there more than once are merged, and of a oneof the last counts.
 */
function valueOf(bytes: Uint8Array, start: number, end: number, strings: StringTable | undefined): Uint8Array {
  const outer = fieldCursor();
  const inner = fieldCursor();
  let value: FieldCursor | undefined;
  for (let at = start; at < end; at = outer.end) {
    readField(bytes, at, outer);
    if (outer.number !== 2 || outer.wireType !== LEN) continue;
    for (let innerAt = outer.contentStart; innerAt < outer.end; innerAt = inner.end) {
      readField(bytes, innerAt, inner);
      if (ANY_VALUE_FIELDS.has(inner.number)) value = { ...inner };
    }
  }
  if (value === undefined) return NO_BYTES;
  if (value.number === STRING_VALUE_INDEX) {
    const inTable = strings?.at(int32At(bytes, value.contentStart));
    return inTable === undefined ? NO_BYTES : bytes.subarray(inTable.contentStart, inTable.end);
  }
  const content = bytes.subarray(value.contentStart, value.end);
  if (value.wireType === LEN) return content;
  if (value.wireType === 1) {
    return Buffer.from(String(new DataView(bytes.buffer, bytes.byteOffset + value.contentStart).getFloat64(0, true)));
  }
  const number = varint64At(content);
  return Buffer.from(value.number === 2 ? String(number !== 0n) : String(BigInt.asIntN(64, number)));
}

const STRING_VALUE_INDEX = 8;
const ANY_VALUE_FIELDS: ReadonlySet<number> = new Set(MESSAGES.AnyValue.map(({ number }) => number));

function varint64At(bytes: Uint8Array): bigint {
  return BigInt.asUintN(64, bytes.reduceRight((value, byte) => (value << 7n) | BigInt(byte & 0x7f), 0n));
}

/** A hash of some bytes (FNV-1a), by which a key is found without making text of it. */
function fnv1a(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return hash;
}

function isSame(key: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (key.length !== end - start) return false;
  for (let index = 0; index < key.length; index++) if (key[index] !== bytes[start + index]) return false;
  return true;
}

/** Whether a glob is for the whole of a text. Goes back to the last `*` alone, so that no text makes it slow. */
export function matches(glob: string, text: string): boolean {
  let inGlob = 0;
  let inText = 0;
  let star = -1;
  let resumeAt = 0;
  while (inText < text.length) {
    const wanted = glob[inGlob];
    if (wanted === "*") {
      star = inGlob++;
      resumeAt = inText;
    } else if (wanted === "?" || wanted === text[inText]) {
      inGlob++;
      inText++;
    } else if (star >= 0) {
      inGlob = star + 1;
      inText = ++resumeAt;
    } else return false;
  }
  while (glob[inGlob] === "*") inGlob++;
  return inGlob === glob.length;
}
