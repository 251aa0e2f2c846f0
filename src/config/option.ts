/**
 * What an option is: a zod schema that reads its written form, and beside it what people need to know of it. The kinds here
 * are the whole vocabulary of `schema.ts`; the reference, the environment names and the error texts all come from them.
 * @module
 */
import { parse } from "@std/yaml";
import { z } from "zod";
import { parsePostgresUrl, POSTGRES_URL_WANTED, shownPostgresUrl } from "./postgres_url.ts";
import { described, HIDDEN, pemTextOf, shownName, shownPath, shownPlain, shownText, shownUrl } from "./shown.ts";
import {
  formatDuration,
  formatEndpoint,
  formatSize,
  isLoopback,
  parseDuration,
  parseEndpoint,
  parseSize,
} from "./units.ts";

/** A kind of value: how it is described, and how it is read from text and written back. */
export interface Kind {
  readonly type: "size" | "duration" | "endpoint" | "url" | "text" | "choice" | "flag" | "number" | "map" | "list";
  /** Unit of the number in the parsed configuration; undefined where there is none. */
  readonly unit: "bytes" | "ms" | undefined;
  /** Completes "it must be …" in an error. */
  readonly wanted: string;
  /** The bounds or the words to choose from, for the reference; undefined where the type says all. */
  readonly bounds: string | undefined;
  /** Never shown, in no error and no listing. */
  readonly secret: boolean;
  /** The value to give the schema for text from outside a file (an environment variable); undefined when it is empty. */
  readonly fromText: (text: string) => unknown;
  /** The written form of a parsed value, for listings: nothing in it is secret. */
  readonly format: (value: unknown) => unknown;
  /** It holds further options below names that people choose. */
  readonly container: boolean;
  /** The keys of each item, where it is a list of mappings. */
  readonly itemKeys: readonly string[] | undefined;
  /** A written value as an error names it: quoted, or what it looks like where it may be a secret. */
  readonly shown: (value: unknown) => string;
}

/** One option, as the reference lists it. */
export interface Option extends Kind {
  /** Path in the file, e.g. `["receiver", "http", "endpoint"]`. */
  readonly path: readonly string[];
  /** The default as one writes it in the file; undefined when the option is unset by default. */
  readonly default: unknown;
  readonly help: string;
}

const KINDS = z.registry<Kind>();
const HELP = z.registry<{ help: string }>();

const same = (value: unknown): unknown => value;
const textOrNothing = (text: string): unknown => text === "" ? undefined : text;
const trimmedOrNothing = (text: string): unknown => text.trim() === "" ? undefined : text.trim();

/** What stands where a text is wanted is told by its shape. */
function shape(value: unknown): string | undefined {
  if (Array.isArray(value)) return "(a list)";
  return typeof value === "object" && value !== null ? "(a mapping)" : undefined;
}

const quotedOrShape = (value: unknown): string =>
  shape(value) ?? (typeof value === "string" ? shownText(value) : String(value));
const describedOrShape = (value: unknown): string =>
  shape(value) ?? (typeof value === "string" ? `(${described(value)})` : `(a ${typeof value})`);

function kind<T extends z.ZodType>(schema: T, about: Partial<Kind> & Pick<Kind, "type" | "wanted">): T {
  KINDS.add(schema, {
    unit: undefined,
    bounds: undefined,
    secret: false,
    container: false,
    itemKeys: undefined,
    // A blank at the end of a secret may be a part of it.
    fromText: about.secret === true ? textOrNothing : trimmedOrNothing,
    format: same,
    shown: about.secret === true ? describedOrShape : quotedOrShape,
    ...about,
  });
  return schema;
}

/** A string or number read by `read`, which answers undefined for what it refuses. */
function written<V>(read: (value: string | number) => V | undefined, lengthMax = 4_096) {
  return z.union([z.string().max(lengthMax), z.number()]).transform((value, context): V => {
    const parsed = read(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: "custom" });
    return z.NEVER;
  });
}

const within = (value: number | undefined, min: number, max: number): number | undefined =>
  value !== undefined && value >= min && value <= max ? value : undefined;

