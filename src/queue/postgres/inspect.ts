/**
 * The queue in PostgreSQL from outside, while relays use it: from any machine that reaches the database, with the rights of a relay.
 * @module
 */
import { type Client, DatabaseError } from "../../postgres/driver.ts";
import { messageOf } from "../../errors.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { costOfPart } from "../cost.ts";
import {
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterHead,
  type DropResult,
  type GroupedDeadLetters,
  type QueueInspector,
  type QueueSnapshot,
  queueSnapshotOf,
  type ReplayResult,
  type ReplaySelection,
} from "../inspection.ts";
import { costOfRow, encodeParts } from "../record_head.ts";
import { StorageError } from "../storage_error.ts";
import { snapshotOf } from "./books.ts";
import { codeOfSignal, encodingOfCode, signalOfCode } from "./codes.ts";
import type { Row } from "./connections.ts";
import { moveStep } from "./move.ts";
import { bytesOf } from "./payload.ts";
import { endClient } from "./connections.ts";
import { checkSchema, GRANT_REMEDY, INSUFFICIENT_PRIVILEGE } from "./schema.ts";
import { ALL_BOOKS, DURABLE, STATS } from "./statements.ts";

/** Dead letters looked at for groups, the newest first: whoever looks at a page does not wait for more. */
const GROUPED_MAX = 5_000;
/** Bounds of one transaction: relays wait behind none, but each holds its rows. */
const STEP_RECORDS = 128;
const STEP_BYTES = 4 * 1024 * 1024;

/** What it needs. */
export interface PostgresInspectorSettings {
  /** The database's URL without its secrets. */
  readonly path: string;
  /** A new connection, which the inspector ends. */
  connect(): Promise<Client>;
  /**
   * ms since the Unix epoch, by this machine; `Date.now` unless given. It may differ from the database's clock: between the two only ages
   * are passed.
   */
  readonly now?: () => number;
}

/** A relay that is, or was lately, at the queue. */
export interface LiveRelay {
  readonly name: string;
  readonly role: string;
  readonly version: number;
  /** ms since the Unix epoch. */
  readonly startedAt: number;
  /** Whether its lease has not run out, by the database's clock. */
  readonly alive: boolean;
  /** Records that it has taken or keeps for itself. */
  readonly owns: number;
}

/** What can be asked of a queue that several relays share. */
export interface FleetInspector extends QueueInspector {
  /** The newest lease of each relay, those that live first. */
  relays(): Promise<readonly LiveRelay[]>;
}

/** Each question is a connection of its own. */
export function postgresInspector({ path, connect, now = Date.now }: PostgresInspectorSettings): FleetInspector {
  const ask = async <Answer>(work: (client: Client) => Promise<Answer>): Promise<Answer> => {
    const client = await connect();
    try {
      await checkSchema(client);
      return await work(client);
    } catch (error) {
      if (error instanceof StorageError) throw error;
      const forbidden = error instanceof DatabaseError && error.code === INSUFFICIENT_PRIVILEGE;
      throw new StorageError(forbidden ? "no_rights" : "unusable", {
        what: `Cannot use the queue in ${path}`,
        state: messageOf(error),
        remedy: forbidden ? GRANT_REMEDY : "see the database's log",
      }, { cause: error });
    } finally {
      await endClient(client);
    }
  };
  return {
    path,
    stats: () => ask((client) => stats(client, path, now)),
    relays: () => ask((client) => relays(client, now)),
    list: (options) => ask((client) => list(client, options, now)),
    read: (id) => ask((client) => read(client, id)),
    group: ({ limit }) => ask((client) => group(client, limit)),
    replay: (selection) => ask((client) => replay(client, selection, now)),
    drop: (filter) => ask((client) => drop(client, filter, now)),
    move: (from, to) => ask((client) => inSteps(client, path, from, to)),
    abandon: (target) => ask((client) => inSteps(client, path, target, undefined)),
  };
}

async function rowsOf(client: Client, text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
  return (await client.query({ text, values })).rows;
}

