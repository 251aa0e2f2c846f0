/**
 * `queue dead-letters`, `queue replay` and `queue drop`: what the Collector refused for good, to look into, to send again, or to give
 * up.
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { bytes as size, duration, moment } from "../admin/format.ts";
import { gunzip } from "../codec/gzip.ts";
import { OwnedBytes } from "../codec/owned_bytes.ts";
import type { Config } from "../config/schema.ts";
import { parseDuration } from "../config/units.ts";
import { messageOf } from "../errors.ts";
import { type DecodedMessage, decodeRequest } from "../otlp/decode.ts";
import { Redactor } from "../otlp/rewrite/redaction.ts";
import { Walker } from "../otlp/wire.ts";
import type { DeadLetter, DeadLetterFilter, DeadLetterHead, QueueInspector } from "../queue/inspection.ts";
import { ConnectError } from "../postgres/connect_error.ts";
import { StorageError } from "../queue/storage_error.ts";
import { SIGNAL_NAMES, type SignalName, signalOf } from "../signal.ts";
import { counted, FaultFound, type Io, type Progress, put, table } from "./io.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 100_000;

/** After how many dead letters progress is printed, if `err` is no terminal. */
const PROGRESS_EVERY = 1000;

/** The most bytes that a dead letter inflates to; the receiver accepts less. */
const INFLATED_BYTES_MAX = 256 * 1024 * 1024;

/** What each of them can be told. */
export interface QueueFlags {
  readonly path?: string;
  readonly config?: string;
  readonly json?: true;
}

/** What they take from the configuration. */
export interface QueueSources {
  readonly inspectorOf: (flags: QueueFlags) => Promise<QueueInspector>;
  readonly redactionOf: (flags: QueueFlags) => Promise<Config["redaction"]>;
  /** Options of every command of the family. */
  readonly common: (command: Command) => Command;
}

interface FilterFlags {
  readonly signal?: SignalName;
  readonly sender?: string;
  readonly reason?: string;
  readonly olderThan?: number;
}

interface SelectionFlags extends FilterFlags, QueueFlags {
  readonly all?: true;
  readonly dryRun?: true;
}

