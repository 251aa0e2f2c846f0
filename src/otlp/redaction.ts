/**
 * Takes attributes out of an encoded export request, or puts a keyed hash in place of their values, by their keys. Changed on the
 * wire: nothing is decoded into objects, and all that no rule is for stays byte for byte.
 *
 * A rule is for every KeyValue of a request, wherever the schema has one: attributes of resource, scope, span, event, link, data
 * point, exemplar and log record, a metric's metadata, and maps inside of values and log bodies at any depth.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { type FieldCursor, fieldCursor, LEN, readField, varint } from "./fields.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "./schema.ts";
import type { SignalName } from "./signal.ts";

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
  readonly #key: KeyObject | undefined;
  readonly #dryRun: boolean;
  /** The index of the rule for a key, by the key's bytes; -1 where there is none. */
  readonly #remembered = new Map<string, number>();
  readonly #field = fieldCursor();
  readonly #inner = fieldCursor();

  /**
   * @param rules Of several that are for a key a `delete` counts, or else the first.
   * @param salt The key of the HMAC. @param dryRun Counts alone.
   * @throws {TypeError} A rule hashes and there is no salt.
   */
  constructor(rules: readonly RedactionRule[], salt: string | undefined, dryRun: boolean) {
    if (!salt && rules.some(({ action }) => action === "hash")) throw new TypeError("Cannot hash without a salt");
    this.rules = rules;
    this.#key = salt ? createSecretKey(salt, "utf8") : undefined;
    this.#dryRun = dryRun;
  }

  /** @param request One that a walk has found valid. */
  redact(signal: SignalName, request: Uint8Array): Redaction {
    const field = this.#field;
    const edits = new Edits(request);
    let hits: number[] | undefined;
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
        if (around === undefined) break;
        around.growth += within.growth === 0 ? 0 : within.growth + edits.setLength(within);
        within = around;
        continue;
      }
      readField(request, at, field);
      at = field.end;
      const message = field.wireType === LEN ? CHILDREN[within.message].get(field.number) : undefined;
      if (message === undefined) continue;
      const rule = message === "KeyValue" ? this.#ruleFor(request, field.contentStart, field.end) : -1;
      if (rule >= 0) {
        hits ??= this.rules.map(() => 0);
        hits[rule]! += 1;
        if (this.#dryRun) continue;
        within.growth += this.rules[rule]!.action === "delete"
          ? edits.replace(field.start, field.end, NO_BYTES)
          : edits.replace(field.tagEnd, field.end, this.#hashed(request, field.contentStart, field.end));
        continue;
      }
      open.push(within);
      within = { message, end: field.end, lengthAt: field.tagEnd, contentStart: field.contentStart, growth: 0 };
      at = field.contentStart;
    }
    return hits === undefined ? NOTHING : { request: edits.joined(), hits };
  }

  #ruleFor(bytes: Uint8Array, start: number, end: number): number {
    const { contentStart, end: keyEnd } = keyOf(bytes, start, end, this.#inner);
    const text = latin1(bytes, contentStart, keyEnd);
    const remembered = this.#remembered.get(text);
    if (remembered !== undefined) return remembered;
    const key = utf8.decode(bytes.subarray(contentStart, keyEnd));
    const matching = [...this.rules.keys()].filter((index) => matches(this.rules[index]!.key, key));
    const rule = matching.find((index) => this.rules[index]!.action === "delete") ?? matching[0] ?? -1;
    if (text.length <= REMEMBERED_KEY_BYTES_MAX) {
      if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
      this.#remembered.set(text, rule);
    }
    return rule;
  }

  /** Length and content of the KeyValue with the same key and a hash for its value; what else was in it is gone. */
  #hashed(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const hash = createHmac("sha256", this.#key!).update(valueOf(bytes, start, end)).digest("hex");
    const key = keyOf(bytes, start, end, this.#inner);
    const content = Buffer.concat([
      ...lengthDelimited(KEY_TAG, bytes.subarray(key.contentStart, key.end)),
      Uint8Array.of(VALUE_TAG, hash.length + 2, STRING_VALUE_TAG, hash.length),
      Buffer.from(hash, "latin1"),
    ]);
    return Buffer.concat([Uint8Array.from(varint(content.length)), content]);
  }
}

const KEY_TAG = 0x0a;
const VALUE_TAG = 0x12;
const STRING_VALUE_TAG = 0x0a;
const NO_BYTES = new Uint8Array(0);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** The messages below each message, by field, as far as a KeyValue may be in them. */
const CHILDREN = childrenWithAttributes();

function childrenWithAttributes(): Readonly<Record<MessageName, ReadonlyMap<number, MessageName>>> {
  const names = Object.keys(MESSAGES) as MessageName[];
  const below = new Set<MessageName>(["KeyValue"]);
  for (let size = 0; size < below.size;) {
    size = below.size;
    for (const name of names) {
      if (MESSAGES[name].some(({ kind }) => isMessage(kind) && below.has(kind))) below.add(name);
    }
  }
  const children = {} as Record<MessageName, ReadonlyMap<number, MessageName>>;
  for (const name of names) {
    const map = new Map<number, MessageName>();
    for (const { number, kind } of MESSAGES[name]) if (isMessage(kind) && below.has(kind)) map.set(number, kind);
    children[name] = map;
  }
  return children;
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

/** Where the key of a KeyValue is: of one that is there more than once the last counts. Empty where there is none. */
function keyOf(
  bytes: Uint8Array,
  start: number,
  end: number,
  field: FieldCursor,
): { contentStart: number; end: number } {
  let key = { contentStart: start, end: start };
  for (let at = start; at < end; at = field.end) {
    readField(bytes, at, field);
    if (field.number === 1 && field.wireType === LEN) key = { contentStart: field.contentStart, end: field.end };
  }
  return key;
}

/**
 * What of an attribute's value is hashed: the text of a string, number or bool, so that `42` and `"42"` are one; the bytes of
 * bytes; a list or map as it is encoded. Values that are there more than once are merged, and of a oneof the last counts.
 */
function valueOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
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
  const content = bytes.subarray(value.contentStart, value.end);
  if (value.wireType === LEN) return content;
  if (value.wireType === 1) {
    return Buffer.from(String(new DataView(bytes.buffer, bytes.byteOffset + value.contentStart).getFloat64(0, true)));
  }
  const number = varint64At(content);
  return Buffer.from(value.number === 2 ? String(number !== 0n) : String(BigInt.asIntN(64, number)));
}

const ANY_VALUE_FIELDS: ReadonlySet<number> = new Set(MESSAGES.AnyValue.map(({ number }) => number));

function varint64At(bytes: Uint8Array): bigint {
  return BigInt.asUintN(64, bytes.reduceRight((value, byte) => (value << 7n) | BigInt(byte & 0x7f), 0n));
}

function lengthDelimited(tag: number, content: Uint8Array): Uint8Array[] {
  return content.length === 0 ? [] : [Uint8Array.of(tag, ...varint(content.length)), content];
}

/** Bytes as text, one character each: the cheapest key of a map. */
function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
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
