/**
 * `queue`: the queue's file, while a relay runs or after it; of itself `queue stats`.
 * @module
 */
import type { Command } from "commander";
import { bytes as size, duration } from "../admin/format.ts";
import type { Config } from "../config/schema.ts";
import type { DatabaseSettings } from "../postgres/settings.ts";
import { shownDatabase } from "../config/postgres_url.ts";
import { SIGNAL_NAMES, signalOf } from "../signal.ts";
import { Connector } from "../postgres/connector.ts";
import { type FleetInspector, type LiveRelay, postgresInspector } from "../queue/postgres/inspect.ts";
import type { QueueInspector, QueueSnapshot } from "../queue/inspection.ts";
import { fileInspector } from "../queue/sqlite/inspector.ts";
import { createLog } from "../telemetry/log.ts";
import { addDeadLetterCommands, found, type QueueFlags } from "./dead_letters.ts";
import { FaultFound, type Io, newCommand, painted, table } from "./io.ts";
import { addMigrateCommand } from "./queue_migrate.ts";

/** What the family takes from the configuration. */
export interface ConfiguredQueue {
  /** `sending_queue.path` */
  readonly path: string;
  readonly redaction: Config["redaction"];
  /** The database that the queue is in; undefined where it is in a file. */
  readonly database?: DatabaseSettings | undefined;
}

/**
 * The family `queue`.
 * @param configured what the configuration that `--config` names says; its path counts where `--path` is not given
 */
export function queueCommand(io: Io, configured: (config: string | undefined) => Promise<ConfiguredQueue>): Command {
  const family = newCommand(io, "queue").description(
    "Look into the sending queue; replay or drop dead letters; move or abandon what a target has",
  );
  const inspectorOf = async (flags: QueueFlags): Promise<QueueInspector | FleetInspector> => {
    if (flags.path !== undefined) return fileInspector(flags.path);
    const { path, database } = await configured(flags.config);
    if (database === undefined) return fileInspector(path);
    const connector = new Connector(database, createLog({ level: "error", write: (line) => io.err(line.trimEnd()) }));
    return postgresInspector({ path: shownDatabase(database), connect: () => connector.connect() });
  };
  const common = (command: Command) =>
    command.option("--path <file>", "the queue's file (default: the configured queue, a file or a database)")
      .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
      .option("--json", "print JSON");

  common(family.command("stats"))
    .description("Show the queue, the dead letters and the books; exit code 1 if the books do not balance")
    .action(async (flags: QueueFlags) => {
      const inspector = await found(() => inspectorOf(flags));
      const stats = await found(() => inspector.stats());
      const relays = "relays" in inspector ? await found(() => inspector.relays()) : undefined;
      if (flags.json) io.out(JSON.stringify({ ...stats, ...(relays === undefined ? {} : { relays }) }, null, 2));
      else io.out([...describeStats(io, stats, Date.now()), ...describeRelays(relays, Date.now())].join("\n"));
      if (!stats.balanced) {
        throw new FaultFound(
          `The books of queue ${stats.path} do not balance; report this with the relay's log and these numbers`,
        );
      }
    });

  common(family.command("move"))
    .description(
      "Move the data and the dead letters of a target that is no longer configured to another target",
    )
    .argument("<from>", "the target that it waits for")
    .argument("<to>", "the target to move it to")
    .action(async (from: string, to: string, flags: QueueFlags) => {
      const moved = await found(async () => await (await inspectorOf(flags)).move(from, to));
      const { records, items, deadLetters } = moved;
      if (flags.json) io.out(JSON.stringify(moved, null, 2));
      else io.out(`Moved ${records} records (${items} items) and ${deadLetters} dead letters from ${from} to ${to}`);
    });

  common(family.command("abandon"))
    .description("Delete the data that waits for a target and count it as abandoned; its dead letters stay")
    .argument("<target>", "the target that it waits for")
    .action(async (target: string, flags: QueueFlags) => {
      const given = await found(async () => await (await inspectorOf(flags)).abandon(target));
      if (flags.json) io.out(JSON.stringify(given, null, 2));
      else io.out(`Gave up ${given.records} records (${given.items} items) that waited for ${target}`);
    });

  addDeadLetterCommands(io, family, {
    inspectorOf,
    redactionOf: async ({ config }) => (await configured(config)).redaction,
    common,
  });
  addMigrateCommand(io, family, async (config) => (await configured(config)).database);
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

/** The relays that share it; nothing for a file. */
function describeRelays(relays: readonly LiveRelay[] | undefined, now: number): string[] {
  if (relays === undefined) return [];
  const rows = relays.map(({ name, role, version, startedAt, alive, owns }) => [
    name,
    role,
    String(version),
    duration(Math.max(0, Math.round((now - startedAt) / 1000))),
    alive ? "lives" : "gone",
    String(owns),
  ]);
  return ["", ...table([["relay", "role", "version", "since", "", "records held"], ...rows])];
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
