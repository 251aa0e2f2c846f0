/**
 * The statements of the hot path, one round trip and one transaction each. All names are qualified, and nothing is kept in the session.
 *
 * How durable a commit is, each statement says itself (`set_config(…, true)` ends with its transaction), so that no default of a role or
 * of a pooler's backend decides it. A CTE that is not read from is not run: `durable` is joined for that.
 * @module
 */

/** What waits for the disk, and for synchronous standbys. */
export const DURABLE = `durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS setting)`;

/** What may be lost in a crash of the server: it is done again, or makes a duplicate. */
const FLEETING = `durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS setting)`;

/**
 * The leases that have not run out. One that ends later than any is given was given by a clock that was ahead, of a server that is gone: a
 * relay that lives prolongs it by the clock of now.
 */
const LIVE = `ARRAY(SELECT id FROM edgeferry.relays WHERE alive_until > clock_timestamp()
    AND alive_until < clock_timestamp() + interval '30 s')`;

/** The time: that of the database, which all relays share; a test gives its own, in ms since the Unix epoch. */
const nowBy = (parameter: string): string => `coalesce(to_timestamp(${parameter}::float8 / 1000), clock_timestamp())`;

/** How long ago something was, in ms. */
const ageBy = (parameter: string, at: string): string =>
  `(extract(epoch FROM ${nowBy(parameter)} - ${at}) * 1000)::float8`;

/** Totals and ledger together, of one snapshot. */
export const ALL_BOOKS = `(
    SELECT target, signal, accepted, delivered, rejected, dead, expired, abandoned, skipped, queued, records, bytes,
      dead_records, dead_bytes FROM edgeferry.totals
    UNION ALL
    SELECT target, signal, accepted, delivered, rejected, dead, expired, abandoned, skipped, queued, records, bytes,
      dead_records, dead_bytes FROM edgeferry.ledger WHERE id > (SELECT ledger_floor FROM edgeferry.meta)
  )`;

const LEDGER_COLUMNS = `target int, signal smallint, accepted bigint, delivered bigint, rejected bigint, dead bigint,
    expired bigint, skipped bigint, queued bigint, records bigint, bytes bigint, dead_records bigint, dead_bytes bigint`;
const LEDGER_NAMES = `target, signal, accepted, delivered, rejected, dead, expired, skipped, queued, records, bytes,
    dead_records, dead_bytes`;

/** Rows of the ledger as JSON, in `$n`; what is absent is 0. */
const ledgerFrom = (json: string): string =>
  `SELECT target, signal, ${
    LEDGER_NAMES.split(",").slice(2).map((name) => `coalesce(${name.trim()}, 0)`).join(", ")
  } FROM json_to_recordset(${json}::json) AS book(${LEDGER_COLUMNS})`;

/**
 * Locks the rows of `shared` that what is `gone` counts down, in the order of their records. Every statement that counts several down has
 * this before it, so that none waits for a row of one that waits for it.
 */
export const ORDERED = `ordered AS MATERIALIZED (
    SELECT record FROM edgeferry.shared WHERE record IN (SELECT record FROM gone WHERE gone.shared) ORDER BY record FOR UPDATE
  )`;

/**
 * Appends records. $1 append id; $2 records as JSON; $3 their payloads, one behind the other; $4 who owns them, or null; $5 rows of the
 * ledger; $6 rows of the senders' ledger; $7 null, or bounds as JSON `[target, bytes to come, bytes at most]`, target 0 for all of them;
 * $8 a test's time.
 *
 * Where the append id is known already, another try was committed. That row is written again all the same: a transaction that writes
 * nothing waits for no standby, and this one must not be answered before the first is replicated.
 */
