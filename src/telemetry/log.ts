/**
 * The program's log: text or JSON lines, one event a line whatever is in it.
 *
 * Levels say what the reader has to do. ERROR: senders' data is lost or a person is needed. WARN: nothing is lost. INFO: what an
 * operator wants to see once. DEBUG: what explains a single request.
 * @module
 */
import process from "node:process";
import { messageOf, withoutUrlSecrets } from "../errors.ts";

/** How much a line matters. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** In rising order of importance. */
export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Details of a line, by name. An Error is written with its chain of causes; undefined is left out. */
export type LogFields = Readonly<Record<string, string | number | bigint | boolean | null | undefined | Error>>;

/** Where events are written to. */
export interface Log {
  /** Explains a single request. */
  debug(message: string, fields?: LogFields): void;
  /** What an operator wants to see once. */
  info(message: string, fields?: LogFields): void;
  /** Nothing is lost. */
  warn(message: string, fields?: LogFields): void;
  /** Data is lost, or a person is needed. */
  error(message: string, fields?: LogFields): void;
  /**
   * The same log, writing at most one line in `intervalMs` for `key`; the next one tells how many were withheld. Lines that
   * the level filters do not count.
   */
  limited(key: string, intervalMs: number): Log;
}

/** A line as text, in its parts: bounded, and without characters that could forge a line or drive a terminal. */
export interface LogLine {
  /** ISO 8601, UTC. */
  readonly time: string;
  /** How much it matters. */
  readonly level: LogLevel;
  /** What happened. */
  readonly message: string;
  /** Its details, in order. */
  readonly fields: readonly LogLineField[];
}

/** One detail of a {@link LogLine}. */
export interface LogLineField {
  /** The key. */
  readonly name: string;
  /** The value as it is. */
  readonly value: string;
  /** The value as the line has it: in quotes where it is more than a word. */
  readonly text: string;
}

/** How {@link createLog} writes. */
export interface LogOptions {
  /** The least important level that is written. Default `info`. */
  readonly level?: LogLevel;
  /** `text` for people, `json` for programs: one object a line; or what writes a line otherwise. Default `text`. */
  readonly format?: "text" | "json" | ((line: LogLine) => string);
  /** Takes one line, its newline included. Default: standard error. */
  readonly write?: (line: string) => void;
  /** Milliseconds since the Unix epoch. */
  readonly now?: () => number;
}

/** A {@link Log} by these options. */
export function createLog(options: LogOptions = {}): Log {
  const threshold = LOG_LEVELS.indexOf(options.level ?? "info");
  const write = options.write ?? ((line: string): void => void process.stderr.write(line));
  const now = options.now ?? Date.now;
  const format = writerOf(options.format ?? "text");
  const limits = new Map<string, { nextMs: number; withheld: number }>();

  const emit = (level: LogLevel, message: string, fields: LogFields): void => {
    if (LOG_LEVELS.indexOf(level) >= threshold) write(format(now(), level, message, fields));
  };

  const emitLimited = (
    key: string,
    intervalMs: number,
    level: LogLevel,
    message: string,
    fields: LogFields,
  ): void => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    const nowMs = now();
    const limit = limits.get(key);
    // A clock that was set back by more than the interval does not silence a key.
    if (limit !== undefined && nowMs < limit.nextMs && nowMs >= limit.nextMs - intervalMs) {
      limit.withheld++;
      return;
    }
    limits.delete(key);
    if (limits.size >= LIMITED_KEYS_MAX) limits.delete(limits.keys().next().value ?? "");
    limits.set(key, { nextMs: nowMs + intervalMs, withheld: 0 });
    const withheld = limit?.withheld ?? 0;
    emit(level, message, withheld === 0 ? fields : { ...fields, withheld });
  };

  const logOf = (put: (level: LogLevel, message: string, fields: LogFields) => void): Log => ({
    debug: (message, fields = {}) => put("debug", message, fields),
    info: (message, fields = {}) => put("info", message, fields),
    warn: (message, fields = {}) => put("warn", message, fields),
    error: (message, fields = {}) => put("error", message, fields),
    limited: (key, intervalMs) =>
      logOf((level, message, fields) => emitLimited(key, intervalMs, level, message, fields)),
  });
  return logOf(emit);
}

const MESSAGE_CHARS_MAX = 2_000;
const FIELD_CHARS_MAX = 1_000;
const FIELD_NAME_CHARS_MAX = 64;
const FIELDS_MAX = 32;
/** Keys of `limited` remembered; the oldest is forgotten first, which can only let a line through too early. */
const LIMITED_KEYS_MAX = 1_000;

type LineWriter = (timeMs: number, level: LogLevel, message: string, fields: LogFields) => string;

function writerOf(format: Exclude<LogOptions["format"], undefined>): LineWriter {
  if (format === "json") return jsonLine;
  const write = format === "text" ? (line: LogLine) => `${textOf(line)}\n` : format;
  return (timeMs, level, message, fields) =>
    write({
      time: new Date(timeMs).toISOString(),
      level,
      message: shown(message, MESSAGE_CHARS_MAX),
      fields: [...bounded(fields)].map(([name, value]) => {
        const text = typeof value === "string" && !/^[\w.:/@%+,-]+$/.test(value) ? quoted(value) : String(value);
        return { name, value: escaped(String(value)), text };
      }),
    });
}

/** A line in the text format, without its end. */
export function textOf({ time, level, message, fields }: LogLine): string {
  const details = fields.map(({ name, text }) => ` ${name}=${text}`).join("");
  return `${time} ${level.toUpperCase().padEnd(5)} ${message}${details}`;
}

function jsonLine(timeMs: number, level: LogLevel, message: string, fields: LogFields): string {
  let line = `{"time":"${new Date(timeMs).toISOString()}","level":"${level}","message":${
    quoted(cut(message, MESSAGE_CHARS_MAX))
  }`;
  for (const [name, value] of bounded(fields)) {
    const key = name === "time" || name === "level" || name === "message" ? `${name}_` : name;
    line += `,${quoted(key)}:${typeof value === "string" ? quoted(value) : String(value)}`;
  }
  return `${line}}\n`;
}

/** The fields as they are written: bounded in number and length; numbers that JSON does not have as strings. */
function* bounded(fields: LogFields): Generator<[name: string, value: string | number | boolean | null]> {
  let count = 0;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (++count > FIELDS_MAX) return;
    yield [shown(name, FIELD_NAME_CHARS_MAX).replaceAll(/[\s="]/g, "_"), plain(value)];
  }
}

function plain(value: Exclude<LogFields[string], undefined>): string | number | boolean | null {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return cut(value instanceof Error ? messageOf(value) : withoutUrlSecrets(String(value)), FIELD_CHARS_MAX);
}

/**
 * Control characters (C0, DEL, C1), line and paragraph separators and the marks that reorder text: what could forge a line,
 * drive a terminal or hide words.
 */
// deno-lint-ignore no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function escaped(text: string): string {
  return text.replaceAll(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function shown(text: string, charsMax: number): string {
  return escaped(cut(text, charsMax));
}

function quoted(text: string): string {
  return escaped(JSON.stringify(text));
}

function cut(text: string, charsMax: number): string {
  return (text.length <= charsMax ? text : `${text.slice(0, charsMax - 1)}…`).toWellFormed();
}
