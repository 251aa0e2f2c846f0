/**
 * The configuration as a file would have it, for people to read: every option that is set, secrets hidden.
 * @module
 */
import type { Option } from "./option.ts";
import { alternativeOf, type Config, optionsWith } from "./schema.ts";
import { HIDDEN } from "./shown.ts";

/** A section of what is shown. */
export interface ShownSection {
  [key: string]: unknown;
}

/** The configuration in use, in the file's own units and order. Values of headers, PEM text and passphrases are hidden. */
export function shownConfig(config: Config): ShownSection {
  const root: ShownSection = {};
  const [exporters, groups] = [Object.keys(config.exporters), Object.keys(config.groups)];
  const options = optionsWith({ exporters, groups });
  for (const option of options) {
    const value = valueAt(config, option.path);
    if (value === undefined || option.container || isReplaced(config, option.path, options)) continue;
    // Where there are several, exporter is one of them again.
    if (exporters.length > 0 && option.path[0] === "exporter") continue;
    if (option.path[0] === "routes" && config.routes.length === 0) continue;
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
function isReplaced(config: Config, path: readonly string[], options: readonly Option[]): boolean {
  const other = path.at(-1)?.endsWith("_file") ? alternativeOf(path, options) : undefined;
  return other !== undefined && valueAt(config, other) !== undefined;
}
