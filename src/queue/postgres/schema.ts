/**
 * The tables of the queue in PostgreSQL, their versions, and who may touch them. They are made and changed by {@link migrate} alone, which
 * the owner of the tables runs; a relay only reads which version there is.
 * @module
 */
import { CANNOT_USE, StorageError } from "../storage_error.ts";
import { messageOf } from "../../errors.ts";
import { type Client, DatabaseError } from "../../postgres/driver.ts";
import { STATEMENTS } from "./statements.ts";

/** How many bits of an id count within one partition of the payloads: a million. */
const PARTITION_BITS = 20;

const CANNOT_MIGRATE = "Cannot migrate the queue";

/** SQLSTATE (PostgreSQL 15, Appendix A "PostgreSQL Error Codes"). */
export const INSUFFICIENT_PRIVILEGE = "42501";
const UNDEFINED_OBJECT = "42704";

/** Where a right is missing. */
export const GRANT_REMEDY =
  "run `queue migrate` as the owner of its tables, which gives the relay's role what it needs";

/** The size at which ids move on to the next partition, in bytes. */
const PARTITION_BYTES = 64 * 1024 * 1024;

/** Pending records that are moved out of an old partition, so that it can go: a small part of it, for they are written again. */
const MOVED_MAX = 64;
const MOVED_BYTES_MAX = PARTITION_BYTES / 4;
/** Ids at the end of a partition that are left to be used up: the sequence is never set back. */
const NEAR_END = 65_536;

/**
 * What makes each version out of the one before, and the oldest relay that works with the outcome.
 *
 * - `deliveries`: a row for each target that a record waits for. It is narrow, and `owner` stands in no index, so that a take is a HOT
 *   update. A row is free when its owner is null, or when that lease has run out by the clock of the database.
 * - `payloads` are only ever inserted, and go by whole partitions. `deliveries.payload` is null where it has the record's own id.
 * - `shared` is of records of several targets alone: how many of them still wait. Target 0 of the books is none: it has by how much all
 *   targets together exceed what is stored.
 * - `ledger` and `sender_ledger` are inserted beside the rows; every second they are folded into `totals` and `sender_totals`.
 *   `meta.ledger_floor` is behind all rows that were folded some seconds ago: a row with a lower id can still be committed later, which
 *   a sweep of the whole ledger finds.
 * - `appends` tells a repeated append from a new one.
 */