/** Adds them to the family. */
export function addDeadLetterCommands(
  io: Io,
  family: Command,
  { inspectorOf, redactionOf, common }: QueueSources,
): void {
  const letters = filtered(common(family.command("dead-letters")))
    .description("List what the Collector refused for good, oldest first, in its own words")
    .option("--limit <count>", "at most this many", limit, LIMIT_DEFAULT)
    .action(async (flags: FilterFlags & QueueFlags & { limit: number }) => {
      const heads = await found(async () =>
        await (await inspectorOf(flags)).list({ ...filterOf(flags), limit: flags.limit })
      );
      if (flags.json) io.out(JSON.stringify(heads, null, 2));
      else io.out(describeHeads(heads, io.width).join("\n"));
    });

  common(letters.command("show"))
    .description("Show one of them with its data, decoded and redacted as configured")
    .argument("<id>", "as `queue dead-letters` names it", oneId)
    .action(async (id: number, flags: QueueFlags) => {
      const inspector = await inspectorOf(flags);
      const redaction = await redactionOf(flags);
      const letter = await found(() => inspector.read(id));
      if (letter === undefined) {
        throw new FaultFound(`No dead letter of queue ${inspector.path} has the id ${id}; ${LIST_THEM}`);
      }
      const request = decoded(letter, redaction);
      if (flags.json) {
        const { payload: _payload, ...head } = letter;
        return io.out(shownJson({ ...head, request }));
      }
      for (const line of describeLetter(letter, Date.now())) put(io, line, 4);
      io.out(typeof request === "string" ? request : shownJson(request));
    });

  const replay = selecting(common(family.command("replay")))
    .description("Put dead letters back into the queue; a relay that runs sends them within about a second");
  replay.action(async (ids: number[] | undefined, flags: SelectionFlags) => {
    const selection = selectionOf(replay, ids ?? [], flags);
    const inspector = await inspectorOf(flags);
    if (flags.dryRun) return await tellWouldBe(io, inspector, "replay", selection, flags);
    let told = 0;
    using bars = new DisposableStack();
    const show = await io.progress?.();
    let bar: Progress | undefined;
    const onProgress = ({ replayed, total }: { replayed: number; total: number }) => {
      if (show !== undefined) {
        bar ??= bars.use(show("Replaying", total));
        return bar.update(replayed);
      }
      if (replayed - told < PROGRESS_EVERY && replayed < total) return;
      told = replayed;
      io.err(`Replayed ${replayed} of ${total}`);
    };
    const result = await found(() => inspector.replay({ ...selection, onProgress }));
    bars.dispose();
    if (flags.json) io.out(JSON.stringify(result, null, 2));
    else io.out(`Replayed ${counted(result.replayed, "dead letter")}`);
    if (result.unknown.length > 0) throw unknownIds(result.unknown, selection);
    if (result.stoppedBy !== undefined) {
      throw new FaultFound(`The queue is full: ${result.left} dead letters are left; replay them when it has drained`);
    }
  });

  const drop = selecting(common(family.command("drop")))
    .description("Give dead letters up for good; in the books they stay dead-lettered");
  drop.action(async (ids: number[] | undefined, flags: SelectionFlags) => {
    const selection = selectionOf(drop, ids ?? [], flags);
    const inspector = await inspectorOf(flags);
    if (flags.dryRun) return await tellWouldBe(io, inspector, "drop", selection, flags);
    const result = await found(() => inspector.drop(selection));
    if (flags.json) io.out(JSON.stringify(result, null, 2));
    else io.out(`Dropped ${counted(result.dropped, "dead letter")}`);
    if (result.unknown.length > 0) throw unknownIds(result.unknown, selection);
  });
}

function filtered(command: Command): Command {
  return command
    .option("--signal <name>", `only one of ${SIGNAL_NAMES.join(", ")}`, signalName)
    .option("--sender <id>", "only those of this sender")
    .option("--reason <text>", "only those whose reason has this text in it")
    .option("--older-than <time>", "only those that died before, e.g. 7d, 12h or 30m", age);
}

function selecting(command: Command): Command {
  return filtered(command.argument("[ids...]", "which, as `queue dead-letters` names them", ids))
    .option("--all", "every dead letter that there is now")
    .option("--dry-run", "print which these are, and change nothing");
}

function filterOf({ signal, sender, reason, olderThan }: FilterFlags): DeadLetterFilter {
  return { signal, sender, reason, diedBefore: olderThan === undefined ? undefined : Date.now() - olderThan };
}

/** Nothing is chosen by saying nothing. */
function selectionOf(command: Command, ids: readonly number[], flags: SelectionFlags): DeadLetterFilter {
  const filter = filterOf(flags);
  const isFiltered = Object.values(filter).some((value) => value !== undefined);
  const verb = command.name();
  if (ids.length === 0 && !isFiltered && flags.all !== true) {
    command.error(`error: name the ids to ${verb}, or --sender, --reason, --signal, --older-than or --all`);
  }
  if (flags.all === true && (ids.length > 0 || isFiltered)) {
    command.error("error: --all is every one; leave it out, or leave the ids and filters out");
  }
  return { ...filter, ...(ids.length > 0 ? { ids } : {}) };
}

async function tellWouldBe(
  io: Io,
  inspector: QueueInspector,
  verb: string,
  selection: DeadLetterFilter,
  { json }: QueueFlags,
): Promise<void> {
  const fitting = await found(() => inspector.list({ ...selection, limit: LIMIT_MAX }));
  if (json) return io.out(JSON.stringify(fitting, null, 2));
  io.out(`Would ${verb} ${counted(fitting.length, "dead letter")}`);
  if (fitting.length > 0) io.out(describeHeads(fitting.slice(0, LIMIT_DEFAULT), io.width).join("\n"));
}