export const APPEND = `WITH ${DURABLE},
  book AS MATERIALIZED (
    SELECT target, sum(bytes)::bigint AS bytes FROM ${ALL_BOOKS} books WHERE $7::json IS NOT NULL GROUP BY target
  ),
  bounds AS MATERIALIZED (
    SELECT target, coming, most, CASE target WHEN 0 THEN (SELECT coalesce(sum(bytes), 0) FROM book)
      ELSE coalesce((SELECT bytes FROM book WHERE book.target = bound.target), 0) END::bigint AS bytes
    FROM (SELECT (b->>0)::int AS target, (b->>1)::bigint AS coming, (b->>2)::bigint AS most FROM json_array_elements($7::json) b) bound
  ),
  lease AS MATERIALIZED (SELECT id FROM edgeferry.relays WHERE id = $4::bigint AND alive_until > clock_timestamp()),
  fresh AS MATERIALIZED (
    SELECT array_agg(nextval('edgeferry.record_ids')) AS ids FROM generate_series(1, json_array_length($2::json)), durable
      WHERE NOT EXISTS (SELECT FROM bounds WHERE bytes + coming > most)
        OR EXISTS (SELECT FROM edgeferry.appends WHERE append_id = $1::uuid)
  ),
  entered AS (
    INSERT INTO edgeferry.appends AS a (append_id, records, at) SELECT $1::uuid, ids, clock_timestamp() FROM fresh
      WHERE ids IS NOT NULL
      ON CONFLICT (append_id) DO UPDATE SET at = clock_timestamp() RETURNING a.records
  ),
  added AS MATERIALIZED (SELECT records FROM entered, fresh WHERE entered.records = fresh.ids),
  new AS MATERIALIZED (
    SELECT added.records[r.n] AS record, r.*, ${nowBy("$8")} AS at FROM added, json_to_recordset($2::json) AS r(
      n int, signal smallint, encoding smallint, mergeable bool, items int, bytes int, cost int, inflated bigint, parts text, start int,
      own bool, targets int[])
  ),
  payload AS (
    INSERT INTO edgeferry.payloads SELECT record, parts, substring($3::bytea FROM start FOR bytes) FROM new
  ),
  delivery AS (
    INSERT INTO edgeferry.deliveries (target, signal, encoding, mergeable, record, items, bytes, cost, inflated_bytes, enqueued_at,
        shared, owner)
      SELECT t.target, signal, encoding, mergeable, record, items, bytes, cost, inflated, at, cardinality(targets) > 1,
        CASE WHEN own THEN (SELECT id FROM lease) END
      FROM new, unnest(targets) AS t(target)
  ),
  several AS (INSERT INTO edgeferry.shared SELECT record, cardinality(targets) FROM new WHERE cardinality(targets) > 1),
  booked AS (INSERT INTO edgeferry.ledger (${LEDGER_NAMES}) SELECT book.* FROM added, (${ledgerFrom("$5")}) book),
  sent AS (
    INSERT INTO edgeferry.sender_ledger (sender, bytes)
      SELECT sender, bytes FROM added, json_to_recordset($6::json) AS s(sender text, bytes bigint)
  )
  SELECT (SELECT records FROM entered) AS records, EXISTS (SELECT FROM added) AS added, (SELECT id FROM lease) AS owner,
    (SELECT json_agg(json_build_array(target, bytes)) FROM bounds) AS bytes`;

/**
 * Keeps an append that its sender was refused from being made later, and tells what it was where it has been. It waits for one that is under
 * way, which only the statement after it sees. $1 append id.
 */
export const DISOWN_APPEND = `WITH ${DURABLE}
  INSERT INTO edgeferry.appends AS a (append_id, records, at) SELECT $1::uuid, '{}', clock_timestamp() FROM durable
    ON CONFLICT (append_id) DO UPDATE SET at = clock_timestamp() RETURNING a.records`;

/**
 * What nobody has taken of some records is taken out again, with its books. $1 the records; $2 the lease that they were appended under; $3 what
 * a part counts for its sender beside its bytes.
 */