export const MIGRATIONS: readonly { readonly usableFrom: number; readonly sql: string }[] = [{
  usableFrom: 1,
  sql: `
  CREATE TABLE edgeferry.targets (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
  CREATE TABLE edgeferry.relays (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relay uuid NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    version int NOT NULL,
    started_at timestamptz NOT NULL,
    alive_until timestamptz NOT NULL
  ) WITH (fillfactor = 50);
  CREATE SEQUENCE edgeferry.record_ids AS bigint;
  CREATE TABLE edgeferry.payloads (id bigint NOT NULL, parts text NOT NULL, payload bytea NOT NULL) PARTITION BY RANGE (id);
  ALTER TABLE edgeferry.payloads ALTER COLUMN payload SET STORAGE EXTERNAL;
  CREATE TABLE edgeferry.deliveries (
    record bigint NOT NULL,
    payload bigint,
    enqueued_at timestamptz NOT NULL,
    owner bigint,
    inflated_bytes bigint NOT NULL,
    target int NOT NULL,
    items int NOT NULL,
    bytes int NOT NULL,
    cost int NOT NULL,
    signal smallint NOT NULL,
    encoding smallint NOT NULL,
    mergeable bool NOT NULL,
    shared bool NOT NULL,
    held bool NOT NULL DEFAULT false,
    PRIMARY KEY (target, signal, encoding, record)
  ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
  CREATE INDEX deliveries_held ON edgeferry.deliveries (record) WHERE held;
  CREATE INDEX deliveries_moved ON edgeferry.deliveries (payload) WHERE payload IS NOT NULL;
  CREATE TABLE edgeferry.shared (record bigint PRIMARY KEY, waiting int NOT NULL) WITH (fillfactor = 50);
  CREATE INDEX shared_finished ON edgeferry.shared (record) WHERE waiting = 0;
  CREATE TABLE edgeferry.appends (append_id uuid PRIMARY KEY, records bigint[] NOT NULL, at timestamptz NOT NULL);
  CREATE INDEX appends_at ON edgeferry.appends (at);
  CREATE TABLE edgeferry.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target int NOT NULL,
    signal smallint NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    abandoned bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    queued bigint NOT NULL DEFAULT 0,
    records bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    dead_records bigint NOT NULL DEFAULT 0,
    dead_bytes bigint NOT NULL DEFAULT 0
  ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
  CREATE TABLE edgeferry.totals (LIKE edgeferry.ledger INCLUDING DEFAULTS, PRIMARY KEY (target, signal)) WITH (fillfactor = 50);
  ALTER TABLE edgeferry.totals DROP COLUMN id;
  CREATE TABLE edgeferry.sender_ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender text NOT NULL,
    bytes bigint NOT NULL
  ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
  CREATE TABLE edgeferry.sender_totals (sender text PRIMARY KEY, bytes bigint NOT NULL) WITH (fillfactor = 50);
  CREATE TABLE edgeferry.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target int NOT NULL,
    signal smallint NOT NULL,
    encoding smallint NOT NULL,
    mergeable bool NOT NULL,
    sender text NOT NULL,
    items int NOT NULL,
    bytes int NOT NULL,
    inflated_bytes bigint NOT NULL,
    reason text NOT NULL,
    status int,
    enqueued_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL,
    payload bytea NOT NULL
  );
  CREATE TABLE edgeferry.meta (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    version int NOT NULL,
    usable_from int NOT NULL,
    bytes_max bigint NOT NULL DEFAULT 0,
    dead_letter_bytes_max bigint NOT NULL DEFAULT 0,
    ledger_floor bigint NOT NULL DEFAULT 0,
    sender_floor bigint NOT NULL DEFAULT 0,
    next_ledger_floor bigint NOT NULL DEFAULT 0,
    next_sender_floor bigint NOT NULL DEFAULT 0,
    floors_at timestamptz NOT NULL DEFAULT '-infinity',
    first_partition bigint NOT NULL DEFAULT 0,
    next_partition bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 50);
  INSERT INTO edgeferry.meta (version, usable_from) VALUES (0, 0);

  CREATE FUNCTION edgeferry.add_partition() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
  DECLARE n bigint;
  BEGIN
    UPDATE edgeferry.meta SET next_partition = next_partition + 1 RETURNING next_partition - 1 INTO n;
    EXECUTE format('CREATE TABLE edgeferry.payloads_%s (LIKE edgeferry.payloads INCLUDING STORAGE, PRIMARY KEY (id))
      WITH (autovacuum_enabled = false)', n);
    EXECUTE format('ALTER TABLE edgeferry.payloads ATTACH PARTITION edgeferry.payloads_%s FOR VALUES FROM (%s) TO (%s)',
      n, n << ${PARTITION_BITS}, (n + 1) << ${PARTITION_BITS});
  END $$;

  -- What only the owner may do, in one function: partitions come and go. It does at most a little at a time and waits for nobody.
  CREATE FUNCTION edgeferry.rotate() RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog SET lock_timeout = '100ms' AS $$
  DECLARE
    m edgeferry.meta;
    last bigint;
    here bigint;
    n bigint;
    low bigint;
    high bigint;
    pending bigint;
    heavy bigint;
    dropped int := 0;
  BEGIN
    -- With one snapshot for the whole transaction it would not see what was committed before its lock.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION 'rotate() needs a transaction that is read committed' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF NOT pg_try_advisory_xact_lock(7305172, 2) THEN RETURN 0; END IF;
    SELECT * INTO m FROM edgeferry.meta;
    SELECT last_value INTO last FROM edgeferry.record_ids;
    here := last >> ${PARTITION_BITS};
    BEGIN
      WHILE m.next_partition < here + 3 LOOP
        PERFORM edgeferry.add_partition();
        m.next_partition := m.next_partition + 1;
      END LOOP;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
    -- TOAST and indexes count: payloads of some size are in the former.
    IF here + 1 < m.next_partition AND last < ((here + 1) << ${PARTITION_BITS}) - ${NEAR_END} AND
      coalesce(pg_total_relation_size(to_regclass(format('edgeferry.payloads_%s', here))), 0) > ${PARTITION_BYTES}
    THEN
      PERFORM setval('edgeferry.record_ids', (here + 1) << ${PARTITION_BITS}, false);
    END IF;
    FOR n IN SELECT g FROM generate_series(m.first_partition, here - 1) g
      WHERE to_regclass(format('edgeferry.payloads_%s', g)) IS NOT NULL LIMIT 64
    LOOP
      low := n << ${PARTITION_BITS};
      high := (n + 1) << ${PARTITION_BITS};
      SELECT count(*), coalesce(sum(bytes), 0) INTO pending, heavy FROM (
        SELECT own.bytes FROM edgeferry.targets t, generate_series(0, 3) s, generate_series(0, 1) e, LATERAL (
          SELECT d.bytes FROM edgeferry.deliveries d WHERE d.target = t.id AND d.signal = s AND d.encoding = e AND d.record >= low
            AND d.record < high AND d.payload IS NULL LIMIT ${MOVED_MAX} + 1
        ) own
        UNION ALL
        (SELECT d.bytes FROM edgeferry.deliveries d WHERE d.payload >= low AND d.payload < high LIMIT ${MOVED_MAX} + 1)
      ) all_of_them;
      CONTINUE WHEN pending > ${MOVED_MAX} OR heavy > ${MOVED_BYTES_MAX};
      BEGIN
        -- An append that is not committed holds a lock on it; behind this one nobody comes any more.
        EXECUTE format('LOCK TABLE edgeferry.payloads, edgeferry.payloads_%s IN ACCESS EXCLUSIVE MODE', n);
        PERFORM edgeferry.move_payloads(low, high);
        EXECUTE format('DROP TABLE edgeferry.payloads_%s', n);
        dropped := dropped + 1;
        EXIT WHEN dropped >= 4;
      EXCEPTION WHEN lock_not_available OR deadlock_detected THEN EXIT;
      END;
    END LOOP;
    SELECT coalesce(min(g), here) INTO low FROM generate_series(m.first_partition, here - 1) g
      WHERE to_regclass(format('edgeferry.payloads_%s', g)) IS NOT NULL;
    UPDATE edgeferry.meta SET first_partition = low WHERE first_partition <> low;
    RETURN dropped;
  END $$;

  -- What still waits in a partition that is to go gets a payload id of its own: at most a few, as rotate has counted.
  CREATE FUNCTION edgeferry.move_payloads(low bigint, high bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
  DECLARE p record;
  BEGIN
    FOR p IN
      SELECT d.target, d.signal, d.encoding, d.record, coalesce(d.payload, d.record) AS was
        FROM edgeferry.targets t, generate_series(0, 3) s, generate_series(0, 1) e, edgeferry.deliveries d
        WHERE d.target = t.id AND d.signal = s AND d.encoding = e AND d.record >= low AND d.record < high AND d.payload IS NULL
      UNION ALL
      SELECT d.target, d.signal, d.encoding, d.record, d.payload FROM edgeferry.deliveries d
        WHERE d.payload >= low AND d.payload < high
    LOOP
      WITH copy AS (
        INSERT INTO edgeferry.payloads SELECT nextval('edgeferry.record_ids'), parts, payload FROM edgeferry.payloads
          WHERE id = p.was RETURNING id
      )
      UPDATE edgeferry.deliveries d SET payload = copy.id FROM copy
        WHERE d.target = p.target AND d.signal = p.signal AND d.encoding = p.encoding AND d.record = p.record;
      -- It was settled, or has become another target's, which needs it: the next time shows.
      IF NOT FOUND THEN RAISE EXCEPTION 'record % was changed', p.record USING ERRCODE = 'lock_not_available'; END IF;
    END LOOP;
  END $$;
  DO $$ BEGIN FOR n IN 1..3 LOOP PERFORM edgeferry.add_partition(); END LOOP; END $$;
  `,
}];

