/** The configuration's TypeScript types, printed from the options: explicit, so that who imports the library need not infer them. */
import type { Option } from "../../src/config/option.ts";
import { optionsWith } from "../../src/config/schema.ts";

type Side = "Config" | "ConfigInput";

const HEADS: Readonly<Record<Side, string>> = {
  Config: "The configuration in use. Sizes are bytes, durations ms.",
  ConfigInput: "The configuration as it is written: every key may be left out, sizes and durations are text.",
};

/** The words that {@link Option.bounds} lists. */
function words(bounds: string | undefined): string {
  return (bounds ?? "").split(", ").map((word) => JSON.stringify(word)).join(" | ");
}

/** Stands for a name that people choose, in `exporters` and `groups`. */
const ANY = "*";

function typeOf({ path, type, bounds, itemKeys }: Option, side: Side): string {
  const written = side === "ConfigInput";
  switch (type) {
    case "size":
    case "duration":
      return written ? "string | number" : "number";
    case "endpoint":
      return written ? "string" : "Endpoint";
    case "choice":
      return words(bounds);
    case "flag":
      return "boolean";
    case "number":
      return "number";
    case "map":
      return path.at(-1) === "balance" ? "Record<string, number>" : "Record<string, string>";
    case "list":
      if (itemKeys !== undefined) return "{ signals?: SignalName[]; senders?: string[]; exporters: string[] }[]";
      return !bounds?.includes("action: ")
        ? "string[]"
        : `{ key: string; action: ${words(bounds.slice(bounds.indexOf("action: ") + 8))} }[]`;
    default:
      return written && path.join(".") === "receiver.auth.tokens" ? "string | TokensInput" : "string";
  }
}

interface Tree {
  [key: string]: Tree | Option;
}

const isOption = (node: Tree | Option): node is Option => Array.isArray(node["path"]);

function lines(tree: Tree, side: Side, indent: string): string[] {
  return Object.entries(tree).flatMap(([key, node]) => {
    if (!isOption(node)) {
      if (key === ANY) return [`${indent}[name: string]: {`, ...lines(node, side, `${indent}  `), `${indent}};`];
      const mark = side === "ConfigInput" ? "?" : "";
      return [
        `${indent}/** \`${key}\`. */`,
        `${indent}${key}${mark}: {`,
        ...lines(node, side, `${indent}  `),
        `${indent}};`,
      ];
    }
    const optional = side === "ConfigInput" || (node.default === undefined && node.itemKeys === undefined);
    const unit = side === "Config" && node.unit !== undefined ? ` In ${node.unit}.` : "";
    const fallback = node.default === undefined ? "" : ` Default: \`${JSON.stringify(node.default)}\`.`;
    return [
      `${indent}/** ${node.help}.${unit}${fallback} */`,
      `${indent}${key}${optional ? "?" : ""}: ${typeOf(node, side)};`,
    ];
  });
}

/** The text of src/config/types.ts before `deno fmt`. */
export function typesModule(): string {
  const tree: Tree = {};
  for (const option of optionsWith({ exporters: [ANY], groups: [ANY] })) {
    // What it holds follows, option by option.
    if (option.container) continue;
    let at = tree;
    for (const key of option.path.slice(0, -1)) at = (at[key] ??= {}) as Tree;
    at[option.path.at(-1)!] = option;
  }
  const sides = (["Config", "ConfigInput"] as const).map((side) =>
    `/** ${HEADS[side]} */\nexport interface ${side} {\n${lines(tree, side, "  ").join("\n")}\n}\n`
  );
  return `/**
 * The configuration's types, printed from \`schema.ts\` by \`deno task docs\`: not to be edited by hand.
 * @module
 */
import type { SignalName } from "../signal.ts";
import type { TokensInput } from "./tokens.ts";
import type { Endpoint } from "./units.ts";

${sides.join("\n")}`;
}