async function stats(client: Client, path: string, now: () => number): Promise<QueueSnapshot> {
  const [row = {}] = await rowsOf(client, STATS, [null, null]);
  const [meta = {}] = await rowsOf(client, "SELECT bytes_max, dead_letter_bytes_max FROM edgeferry.meta");
  const { totals, oldestMs, names } = snapshotOf(row);
  return queueSnapshotOf({
    path,
    bytesMax: Number(meta["bytes_max"]),
    deadLetterBytesMax: Number(meta["dead_letter_bytes_max"]),
    oldestAt: oldestMs === undefined ? undefined : now() - oldestMs,
    totals,
    names,
  });
}

async function relays(client: Client, now: () => number): Promise<LiveRelay[]> {
  const rows = await rowsOf(
    client,
    `SELECT DISTINCT ON (relay) name, role, version, extract(epoch FROM clock_timestamp() - started_at)::float8 * 1000 AS age_ms,
       alive_until > clock_timestamp() AS alive,
       (SELECT count(*) FROM edgeferry.deliveries d WHERE d.owner = r.id)::int AS owns
     FROM edgeferry.relays r ORDER BY relay, id DESC`,
  );
  return rows.map((row): LiveRelay => ({
    name: String(row["name"]),
    role: String(row["role"]),
    version: Number(row["version"]),
    startedAt: now() - Number(row["age_ms"]),
    alive: row["alive"] === true,
    owns: Number(row["owns"]),
  })).sort((one, other) => Number(other.alive) - Number(one.alive) || one.startedAt - other.startedAt);
}

const HEAD = `id, signal, encoding, sender, items, bytes, reason, status,
  extract(epoch FROM enqueued_at)::float8 * 1000 AS enqueued_at, extract(epoch FROM died_at)::float8 * 1000 AS died_at`;

const CONDITION = `($1::bigint[] IS NULL OR id = ANY($1::bigint[])) AND ($2::smallint IS NULL OR signal = $2::smallint)
  AND ($3::text IS NULL OR sender = $3::text) AND ($4::text IS NULL OR strpos(reason, $4::text) > 0)
  AND ($5::float8 IS NULL OR died_at <= clock_timestamp() - make_interval(secs => $5::float8 / 1000))`;

function valuesOf(
  { ids, signal, sender, reason, diedBefore }: DeadLetterFilter,
  now: () => number,
): readonly unknown[] {
  return [
    ids ?? null,
    signal === undefined ? null : codeOfSignal(signal),
    sender ?? null,
    reason ?? null,
    diedBefore === undefined ? null : now() - diedBefore,
  ];
}

function headOf(row: Row): DeadLetterHead {
  return {
    id: Number(row["id"]),
    signal: signalOfCode(row["signal"]),
    encoding: encodingOfCode(row["encoding"]),
    sender: String(row["sender"]),
    items: Number(row["items"]),
    bytes: Number(row["bytes"]),
    reason: String(row["reason"]),
    status: row["status"] === null ? undefined : Number(row["status"]),
    enqueuedAt: Number(row["enqueued_at"]),
    diedAt: Number(row["died_at"]),
  };
}

async function list(
  client: Client,
  options: DeadLetterFilter & { readonly limit: number; readonly newestFirst?: boolean },
  now: () => number,
): Promise<DeadLetterHead[]> {
  const order = options.newestFirst === true ? "DESC" : "ASC";
  const text = `SELECT ${HEAD} FROM edgeferry.dead_letters WHERE ${CONDITION} ORDER BY id ${order} LIMIT $6`;
  return (await rowsOf(client, text, [...valuesOf(options, now), options.limit])).map(headOf);
}

async function read(client: Client, id: number): Promise<DeadLetter | undefined> {
  const [row] = await rowsOf(client, `SELECT ${HEAD}, payload FROM edgeferry.dead_letters WHERE id = $1::bigint`, [id]);
  return row === undefined ? undefined : { ...headOf(row), payload: bytesOf(row["payload"]) };
}

