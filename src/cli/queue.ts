/**
 * `queue`: the queue's file, while a relay runs or after it; of itself `queue stats`.
 * @module
 */
import type { Command } from "commander";
import { bytes as size, duration } from "../admin/format.ts";
import type { Config } from "../config/schema.ts";
import { SIGNAL_NAMES, signalOf } from "../signal.ts";
import { type QueueSnapshot, queueStats } from "../queue/sqlite/inspect.ts";
import { abandonTarget, moveTarget } from "../queue/sqlite/move_target.ts";
import { addDeadLetterCommands, found, type QueueFlags } from "./dead_letters.ts";
import { FaultFound, type Io, newCommand, painted, table } from "./io.ts";

/** What the family takes from the configuration. */
export interface ConfiguredQueue {
  /** `sending_queue.path` */
  readonly path: string;
  readonly redaction: Config["redaction"];
}

/**
 * The family `queue`.
 * @param configured what the configuration that `--config` names says; its path counts where `--path` is not given
 */
export function queueCommand(io: Io, configured: (config: string | undefined) => Promise<ConfiguredQueue>): Command {
  const family = newCommand(io, "queue").description(
    "Look into the sending queue; replay or drop dead letters; move or abandon what a target has",
  );
  const pathOf = async (flags: QueueFlags) => flags.path ?? (await configured(flags.config)).path;
  const common = (command: Command) =>
    command.option("--path <file>", "the queue's file (default: sending_queue.path)")
      .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
      .option("--json", "print JSON");

  common(family.command("stats"))
    .description("What is queued, what is dead, and the books; exit code 1 where they do not balance")
    .action(async (flags: QueueFlags) => {
      const stats = await found(async () => queueStats(await pathOf(flags)));
      if (flags.json) io.out(JSON.stringify(stats, null, 2));
      else io.out(describeStats(io, stats, Date.now()).join("\n"));
      if (!stats.balanced) throw new FaultFound(`The books of queue ${stats.path} do not balance`);
    });

  common(family.command("move"))
    .description(
      "Move what waits for a target, and its dead letters, to another: for one that is not configured any more",
    )
    .argument("<from>", "the target that has it")
    .argument("<to>", "the target that is to have it")
    .action(async (from: string, to: string, flags: QueueFlags) => {
      const moved = await found(async () => await moveTarget(await pathOf(flags), from, to));
      const { records, items, deadLetters } = moved;
      if (flags.json) io.out(JSON.stringify(moved, null, 2));
      else io.out(`Moved ${records} records (${items} items) and ${deadLetters} dead letters from ${from} to ${to}`);
    });

  common(family.command("abandon"))
    .description("Give up what waits for a target: it is deleted, and counted as abandoned; its dead letters stay")
    .argument("<target>", "the target that has it")
    .action(async (target: string, flags: QueueFlags) => {
      const given = await found(async () => await abandonTarget(await pathOf(flags), target));
      if (flags.json) io.out(JSON.stringify(given, null, 2));
      else io.out(`Gave up ${given.records} records (${given.items} items) that waited for ${target}`);
    });

  addDeadLetterCommands(io, family, {
    pathOf,
    redactionOf: async ({ config }) => (await configured(config)).redaction,
    common,
  });
  return family;
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
    ...table(booksTable(stats)),
    "",
    stats.balanced ? painted(io, "good", "The books balance") : painted(io, "bad", "The books do not balance"),
  ];
}

/** The books, of each target where there are several. */
function booksTable({ books, targets }: QueueSnapshot): string[][] {
  const all = targets.length > 1 ? targets : [{ name: "", books, skipped: 0 }];
  const abandoned = all.some(({ books }) => Object.values(books).some(({ abandoned }) => abandoned > 0));
  const rows = all.flatMap(({ name, books }) =>
    SIGNAL_NAMES.map((signal) => {
      const { accepted, delivered, rejectedByCollector, deadLettered, expired, abandoned: given, queued } =
        books[signal];
      const ends = [
        accepted,
        delivered,
        rejectedByCollector,
        deadLettered,
        expired,
        ...(abandoned ? [given] : []),
        queued,
      ];
      return [`${name} ${signalOf(signal).item}s`.trim(), ...ends.map(String)];
    })
  );
  const names = [
    "accepted",
    "delivered",
    "rejected",
    "dead-lettered",
    "expired",
    ...(abandoned ? ["abandoned"] : []),
    "queued",
  ];
  return [["", ...names], ...rows];
}
