/**
 * The one place that uses more of the YAML library than `jsr:@std/yaml` has: a document that knows where each node stands, and that
 * can be changed without its comments and its style. With another library this file is what would have to be written anew.
 * @module
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  stringify,
  type YAMLSeq,
} from "@std/yaml";

/** Both count from 1, columns in UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Where a key and its value begin. */
export interface Places {
  readonly key: Position;
  /** The key's own place when the value is on the lines below, or is nothing. */
  readonly value: Position;
}

/** A text that cannot be used. The message has nothing of it. */
export class YamlFault extends Error {
  override readonly name = "YamlFault";
  readonly position: Position | undefined;

  constructor(message: string, position: Position | undefined) {
    super(message);
    this.position = position;
  }
}

/** A configuration is not nested deeper. */
const DEPTH_MAX = 32;

const TAG = "Tags (!name) are not supported; write the value without one";
const KEY = "A key must be plain or quoted text; put a value that begins with { in quotes";
const DEPTH = `Nothing here is nested deeper than ${DEPTH_MAX}; remove some brackets`;

/** A text as a document, and the places in it. */
export interface ReadDocument {
  readonly document: Document;
  /** Null for a text without content. */
  readonly value: unknown;
  /** By the path in JSON: `["receiver","http"]`. Nothing is known of the inside of aliases. */
  readonly places: ReadonlyMap<string, Places>;
}

/** Reads a text. @throws {YamlFault} */
export function readDocument(text: string): ReadDocument {
  const lineCounter = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lineCounter.linePos(offset);
    return { line, column: col };
  };
  const directive = /^(?:[ \t]*(?:#.*)?\r?\n)*(?=%)/.exec(text);
  let document: Document;
  try {
    document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: "error" });
  } catch (error) {
    // The library reads what is nested by calling itself.
    if (error instanceof RangeError) throw new YamlFault(DEPTH, undefined);
    throw error;
  }
  if (directive !== null) {
    throw new YamlFault("Directives (%NAME) are not supported; remove the line", at(directive[0].length));
  }
  const visitor = new Visitor(document, text, at);
  // An odd tag or key is said by its name, also where the library has more to say.
  visitor.visit(document.contents, [], 0);
  const [error] = document.errors;
  if (error !== undefined) throw new YamlFault(`Not YAML: ${withoutContent(error.message)}`, at(error.pos[0]));
  try {
    return { document, value: document.toJS() ?? null, places: visitor.places };
  } catch (error) {
    throw new YamlFault(`Not YAML: ${withoutContent(error instanceof Error ? error.message : "")}`, undefined);
  }
}

/** Libraries put names from the file at the end of a message or in quotes; either may be a secret in the wrong place. */
function withoutContent(message: string): string {
  return (message.split("\n", 1)[0] ?? "").replace(/: .*$/, "").replace(/"[^"]{2,}"|'[^']{2,}'/g, '"…"');
}

/** Looks at every node once. */
class Visitor {
  readonly places = new Map<string, Places>();
  readonly #document: Document;
  readonly #text: string;
  readonly #at: (offset: number) => Position;

  constructor(document: Document, text: string, at: (offset: number) => Position) {
    this.#document = document;
    this.#text = text;
    this.#at = at;
  }

