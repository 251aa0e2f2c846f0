/**
 * The configuration from its sources: defaults, below the file, below the environment. Everything that is wrong is found in
 * one go and said with its place: `file:line:column` or the variable, the key, the value unless it is secret, what is wanted.
 * @module
 */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import process from "node:process";
import { parse } from "@std/yaml";
import type { z } from "zod";
import { codeOf, ConfigError, messageOf, type Statement } from "../errors.ts";
import {
  dotEnvWarnings,
  type Environment,
  readEnvironment,
  substitute,
  SubstitutionError,
  withDotEnv,
} from "./environment.ts";
import { SIGNAL_NAMES } from "../signal.ts";
import { exportersOf, keyFaults } from "./check_keys.ts";
import { routingFaults, routingWarnings } from "./check_routes.ts";
import { withEndpoints } from "./exporter_endpoints.ts";
import { SENDER } from "./exporter_settings.ts";
import { nearest } from "./nearest.ts";
import { DEFAULT_EXPORTER, primaryExporter } from "./routes.ts";
import type { Option } from "./option.ts";
import {
  alternativeOf,
  type Config,
  type ConfigInput,
  ConfigSchema,
  type ExporterConfig,
  OPTIONS,
  optionsWith,
} from "./schema.ts";
import { shownName } from "./shown.ts";
import { formatEndpoint, isLoopback, sameEndpoint } from "./units.ts";
import { parseYaml, place, type YamlFile } from "./yaml.ts";

/** Read when no file is named, if it is there; relative to the working folder. */
const CONFIG_FILE_DEFAULT = "config/relay.yaml";

/** At most so many faults are listed in one error. */
const FAULTS_MAX = 20;

/** Where to read from. */
export interface LoadOptions {
  /** Must exist when it is given; null reads none. Without it {@link CONFIG_FILE_DEFAULT} is read if it exists. */
  readonly file?: string | null;
  /** The variables. Those of the process by default. */
  readonly env?: Environment;
  /** The text of a `.env` file; a variable of {@link LoadOptions.env} wins over one of it. None unless given. */
  readonly dotEnv?: string;
  /** What a relative `file` is relative to; the process's own by default. Paths inside the file stay as written. */
  readonly cwd?: string;
}

/** A configuration that can be used, and where it came from. */
export interface LoadedConfig {
  /** What `startRelay` takes. */
  readonly config: Config;
  /** Nothing here stops the relay; each is one sentence for the log. */
  readonly warnings: readonly string[];
  /** Where its settings came from. */
  readonly sources: {
    /** The file as it was named; undefined when none was read. */
    readonly file: string | undefined;
    /** Names of the variables that set something, in the order of their reading. */
    readonly environment: readonly string[];
  };
  /** Where the value of a key came from: `OTEL_EXPORTER_OTLP_ENDPOINT in .env`, `config/relay.yaml:3:5`, or `the default`. */
  readonly originOf: (path: readonly string[]) => string;
}

/**
 * Reads the file and the environment.
 * @throws {ConfigError} naming every fault found, one a line.
 */
export async function loadConfig(options: LoadOptions = {}): Promise<LoadedConfig> {
  const read = options.file === null ? undefined : await readConfigFile(options.file, options.cwd);
  const { env = process.env, dotEnv = "" } = options;
  const draft = new Draft(new Variables(env, dotEnv), read);
  draft.takeFile();
  const reading = readEnvironment(withDotEnv(env, dotEnv));
  draft.faults.push(...reading.faults);
  for (const assignment of reading.assignments) draft.assign(assignment.path, assignment.value, assignment.variable);
  const config = draft.finish();
  return {
    config,
    warnings: [...dotEnvWarnings(dotEnv), ...reading.warnings, ...draft.warnings, ...warningsOf(config)],
    sources: { file: read?.name, environment: [...draft.variables] },
    originOf: (path) => draft.originOf(path),
  };
}