/** A number of bytes between two sizes. */
export function size(min: string, max: string) {
  const [low, high] = [parseSize(min) ?? 0, parseSize(max) ?? 0];
  return kind(written((value) => within(parseSize(value), low, high)), {
    type: "size",
    unit: "bytes",
    bounds: `${min} to ${max}`,
    wanted: `a size such as 8MiB, 8MB or 1024 (bytes), from ${min} to ${max}`,
    format: (value) => formatSize(Number(value)),
  });
}

/** A number of ms between two durations. */
export function duration(min: string, max: string) {
  const [low, high] = [parseDuration(min) ?? 0, parseDuration(max) ?? 0];
  return kind(written((value) => within(parseDuration(value), low, high)), {
    type: "duration",
    unit: "ms",
    bounds: `${min} to ${max}`,
    wanted: `a duration such as 200ms, 10s or 1m30s, from ${min} to ${max}`,
    format: (value) => formatDuration(Number(value)),
  });
}

/** Where to listen. */
export function endpoint() {
  return kind(written((value) => parseEndpoint(String(value))), {
    type: "endpoint",
    wanted: "host:port such as 127.0.0.1:4319 or [::1]:4319, the port from 0 to 65535",
    format: (value) => {
      const parsed = z.object({ hostname: z.string(), port: z.number() }).safeParse(value);
      return parsed.success ? formatEndpoint(parsed.data) : value;
    },
  });
}

/** The URL of a Collector: https, or http on loopback. No user name or fragment. */
export function url() {
  return urlThat(isCollectorUrl, URL_WANTED);
}

/** The same, and host:port, which means https:// (OTLP exporter specification, "Configuration Options": of gRPC alone). */
export function exporterUrl() {
  return urlThat((text) => isCollectorUrl(text) || isAuthority(text), `${URL_WANTED}; of gRPC also host:port`);
}

export const URL_WANTED =
  "an https:// URL without user name, password or fragment (http:// to this machine alone, for debugging)";

function urlThat(fits: (text: string) => boolean, wanted: string) {
  return kind(z.string().refine(fits), {
    type: "url",
    wanted,
    format: (value) => shownUrl(String(value)),
    shown: (value) => shape(value) ?? quotedUnlessHidden(shownUrl(String(value))),
  });
}

/** Host and port without a scheme. */
export function isAuthority(text: string): boolean {
  return /^(?:[\w.-]+|\[[\da-f:.]+\]):\d{1,5}$/i.test(text.trim()) && isCollectorUrl(`https://${text.trim()}`);
}

function isCollectorUrl(text: string): boolean {
  const parsed = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (parsed === undefined || parsed.username !== "" || parsed.password !== "" || text.includes("#")) return false;
  return parsed.protocol === "https:" || (parsed.protocol === "http:" && isLoopback(parsed.hostname));
}

/** The URL of a PostgreSQL. Its password is never shown. */
export function postgresUrl() {
  return kind(z.string().max(4_096).refine((value) => parsePostgresUrl(value) !== undefined), {
    type: "url",
    bounds: "postgres://, several hosts joined by commas",
    wanted: POSTGRES_URL_WANTED,
    format: (value) => shownPostgresUrl(String(value)),
    shown: describedOrShape,
  });
}

const quotedUnlessHidden = (shown: string): string => shown.startsWith("(") ? shown : JSON.stringify(shown);

/** One line of text. @param random It may be of random letters and digits, and is shown all the same. */
export function text(wanted: string, lengthMax = 4_096, random = false) {
  return kind(z.string().min(1).max(lengthMax).regex(/^[^\r\n\0]+$/), {
    type: "text",
    wanted,
    format: (value) => shownPlain(String(value), random),
  });
}

/** The path of a file. People put into it what the file should hold, so it is shown as a path alone. */
export function file() {
  return kind(z.string().min(1).max(4_096).regex(/^[^\r\n\0]+$/), {
    type: "text",
    wanted: "the path of a file, on one line",
    format: (value) => shownPath(String(value)),
    shown: (value) => shape(value) ?? quotedUnlessHidden(shownPath(String(value))),
  });
}

/** Text that is never shown. */
export function secretText(wanted: string, lengthMax = 4_096) {
  return kind(z.string().min(1).max(lengthMax), { type: "text", wanted, secret: true });
}