/** The version that this edgeferry writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** What stands in the database. */
export interface SchemaState {
  readonly version: number;
  /** The oldest version of a relay that works with it. */
  readonly usableFrom: number;
}

/** The schema there is; undefined where there is none. @throws as the client does */
export async function schemaState(client: Client): Promise<SchemaState | undefined> {
  const { rows: [there] } = await client.query({ text: "SELECT to_regclass('edgeferry.meta') IS NOT NULL AS there" });
  if (there?.there !== true) return undefined;
  const { rows: [row] } = await client.query({ text: "SELECT version, usable_from FROM edgeferry.meta" });
  return row === undefined ? undefined : { version: Number(row.version), usableFrom: Number(row.usable_from) };
}

/** @throws {StorageError} `not_a_queue`, `older_version` or `newer_version`, with the remedy */
export async function checkSchema(client: Client): Promise<void> {
  const state = await schemaState(client);
  if (state === undefined || state.version === 0) {
    throw new StorageError("not_a_queue", {
      what: CANNOT_USE,
      state: "the database has no tables of a queue",
      remedy: "run `queue migrate` once, as the owner of its tables",
    });
  }
  if (state.version < SCHEMA_VERSION) {
    throw new StorageError("older_version", {
      what: CANNOT_USE,
      state: `its tables have version ${state.version}, this edgeferry needs ${SCHEMA_VERSION}`,
      remedy: "run `queue migrate`",
    });
  }
  if (state.usableFrom > SCHEMA_VERSION) {
    throw new StorageError("newer_version", {
      what: CANNOT_USE,
      state:
        `its tables have version ${state.version}, which needs a relay of version ${state.usableFrom}, and this one has ` +
        `${SCHEMA_VERSION}`,
      remedy: "run a newer edgeferry",
    });
  }
}

