/**
 * What waits for one target becomes another's, or is given up, a little at a time. What a relay has in flight for the first is not its own
 * any more: its settle is void.
 * @module
 */
import type { Client } from "../../postgres/driver.ts";
import type { SignalName } from "../../signal.ts";
import { costOfPart } from "../cost.ts";
import type { TargetId } from "../queue.ts";
import { codeOfSignal } from "./codes.ts";
import { ORDERED } from "./statements.ts";

/** One transaction's worth. */
export interface MoveStep {
  readonly from: TargetId;
  /** Undefined: it is given up. */
  readonly to: TargetId | undefined;
  readonly signal: SignalName;
  readonly recordsMax: number;
}

/** What it did. */
export interface StepResult {
  readonly records: number;
  readonly items: number;
}

/** Rows of the first target, locked: $1 from, $2 signal, $3 at most. A relay that settles one at this moment has it. */
const CHOSEN = `durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true)),
  chosen AS MATERIALIZED (
    SELECT target, signal, encoding, record FROM edgeferry.deliveries
      WHERE target = $1::int AND signal = $2::smallint AND EXISTS (SELECT FROM durable)
      ORDER BY encoding, record LIMIT $3::int FOR UPDATE
  )`;

/**
 * What leaves the first target without going anywhere, and its senders' books where no other waits for it. $4 what a part counts for its
 * sender beside its bytes. @param where which of those that are chosen
 */
const gone = (where: string): string =>
  `gone AS (
    DELETE FROM edgeferry.deliveries d USING chosen c
      WHERE d.target = c.target AND d.signal = c.signal AND d.encoding = c.encoding AND d.record = c.record ${where}
      RETURNING d.signal, d.record, coalesce(d.payload, d.record) AS payload, d.items, d.cost, d.shared
  ),
  ${ORDERED},
  less AS (
    UPDATE edgeferry.shared s SET waiting = s.waiting - 1 FROM gone JOIN ordered USING (record)
      WHERE gone.shared AND s.record = gone.record
      RETURNING gone.payload, s.waiting, gone.signal, gone.items, gone.cost
  ),
  finished AS (SELECT payload FROM gone WHERE NOT shared UNION ALL SELECT payload FROM less WHERE waiting = 0),
  sent AS (
    INSERT INTO edgeferry.sender_ledger (sender, bytes)
      SELECT part->>0, -sum((part->>2)::bigint + $4::bigint) FROM finished
        JOIN edgeferry.payloads p ON p.id = finished.payload, json_array_elements(p.parts::json) part GROUP BY 1
  )`;

const ABANDON = `WITH ${CHOSEN},
  ${gone("")},
  booked AS (
    INSERT INTO edgeferry.ledger (target, signal, abandoned, queued, records, bytes)
      SELECT $1::int, signal, sum(items), -sum(items), -count(*), -sum(cost) FROM gone GROUP BY signal
      UNION ALL
      SELECT 0, signal, 0, sum(items), count(*), sum(cost) FROM less WHERE waiting > 0 GROUP BY signal
  )
  SELECT count(*)::int AS records, coalesce(sum(items), 0)::bigint AS items FROM gone`;

/**
 * $5 the other target. A record that waits for it already is not given to it twice: the first one's row goes, and what all targets together
 * exceed what is stored by is one less.
 */
const MOVE = `WITH ${CHOSEN},
  twice AS MATERIALIZED (
    SELECT c.record FROM chosen c JOIN edgeferry.deliveries o
      ON o.target = $5::int AND o.signal = c.signal AND o.encoding = c.encoding AND o.record = c.record
  ),
  ${gone("AND d.record IN (SELECT record FROM twice)")},
  moved AS (
    UPDATE edgeferry.deliveries d SET target = $5::int, owner = NULL FROM chosen c
      WHERE d.target = c.target AND d.signal = c.signal AND d.encoding = c.encoding AND d.record = c.record
        AND d.record NOT IN (SELECT record FROM twice)
      RETURNING d.signal, d.items, d.cost
  ),
  booked AS (
    INSERT INTO edgeferry.ledger (target, signal, accepted, queued, records, bytes)
      SELECT t.target, signal, t.way * sum(items), t.way * sum(items), t.way * count(*), t.way * sum(cost)
        FROM moved, (VALUES ($1::int, -1), ($5::int, 1)) AS t(target, way) GROUP BY t.target, t.way, signal
      UNION ALL
      SELECT $1::int, signal, -sum(items), -sum(items), -count(*), -sum(cost) FROM gone GROUP BY signal
      UNION ALL
      -- The other may have ended with it since this statement began: then nothing is stored of it any more.
      SELECT 0, signal, sum(items), sum(items * waits), sum(waits), sum(cost * waits)
        FROM (SELECT signal, items, cost, (waiting > 0)::int AS waits FROM less) l GROUP BY signal
  )
  SELECT (SELECT count(*) FROM chosen)::int AS records,
    (SELECT coalesce(sum(items), 0) FROM (SELECT items FROM moved UNION ALL SELECT items FROM gone) i)::bigint AS items`;

/** Does it. `records` 0: nothing is left. */
export async function moveStep(client: Client, { from, to, signal, recordsMax }: MoveStep): Promise<StepResult> {
  const { rows: [row] } = await client.query({
    text: to === undefined ? ABANDON : MOVE,
    values: [from, codeOfSignal(signal), recordsMax, costOfPart(0), ...(to === undefined ? [] : [to])],
  });
  return { records: Number(row?.["records"]), items: Number(row?.["items"]) };
}