/**
 * The configuration for an object of the file's shape, for programs that embed the relay. No file and no environment is read.
 * @throws {ConfigError}
 */
export function configFrom(input: ConfigInput): Config {
  const draft = new Draft(new Variables({}, ""), undefined);
  draft.takeValue(input);
  return draft.finish();
}

/** The text of `.env` in the working folder; empty where there is none. @throws {ConfigError} */
export async function readDotEnvFile(cwd: string = process.cwd()): Promise<string> {
  try {
    return await readFile(resolve(cwd, ".env"), "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return "";
    throw cannotRead("Cannot read .env", error);
  }
}

/** The variables with those of a `.env` file below them, and how messages call each. */
class Variables {
  readonly all: Environment;
  readonly #env: Environment;

  constructor(env: Environment, dotEnv: string) {
    this.#env = env;
    this.all = withDotEnv(env, dotEnv);
  }

  named(name: string): string {
    return this.#env[name] === undefined && this.all[name] !== undefined ? `${name} in .env` : name;
  }
}

/** What the system says of a file that cannot be read, for people. */
const FILE_STATES: Readonly<Record<string, Omit<Statement, "what">>> = {
  ENOENT: {
    state: "it does not exist",
    remedy: "name another with --config, or leave it out to use the defaults and the environment",
  },
  EISDIR: { state: "it is a folder", remedy: "name a file in it" },
  EACCES: { state: "this user may not read it", remedy: "change its mode or owner" },
};

function cannotRead(what: string, error: unknown): ConfigError {
  return new ConfigError({ what, ...(FILE_STATES[codeOf(error) ?? ""] ?? { state: messageOf(error) }) });
}

interface ReadFile {
  readonly name: string;
  readonly yaml: YamlFile;
}

async function readConfigFile(file: string | undefined, cwd = process.cwd()): Promise<ReadFile | undefined> {
  const name = file ?? CONFIG_FILE_DEFAULT;
  let text: string;
  try {
    text = await readFile(resolve(cwd, name), "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT" && file === undefined) return undefined;
    throw cannotRead(`Cannot read configuration ${name}`, error);
  }
  return { name, yaml: parseYaml(text, name) };
}

type Tree = { [key: string]: unknown };

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** Files of before had `sending_queue.sizer`, for which `bytes` was the one word; it means nothing now, and is no fault. */
function withoutSizer(tree: Tree): Tree {
  const queue = tree["sending_queue"];
  if (!isTree(queue) || queue["sizer"] !== "bytes") return tree;
  const { sizer: _, ...kept } = queue;
  return { ...tree, sending_queue: kept };
}

/** A configuration being put together: the raw tree, where each key came from, and what is wrong so far. */
class Draft {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly variables = new Set<string>();
  readonly #env: Variables;
  readonly #file: ReadFile | undefined;
  readonly #origins = new Map<string, string>();
  #tree: Tree = {};
  /** Those of the names that the file has, too. */
  #options: readonly Option[] = OPTIONS;

  constructor(env: Variables, file: ReadFile | undefined) {
    this.#env = env;
    this.#file = file;
  }

  /** The file's values, variables substituted. */
  takeFile(): void {
    const value = this.#file?.yaml.value ?? undefined;
    if (value === undefined) return;
    if (!isTree(value)) {
      this.faults.push(`${this.#file?.name}: Cannot use this file: it must be a mapping that begins with a key`);
      return;
    }
    this.takeValue(this.#substituted(value, []));
  }

  takeValue(value: unknown): void {
    if (isTree(value)) this.#tree = withoutSizer(value);
    this.#findOptions();
    for (const option of this.#options) {
      const other = alternativeOf(option.path, this.#options);
      if (option.path.at(-1)?.endsWith("_file") || other === undefined) continue;
      if (this.#get(option.path) === undefined || this.#get(other) === undefined) continue;
      this.fault(option.path, `Cannot use ${option.path.join(".")} beside ${other.join(".")}: remove one of them`);
    }
  }

  /** The options that there are depend on the names that people have chosen. */
  #findOptions(): void {
    const namesIn = (section: unknown) => isTree(section) ? Object.keys(section) : [];
    const { exporters, groups } = this.#tree;
    this.#options = optionsWith({ exporters: namesIn(exporters), groups: namesIn(groups) });
  }

  /** The option whose value, or a part of it, the path leads to. */
  #optionAt(path: readonly PropertyKey[]): Option | undefined {
    return this.#options.find((option) =>
      option.path.length <= path.length && option.path.every((key, index) => key === path[index]) &&
      (!option.container || option.path.length === path.length)
    );
  }

  /** Sets a key from a variable; text replaces the file that the key's alternative names, and the other way round. */
  assign(path: readonly string[], value: unknown, variable: string): void {
    this.variables.add(variable);
    if (value === undefined) return;
    if (path[0] === "exporter" && isTree(this.#tree["exporters"])) {
      // `exporter` and its variables are the exporter of that name.
      if (!isTree(this.#tree["exporters"][DEFAULT_EXPORTER])) {
        const named = this.#env.named(variable);
        this.warnings.push(
          `${named} sets nothing: it is for the exporter ${DEFAULT_EXPORTER}, and exporters has none of that name`,
        );
        return;
      }
      return this.assign(["exporters", DEFAULT_EXPORTER, ...path.slice(1)], value, variable);
    }
    const other = alternativeOf(path, this.#options);
    for (const [target, content] of [[other, undefined], [path, value]] as const) {
      if (target === undefined) continue;
      const parent = this.#parentOf(target);
      const key = target.at(-1);
      if (parent === undefined || key === undefined) continue;
      if (content === undefined) delete parent[key];
      else parent[key] = content;
    }
    this.#origins.set(path.join("."), this.#env.named(variable));
    if (path.length === 1) this.#findOptions();
  }

  /** The checked configuration. */
  finish(): Config {
    const result = ConfigSchema.safeParse(this.#tree);
    if (result.success) this.#checkKeys(result.data);
    else for (const issue of result.error.issues) this.#issue(issue);
    if (this.faults.length > 0 || !result.success) {
      const more = this.faults.length - FAULTS_MAX;
      throw new ConfigError([...this.faults.slice(0, FAULTS_MAX), ...(more > 0 ? [`And ${more} more`] : [])]);
    }
    const settled = (section: readonly string[], exporter: ExporterConfig) =>
      withEndpoints(exporter, (key) => this.#get([...section, key]) !== undefined);
    const { exporter, exporters } = result.data;
    const config: Config = {
      ...result.data,
      exporter: settled(["exporter"], exporter),
      exporters: Object.fromEntries(
        Object.entries(exporters).map(([name, each]) => [name, { ...each, ...settled(["exporters", name], each) }]),
      ),
    };
    const primary = config.exporters[primaryExporter(config)];
    return primary === undefined ? config : { ...config, exporter: primary };
  }

  /** Where a value came from. */
  originOf(path: readonly string[]): string {
    return this.#origins.get(path.join(".")) ?? this.#place(path, "value") ?? "the default";
  }

  /** Notes a fault under the place that its key came from. */
  fault(path: readonly PropertyKey[], message: string, at: "key" | "value" = "value"): void {
    const variable = this.#origins.get(path.join(".")) ?? this.#origins.get(this.#optionAt(path)?.path.join(".") ?? "");
    const where = variable ?? this.#place(path, at);
    this.faults.push(where === undefined ? message : `${where}: ${message}`);
  }

  /** The nearest place in the file: the key's own or that of the section around it; undefined for what is not from the file. */
  #place(path: readonly PropertyKey[], at: "key" | "value"): string | undefined {
    if (this.#file === undefined || this.#get(path) === undefined) return undefined;
    const { name, yaml } = this.#file;
    for (let length = path.length; length > 0; length--) {
      const part = path.slice(0, length);
      const position = at === "key" ? yaml.keyAt(part) : yaml.valueAt(part);
      if (position !== undefined) return place(name, position);
    }
    return name;
  }

  #get(path: readonly PropertyKey[]): unknown {
    let value: unknown = this.#tree;
    for (const key of path) {
      if (Array.isArray(value)) value = value[Number(key)];
      else if (isTree(value) && Object.hasOwn(value, key)) value = value[String(key)];
      else return undefined;
    }
    return value;
  }

  /** The section a key is in, made where it is not there; undefined where something else is in its place. */
  #parentOf(path: readonly string[]): Tree | undefined {
    let section = this.#tree;
    for (const key of path.slice(0, -1)) {
      const next = section[key] ?? (section[key] = {});
      if (!isTree(next)) return undefined;
      section = next;
    }
    return section;
  }

  /** A copy without nulls (a key without a value is unset) and with its variables put in. */
  #substituted(value: unknown, path: readonly string[]): unknown {
    if (typeof value === "string") return this.#substitutedText(value, path);
    if (Array.isArray(value)) return value.map((item, index) => this.#substituted(item, [...path, String(index)]));
    if (!isTree(value)) return value ?? undefined;
    const copy: Tree = {};
    for (const [key, item] of Object.entries(value)) {
      if (key === "__proto__") {
        this.faults.push(`${this.#file?.name}: Unknown key __proto__`);
        continue;
      }
      // An exporter without keys has the defaults of each.
      const written = item === null && path.length === 1 && path[0] === "exporters" ? {} : item;
      const content = this.#substituted(written, [...path, key]);
      if (content !== undefined) copy[key] = content;
    }
    return copy;
  }

  #substitutedText(text: string, path: readonly string[]): unknown {
    const option = this.#optionAt(path);
    try {
      const result = substitute(text, this.#env.all, option?.path.at(-1) === "headers" ? [SENDER] : []);
      for (const variable of result.variables) this.variables.add(variable);
      if (!result.whole) return result.text;
      // The Collector reads a value that is one variable by its type. Ours comes from the option; a section's is YAML.
      if (option === undefined) return parse(result.text) ?? undefined;
      return option.path.length === path.length ? option.fromText(result.text) : result.text;
    } catch (error) {
      const reason = error instanceof SubstitutionError ? error.message : "has a variable whose text is not YAML";
      const position = this.#file?.yaml.valueAt(path);
      this.faults.push(`${place(this.#file?.name ?? "", position)}: Cannot use ${path.join(".")}: it ${reason}`);
      return undefined;
    }
  }

  #issue(issue: z.core.$ZodIssue): void {
    // Inside of a value it is the value that is wrong.
    if (issue.code === "unrecognized_keys" && this.#optionAt(issue.path) === undefined) {
      for (const key of issue.keys) {
        const path = [...issue.path, key];
        this.fault(
          path,
          `Unknown key ${path.map((part) => shownName(String(part))).join(".")}; ${
            suggestion(issue.path.map(String), key, this.#options)
          }`,
          "key",
        );
      }
      return;
    }
    const option = this.#optionAt(issue.path);
    const name = issue.path.map((part) => shownName(String(part))).join(".");
    if (issue.code === "unrecognized_keys" && option?.itemKeys !== undefined) {
      for (const key of issue.keys) {
        const near = nearest(key, option.itemKeys);
        const remedy = near === undefined ? `the keys here are ${option.itemKeys.join(", ")}` : `did you mean ${near}?`;
        this.fault([...issue.path, key], `Unknown key ${name}.${shownName(key)}; ${remedy}`, "key");
      }
      return;
    }
    if (option === undefined) {
      const keys = childrenOf(issue.path.map(String), this.#options).join(", ");
      this.fault(issue.path, `Cannot use ${name}: it must be a mapping with the keys ${keys}`);
      return;
    }
    const shown = option.shown(this.#get(issue.path));
    this.fault(issue.path, `Cannot use ${name}${shown === "" ? "" : ` ${shown}`}: it must be ${option.wanted}`);
  }

  /** What no single key can know. */
  #checkKeys(config: Config): void {
    for (const { path, message } of keyFaults(config)) this.fault(path, message);
    this.#checkExporters(config);
  }

  /** What is asked of several exporters beyond what one needs. */
  #checkExporters(config: Config): void {
    const { exporters } = this.#tree;
    if (isTree(exporters)) {
      if (Object.keys(exporters).length === 0) {
        this.fault(["exporters"], "Cannot use exporters: it names none; add one, or remove the key", "key");
      }
      if (this.#get(["exporter"]) !== undefined) {
        const message =
          "Cannot use exporter beside exporters: move its keys to exporters.default, or to another name there";
        this.fault(["exporter"], message, "key");
      }
    }
    for (const name of Object.keys(config.exporters)) {
      const path = ["exporters", name];
      const ends = ["endpoint", ...SIGNAL_NAMES.map((signal) => `${signal}_endpoint`)];
      const set = ends.filter((key) => this.#get([...path, key]) !== undefined);
      // The default leads to this machine, which is meant of one exporter at most.
      if (set.includes("endpoint") || set.length === SIGNAL_NAMES.length || name === DEFAULT_EXPORTER) continue;
      this.fault(
        path,
        `Cannot use exporters.${shownName(name)}: it has no endpoint; set endpoint to the Collector's URL`,
        "key",
      );
    }
    for (const { path, message, at } of routingFaults(config)) this.fault(path, message, at);
  }
}

const childrenOf = (section: readonly string[], options: readonly Option[]): string[] => [
  ...new Set(
    options.filter(({ path }) => section.every((key, index) => path[index] === key))
      .map(({ path }) => path[section.length]).filter((key) => key !== undefined),
  ),
];

/** The key that was probably meant: one of the same section, or the same word elsewhere. */
function suggestion(section: readonly string[], key: string, options: readonly Option[]): string {
  if (key === "<<") return "merge keys are not supported, write the keys out";
  const known = childrenOf(section, options);
  const near = nearest(key, known);
  if (near !== undefined) return `did you mean ${[...section, near].join(".")}?`;
  const elsewhere = OPTIONS.find(({ path }) => path.includes(key))?.path;
  if (elsewhere !== undefined) return `did you mean ${elsewhere.slice(0, elsewhere.indexOf(key) + 1).join(".")}?`;
  return `the keys here are ${known.join(", ")}`;
}

function warningsOf(config: Config): string[] {
  const { receiver, telemetry } = config;
  const warnings: string[] = [];
  if (receiver.auth.insecure) {
    warnings.push("receiver.auth.insecure is true: whoever reaches the endpoint on this machine may send");
  }
  const { endpoint, token } = telemetry.admin;
  // Where it is the receiver's own, a host with one port is meant.
  if (token === undefined && !isLoopback(endpoint.hostname) && !sameEndpoint(endpoint, receiver.http.endpoint)) {
    warnings.push(
      `telemetry.admin.endpoint ${
        formatEndpoint(endpoint)
      } is not loopback: only /livez and /readyz are answered there; ` +
        "set telemetry.admin.token for /metrics and the status page",
    );
  }
  for (const [section, settings] of exportersOf(config)) {
    for (const key of ["endpoint", ...SIGNAL_NAMES.map((signal) => `${signal}_endpoint` as const)] as const) {
      if (!settings[key]?.startsWith("http:")) continue;
      warnings.push(
        `${
          section.join(".")
        }.${key} is http://: nothing is encrypted and no certificate is asked for; for debugging only`,
      );
    }
  }
  warnings.push(...routingWarnings(config));
  return warnings;
}
