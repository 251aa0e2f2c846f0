/**
 * YAML with positions. The library gives values alone, so a scan of our own finds the line and column of each key.
 * What the scan knows: block and flow mappings and sequences, quoted text, block text, comments. What it does not: keys over
 * several lines and the inside of aliases; there a message names the file and the key without a line. Tags, directives and
 * keys that are not text are refused here: libraries differ on them, or print the line they are on as a warning.
 * @module
 */
import { parse } from "@std/yaml";
import { ConfigError, messageOf } from "../errors.ts";

/** Both count from 1, columns in UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A parsed file. */
export interface YamlFile {
  /** Null for a file without content. */
  readonly value: unknown;
  /** Where the key is; undefined where the scan did not see it. */
  keyAt(path: readonly PropertyKey[]): Position | undefined;
  /** Where the value begins, on the key's line; the key's own place when the value is on the lines below. */
  valueAt(path: readonly PropertyKey[]): Position | undefined;
}

/** A configuration file is not larger; in UTF-16 units. */
const LENGTH_MAX = 1_048_576;

/** A configuration is not nested deeper. */
const DEPTH_MAX = 32;

const TAG = "Tags (!name) are not supported; write the value without one";
const KEY = "A key must be plain or quoted text; put a value that begins with { in quotes";

/**
 * Reads YAML.
 * @throws {ConfigError} with `file:line:column`; never with text of the file, which may be a secret.
 */
export function parseYaml(text: string, file: string): YamlFile {
  if (text.length > LENGTH_MAX) {
    throw new ConfigError(`${file} is longer than ${LENGTH_MAX} characters; split or shorten it`);
  }
  const scan = new Scan(text.replace(/^\uFEFF/, ""), file);
  scan.run();
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new ConfigError(yamlFault(error, file, text));
  }
  return {
    value,
    keyAt: (path) => scan.found.get(pathKey(path))?.key,
    valueAt: (path) => {
      const found = scan.found.get(pathKey(path));
      return found?.value ?? found?.key;
    },
  };
}

/** `file:line:column`, or the file alone where the position is not known. */
export function place(file: string, position: Position | undefined): string {
  return position === undefined ? file : `${file}:${position.line}:${position.column}`;
}

/** The library's first line without its excerpt of the file, the place moved to the front. */
function yamlFault(error: unknown, file: string, text: string): string {
  const first = messageOf(error).split("\n", 1)[0] ?? "";
  const match = /^(.*?),? (?:at|on) line (\d+), column (\d+)/.exec(first);
  if (match !== null) {
    const position = { line: Number(match[2]), column: Number(match[3]) };
    return `${place(file, position)}: Not YAML: ${withoutContent(match[1] ?? "")}`;
  }
  const alias = /alias.*[: ]"?([^\s"]+?)"?$/i.exec(first)?.[1];
  const at = alias === undefined ? -1 : text.indexOf(`*${alias}`);
  const before = text.slice(0, Math.max(0, at)).split("\n");
  const position = at < 0 ? undefined : { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
  return `${place(file, position)}: Not YAML: ${withoutContent(first)}`;
}

/** Libraries put names from the file at the end of a message or in quotes; either may be a secret in the wrong place. */
function withoutContent(message: string): string {
  return message.replace(/: .*$/, "").replace(/"[^"]{2,}"|'[^']{2,}'/g, '"…"');
}

const pathKey = (path: readonly PropertyKey[]): string => JSON.stringify(path.map(String));

interface Frame {
  readonly column: number;
  readonly item: boolean;
  readonly segment: string;
}

/** One pass over the lines, with a stack of the columns that are open. */
class Scan {
  readonly found = new Map<string, { key: Position; value?: Position }>();
  readonly #file: string;
  readonly #lines: readonly string[];
  #stack: Frame[] = [];
  #line = 0;
  #column = 0;

  constructor(text: string, file: string) {
    this.#file = file;
    this.#lines = text.split(/\r?\n/);
  }

  run(): void {
    for (; this.#line < this.#lines.length; this.#line++) {
      const line = this.#current();
      this.#column = line.length - line.trimStart().length;
      if (line.trim() === "" || line[this.#column] === "#" || /^(?:---|\.\.\.)(?:\s|$)/.test(line)) continue;
      this.#blockLine();
    }
  }

  #current(): string {
    return this.#lines[this.#line] ?? "";
  }

  /** The rest of the line under way. */
  #rest(): string {
    return this.#current().slice(this.#column);
  }

  #here(): Position {
    return { line: this.#line + 1, column: this.#column + 1 };
  }

