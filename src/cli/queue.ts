/**
 * `queue stats`, `queue dead-letters` and `queue replay`: the queue's file, while a relay runs or after it.
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { bytes as size, duration, moment } from "../admin/format.ts";
import { SIGNAL_NAMES, type SignalName, signalOf } from "../signal.ts";
import {
  type DeadLetterHead,
  listDeadLetters,
  type QueueSnapshot,
  queueStats,
  replayDeadLetters,
} from "../queue/sqlite/inspect.ts";
import { StorageError } from "../queue/sqlite/file/storage_error.ts";
import { FaultFound, type Io, newCommand, painted, type Progress, table } from "./io.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 100_000;

/** How often progress is told where `err` is no terminal of a person, in dead letters. */
const PROGRESS_EVERY = 1000;

interface Flags {
  readonly path?: string;
  readonly config?: string;
  readonly json?: true;
}

/**
 * The family `queue`.
 * @param configuredPath the queue's file where `--path` is not given, by the configuration that `--config` names
 */
export function queueCommand(io: Io, configuredPath: (config: string | undefined) => Promise<string>): Command {
  const family = newCommand(io, "queue").description("Look into the sending queue and replay dead letters");
  const pathOf = (flags: Flags) =>
    flags.path === undefined ? configuredPath(flags.config) : Promise.resolve(flags.path);
  const path = ["--path <file>", "the queue's file (default: sending_queue.path)"] as const;
  const config = ["--config <file>", "the configuration file (default: config/relay.yaml, if it is there)"] as const;

  family.command("stats")
    .description("What is queued, what is dead, and the books; exit code 1 where they do not balance")
    .option(...path)
    .option(...config)
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const stats = await found(async () => queueStats(await pathOf(flags)));
      if (flags.json) io.out(JSON.stringify(stats, null, 2));
      else io.out(describeStats(io, stats, Date.now()).join("\n"));
      if (!stats.balanced) throw new FaultFound(`The books of queue ${stats.path} do not balance`);
    });

  family.command("dead-letters")
    .description("What the Collector refused for good, oldest first, with its own words")
    .option(...path)
    .option(...config)
    .option("--signal <name>", `only one of ${SIGNAL_NAMES.join(", ")}`, signalName)
    .option("--limit <count>", "at most so many", limit, LIMIT_DEFAULT)
    .option("--json", "print JSON")
    .action(async (flags: Flags & { signal?: SignalName; limit: number }) => {
      const { signal, limit } = flags;
      const letters = await found(async () =>
        listDeadLetters(await pathOf(flags), { limit, ...(signal === undefined ? {} : { signal }) })
      );
      if (flags.json) io.out(JSON.stringify(letters, null, 2));
      else io.out(describeDeadLetters(letters, io.width).join("\n"));
    });

  const replay = family.command("replay")
    .description("Put dead letters back into the queue; a relay that runs sends them within about a second")
    .argument("[ids...]", "which, as `queue dead-letters` names them", ids)
    .option("--all", "every one that is there now")
    .option(...path)
    .option(...config)
    .option("--json", "print JSON");
  replay.action(async (chosen: number[] | undefined, flags: Flags & { all?: true }) => {
    if ((chosen ?? []).length === 0 && flags.all !== true) replay.error("error: name the ids to replay, or --all");
    if ((chosen ?? []).length > 0 && flags.all === true) replay.error("error: name ids or --all, not both");
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
    const result = await found(async () =>
      await replayDeadLetters(await pathOf(flags), { onProgress, ...(chosen?.length ? { ids: chosen } : {}) })
    );
    bars.dispose();
    if (flags.json) io.out(JSON.stringify(result, null, 2));
    else io.out(`Replayed ${result.replayed} dead letter${result.replayed === 1 ? "" : "s"}`);
    if (result.unknown.length > 0) throw new FaultFound(`No dead letter has the id ${result.unknown.join(", ")}`);
    if (result.stoppedBy !== undefined) {
      throw new FaultFound(`The queue is full: ${result.left} dead letters are left; replay them when it has drained`);
    }
  });

  return family;
}

/** A file that cannot be used is a fault that was found, not wrong use. */
async function found<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StorageError) throw new FaultFound(error.message, { cause: error });
    throw error;
  }
}

function describeStats(io: Io, stats: QueueSnapshot, now: number): string[] {
  const { records, bytes, bytesMax, oldestAt, held, deadLetters } = stats;
  const age = oldestAt === undefined
    ? ""
    : `, the oldest ${duration(Math.max(0, Math.round((now - oldestAt) / 1000)))} old`;
  return [
    `Queue ${stats.path}`,
    `Queued: ${records} records, ${size(bytes)} of ${size(bytesMax)}${age}`,
    `Dead letters: ${deadLetters.records}, ${size(deadLetters.bytes)} of ${size(deadLetters.bytesMax)}`,
    ...(held === 0 ? [] : [`Held, because the dead letters are full: ${held} records`]),
    "",
    ...table([
      ["", "accepted", "delivered", "rejected", "dead-lettered", "expired", "queued"],
      ...SIGNAL_NAMES.map((name) => {
        const { accepted, delivered, rejectedByCollector, deadLettered, expired, queued } = stats.books[name];
        const counts = [accepted, delivered, rejectedByCollector, deadLettered, expired, queued];
        return [`${signalOf(name).item}s`, ...counts.map(String)];
      }),
    ]),
    "",
    stats.balanced ? painted(io, "good", "The books balance") : painted(io, "bad", "The books do not balance"),
  ];
}

function describeDeadLetters(letters: readonly DeadLetterHead[], width: number | undefined): string[] {
  if (letters.length === 0) return ["No dead letters"];
  return table([
    ["id", "died at", "signal", "sender", "items", "bytes", "status", "reason"],
    ...letters.map(({ id, diedAt, signal, sender, items, bytes, status, reason }) => [
      String(id),
      moment(diedAt),
      signal,
      sender,
      String(items),
      String(bytes),
      status === undefined ? "-" : String(status),
      // The words are the Collector's: control characters have no business on a terminal.
      // deno-lint-ignore no-control-regex
      reason.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " "),
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

function ids(value: string, before: number[] | undefined): number[] {
  const id = Number(value);
  if (!Number.isInteger(id) || id < 1) throw new InvalidArgumentError(`${value} is no id.`);
  return [...(before ?? []), id];
}
