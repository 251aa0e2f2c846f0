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
import { matchesGlob } from "../../config/glob.ts";
import { Buffer } from "node:buffer";
import { leaveGarbage } from "../../codec/memory.ts";
import { Edits, putVarint, varintBytes } from "./edits.ts";
import { type FieldCursor, fieldCursor, int32At, LEN, readField } from "./fields.ts";
import { HmacSha256 } from "./hmac.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../schema.ts";
import { NESTING_MAX } from "../wire.ts";
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

/** A SHA-256 in hex. */
const HASH_BYTES = 64;
/** After so many hashes in one request their garbage is counted: strings and views, so many bytes each. */
const HASHES_COUNTED = 10_000;
const HASH_GARBAGE_BYTES = 512;

/** Bounds of one redaction. */
export interface RedactionBounds {
  /** The most bytes that the request may have afterwards. */
  readonly bytesMax: number;
  /** The most attributes that may be hashed; each takes some 3 us. */
  readonly hashesMax: number;
}

/** More is to be hashed than was allowed. Nothing has been hashed. */
export class TooManyHashesError extends Error {
  override readonly name = "TooManyHashesError";
}

/** What a {@link Redactor} is made from. */
export interface RedactionSettings {
  /** Where several match a key, a `delete` counts, or else the first. */
  readonly rules: readonly RedactionRule[];
  /** The key of the HMAC. */
  readonly salt: string | undefined;
  /** Counts alone. */
  readonly dryRun: boolean;
}

/** The rules of a relay. One at a time: a call never awaits, so what it works with is used again. */
export class Redactor {
  /** A copy in another thread is made from these. */
  readonly settings: RedactionSettings;
  readonly #hmac: HmacSha256 | undefined;
  /** Keys by their hash, with the index of their rule; -1 where there is none. If two keys have one hash, the map has the last. */
  readonly #remembered = new Map<number, { readonly key: Uint8Array; readonly rule: number }>();
  readonly #field = fieldCursor();
  readonly #attribute = new Attribute();
  readonly #edits = new Edits();
  readonly #open = new OpenMessages();
  #hashesLeft = 0;
  /** For the request under way: how many hashes were made, and whether keys were forgotten. */
  #hashed = 0;
  #forgot = false;

  /** @throws {TypeError} A rule hashes and there is no salt. */
  constructor(settings: RedactionSettings) {
    const { rules, salt } = settings;
    if (!salt && rules.some(({ action }) => action === "hash")) throw new TypeError("Cannot hash without a salt");
    this.settings = settings;
    this.#hmac = salt ? new HmacSha256(salt) : undefined;
  }

  /**
   * Redacts one request.
   * @param request One that a walk has found valid.
   * @throws {RewrittenTooLargeError} or {TooManyHashesError}, before anything is hashed or allocated for the result.
   */
  redact(signal: SignalName, request: Uint8Array, { bytesMax, hashesMax }: RedactionBounds): Redaction {
    const { dryRun } = this.settings;
    const edits = this.#edits;
    edits.begin(request, bytesMax);
    this.#hashesLeft = hashesMax;
    this.#hashed = 0;
    this.#forgot = false;
    try {
      // What of a profiles request refers to each string is known at the end alone: first it is noted, then the request is changed.
      const strings = signal === "profiles" ? new StringTable(request) : undefined;
      let hits = this.#read(signal, request, dryRun || strings !== undefined ? undefined : edits, strings);
      if (strings !== undefined && !dryRun) hits = this.#read(signal, request, edits, strings);
      const changed = edits.joined((target, at, start, end, mark) =>
        this.#writeHashed(request, strings, target, at, start, end, mark)
      );
      return changed === undefined && hits === undefined ? NOTHING : { request: changed, hits };
    } finally {
      edits.end();
    }
  }

