/**
 * Settles a record whose parts met different ends, in a transaction of several statements: it is rare.
 * @module
 */
import { codeOfEncoding, codeOfSignal } from "./codes.ts";
import type { Ask } from "./connections.ts";
import { type LedgerRow, LedgerRows, OVERLAP, sendersOf } from "./ledger.ts";
import { payloadOf } from "./payload.ts";
import { partsOfRow, type RecordHead } from "../record_head.ts";
import { type Burial, settleParts } from "../settlement.ts";
import type { PendingSettle, Settled } from "./pending_settle.ts";
import { ALL_BOOKS, LEDGER } from "./statements.ts";

/** Where a row of `deliveries` is: its primary key. */
const PLACE = "target = $1 AND signal = $2 AND encoding = $3 AND record = $4";

const ROW = `SELECT d.items, d.bytes, d.cost, d.inflated_bytes, d.shared, d.mergeable, p.parts, p.payload
  FROM edgeferry.deliveries d JOIN edgeferry.payloads p ON p.id = coalesce(d.payload, d.record)
  WHERE ${PLACE.replaceAll(/(target|signal|encoding|record) =/g, "d.$1 =")} AND d.owner = $5 FOR UPDATE OF d`;

const BURY =
  `INSERT INTO edgeferry.dead_letters (target, signal, encoding, mergeable, sender, items, bytes, inflated_bytes, reason,
    status, enqueued_at, died_at, payload)
  SELECT target, signal, encoding, mergeable, $5, $6, $7, $8, $9, $10, enqueued_at, clock_timestamp(), $11::bytea
    FROM edgeferry.deliveries WHERE ${PLACE}`;

/** What stays for a record of one target gets a payload of its own; its id stays. */
const REWRITE = `WITH written AS (
    INSERT INTO edgeferry.payloads SELECT nextval('edgeferry.record_ids'), $5, $6::bytea RETURNING id
  )
  UPDATE edgeferry.deliveries SET payload = written.id, items = $7, bytes = $8, cost = $9, inflated_bytes = $10, held = $11,
    owner = CASE WHEN $11 THEN NULL ELSE owner END FROM written WHERE ${PLACE}`;

/** What stays becomes a record of its own, for this target alone. */
const SPLIT = `WITH written AS (
    INSERT INTO edgeferry.payloads SELECT nextval('edgeferry.record_ids'), $5, $6::bytea RETURNING id
  )
  INSERT INTO edgeferry.deliveries (target, signal, encoding, mergeable, record, enqueued_at, items, bytes, cost, inflated_bytes, held,
      shared)
    SELECT target, signal, encoding, mergeable, written.id, enqueued_at, $7, $8, $9, $10, $11, false
    FROM edgeferry.deliveries, written WHERE ${PLACE}`;

/** What a settle did to the books, too. */
export interface SettledPartly extends Settled {
  readonly ledger: readonly LedgerRow[];
}

const VOID: SettledPartly = { effective: false, finished: false, ledger: [] };

/** Within a transaction. @param deadLetterBytesMax Room for the dead letters of one target, in bytes. @throws {PostgresFailure} */
export async function settlePartly(
  ask: Ask,
  { settlement, entry, claim }: PendingSettle,
  deadLetterBytesMax: number,
): Promise<SettledPartly> {
  if (settlement.kind !== "parts") throw new TypeError(`A settle of kind ${settlement.kind} has no parts`);
  const { target, head } = entry;
  const { signal } = head;
  const place = [target, codeOfSignal(signal), codeOfEncoding(head.encoding), head.id];
  await ask({ text: "SET LOCAL synchronous_commit = on" });
  const [row] = await ask({ text: ROW, values: [...place, claim] });
  if (row === undefined) return VOID;
  const parts = String(row.parts);
  const was: RecordHead = {
    ...head,
    targets: [target],
    items: Number(row.items),
    bytes: Number(row.bytes),
    cost: Number(row.cost),
    inflatedBytes: Number(row.inflated_bytes),
    parts,
  };
  // A settle that is repeated may meet what it has cut down already: its outcomes are of parts that have gone.
  if (was.bytes !== settlement.bytes) return { effective: true, finished: false, head: was, ledger: [] };
  const [dead] = await ask({
    text: `SELECT coalesce(sum(dead_bytes), 0)::bigint AS bytes FROM ${ALL_BOOKS} books WHERE target = $1`,
    values: [target],
  });
  let room = deadLetterBytesMax - Number(dead?.bytes);
  using payload = payloadOf(row.payload);
  const settled = settleParts(was, payload.bytes, settlement.outcomes, (bytes) => {
    if (bytes > room) return false;
    room -= bytes;
    return true;
  });
  const ledger = new LedgerRows();
  const senders = new Map<string, number>();
  const count = (head: RecordHead, by: 1 | -1) => {
    for (const [sender, bytes] of sendersOf(partsOfRow(head))) {
      senders.set(sender, (senders.get(sender) ?? 0) + by * bytes);
    }
  };
  const { delivered, rejected, buried, retried, held } = settled;
  ledger.add(target, signal, {
    delivered,
    rejected,
    dead: settled.dead,
    queued: -(delivered + rejected + settled.dead),
  });
  for (const burial of buried) {
    await ask({ text: BURY, values: [...place, ...buryValues(burial)] });
    ledger.add(target, signal, { dead_records: 1, dead_bytes: burial.payload.length });
  }
  const left = [
    ...(retried.empty ? [] : [{ remnant: retried, held: false }]),
    ...(held.empty ? [] : [{ remnant: held, held: true }]),
  ];
  const shared = row.shared === true;
  let stayed: RecordHead | undefined;
  for (const [index, { remnant, held }] of left.entries()) {
    const own = remnant.head(was);
    // Where both are left they part company: the held one gets an id of its own, so that it does not hold up the other.
    const rewritten = !shared && index === 0;
    await ask({
      text: rewritten ? REWRITE : SPLIT,
      values: [...place, own.parts, remnant.payload(), own.items, own.bytes, own.cost, own.inflatedBytes, held],
    });
    if (rewritten && !held) stayed = own;
    ledger.add(target, signal, { records: 1, bytes: own.cost });
    count(own, 1);
  }
  ledger.add(target, signal, { records: -1, bytes: -was.cost });
  let finished = !shared;
  if (shared || left.length === 0) {
    await ask({ text: `DELETE FROM edgeferry.deliveries WHERE ${PLACE}`, values: place });
  }
  if (shared) {
    const [others] = await ask({
      text: "UPDATE edgeferry.shared SET waiting = waiting - 1 WHERE record = $1 RETURNING waiting",
      values: [head.id],
    });
    finished = Number(others?.waiting) === 0;
    if (!finished) ledger.add(OVERLAP, signal, { queued: was.items, records: 1, bytes: was.cost });
  }
  if (finished) count(was, -1);
  await ask({ text: LEDGER, values: [JSON.stringify(ledger.rows)] });
  await ask({
    text: `INSERT INTO edgeferry.sender_ledger (sender, bytes) SELECT key, value::bigint FROM json_each_text($1::json)
      WHERE value <> '0'`,
    values: [JSON.stringify(Object.fromEntries(senders))],
  });
  return {
    effective: true,
    finished,
    head: stayed,
    outcome: settled,
    split: shared && !retried.empty,
    ledger: ledger.rows,
  };
}

function buryValues({ sender, items, payload, inflatedBytes, reason, status }: Burial): readonly unknown[] {
  // PostgreSQL stores no NUL in a text, and the words are the Collector's.
  return [sender, items, payload.length, inflatedBytes, reason.replaceAll("\0", "\ufffd"), status ?? null, payload];
}