const LIST_THEM = "queue dead-letters lists those that are there";

function unknownIds(unknown: readonly number[], { ids: _ids, ...filter }: DeadLetterFilter): FaultFound {
  const isFiltered = Object.values(filter).some((value) => value !== undefined);
  const which = isFiltered ? "No dead letter that fits has" : "No dead letter has";
  return new FaultFound(`${which} the id ${unknown.join(", ")}; ${LIST_THEM}`);
}

/** A file or database that cannot be used is a fault that was found, not wrong use. */
export async function found<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StorageError || error instanceof ConnectError) {
      throw new FaultFound(error.message, { cause: error });
    }
    throw error;
  }
}

/** The data that was sent, or words if it is no request. The present redaction rules apply, whatever applied when it came. */
function decoded({ payload, encoding, signal }: DeadLetter, redaction: Config["redaction"]): DecodedMessage | string {
  try {
    using content = encoding === "gzip" ? gunzip(payload, INFLATED_BYTES_MAX).content : new OwnedBytes(payload.slice());
    new Walker().walk(signal, content.bytes);
    const { actions, salt, dry_run: dryRun } = redaction;
    const redacted = actions.length === 0 ? undefined : new Redactor({ rules: actions, salt, dryRun })
      .redact(signal, content.bytes, { bytesMax: INFLATED_BYTES_MAX, hashesMax: Infinity }).request;
    return decodeRequest(signal, redacted ?? content.bytes);
  } catch (error) {
    // What it holds is not shown: nothing has been redacted in it.
    return `Its ${payload.length} bytes are no ${signal} request: ${messageOf(error)}`;
  }
}

/** JSON of which a terminal takes nothing for a command. */
function shownJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replaceAll(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The words come from outside: control characters have no business on a terminal. */
function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function describeLetter(letter: DeadLetter, now: number): string[] {
  const { id, signal, sender, items, bytes, status, reason, enqueuedAt, diedAt } = letter;
  const old = duration(Math.max(0, Math.round((now - diedAt) / 1000)));
  return [
    `Dead letter ${id} of ${plain(sender)}: ${counted(items, signalOf(signal).item)}, ${size(bytes)}`,
    `Came ${moment(enqueuedAt)}, died ${moment(diedAt)}, ${old} ago`,
    `Refused: ${status === undefined ? "" : `${status} `}${plain(reason)}`,
  ];
}

function describeHeads(letters: readonly DeadLetterHead[], width: number | undefined): string[] {
  if (letters.length === 0) return ["No dead letters"];
  return table([
    ["id", "died at", "signal", "sender", "items", "bytes", "status", "reason"],
    ...letters.map(({ id, diedAt, signal, sender, items, bytes, status, reason }) => [
      String(id),
      moment(diedAt),
      signal,
      plain(sender),
      String(items),
      String(bytes),
      status === undefined ? "-" : String(status),
      plain(reason),
    ]),
  ], width);
}

function signalName(value: string): SignalName {
  const signal = SIGNAL_NAMES.find((name) => name === value);
  if (signal === undefined) throw new InvalidArgumentError(`${value} is no signal; use ${SIGNAL_NAMES.join(", ")}.`);
  return signal;
}

function limit(value: string): number {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 1 || count > LIMIT_MAX) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
  }
  return count;
}

/** In ms. */
function age(value: string): number {
  const days = /^(\d{1,5})d$/.exec(value)?.[1];
  const ms = days === undefined ? parseDuration(value) : Number(days) * 86_400_000;
  if (ms === undefined) throw new InvalidArgumentError("It is no time; write it as 7d, 12h or 30m.");
  return ms;
}

function oneId(value: string): number {
  const id = Number(value);
  if (!Number.isInteger(id) || id < 1) throw new InvalidArgumentError(`${value} is no id.`);
  return id;
}

function ids(value: string, before: number[] | undefined): number[] {
  return [...(before ?? []), oneId(value)];
}