async function group(client: Client, limit: number): Promise<GroupedDeadLetters> {
  const rows = await rowsOf(
    client,
    `SELECT sender, signal, reason, status, count(*) AS records, sum(items) AS items, sum(bytes) AS bytes,
       extract(epoch FROM min(died_at))::float8 * 1000 AS first_at, extract(epoch FROM max(died_at))::float8 * 1000 AS last_at
     FROM (SELECT sender, signal, reason, status, items, bytes, died_at FROM edgeferry.dead_letters ORDER BY id DESC LIMIT $1) newest
     GROUP BY 1, 2, 3, 4 ORDER BY last_at DESC`,
    [GROUPED_MAX],
  );
  const [all] = await rowsOf(client, "SELECT count(*)::int AS n FROM edgeferry.dead_letters");
  return {
    groups: rows.slice(0, limit).map((row) => ({
      sender: String(row["sender"]),
      signal: signalOfCode(row["signal"]),
      reason: String(row["reason"]),
      status: row["status"] === null ? undefined : Number(row["status"]),
      records: Number(row["records"]),
      items: Number(row["items"]),
      bytes: Number(row["bytes"]),
      firstAt: Number(row["first_at"]),
      lastAt: Number(row["last_at"]),
    })),
    groupsMore: Math.max(0, rows.length - limit),
    ungrouped: Math.max(0, Number(all?.["n"]) - GROUPED_MAX),
  };
}

async function idsOf(client: Client, filter: DeadLetterFilter, now: () => number): Promise<readonly number[]> {
  const rows = await rowsOf(
    client,
    `SELECT id FROM edgeferry.dead_letters WHERE ${CONDITION} ORDER BY id`,
    valuesOf(filter, now),
  );
  return rows.map(({ id }) => Number(id));
}

const unknownOf = ({ ids }: DeadLetterFilter, wanted: readonly number[]): readonly number[] => {
  const there = new Set(wanted);
  return ids?.filter((id) => !there.has(id)) ?? [];
};

/**
 * $1 JSON of id, parts and cost of each; $2 what a part counts for its sender beside its bytes. The letters that are there still become
 * records, with their books, in one statement.
 */
const REPLAY = `WITH ${DURABLE},
  op AS (SELECT * FROM json_to_recordset($1::json) AS op(id bigint, parts text, cost int)),
  gone AS (
    DELETE FROM edgeferry.dead_letters d USING op, durable WHERE d.id = op.id RETURNING d.*, op.parts, op.cost
  ),
  new AS MATERIALIZED (SELECT nextval('edgeferry.record_ids') AS record, gone.* FROM gone),
  payload AS (INSERT INTO edgeferry.payloads SELECT record, parts, payload FROM new),
  delivery AS (
    INSERT INTO edgeferry.deliveries (target, signal, encoding, mergeable, record, items, bytes, cost, inflated_bytes, enqueued_at, shared)
      SELECT target, signal, encoding, mergeable, record, items, bytes, cost, inflated_bytes, clock_timestamp(), false FROM new
  ),
  booked AS (
    INSERT INTO edgeferry.ledger (target, signal, dead, queued, records, bytes, dead_records, dead_bytes)
      SELECT target, signal, -sum(items), sum(items), count(*), sum(cost), -count(*), -sum(bytes) FROM new GROUP BY target, signal
  ),
  sent AS (
    INSERT INTO edgeferry.sender_ledger (sender, bytes) SELECT sender, sum(bytes + $2::bigint) FROM new GROUP BY sender
  )
  SELECT count(*)::int AS moved FROM new`;

async function replay(client: Client, selection: ReplaySelection, now: () => number): Promise<ReplayResult> {
  const wanted = await idsOf(client, selection, now);
  const unknown = unknownOf(selection, wanted);
  let replayed = 0;
  for (let next = 0; next < wanted.length;) {
    const step = await replayStep(client, wanted.slice(next, next + STEP_RECORDS));
    next += step.seen;
    replayed += step.moved;
    selection.onProgress?.({ replayed, total: wanted.length });
    if (step.full) return { replayed, left: wanted.length - next, unknown, stoppedBy: "queue_full" };
  }
  return { replayed, left: 0, unknown, stoppedBy: undefined };
}

