/**
 * The configuration as a file would have it, for people to read: every option that is set, secrets hidden.
 * @module
 */
import { alternativeOf, type Config, OPTIONS } from "./schema.ts";
import { HIDDEN } from "./shown.ts";

/** A section of what is shown. */
export interface ShownSection {
  [key: string]: unknown;
}

/** The configuration in use, in the file's own units and order. Values of headers, PEM text and passphrases are hidden. */
export function shownConfig(config: Config): ShownSection {
  const root: ShownSection = {};
  for (const option of OPTIONS) {
    const value = valueAt(config, option.path);
    if (value === undefined || isReplaced(config, option.path)) continue;
    let section = root;
    for (const key of option.path.slice(0, -1)) {
      const next = section[key];
      if (isSection(next)) section = next;
      else section[key] = section = {};
    }
    section[option.path.at(-1) ?? ""] = option.secret && option.type !== "map" ? HIDDEN : option.format(value);
  }
  return root;
}

const isSection = (value: unknown): value is ShownSection =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const valueAt = (config: Config, path: readonly string[]): unknown =>
  path.reduce<unknown>((section, key) => isSection(section) ? section[key] : undefined, config);

/** A file is not read where its text is given. */
function isReplaced(config: Config, path: readonly string[]): boolean {
  const other = path.at(-1)?.endsWith("_file") ? alternativeOf(path) : undefined;
  return other !== undefined && valueAt(config, other) !== undefined;
}
