/**
 * Settings from the environment. Later rows of this list win over earlier ones, key by key, and all of them over the file:
 * 1. `OTEL_EXPORTER_OTLP_<SUFFIX>` and `OTEL_EXPORTER_OTLP_<SIGNAL>_<SUFFIX>`, as the OpenTelemetry specification has them
 *    ("OpenTelemetry Protocol Exporter"); `OTEL_SERVICE_NAME`.
 * 2. `EDGEFERRY_<SUFFIX>`, then `EDGEFERRY_EXPORTER_OTLP_<SUFFIX>`: the same suffixes, for hosts that refuse names in `OTEL_`.
 * 3. `EDGEFERRY_<KEY>`: every key of the file, in capitals, its sections joined by `_`.
 *
 * An empty variable counts as unset. What is wrong in an `OTEL_` variable that other programs read too is a warning where
 * the specification says so (enums, numbers); what is wrong in an `EDGEFERRY_` variable is an error.
 * @module
 */
import { parseEnv } from "node:util";
import { nearest } from "./nearest.ts";
import { isHeader, type Option } from "./option.ts";
import { OPTIONS } from "./schema.ts";
import { pemTextOf } from "./shown.ts";

/** Variables by name, as `process.env` or `Deno.env.toObject()` gives them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The sender's token, which the command `send` reads: nothing of the relay's. */
const SENDER_TOKEN = "EDGEFERRY_TOKEN";
/** Read by the `certs` commands alone. */
export const CA_PASSPHRASE_VARIABLE = "EDGEFERRY_CA_PASSPHRASE";
/** What is no setting of the relay's, though it begins like one. */
const OTHERS: ReadonlySet<string> = new Set([SENDER_TOKEN, "EDGEFERRY_SIGNING_KEY", CA_PASSPHRASE_VARIABLE]);

/** One key set by one variable. */
export interface Assignment {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly variable: string;
}

/** What the environment sets, in ascending precedence, and what is wrong with it. */
export interface EnvironmentReading {
  readonly assignments: readonly Assignment[];
  readonly warnings: readonly string[];
  readonly faults: readonly string[];
}

const OTEL_PREFIX = "OTEL_EXPORTER_OTLP_";
const OWN_PREFIX = "EDGEFERRY_";
const PREFIXES = [OTEL_PREFIX, OWN_PREFIX, "EDGEFERRY_EXPORTER_OTLP_"] as const;
const SCOPES = [undefined, "traces", "metrics", "logs", "profiles"] as const;
type Scope = typeof SCOPES[number];

/** What a suffix's reader may answer with. */
interface Target {
  readonly variable: string;
  readonly scope: Scope;
  /** Below `exporter`, or `exporter.signals.<signal>`. */
  set(key: readonly string[], value: unknown): void;
  warn(message: string): void;
  /** A warning for an `OTEL_` variable, an error for one of ours. */
  fault(message: string): void;
}

/** A suffix of the specification, the keys it sets, and how it is read. */
interface SuffixRow {
  readonly suffix: string;
  readonly keys: readonly (readonly string[])[];
  read(text: string, target: Target): void;
}

/**
 * A word of an enumeration, or of a flag. Source: OpenTelemetry specification, "Environment Variable Specification": their values
 * SHOULD be read without regard to case.
 */
const wordOf = (text: string): string => text.trim().toLowerCase();

const fileOrPem = (suffix: string, stem: string): SuffixRow => ({
  suffix,
  keys: [["tls", `${stem}_file`], ["tls", `${stem}_pem`]],
  read: (text, target) =>
    pemTextOf(text) === undefined
      ? target.set(["tls", `${stem}_file`], text.trim())
      : target.set(["tls", `${stem}_pem`], text),
});