  visit(node: unknown, path: readonly string[], depth: number): void {
    if (!isNode(node)) return;
    const start = node.range?.[0] ?? 0;
    if (depth > DEPTH_MAX) throw new YamlFault(DEPTH, this.#at(start));
    if (node.tag !== undefined) throw new YamlFault(TAG, this.#at(this.#tagBefore(start)));
    if (isAlias(node) && node.resolve(this.#document) === undefined) {
      throw new YamlFault("Not YAML: Unresolved alias", this.#at(start));
    }
    if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        const place = isNode(item) ? this.#at(item.range?.[0] ?? start) : this.#at(start);
        const below = [...path, String(index)];
        this.places.set(JSON.stringify(below), { key: place, value: place });
        this.visit(item, below, depth + 1);
      }
    }
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      if (!isScalar(key)) throw new YamlFault(KEY, this.#at(isNode(key) ? key.range?.[0] ?? start : start));
      if (key.tag !== undefined) throw new YamlFault(TAG, this.#at(this.#tagBefore(key.range?.[0] ?? start)));
      const below = [...path, String(key.value)];
      const keyPlace = this.#at(key.range?.[0] ?? start);
      const [from, to] = isNode(value) ? value.range ?? [0, 0] : [0, 0];
      const valuePlace = this.#at(from);
      const beside = to > from && valuePlace.line === keyPlace.line;
      this.places.set(JSON.stringify(below), { key: keyPlace, value: beside ? valuePlace : keyPlace });
      this.visit(value, below, depth + 1);
    }
  }

  /** A tag stands before its node, an anchor perhaps between the two. */
  #tagBefore(offset: number): number {
    const tag = /![^\s,[\]{}]*(?:\s+(?:&\S+\s+)?)?$/.exec(this.#text.slice(0, offset));
    return tag?.index ?? offset;
  }
}

function isNode(value: unknown): value is Node {
  return isScalar(value) || isMap(value) || isSeq(value) || isAlias(value);
}

/**
 * A list below a key of the root is changed in the text itself, so that all else stays to the letter. What cannot be done so (an
 * alias in its place, a dash on a line of its own) is done in the document, which keeps comments and lays the rest out anew.
 * @throws {YamlFault}
 */
export function withoutItems(text: string, key: string, unwanted: (item: unknown) => boolean): string {
  const items = itemsIn(text, key);
  const wanted = items.filter((item) => !unwanted(item));
  if (wanted.length === items.length) return text;
  let changed: string | undefined = text;
  // From the last on: what stands before it keeps its place.
  for (let index = items.length - 1; index >= 0 && changed !== undefined; index--) {
    if (unwanted(items[index])) changed = cut(changed, key, index);
  }
  return isDeepEqual(changed, key, wanted) ? changed : anew(text, key, wanted);
}

/** The same for an item that is added at the end, in the style of those before it. @throws {YamlFault} */
export function withItem(text: string, key: string, item: unknown): string {
  const wanted = [...itemsIn(text, key), item];
  const changed = inserted(text, key, item);
  return isDeepEqual(changed, key, wanted) ? changed : anew(text, key, wanted);
}

function itemsIn(text: string, key: string): readonly unknown[] {
  const { value } = readDocument(text);
  const items = typeof value === "object" && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : [];
  return Array.isArray(items) ? items : [];
}

/** Whether the text has this list now. */
function isDeepEqual(text: string | undefined, key: string, items: readonly unknown[]): text is string {
  try {
    return text !== undefined && JSON.stringify(itemsIn(text, key)) === JSON.stringify(items);
  } catch (error) {
    if (error instanceof YamlFault) return false;
    throw error;
  }
}

/** By the library: comments stay, the rest is laid out as it does it. */
function anew(text: string, key: string, items: readonly unknown[]): string {
  const { document } = readDocument(text);
  document.contents ??= document.createNode({});
  document.set(key, document.createNode(items));
  return document.toString({ lineWidth: 0 });
}

function listIn(text: string, key: string): YAMLSeq | undefined {
  const { contents } = readDocument(text).document;
  const found = isMap(contents) ? contents.get(key, true) : undefined;
  return isSeq(found) ? found : undefined;
}

/** The text without an item, and without the comment that stands before it. */
function cut(text: string, key: string, index: number): string | undefined {
  const list = listIn(text, key);
  const spans = list?.items.map((item) => isNode(item) ? item.range : undefined);
  const span = spans?.[index];
  if (list === undefined || spans === undefined || span == null) return undefined;
  const [start, end] = span;
  if (list.items.length === 1) return emptied(text, key, list);
  if (list.flow === true) {
    const next = spans[index + 1];
    const before = spans[index - 1];
    if (next != null) return text.slice(0, start) + text.slice(next[0]);
    return before == null ? undefined : text.slice(0, before[1]) + text.slice(end);
  }
  const from = dashOf(text, start);
  return from === undefined ? undefined : text.slice(0, commentBefore(text, from)) + text.slice(lineEnd(text, end));
}

/** The text with a list of one item without it. */
function emptied(text: string, key: string, list: YAMLSeq): string | undefined {
  const [start, end] = list.range ?? [0, 0];
  if (list.flow === true) return `${text.slice(0, start)}[]${text.slice(end)}`;
  const head = new RegExp(`^${key}:[ \\t]*(?=#|$)`, "m").exec(text);
  if (head === null || head.index > start) return undefined;
  const [first] = list.items;
  const from = isNode(first) ? dashOf(text, first.range?.[0] ?? 0) : undefined;
  if (from === undefined) return undefined;
  const rest = text.slice(0, commentBefore(text, from)) + text.slice(lineEnd(text, end));
  const behind = head.index + key.length + 1;
  return `${rest.slice(0, behind)} []${rest.slice(behind)}`;
}

function inserted(text: string, key: string, item: unknown): string | undefined {
  const { document } = readDocument(text);
  const list = listIn(text, key);
  const last = list?.items.at(-1);
  if (list !== undefined && isNode(last)) {
    const end = last.range?.[1] ?? 0;
    if (list.flow === true) return `${text.slice(0, end)}, ${flowOf(item)}${text.slice(end)}`;
    const from = dashOf(text, last.range?.[0] ?? 0);
    if (from === undefined) return undefined;
    const indent = /^[ \t]*/.exec(text.slice(from))?.[0] ?? "";
    const flow = isMap(last) && last.flow === true;
    const at = lineEnd(text, end);
    const gap = at > 0 && text[at - 1] !== "\n" ? "\n" : "";
    return text.slice(0, at) + gap + linesOf(item, indent, flow) + text.slice(at);
  }
  const head = new RegExp(`^${key}:[ \\t]*(?:\\[[ \\t]*\\]|~|null)?[ \\t]*(?=#|$)`, "m").exec(text);
  if (head === null) {
    // A key of the root, which is a mapping in lines or nothing.
    if (document.contents !== null && (!isMap(document.contents) || document.contents.flow === true)) return undefined;
    const gap = text === "" || text.endsWith("\n") ? "" : "\n";
    return `${text}${gap}${key}:\n${linesOf(item, "  ", false)}`;
  }
  const behind = head.index + head[0].length;
  const at = lineEnd(text, behind);
  const comment = text.slice(behind, at).trimEnd();
  const line = `${key}:${comment === "" ? "" : ` ${comment}`}\n`;
  return text.slice(0, head.index) + line + linesOf(item, "  ", false) + text.slice(at);
}

/** An item as lines of a list. */
function linesOf(item: unknown, indent: string, flow: boolean): string {
  if (flow) return `${indent}- ${flowOf(item)}\n`;
  const [first = "", ...more] = stringify(item, { lineWidth: 0 }).trimEnd().split("\n");
  return [`${indent}- ${first}`, ...more.map((line) => `${indent}  ${line}`)].join("\n") + "\n";
}

const flowOf = (item: unknown): string => stringify(item, { lineWidth: 0, collectionStyle: "flow" }).trimEnd();

/** Where the line of an item's dash begins; undefined where something else stands between the two. */
function dashOf(text: string, start: number): number | undefined {
  const found = /(?:^|\n)([ \t]*- +)$/.exec(text.slice(0, start));
  return found === null ? undefined : start - (found[1]?.length ?? 0);
}

/** Where the comment begins that stands right before a line and is set in as it is, with the blank line before it. */
function commentBefore(text: string, lineStart: number): number {
  const indent = /^[ \t]*/.exec(text.slice(lineStart))?.[0] ?? "";
  let from = lineStart;
  for (;;) {
    const before = text.lastIndexOf("\n", from - 2) + 1;
    const line = text.slice(before, from);
    if (from > 0 && line.startsWith(`${indent}#`)) from = before;
    else return from > 0 && line.trim() === "" ? before : from;
  }
}

/** Behind the end of the line on which something ends: a block's own range may reach over the lines after it. */
function lineEnd(text: string, end: number): number {
  const trimmed = text.slice(0, end).trimEnd().length;
  const at = text.indexOf("\n", trimmed);
  return at < 0 ? text.length : at + 1;
}