export const DISOWN = `WITH ${DURABLE},
  gone AS (
    DELETE FROM edgeferry.deliveries d USING durable, edgeferry.targets t, generate_series(0, 3) s, generate_series(0, 1) e
      WHERE d.target = t.id AND d.signal = s AND d.encoding = e AND d.record = ANY($1::bigint[])
        AND (d.owner IS NULL OR d.owner = $2::bigint)
      RETURNING d.target, d.signal, d.record, coalesce(d.payload, d.record) AS payload, d.items, d.cost, d.shared
  ),
  ${ORDERED},
  less AS (
    UPDATE edgeferry.shared s SET waiting = s.waiting - g.n FROM (
      SELECT record, min(payload) AS payload, count(*)::int AS n, min(signal) AS signal, min(items) AS items, min(cost) AS cost
        FROM gone WHERE shared GROUP BY record
    ) g JOIN ordered USING (record) WHERE s.record = g.record RETURNING g.payload, s.waiting, g.n, g.signal, g.items, g.cost
  ),
  booked AS (
    INSERT INTO edgeferry.ledger (target, signal, accepted, queued, records, bytes)
      SELECT target, signal, -sum(items), -sum(items), -count(*), -sum(cost) FROM gone GROUP BY target, signal
      UNION ALL
      SELECT 0, signal, sum(items * over), sum(items * over), sum(over), sum(cost * over) FROM (
        SELECT signal, items, cost, n - (waiting = 0)::int AS over FROM less) l GROUP BY signal HAVING sum(over) > 0
  ),
  finished AS (SELECT payload FROM gone WHERE NOT shared UNION ALL SELECT payload FROM less WHERE waiting = 0),
  sent AS (
    INSERT INTO edgeferry.sender_ledger (sender, bytes)
      SELECT part->>0, -sum((part->>2)::bigint + $3::bigint) FROM finished
        JOIN edgeferry.payloads p ON p.id = finished.payload, json_array_elements(p.parts::json) part GROUP BY 1
  )
  SELECT count(*)::int AS removed FROM gone`;

/**
 * Settles records that left whole. $1 JSON of what became of each: under which lease it was taken, whether it expired, how many items
 * were rejected, and what each sender had in it. What another has taken meanwhile is his.
 */
export const SETTLE = `WITH ${DURABLE},
  op AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json) AS op(n int, target int, signal smallint, encoding smallint, record bigint, lease bigint,
      expired bool, rejected int, senders json)
  ),
  gone AS (
    DELETE FROM edgeferry.deliveries d USING op, durable
      WHERE d.target = op.target AND d.signal = op.signal AND d.encoding = op.encoding AND d.record = op.record AND d.owner = op.lease
      RETURNING op.n, d.target, d.signal, d.record, d.items, d.cost, d.shared, op.expired, least(op.rejected, d.items) AS rejected
  ),
  ${ORDERED},
  less AS (
    UPDATE edgeferry.shared s SET waiting = s.waiting - g.count FROM (
      SELECT record, count(*)::int AS count, min(n) AS n, min(signal) AS signal, min(items) AS items, min(cost) AS cost FROM gone
        WHERE shared GROUP BY record
    ) g JOIN ordered USING (record) WHERE s.record = g.record RETURNING g.n, s.waiting, g.count, g.signal, g.items, g.cost
  ),
  booked AS (
    INSERT INTO edgeferry.ledger (target, signal, delivered, rejected, expired, queued, records, bytes)
      SELECT target, signal, sum(CASE WHEN expired THEN 0 ELSE items - rejected END), sum(CASE WHEN expired THEN 0 ELSE rejected END),
        sum(CASE WHEN expired THEN items ELSE 0 END), -sum(items), -count(*), -sum(cost) FROM gone GROUP BY target, signal
      UNION ALL
      SELECT 0, signal, 0, 0, 0, sum(items * over), sum(over), sum(cost * over) FROM (
        SELECT signal, items, cost, count - (waiting = 0)::int AS over FROM less) l GROUP BY signal HAVING sum(over) > 0
  ),
  finished AS (SELECT n FROM gone WHERE NOT shared UNION ALL SELECT n FROM less WHERE waiting = 0),
  sent AS (
    INSERT INTO edgeferry.sender_ledger (sender, bytes)
      SELECT sender.key, -sum(sender.value::bigint) FROM finished JOIN op USING (n), json_each_text(op.senders) sender GROUP BY 1
  )
  SELECT n, n IN (SELECT n FROM finished) AS finished FROM gone`;

/**
 * Takes the oldest free records of a lane. $1 target, $2 signal, $3 encoding, $4 the floor below which nothing waits, $5 most records,
 * $6 most bytes, $7 the lease, $8 a test's time. A row that others lock is being taken. One that was changed since the statement began may
 * have a payload that it cannot see: its `parts` are null.
 */