/**
 * Each right that a relay needs and its role lacks, by itself: a list of privileges is granted, for PostgreSQL, where one of them is.
 * Partitions are reached by their table, and identity columns need no right to their sequence.
 */
const MISSING_RIGHTS = `
  SELECT format('%s on %s', privilege, c.relname) AS missing
    FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
    WHERE c.relnamespace = to_regnamespace('edgeferry') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND NOT has_table_privilege(c.oid, privilege)
  UNION ALL SELECT 'USAGE on record_ids' WHERE NOT has_sequence_privilege('edgeferry.record_ids', 'USAGE')
  UNION ALL SELECT 'EXECUTE on rotate()' WHERE NOT has_function_privilege('edgeferry.rotate()', 'EXECUTE')
  ORDER BY 1`;

/** How many of them are named. */
const NAMED_MAX = 4;

/** @throws {StorageError} `no_rights` where a relay could not do all of its work as this role, with the remedy */
export async function checkRights(client: Client): Promise<void> {
  const { rows } = await client.query({ text: MISSING_RIGHTS });
  if (rows.length === 0) return;
  const named = rows.slice(0, NAMED_MAX).map(({ missing }) => String(missing));
  const more = rows.length > NAMED_MAX ? ` and ${rows.length - NAMED_MAX} more` : "";
  throw new StorageError("no_rights", {
    what: CANNOT_USE,
    state: `the relay's role lacks rights: ${named.join(", ")}${more}`,
    remedy: GRANT_REMEDY,
  });
}

/**
 * Has the server read each statement of the relay, and run none: it says so where a table or a column is not there.
 * @throws {StorageError} `not_a_queue`, with what is missing
 */