/** One transaction. `seen` of the ids are dealt with: moved, or gone meanwhile. */
async function replayStep(
  client: Client,
  ids: readonly number[],
): Promise<{ readonly seen: number; readonly moved: number; readonly full: boolean }> {
  const rows = await rowsOf(
    client,
    "SELECT id, sender, items, bytes, inflated_bytes FROM edgeferry.dead_letters WHERE id = ANY($1::bigint[])",
    [ids],
  );
  const heads = new Map(rows.map((row) => [Number(row["id"]), row]));
  const [room] = await rowsOf(
    client,
    `SELECT bytes_max - (SELECT coalesce(sum(bytes), 0) FROM ${ALL_BOOKS} books) AS left FROM edgeferry.meta`,
  );
  let left = Number(room?.["left"]);
  let [seen, bytes] = [0, 0];
  let full = false;
  const chosen: { id: number; parts: string; cost: number }[] = [];
  for (const id of ids) {
    const head = heads.get(id);
    if (head !== undefined) {
      const [items, own, inflatedBytes] = ["items", "bytes", "inflated_bytes"].map((name) => Number(head[name])) as [
        number,
        number,
        number,
      ];
      const parts = encodeParts([{ sender: String(head["sender"]), items, bytes: own, inflatedBytes }]);
      const cost = costOfRow(own, parts);
      full = cost > left;
      if (full || (chosen.length > 0 && bytes + own > STEP_BYTES)) break;
      chosen.push({ id, parts, cost });
      left -= cost;
      bytes += own;
    }
    seen += 1;
  }
  const [row] = chosen.length === 0 ? [] : await rowsOf(client, REPLAY, [JSON.stringify(chosen), costOfPart(0)]);
  return { seen, moved: Number(row?.["moved"] ?? 0), full };
}

async function drop(client: Client, filter: DeadLetterFilter, now: () => number): Promise<DropResult> {
  const wanted = await idsOf(client, filter, now);
  let dropped = 0;
  for (let next = 0; next < wanted.length; next += STEP_RECORDS) {
    const [gone] = await rowsOf(
      client,
      `WITH ${DURABLE},
        gone AS (DELETE FROM edgeferry.dead_letters USING durable WHERE id = ANY($1::bigint[]) RETURNING target, signal, bytes),
        booked AS (INSERT INTO edgeferry.ledger (target, signal, dead_records, dead_bytes)
          SELECT target, signal, -count(*), -sum(bytes) FROM gone GROUP BY target, signal)
        SELECT count(*)::int AS dropped FROM gone`,
      [wanted.slice(next, next + STEP_RECORDS)],
    );
    dropped += Number(gone?.["dropped"]);
  }
  return { dropped, unknown: unknownOf(filter, wanted) };
}

async function inSteps(client: Client, path: string, fromName: string, toName: string | undefined) {
  const names = await rowsOf(client, "SELECT id, name FROM edgeferry.targets ORDER BY id");
  const numberOf = (name: string): number => {
    const id = names.find((row) => row["name"] === name)?.["id"];
    if (id !== undefined) return Number(id);
    throw new StorageError("missing", {
      what: `Cannot find target ${name}`,
      state: `the queue in ${path} does not have it`,
      remedy: `name one of these: ${names.map((row) => row["name"]).join(", ")}`,
    });
  };
  const from = numberOf(fromName);
  const to = toName === undefined ? undefined : numberOf(toName);
  if (from === to) {
    throw new StorageError("missing", {
      what: `Cannot move target ${fromName}`,
      state: "it would go to itself",
      remedy: "name another target",
    });
  }
  let [records, items] = [0, 0];
  for (const signal of SIGNAL_NAMES) {
    for (;;) {
      const step = await moveStep(client, { from, to, signal, recordsMax: STEP_RECORDS });
      if (step.records === 0) break;
      records += step.records;
      items += step.items;
    }
  }
  const deadLetters = to === undefined ? 0 : await moveDeadLetters(client, from, to);
  return { records, items, deadLetters };
}

async function moveDeadLetters(client: Client, from: number, to: number): Promise<number> {
  const [moved] = await rowsOf(
    client,
    `WITH ${DURABLE},
      moved AS (UPDATE edgeferry.dead_letters SET target = $2::int FROM durable WHERE target = $1::int RETURNING signal, items, bytes),
      booked AS (
        INSERT INTO edgeferry.ledger (target, signal, accepted, dead, dead_records, dead_bytes)
          SELECT t.target, signal, t.way * sum(items), t.way * sum(items), t.way * count(*), t.way * sum(bytes)
          FROM moved, (VALUES ($1::int, -1), ($2::int, 1)) AS t(target, way) GROUP BY t.target, t.way, signal
      )
      SELECT count(*)::int AS letters FROM moved`,
    [from, to],
  );
  return Number(moved?.["letters"]);
}