export const TAKE = `WITH ${FLEETING},
  candidate AS MATERIALIZED (
    SELECT target, signal, encoding, record, bytes FROM edgeferry.deliveries
      WHERE target = $1::int AND signal = $2::smallint AND encoding = $3::smallint AND record >= $4::bigint AND NOT held
        AND (owner IS NULL OR owner <> ALL(${LIVE}))
        AND EXISTS (SELECT FROM durable)
      ORDER BY record LIMIT $5::int FOR UPDATE SKIP LOCKED
  ),
  cut AS (SELECT *, sum(bytes) OVER (ORDER BY record) AS running, row_number() OVER (ORDER BY record) AS n FROM candidate),
  taken AS (
    UPDATE edgeferry.deliveries d SET owner = $7::bigint FROM cut
      WHERE d.target = cut.target AND d.signal = cut.signal AND d.encoding = cut.encoding AND d.record = cut.record
        AND (cut.running <= $6::bigint OR cut.n = 1)
      RETURNING d.record, d.payload, d.mergeable, d.items, d.bytes, d.cost, d.inflated_bytes, d.enqueued_at
  )
  SELECT taken.record, taken.mergeable, taken.items, taken.bytes, taken.cost, taken.inflated_bytes,
      ${
  ageBy("$8", "taken.enqueued_at")
} AS age_ms, p.parts, p.payload, (SELECT count(*) FROM candidate)::int AS candidates
    FROM taken LEFT JOIN edgeferry.payloads p ON p.id = coalesce(taken.payload, taken.record) ORDER BY taken.record`;

/** Payloads of records that are owned. $1 JSON of target, signal, encoding and record. */
export const LOAD = `SELECT op.n, p.parts, p.payload
  FROM json_to_recordset($1::json) AS op(n int, target int, signal smallint, encoding smallint, record bigint)
  JOIN edgeferry.deliveries d ON d.target = op.target AND d.signal = op.signal AND d.encoding = op.encoding AND d.record = op.record
  JOIN edgeferry.payloads p ON p.id = coalesce(d.payload, d.record)`;

/** Which lanes have something that can be taken, and where each begins. $1 JSON of target, signal, encoding and floor. */
export const LOOK = `SELECT lane.n, least.record AS least, EXISTS (
    SELECT FROM edgeferry.deliveries d WHERE d.target = lane.target AND d.signal = lane.signal AND d.encoding = lane.encoding
      AND d.record >= least.record AND NOT held AND (owner IS NULL OR owner <> ALL(${LIVE}))
  ) AS free
  FROM json_to_recordset($1::json) AS lane(n int, target int, signal smallint, encoding smallint, floor bigint),
    LATERAL (
      SELECT record FROM edgeferry.deliveries d WHERE d.target = lane.target AND d.signal = lane.signal AND d.encoding = lane.encoding
        AND d.record >= lane.floor ORDER BY record LIMIT 1
    ) least`;

/**
 * The state of the queue at one moment. $1 a test's time; $2 null, or JSON of target, signal, encoding and the floor below which nothing waits:
 * rows that are gone and that a snapshot could see are looked through otherwise. The targets are an array, which counts for ten: a small table counts for a thousand
 * rows until somebody has analysed it, and PostgreSQL would compile the statement (JIT) each second.
 */