const SUFFIXES: readonly SuffixRow[] = [
  { suffix: "ENDPOINT", keys: [["endpoint"]], read: (text, target) => target.set(["endpoint"], text.trim()) },
  fileOrPem("CERTIFICATE", "ca"),
  fileOrPem("CLIENT_CERTIFICATE", "cert"),
  fileOrPem("CLIENT_KEY", "key"),
  { suffix: "HEADERS", keys: [["headers"]], read: readHeaders },
  {
    suffix: "COMPRESSION",
    keys: [["compression"]],
    read: (text, target) => {
      const word = wordOf(text);
      if (word === "gzip" || word === "none") target.set(["compression"], word);
      else target.fault(`Cannot use ${target.variable}: it must be gzip or none`);
    },
  },
  {
    suffix: "TIMEOUT",
    keys: [["timeout"]],
    read: (text, target) =>
      /^\d{1,6}$/.test(text.trim()) && Number(text) >= 1 && Number(text) <= 600_000
        ? target.set(["timeout"], `${Number(text)}ms`)
        : target.fault(`Cannot use ${target.variable}: it must be a whole number of milliseconds from 1 to 600000`),
  },
  {
    suffix: "INSECURE",
    keys: [],
    read: (text, target) => {
      if (wordOf(text) !== "true") return;
      target.warn(
        `${target.variable}=true has no effect: an endpoint without a scheme is https://, and verification is never off; ` +
          "write http:// for an endpoint on this machine",
      );
    },
  },
  {
    suffix: "PROTOCOL",
    keys: [["protocol"]],
    read: (text, target) => {
      const word = wordOf(text);
      if (word === "http/protobuf" || word === "grpc") return target.set(["protocol"], word);
      target.warn(
        `${target.variable} is neither http/protobuf nor grpc, which are what the relay speaks to the Collector; ` +
          "it speaks http/protobuf there: see that the endpoint is its OTLP/HTTP port, by custom 4318",
      );
    },
  },
];

/** `k=v,k2=v2`, percent-decoded (W3C Baggage form, without properties). Values are secret and never in a message. */
function readHeaders(text: string, target: Target): void {
  const headers: Record<string, string> = {};
  for (const [index, pair] of text.split(",").entries()) {
    if (pair.trim() === "") continue;
    const [name, value] = decodedPair(pair);
    if (name !== undefined && value !== undefined && isHeader(name, value)) headers[name] = value;
    else {
      target.fault(
        `Cannot use pair ${index + 1} of ${target.variable}: it must be name=value, percent-encoded, ` +
          "and not a header that the relay sets itself",
      );
    }
  }
  target.set(["headers"], headers);
}

function decodedPair(pair: string): [string?, string?] {
  const equals = pair.indexOf("=");
  if (equals < 1) return [];
  try {
    return [decodeURIComponent(pair.slice(0, equals).trim()), decodeURIComponent(pair.slice(equals + 1).trim())];
  } catch {
    return [];
  }
}

/** The key that a suffix sets for a scope. The Collector names its per-signal endpoints beside the general one. */
function scopedPath(key: readonly string[], scope: Scope): string[] {
  if (scope === undefined) return ["exporter", ...key];
  return key[0] === "endpoint" ? ["exporter", `${scope}_endpoint`] : ["exporter", "signals", scope, ...key];
}

const variableOf = (prefix: string, scope: Scope, suffix: string): string =>
  `${prefix}${scope === undefined ? "" : `${scope.toUpperCase()}_`}${suffix}`;

/** The variable that sets a key, e.g. `EDGEFERRY_RECEIVER_HTTP_ENDPOINT`. */
export function environmentName(path: readonly string[]): string {
  return `EDGEFERRY_${path.join("_").toUpperCase()}`;
}

/** The specification's variable for a key, where there is one. */
export function otelName(option: Pick<Option, "path">): string | undefined {
  const wanted = option.path.join(".");
  if (wanted === SERVICE_NAME_PATH.join(".")) return "OTEL_SERVICE_NAME";
  for (const scope of SCOPES) {
    const row = SUFFIXES.find(({ keys }) => keys.some((key) => scopedPath(key, scope).join(".") === wanted));
    if (row !== undefined) return variableOf(OTEL_PREFIX, scope, row.suffix);
  }
  return undefined;
}

const SERVICE_NAME_PATH = ["telemetry", "resource", "service_name"] as const;