  /** Reads a request and notes what is to be changed. @returns how often each rule was for an attribute; undefined for never. */
  #read(
    signal: SignalName,
    request: Uint8Array,
    edits: Edits | undefined,
    strings: StringTable | undefined,
  ): number[] | undefined {
    const field = this.#field;
    const open = this.#open;
    let hits: number[] | undefined;
    let stringIndex = 0;
    open.begin(REQUEST_MESSAGE[signal], request.length);
    for (let at = 0;;) {
      if (at >= open.end) {
        if (open.depth === 0) return hits;
        open.leave(edits);
        continue;
      }
      readField(request, at, field);
      at = field.end;
      const within = open.message;
      if (strings !== undefined) {
        this.#inProfiles(request, within, field, strings, edits, stringIndex);
        if (isTableString(within, field)) stringIndex++;
      }
      const message = field.wireType === LEN ? CHILDREN[within].get(field.number) : undefined;
      if (message === undefined) continue;
      if (message === "KeyValue" || message === "KeyValueAndUnit") {
        const attribute = this.#attribute;
        attribute.read(request, message, field);
        const rule = this.#ruleFor(request, attribute, strings);
        if (rule >= 0) {
          hits ??= this.settings.rules.map(() => 0);
          hits[rule]! += 1;
          strings?.keep(attribute.keyIndex);
          if (strings !== undefined) noteRemoved(request, message, field, strings);
          if (edits !== undefined) this.#change(edits, this.settings.rules[rule]!.action, attribute, field);
          continue;
        }
        // Most values have nothing inside of them.
        if (strings === undefined && !attribute.holdsMore) continue;
      }
      open.enter(message, field);
      at = field.contentStart;
    }
  }

  /** What a profiles request has beside attributes. */
  #inProfiles(
    request: Uint8Array,
    message: MessageName,
    field: FieldCursor,
    strings: StringTable,
    edits: Edits | undefined,
    stringIndex: number,
  ): void {
    if (STRING_INDICES[message].has(field.number)) strings.keep(int32At(request, field.contentStart));
    if (edits === undefined) return;
    // The profile once more in its first form, with its attributes: nothing that can be read here.
    if (message === "Profile" && field.number === ORIGINAL_PAYLOAD) {
      this.#open.change(edits);
      this.#open.grow(edits.remove(field.start, field.end));
    } else if (isTableString(message, field) && strings.isRemoved(stringIndex)) {
      this.#open.change(edits);
      this.#open.grow(edits.replaceLength(field.tagEnd, field.end, 0));
    }
  }

  #change(edits: Edits, action: RedactionAction, attribute: Attribute, { start, tagEnd, end }: FieldCursor): void {
    const open = this.#open;
    open.change(edits);
    const inTable = attribute.message === "KeyValueAndUnit";
    if (action === "hash") {
      if (--this.#hashesLeft < 0) throw new TooManyHashesError("More attributes are to be hashed than was allowed");
      const bytes = attribute.hashedBytes();
      open.grow(edits.replace(tagEnd, end, varintBytes(bytes) + bytes, inTable ? 1 : 0));
    } else {
      // Others of an attribute table are called by their place, so an entry of it is emptied and stays.
      open.grow(inTable ? edits.replaceLength(tagEnd, end, 0) : edits.remove(start, end));
    }
  }

  /** Writes length and content of an attribute with the hash of its value, as {@link Attribute.hashedBytes} announced them. */
  #writeHashed(
    request: Uint8Array,
    strings: StringTable | undefined,
    target: Uint8Array<ArrayBuffer>,
    at: number,
    tagEnd: number,
    end: number,
    mark: 0 | 1,
  ): void {
    const attribute = this.#attribute;
    let contentStart = tagEnd;
    while (request[contentStart++]! >= 0x80);
    if (++this.#hashed % HASHES_COUNTED === 0) leaveGarbage(HASHES_COUNTED * HASH_GARBAGE_BYTES);
    attribute.read(request, mark === 1 ? "KeyValueAndUnit" : "KeyValue", { contentStart, end });
    attribute.write(request, this.#hmac!.hex(valueOf(request, contentStart, end, strings)), target, at);
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
    const text = utf8.decode(bytes.subarray(start, end));
    const { rules } = this.settings;
    const matching = [...rules.keys()].filter((index) => matchesGlob(rules[index]!.key, text));
    const rule = matching.find((index) => rules[index]!.action === "delete") ?? matching[0] ?? -1;
    if (end - start <= REMEMBERED_KEY_BYTES_MAX) this.#remember(hash, bytes, start, end, rule);
    return rule;
  }

  #remember(hash: number, bytes: Uint8Array, start: number, end: number, rule: number): void {
    if (this.#remembered.size >= REMEMBERED_MAX) {
      // A request of very many keys forgets those of others once, and is no longer remembered itself.
      if (this.#forgot) return;
      this.#forgot = true;
      this.#remembered.clear();
    }
    this.#remembered.set(hash, { key: bytes.slice(start, end), rule });
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
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** What is known of one attribute; reused for each attribute. If a key appears more than once, the last one counts. */
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

  read(
    bytes: Uint8Array,
    message: "KeyValue" | "KeyValueAndUnit",
    { contentStart, end }: Pick<FieldCursor, "contentStart" | "end">,
  ): void {
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

  /** How many bytes the attribute has with the same key and a hash for its value; what else was in it is gone. */
  hashedBytes(): number {
    const keyBytes = this.keyEnd - this.keyStart;
    return (keyBytes === 0 ? 0 : 1 + varintBytes(keyBytes) + keyBytes) +
      (this.keyIndex === 0 ? 0 : 1 + this.#indexBytes()) + 4 + HASH_BYTES;
  }

  /** Writes its length and {@link hashedBytes}, with a hash in hex. */
  write(bytes: Uint8Array, hash: string, target: Uint8Array, start: number): void {
    const { message, keyStart, keyEnd } = this;
    let at = putVarint(target, start, this.hashedBytes());
    if (keyEnd > keyStart) {
      target[at++] = 1 << 3 | LEN;
      at = putVarint(target, at, keyEnd - keyStart);
      target.set(bytes.subarray(keyStart, keyEnd), at);
      at += keyEnd - keyStart;
    }
    if (message === "KeyValueAndUnit") at = this.#writeIndex(target, at);
    target[at++] = VALUE << 3 | LEN;
    target[at++] = HASH_BYTES + 2;
    target[at++] = STRING_VALUE_TAG;
    target[at++] = HASH_BYTES;
    for (let index = 0; index < HASH_BYTES; index++) target[at++] = hash.charCodeAt(index);
    if (message === "KeyValue") this.#writeIndex(target, at);
  }

  /** A negative int32 is ten bytes on the wire. */
  #indexBytes(): number {
    return this.keyIndex < 0 ? 10 : varintBytes(this.keyIndex);
  }

  #writeIndex(target: Uint8Array, start: number): number {
    const { keyIndex, message } = this;
    if (keyIndex === 0) return start;
    let at = start;
    target[at++] = KEY_INDEX[message] << 3;
    if (keyIndex > 0) return putVarint(target, at, keyIndex);
    for (let rest = BigInt.asUintN(64, BigInt(keyIndex)); rest > 0; rest >>= 7n) {
      target[at++] = Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0);
    }
    return at;
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

/**
 * The messages that are open, innermost last. A stack of its own, since messages may nest deeper than functions can; in arrays, since
 * there may be millions of them.
 */
class OpenMessages {
  /** How many are open around the request's fields; 0 in the request itself. */
  depth = 0;
  /** The innermost message. */
  message: MessageName = "TracesRequest";
  end = 0;
  readonly #messages: MessageName[] = [];
  readonly #ends = new Int32Array(NESTING_MAX + 1);
  /** Where the length and the content of each begin. */
  readonly #lengths = new Int32Array(NESTING_MAX + 1);
  readonly #contents = new Int32Array(NESTING_MAX + 1);
  /** Bytes that each has got more, or fewer. */
  readonly #growth = new Int32Array(NESTING_MAX + 1);
  /** The edit of each that is changed, which is for its length: all that are around a change are changed. */
  readonly #edits = new Int32Array(NESTING_MAX + 1);
  #changed = 0;

  begin(message: MessageName, end: number): void {
    this.depth = this.#changed = 0;
    this.message = this.#messages[0] = message;
    this.end = this.#ends[0] = end;
    this.#growth[0] = 0;
  }

  enter(message: MessageName, { end, tagEnd, contentStart }: FieldCursor): void {
    const depth = ++this.depth;
    this.message = this.#messages[depth] = message;
    this.end = this.#ends[depth] = end;
    this.#lengths[depth] = tagEnd;
    this.#contents[depth] = contentStart;
    this.#growth[depth] = 0;
  }

  leave(edits: Edits | undefined): void {
    const depth = this.depth--;
    this.message = this.#messages[depth - 1]!;
    this.end = this.#ends[depth - 1]!;
    if (depth > this.#changed || edits === undefined) return;
    this.#changed = depth - 1;
    const growth = this.#growth[depth]!;
    const length = this.#ends[depth]! - this.#contents[depth]! + growth;
    this.#growth[depth - 1]! += growth + edits.settle(this.#edits[depth]!, length);
  }

  /** Says that something is about to be changed: the lengths of all that are open stand before it. */
  change(edits: Edits): void {
    for (let depth = this.#changed + 1; depth <= this.depth; depth++) {
      this.#edits[depth] = edits.reserve(this.#lengths[depth]!, this.#contents[depth]!);
    }
    this.#changed = this.depth;
  }

  /** The innermost has grown. */
  grow(bytes: number): void {
    this.#growth[this.depth]! += bytes;
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
