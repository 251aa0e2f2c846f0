/**
 * `queue`: the queue's file, while a relay runs or after it; of itself `queue stats`.
 * @module
 */
import type { Command } from "commander";
import { bytes as size, duration } from "../admin/format.ts";
import type { Config } from "../config/schema.ts";
import { SIGNAL_NAMES, signalOf } from "../signal.ts";
import { type QueueSnapshot, queueStats } from "../queue/sqlite/inspect.ts";
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
  const family = newCommand(io, "queue").description("Look into the sending queue; replay or drop dead letters");
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