export const STATS = `SELECT
  (SELECT json_agg(book) FROM (
    SELECT target, signal, sum(accepted)::bigint AS accepted, sum(delivered)::bigint AS delivered, sum(rejected)::bigint AS rejected,
      sum(dead)::bigint AS dead, sum(expired)::bigint AS expired, sum(abandoned)::bigint AS abandoned, sum(skipped)::bigint AS skipped,
      sum(queued)::bigint AS queued, sum(records)::bigint AS records, sum(bytes)::bigint AS bytes,
      sum(dead_records)::bigint AS dead_records, sum(dead_bytes)::bigint AS dead_bytes
    FROM ${ALL_BOOKS} books GROUP BY target, signal) book) AS books,
  (SELECT json_agg(json_build_array(t.id, s, e, first.record, ${ageBy("$1", "first.enqueued_at")}))
    FROM unnest(ARRAY(SELECT id FROM edgeferry.targets)) AS t(id), generate_series(0, 3) s, generate_series(0, 1) e,
    LATERAL (SELECT record, enqueued_at FROM edgeferry.deliveries d WHERE d.target = t.id AND d.signal = s AND d.encoding = e
      AND d.record >= coalesce((SELECT floor FROM json_to_recordset($2::json) AS f(target int, signal int, encoding int, floor bigint)
        WHERE f.target = t.id AND f.signal = s AND f.encoding = e), 0)
      ORDER BY record LIMIT 1) first) AS oldest,
  (SELECT count(*) FROM edgeferry.deliveries WHERE held)::int AS held,
  (SELECT json_agg(json_build_array(id, name) ORDER BY id) FROM edgeferry.targets) AS targets`;

/** What each sender has in the queue, in bytes as `costOfPart` counts them. */
export const SENDERS = `SELECT sender, sum(bytes)::bigint AS bytes FROM (
    SELECT sender, bytes FROM edgeferry.sender_totals
    UNION ALL
    SELECT sender, bytes FROM edgeferry.sender_ledger WHERE id > (SELECT sender_floor FROM edgeferry.meta)
  ) s GROUP BY sender HAVING sum(bytes) <> 0 ORDER BY 2 DESC LIMIT 10000`;

/**
 * Folds the ledgers into their totals, whoever gets the lock. $1 whether from the very beginning, and not from the floor.
 */
export const FOLD = `WITH ${FLEETING},
  turn AS MATERIALIZED (SELECT FROM durable WHERE pg_try_advisory_xact_lock(7305172, 1)),
  floors AS MATERIALIZED (
    SELECT CASE WHEN $1::bool THEN 0 ELSE ledger_floor END AS ledger, CASE WHEN $1::bool THEN 0 ELSE sender_floor END AS sender
      FROM edgeferry.meta, turn
  ),
  entries AS (DELETE FROM edgeferry.ledger l USING floors WHERE l.id > floors.ledger RETURNING l.*),
  senders AS (DELETE FROM edgeferry.sender_ledger l USING floors WHERE l.id > floors.sender RETURNING l.*),
  totalled AS (
    INSERT INTO edgeferry.totals AS t (target, signal, accepted, delivered, rejected, dead, expired, abandoned, skipped, queued, records,
        bytes, dead_records, dead_bytes)
      SELECT target, signal, sum(accepted), sum(delivered), sum(rejected), sum(dead), sum(expired), sum(abandoned), sum(skipped),
        sum(queued), sum(records), sum(bytes), sum(dead_records), sum(dead_bytes) FROM entries GROUP BY target, signal
      ON CONFLICT (target, signal) DO UPDATE SET accepted = t.accepted + excluded.accepted,
        delivered = t.delivered + excluded.delivered, rejected = t.rejected + excluded.rejected, dead = t.dead + excluded.dead,
        expired = t.expired + excluded.expired, abandoned = t.abandoned + excluded.abandoned, skipped = t.skipped + excluded.skipped,
        queued = t.queued + excluded.queued, records = t.records + excluded.records, bytes = t.bytes + excluded.bytes,
        dead_records = t.dead_records + excluded.dead_records, dead_bytes = t.dead_bytes + excluded.dead_bytes
  ),
  sent AS (
    INSERT INTO edgeferry.sender_totals AS t (sender, bytes) SELECT sender, sum(bytes) FROM senders GROUP BY sender
      ON CONFLICT (sender) DO UPDATE SET bytes = t.bytes + excluded.bytes
  ),
  raised AS (
    UPDATE edgeferry.meta SET floors_at = clock_timestamp(), ledger_floor = next_ledger_floor, sender_floor = next_sender_floor,
      next_ledger_floor = greatest(next_ledger_floor, (SELECT max(id) FROM entries)),
      next_sender_floor = greatest(next_sender_floor, (SELECT max(id) FROM senders))
      FROM turn WHERE floors_at < clock_timestamp() - interval '15 s'
  ),
  forgotten AS (
    DELETE FROM edgeferry.appends USING turn WHERE at < clock_timestamp() - interval '10 min'
  ),
  finished AS (DELETE FROM edgeferry.shared USING turn WHERE waiting = 0),
  ended AS (DELETE FROM edgeferry.relays USING turn WHERE alive_until < clock_timestamp() - interval '1 h')
  SELECT EXISTS (SELECT FROM turn) AS folded`;

