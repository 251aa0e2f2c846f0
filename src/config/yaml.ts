/**
 * YAML with positions, for files that people write. Tags, directives and keys that are not text are refused: libraries differ on
 * them, or print the line they are on as a warning.
 * @module
 */
import { ConfigError } from "../errors.ts";
import { type Position, readDocument, YamlFault } from "./yaml_document.ts";

export type { Position } from "./yaml_document.ts";

/** A parsed file. */
export interface YamlFile {
  /** Null for a file without content. */
  readonly value: unknown;
  /** Where the key is; undefined inside of aliases. */
  keyAt(path: readonly PropertyKey[]): Position | undefined;
  /** Where the value begins, on the key's line; the key's own place when the value is on the lines below. */
  valueAt(path: readonly PropertyKey[]): Position | undefined;
}

/** A configuration file is not larger; in UTF-16 units. */
const LENGTH_MAX = 1_048_576;

/**
 * Reads YAML.
 * @throws {ConfigError} with `file:line:column`; never with text of the file, which may be a secret.
 */
export function parseYaml(text: string, file: string): YamlFile {
  if (text.length > LENGTH_MAX) {
    throw new ConfigError(`${file} is longer than ${LENGTH_MAX} characters; split or shorten it`);
  }
  try {
    const { value, places } = readDocument(text.replace(/^\uFEFF/, ""));
    const at = (path: readonly PropertyKey[]) => places.get(JSON.stringify(path.map(String)));
    return { value, keyAt: (path) => at(path)?.key, valueAt: (path) => at(path)?.value };
  } catch (error) {
    if (!(error instanceof YamlFault)) throw error;
    throw new ConfigError(`${place(file, error.position)}: ${error.message}`);
  }
}

/** `file:line:column`, or the file alone where the position is not known. */
export function place(file: string, position: Position | undefined): string {
  return position === undefined ? file : `${file}:${position.line}:${position.column}`;
}