  #path(): string[] {
    return this.#stack.map((frame) => frame.segment);
  }

  /** For what is YAML and yet not for a configuration. */
  #refuse(why: string): never {
    throw new ConfigError(`${place(this.#file, this.#here())}: ${why}`);
  }

  #blockLine(): void {
    if (/^%\S/.test(this.#current())) this.#refuse("Directives (%NAME) are not supported; remove the line");
    if (/^\?(?:\s|$)/.test(this.#rest())) this.#refuse(KEY);
    for (let item = /^-(?:\s+|$)/.exec(this.#rest()); item !== null; item = /^-(?:\s+|$)/.exec(this.#rest())) {
      this.#openItem();
      this.#column += item[0].length;
    }
    const key = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#&*!|>%@`"'{}[\],][^#]*?)\s*:(?=\s|$)/.exec(this.#rest());
    if (key === null) return this.#value(this.#path(), this.#stack.at(-1)?.column ?? 0);
    while ((this.#stack.at(-1)?.column ?? -1) >= this.#column) this.#stack.pop();
    const column = this.#column;
    this.#stack.push({ column, item: false, segment: unquoted(key[1] ?? "") });
    this.found.set(pathKey(this.#path()), { key: this.#here() });
    this.#column += key[0].length;
    this.#value(this.#path(), column);
  }

  #openItem(): void {
    let index = 0;
    for (let top = this.#stack.at(-1); top !== undefined && top.column >= this.#column; top = this.#stack.at(-1)) {
      if (top.column === this.#column && !top.item) break;
      if (top.column === this.#column) index = Number(top.segment) + 1;
      this.#stack.pop();
    }
    this.#stack.push({ column: this.#column, item: true, segment: String(index) });
    this.found.set(pathKey(this.#path()), { key: this.#here() });
  }

  /** What stands behind a key or a dash: remembers where, and passes over text of several lines. */
  #value(path: readonly string[], parentColumn: number): void {
    this.#column += /^\s*(?:&\S+\s+)?/.exec(this.#rest())?.[0].length ?? 0;
    const rest = this.#rest();
    if (rest === "" || rest.startsWith("#")) return;
    const entry = this.found.get(pathKey(path));
    if (entry !== undefined) entry.value ??= this.#here();
    if (rest.startsWith("!")) this.#refuse(TAG);
    else if (/^[|>]/.test(rest)) this.#passBlockText(parentColumn);
    else if (/^["']/.test(rest)) this.#passQuoted();
    else if (/^[{[]/.test(rest)) this.#flow(path);
  }

  #passBlockText(parentColumn: number): void {
    const within = (line: string): boolean =>
      line.trim() === "" || line.length - line.trimStart().length > parentColumn;
    while (this.#line + 1 < this.#lines.length && within(this.#lines[this.#line + 1] ?? "")) this.#line++;
  }

  /** Leaves the column behind the closing quote, perhaps on a later line. */
  #passQuoted(): void {
    const quote = this.#rest()[0];
    this.#column++;
    for (; this.#line < this.#lines.length; this.#line++, this.#column = 0) {
      for (const line = this.#current(); this.#column < line.length; this.#column++) {
        const character = line[this.#column];
        if (character === "\\" && quote === '"') this.#column++;
        else if (character === quote && quote === "'" && line[this.#column + 1] === "'") this.#column++;
        else if (character === quote) {
          this.#column++;
          return;
        }
      }
    }
  }

  /** Passes over blanks, line ends and comments inside a flow collection; false at the end of the text. */
  #toNext(): boolean {
    for (; this.#line < this.#lines.length; this.#line++, this.#column = 0) {
      this.#column += /^\s*/.exec(this.#rest())?.[0].length ?? 0;
      const rest = this.#rest();
      if (rest !== "" && !rest.startsWith("#")) return true;
    }
    return false;
  }

  /** A `{…}` or `[…]` from its opening bracket to behind its closing one. */
  #flow(path: readonly string[]): void {
    if (path.length > DEPTH_MAX) this.#refuse(`Nothing here is nested deeper than ${DEPTH_MAX}; remove some brackets`);
    const mapping = this.#rest().startsWith("{");
    this.#column++;
    for (let index = 0; this.#toNext();) {
      const rest = this.#rest();
      if (/^[}\]]/.test(rest)) {
        this.#column++;
        return;
      }
      if (rest.startsWith(",")) {
        this.#column++;
        index++;
        continue;
      }
      const key = this.#here();
      if (!mapping) {
        this.found.set(pathKey([...path, String(index)]), { key });
        this.#flowValue([...path, String(index)]);
        continue;
      }
      const name = /^(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?:[^\s,:{}[\]"']|:(?=[^\s,{}[\]])|\s+(?=[^\s,:{}[\]#]))+)/
        .exec(rest);
      if (name === null) this.#refuse(KEY);
      this.#column += name[0].length;
      const entry = [...path, unquoted(name[0])];
      this.found.set(pathKey(entry), { key });
      if (this.#toNext() && this.#rest().startsWith(":")) {
        this.#column++;
        if (this.#toNext() && !/^[,}]/.test(this.#rest())) this.#flowValue(entry);
      }
    }
  }

  #flowValue(path: readonly string[]): void {
    const entry = this.found.get(pathKey(path));
    if (entry !== undefined) entry.value ??= this.#here();
    const rest = this.#rest();
    if (rest.startsWith("!")) this.#refuse(TAG);
    if (/^["']/.test(rest)) this.#passQuoted();
    else if (/^[{[]/.test(rest)) this.#flow(path);
    else this.#column += Math.max(1, /^(?:[^\s,{}[\]]|\s+(?=[^\s,{}[\]#]))*/.exec(rest)?.[0].length ?? 1);
  }
}

function unquoted(key: string): string {
  if (key.startsWith("'")) return key.slice(1, -1).replaceAll("''", "'");
  if (!key.startsWith('"')) return key.trim();
  try {
    return String(JSON.parse(key));
  } catch {
    return key.slice(1, -1);
  }
}