/** Senders with nothing in the queue are forgotten. It must not be part of the statement that adds to them, nor run beside it. */
export const FORGET_SENDERS = `WITH ${FLEETING},
  turn AS MATERIALIZED (SELECT FROM durable WHERE pg_try_advisory_xact_lock(7305172, 1))
  DELETE FROM edgeferry.sender_totals USING turn WHERE bytes = 0`;

/**
 * A lease. $1 the relay, $2 its name, $3 role, $4 version, $5 seconds. It waits for the disk, for a number that a crash takes back would be
 * given again; a relay can start without the standby.
 */
export const LEASE = `WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'local', true) AS setting)
  INSERT INTO edgeferry.relays (relay, name, role, version, started_at, alive_until)
    SELECT $1::uuid, $2, $3, $4::int, clock_timestamp(), clock_timestamp() + make_interval(secs => $5::float8) FROM durable RETURNING id`;

/** Prolongs a lease that has not run out. $1 the lease, $2 seconds, $3 the relay. */
export const RENEW = `WITH ${FLEETING}
  UPDATE edgeferry.relays SET alive_until = clock_timestamp() + make_interval(secs => $2::float8) FROM durable
    WHERE id = $1::bigint AND relay = $3::uuid AND alive_until > clock_timestamp() RETURNING id`;

/** Whether another relay lives that sends. $1 the relay. */
export const OTHERS = `SELECT EXISTS (
    SELECT FROM edgeferry.relays WHERE relay <> $1::uuid AND role <> 'receiver' AND id = ANY(${LIVE})
  ) AS send`;

/** Ends a lease: what it owned is free. $1 the lease. */
export const END_LEASE = `WITH ${FLEETING}
  UPDATE edgeferry.relays SET alive_until = clock_timestamp() FROM durable WHERE id = $1::bigint`;

/** Held records may be tried again. $1 most bytes of each, or null. */
export const RELEASE = `WITH ${FLEETING},
  chosen AS (
    SELECT target, signal, encoding, record FROM edgeferry.deliveries, durable
      WHERE held AND ($1::bigint IS NULL OR bytes <= $1::bigint) ORDER BY bytes LIMIT 1000 FOR UPDATE OF deliveries SKIP LOCKED
  )
  UPDATE edgeferry.deliveries d SET held = false, owner = NULL FROM chosen
    WHERE d.target = chosen.target AND d.signal = chosen.signal AND d.encoding = chosen.encoding AND d.record = chosen.record
    RETURNING d.record`;

/**
 * Gives records back that are owned and not wanted: durably, for nobody would give them back again. $1 the lease, $2 JSON of target, signal,
 * encoding and record.
 */
export const GIVE_BACK = `WITH ${DURABLE}
  UPDATE edgeferry.deliveries d SET owner = NULL
    FROM json_to_recordset($2::json) AS op(target int, signal smallint, encoding smallint, record bigint), durable
    WHERE d.target = op.target AND d.signal = op.signal AND d.encoding = op.encoding AND d.record = op.record AND d.owner = $1::bigint`;

/** Adds rows to the ledger, within a transaction. $1 the rows as JSON. */
export const LEDGER = `INSERT INTO edgeferry.ledger (${LEDGER_NAMES}) ${ledgerFrom("$1")}`;

/** All of them, by name. */
export const STATEMENTS: Readonly<Record<string, string>> = {
  APPEND,
  DISOWN_APPEND,
  DISOWN,
  SETTLE,
  TAKE,
  LOAD,
  LOOK,
  STATS,
  SENDERS,
  FOLD,
  FORGET_SENDERS,
  LEASE,
  RENEW,
  OTHERS,
  END_LEASE,
  RELEASE,
  GIVE_BACK,
  LEDGER,
};