/** What the environment sets. */
export function readEnvironment(env: Environment): EnvironmentReading {
  const assignments: Assignment[] = [];
  const warnings: string[] = [];
  const faults: string[] = [];
  const known = new Set<string>();
  const valueOf = (variable: string): string | undefined => {
    known.add(variable);
    return env[variable]?.trim() === "" ? undefined : env[variable];
  };

  const serviceName = valueOf("OTEL_SERVICE_NAME");
  if (serviceName !== undefined) {
    assignments.push({ path: SERVICE_NAME_PATH, value: serviceName.trim(), variable: "OTEL_SERVICE_NAME" });
  }
  for (const prefix of PREFIXES) {
    for (const scope of SCOPES) {
      for (const row of SUFFIXES) {
        const variable = variableOf(prefix, scope, row.suffix);
        const text = valueOf(variable);
        if (text === undefined) continue;
        row.read(text, {
          variable,
          scope,
          set: (key, value) => assignments.push({ path: scopedPath(key, scope), value, variable }),
          warn: (message) => warnings.push(message),
          fault: (message) =>
            prefix === OTEL_PREFIX ? warnings.push(`${message}; it is ignored`) : faults.push(message),
        });
      }
    }
  }
  for (const option of OPTIONS) {
    const variable = environmentName(option.path);
    const text = valueOf(variable);
    if (text === undefined) continue;
    assignments.push({ path: option.path, value: option.fromText(text), variable });
  }
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith(OWN_PREFIX) || known.has(variable) || OTHERS.has(variable)) continue;
    // What all of them begin with makes none of them near.
    const stems = [...known].filter((name) => name.startsWith(OWN_PREFIX)).map((name) => name.slice(OWN_PREFIX.length));
    const near = nearest(variable.slice(OWN_PREFIX.length), stems);
    warnings.push(
      `Variable ${variable} sets nothing${
        near === undefined ? "; config reference lists the names" : `; did you mean ${OWN_PREFIX}${near}?`
      }`,
    );
  }
  return { assignments, warnings, faults };
}

/** The variables of a `.env` file's text. */
export function readDotEnv(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(parseEnv(text.replace(/^\uFEFF/, "")))) {
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/** What a `.env` file's text has that no variable comes of, one sentence a line, with its number and no part of it. */
export function dotEnvWarnings(text: string): string[] {
  const warnings: string[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]?.trim() ?? "";
    if (line === "" || line.startsWith("#")) continue;
    const number = index + 1;
    const tell = (what: string) => void warnings.push(`.env:${number}: ${what}`);
    const [, name, value = ""] = /^(?:export\s+)?([^=]*?)\s*=\s*(.*)$/.exec(line) ?? [];
    if (name === undefined || !/^[A-Za-z_][\w.-]*$/.test(name)) {
      tell(
        /^(?:export\s+)?[A-Za-z_]\w*\s*:/.test(line)
          ? "Cannot read this line: it has a colon behind its name; write NAME=value"
          : "Cannot read this line: it is not NAME=value; correct it, or begin it with #",
      );
    }
    const quote = /^["'`]/.exec(value)?.[0];
    if (quote === undefined || value.indexOf(quote, 1) > 0) continue;
    const end = lines.findIndex((each, later) => later > index && each.includes(quote));
    if (end < 0) tell("The quote that this line opens is not closed; close it, or leave it out");
    else index = end;
  }
  return warnings;
}

/** The environment with a `.env` file's variables below it: a name that is set already, empty or not, stays as it is. */
export function withDotEnv(env: Environment, text: string): Environment {
  return { ...readDotEnv(text), ...env };
}

/** A `${env:NAME}` that cannot be replaced. The message completes "Cannot use KEY: it …"; it holds no text of the value. */
export class SubstitutionError extends Error {
  override readonly name = "SubstitutionError";
}

/**
 * Replaces `${env:NAME}` and `${env:NAME:-default}`; `$$` is a dollar sign, a `$` before anything but `$` and `{` stays. As in
 * the Collector, the default stands for an unset variable and not for an empty one. Unlike there, an unset variable
 * without a default is an error rather than an empty value, and what was put in is not searched again.
 * @param kept What may stand in `${…}` besides, and stays as it is.
 * @returns the text, whether one variable was the whole of it, and the variables that were read.
 * @throws {SubstitutionError}
 */
export function substitute(
  text: string,
  env: Environment,
  kept: readonly string[] = [],
): { text: string; whole: boolean; variables: string[] } {
  const variables: string[] = [];
  const replaced = text.replace(
    /\$\$|\$\{([^}]*)(\}?)/g,
    (found, inside: string | undefined, end: string | undefined) => {
      if (found === "$$") return "$";
      if (end === "}" && kept.includes(inside ?? "")) return found;
      const match = end === "}" ? /^env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(inside ?? "") : null;
      const name = match?.[1];
      if (name === undefined) {
        throw new SubstitutionError(
          "has a ${…} that is neither ${env:NAME} nor ${env:NAME:-default}; write $$ for a dollar sign",
        );
      }
      const value = env[name] ?? match?.[2];
      if (value === undefined) {
        throw new SubstitutionError(
          `needs the variable ${name}, which is not set; set it or write \${env:${name}:-default}`,
        );
      }
      if (env[name] !== undefined) variables.push(name);
      return value;
    },
  );
  return { text: replaced, whole: /^\$\{env:[^}]*\}$/.test(text), variables };
}