export async function checkStatements(client: Client): Promise<void> {
  // Behind a pooler a backend is this client's for the time of a transaction.
  await client.query({ text: "BEGIN" });
  try {
    for (const text of Object.values(STATEMENTS)) {
      await client.query({ text: `PREPARE edgeferry_check AS ${text}` });
      await client.query({ text: "DEALLOCATE edgeferry_check" });
    }
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.severity !== "ERROR") throw error;
    throw new StorageError("not_a_queue", {
      what: CANNOT_USE,
      state: `its tables are not as they were made: ${error.message}`,
      remedy: "restore the database; or drop the schema edgeferry, and what is queued in it, and run `queue migrate`",
    }, { cause: error });
  } finally {
    await client.query({ text: "ROLLBACK" });
  }
}

/** What a migration did. */
export interface Migrated {
  readonly from: number;
  readonly to: number;
}

/**
 * Makes the tables or brings them up to date, in one transaction; several at once wait for each other. The role of the relays gets what
 * it needs and no more: INSERT, SELECT, UPDATE and DELETE on the tables, USAGE of their schema and sequences, and EXECUTE on `rotate()`.
 * @throws {StorageError} `newer_version`; `older_version` where relays live that could not work with the outcome; `no_rights` where this is
 * not the owner; `missing` where there is no role of that name; `unusable` for what else PostgreSQL refuses
 */
export async function migrate(
  client: Client,
  { relayRole, migrations = MIGRATIONS }: { readonly relayRole?: string; readonly migrations?: typeof MIGRATIONS } = {},
): Promise<Migrated> {
  const run = (text: string) => client.query({ text });
  await run("BEGIN ISOLATION LEVEL READ COMMITTED");
  try {
    await run("SELECT pg_advisory_xact_lock(7305172, 3)");
    await run("SET LOCAL synchronous_commit = on");
    const state = await schemaState(client);
    const from = state?.version ?? 0;
    const to = migrations.length;
    if (from > to) {
      throw new StorageError("newer_version", {
        what: CANNOT_MIGRATE,
        state: `its tables have version ${from}, this edgeferry knows ${to}`,
        remedy: "run a newer edgeferry",
      });
    }
    if (state === undefined) await run("CREATE SCHEMA IF NOT EXISTS edgeferry");
    const usableFrom = migrations.at(-1)?.usableFrom ?? 0;
    if (from > 0 && from < to) {
      const { rows: [oldest] } = await client.query({
        text: `SELECT count(*)::int AS relays, min(version) AS version FROM edgeferry.relays
          WHERE version < $1 AND alive_until > clock_timestamp()`,
        values: [usableFrom],
      });
      if (Number(oldest?.relays) > 0) {
        throw new StorageError("older_version", {
          what: CANNOT_MIGRATE,
          state:
            `${oldest?.relays} relays of version ${oldest?.version} run, and tables of version ${to} need ${usableFrom}`,
          remedy: "bring the relays up to date first",
        });
      }
    }
    for (const { sql } of migrations.slice(from)) await run(sql);
    if (from < to) {
      await client.query({
        text: "UPDATE edgeferry.meta SET version = $1, usable_from = $2",
        values: [to, usableFrom],
      });
    }
    if (relayRole !== undefined) {
      const role = `"${relayRole.replaceAll('"', '""')}"`;
      await run(`
        REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edgeferry FROM PUBLIC;
        GRANT USAGE ON SCHEMA edgeferry TO ${role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA edgeferry TO ${role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA edgeferry TO ${role};
        GRANT EXECUTE ON FUNCTION edgeferry.rotate() TO ${role};
      `);
    }
    await run("COMMIT");
    return { from, to };
  } catch (error) {
    await run("ROLLBACK").catch(() => {});
    throw error instanceof DatabaseError ? notMigrated(error) : error;
  }
}

/** What PostgreSQL has refused of a migration. */
function notMigrated(error: DatabaseError): StorageError {
  const [code, remedy] = error.code === INSUFFICIENT_PRIVILEGE
    ? ["no_rights" as const, "name the owner of the database and its tables with --url"]
    : error.code === UNDEFINED_OBJECT
    ? ["missing" as const, "create the role, or name the relays' role with --grant"]
    : ["unusable" as const, "see the database's log"];
  return new StorageError(code, { what: CANNOT_MIGRATE, state: messageOf(error), remedy }, { cause: error });
}