/** Text that is never shown, or a mapping, which becomes JSON: YAML reads that too. */
export function secretStructure(wanted: string, lengthMax: number) {
  const textOf = (value: unknown): string | undefined => {
    const text = typeof value === "string" ? value : shape(value) === "(a mapping)" ? JSON.stringify(value) : "";
    return text.length > 0 && text.length <= lengthMax ? text : undefined;
  };
  const schema = z.custom<string | object>((value) => textOf(value) !== undefined)
    .transform((value): string => textOf(value) ?? "");
  return kind(schema, { type: "text", wanted, secret: true });
}

/** PEM text, also on one line with `\n` written as two characters, or as base64: what forms for variables force on people. */
export function pem(wanted: string) {
  return kind(written((value) => pemTextOf(String(value)), 1_500_000), { type: "text", wanted, secret: true });
}

/** One of a few words, in capitals or not. */
export function choice<const T extends readonly [string, ...string[]]>(...words: T) {
  const wordOf = (value: unknown): T[number] | undefined =>
    typeof value === "string" ? words.find((word) => word.toLowerCase() === value.trim().toLowerCase()) : undefined;
  const schema = z.custom<T[number]>((value) => wordOf(value) !== undefined)
    .transform((value): T[number] => wordOf(value) ?? value);
  return kind(schema, {
    type: "choice",
    bounds: words.join(", "),
    wanted: words.length === 1 ? words[0] : `one of ${words.join(", ")}`,
  });
}

/** true or false. */
export function flag() {
  return kind(z.boolean(), {
    type: "flag",
    wanted: "true or false",
    fromText: (value) => {
      const word = value.trim().toLowerCase();
      return word === "" ? undefined : word === "true" ? true : word === "false" ? false : value;
    },
  });
}

/** A number between two bounds. */
export function number(min: number, max: number, whole: boolean) {
  const schema = whole ? z.int().min(min).max(max) : z.number().min(min).max(max);
  return kind(schema, {
    type: "number",
    bounds: `${min} to ${max}`,
    wanted: `a ${whole ? "whole number" : "number"} from ${min} to ${max}`,
    fromText: (value) => value.trim() === "" ? undefined : Number.isNaN(Number(value)) ? value : Number(value),
  });
}

/** Header fields that the relay or its HTTP client writes itself. */
const RESERVED_HEADERS =
  /^(?:content-(?:type|encoding|length)|transfer-encoding|(?:proxy-)?connection|keep-alive|host|te|trailer|upgrade|grpc-.*)$/i;

/** Whether a request may carry the field: an RFC 9110 token the relay does not write itself, and a value of visible text. */
export function isHeader(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(name) && !RESERVED_HEADERS.test(name) &&
    /^[\t\x20-\x7e\x80-\xff]{0,8192}$/.test(value);
}

/** Request headers. Their values are secret. */
export function headers() {
  const schema = z.record(z.string(), z.string()).refine((map) => {
    const entries = Object.entries(map);
    return entries.length <= 64 && entries.every(([name, value]) => isHeader(name, value));
  });
  return kind(schema, {
    type: "map",
    wanted: "a mapping of header names to text (quote numbers), without the ones the relay sets itself",
    secret: true,
    shown: (value) => shape(value) === "(a mapping)" ? "" : describedOrShape(value),
    fromText: structure,
    format: (value) => {
      const map = z.record(z.string(), z.unknown()).safeParse(value);
      return map.success ? Object.fromEntries(Object.keys(map.data).map((name) => [shownName(name), HIDDEN])) : HIDDEN;
    },
  });
}

/** Web origins: `https://app.example`, or `*` for every one. */
export function origins() {
  const origin = z.string().regex(/^(?:\*|https?:\/\/[A-Za-z0-9.-]+(?::\d{1,5})?)$/);
  return kind(z.array(origin).max(256), {
    type: "list",
    wanted: 'a list of origins such as ["https://app.example"], without a path, or ["*"] for every one',
    fromText: (value) =>
      value.trim().startsWith("[")
        ? structure(value)
        : value.trim() === ""
        ? undefined
        : value.split(",").map((part) => part.trim()),
  });
}

/** What is done with attributes, as the Collector's attributes processor has it: `[{ key: user.email, action: hash }]`. */
export function actions<const T extends readonly [string, ...string[]]>(...words: T) {
  const action = z.strictObject({
    key: z.string().min(1).max(255),
    action: z.preprocess((value) => typeof value === "string" ? value.trim().toLowerCase() : value, z.enum(words)),
  });
  return kind(z.array(action).max(64), {
    type: "list",
    bounds: `key: glob, action: ${words.join(", ")}`,
    wanted:
      `a list of at most 64 such as [{ key: user.email, action: ${words[0]} }], each with a key (* and ? stand for ` +
      `others) and an action (${words.join(", ")})`,
    fromText: (value) => value.trim() === "" ? undefined : structure(value),
  });
}

/** Sections by names that people choose. @param what One of them, in a word. */
export function sections<T extends z.ZodType>(what: string, one: T) {
  return kind(z.record(z.string(), one), {
    type: "map",
    bounds: `${what}s by name`,
    wanted: `a mapping of names to ${what}s`,
    container: true,
    fromText: (value) => value.trim() === "" ? undefined : structure(value),
    shown: (value) => shape(value) ?? "(no mapping)",
  });
}

const NAME_LIST = z.array(z.string().min(1).max(63)).min(1).max(64);

/** The names of a few exporters. */
export function names() {
  return kind(NAME_LIST, {
    type: "list",
    bounds: "names of exporters",
    wanted: "a list of 1 to 64 names of exporters, such as [eu-1, eu-2]",
    fromText: (value) => value.trim() === "" ? undefined : structure(value),
  });
}

/** The names of a few exporters, with a weight each. */
export function weights() {
  const schema = z.record(z.string().min(1).max(63), z.number().positive().max(1_000_000)).refine((map) => {
    const { length } = Object.keys(map);
    return length > 0 && length <= 64;
  });
  return kind(schema, {
    type: "map",
    bounds: "names of exporters, with weights above 0",
    wanted: "a mapping of 1 to 64 names of exporters to weights above 0, such as { eu-1: 2, eu-2: 1 }",
    fromText: (value) => value.trim() === "" ? undefined : structure(value),
  });
}

/** Routes: `[{ signals: [traces], senders: ["checkout-*"], exporters: [eu, audit] }]`. */
export function routes<const T extends readonly [string, ...string[]]>(signals: T) {
  const signal = z.preprocess(
    (value) => typeof value === "string" ? value.trim().toLowerCase() : value,
    z.enum(signals),
  );
  const route = z.strictObject({
    signals: z.array(signal).min(1).max(signals.length).exactOptional(),
    senders: z.array(z.string().min(1).max(300)).min(1).max(1_000).exactOptional(),
    exporters: NAME_LIST,
  });
  return kind(z.array(route).max(256), {
    type: "list",
    bounds: "signals, senders (* and ? stand for others), exporters",
    itemKeys: Object.keys(route.shape),
    wanted:
      `a list of at most 256 routes such as { signals: [${
        signals[0]
      }], senders: ["checkout-*"], exporters: [eu, audit] }, ` +
      `of which exporters is a must; the signals are ${signals.join(", ")}`,
    fromText: (value) => value.trim() === "" ? undefined : structure(value),
  });
}

/** YAML text as its value; text that is not YAML stays text, which the schema then refuses. */
function structure(value: string): unknown {
  try {
    return parse(value) ?? undefined;
  } catch {
    return value;
  }
}

/** Gives an option its help. The last step of its definition, after the default. */
export function option<T extends z.ZodType>(schema: T, help: string): T {
  HELP.add(schema, { help });
  return schema;
}

/** A section: its keys and no others; all defaults when it is left out. */
export function section<T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape);
}

/** Every option below a section, in the order of definition. */
export function optionsOf(schema: z.core.$ZodType, path: readonly string[] = []): Option[] {
  let inner: z.core.$ZodType = schema;
  let fallback: unknown = undefined;
  let help: string | undefined = undefined;
  for (;;) {
    help ??= HELP.get(inner)?.help;
    if (inner instanceof z.ZodPrefault) fallback = inner.def.defaultValue;
    // What is there by ZodDefault is not written in a file: none of it is what unset means.
    if (inner instanceof z.ZodPrefault || inner instanceof z.ZodExactOptional || inner instanceof z.ZodDefault) {
      inner = inner.def.innerType;
    } else break;
  }
  if (inner instanceof z.ZodObject) {
    return Object.entries(inner.shape).flatMap(([key, child]) => optionsOf(child, [...path, key]));
  }
  const about = KINDS.get(inner);
  if (about === undefined || help === undefined) throw new TypeError(`Option ${path.join(".")} has no kind or no help`);
  return [{ ...about, path, default: fallback, help }];
}
