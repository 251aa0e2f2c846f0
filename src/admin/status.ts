/**
 * What the status page tells, as data: put together from one collection of the instruments, the last day, and the state of the
 * parts.
 * @module
 */
import type { Exporter } from "../exporter/exporter.ts";
import type { Failure } from "../exporter/way.ts";
import { SIGNAL_NAMES, type SignalName } from "../signal.ts";
import type { LiveRelay } from "../queue/postgres/inspect.ts";
import type { DeadLetterGroup } from "../queue/inspection.ts";
import type { Health } from "./health.ts";
import type { History, RangeName, View } from "./history.ts";
import type { Point, Reading } from "./reading.ts";

/** One signal's row of rates and books; counts are items, of all targets together. */
export interface SignalStatus extends BooksStatus {
  readonly signal: SignalName;
  /** A second. */
  readonly taken: number;
  readonly sent: number;
  /** Each target's own, where there are several: what they accepted together has come once. */
  readonly targets: readonly (BooksStatus & { readonly target: string })[];
}

/** Accounts, in items. */
export interface BooksStatus {
  readonly accepted: number;
  readonly delivered: number;
  readonly rejected: number;
  readonly deadLettered: number;
  readonly expired: number;
  readonly queued: number;
  /** Accepted is the sum of the others. */
  readonly balanced: boolean;
}

/** One way to the Collector. */
export interface WayStatus {
  /** The target's name, where there are several. */
  readonly target: string | undefined;
  readonly signals: readonly SignalName[];
  readonly url: string;
  /** `idle`: nothing has been sent yet. `refuses`: it has answered, and taken nothing. */
  readonly state: "takes" | "refuses" | "failing" | "idle";
  /** In a row. */
  readonly failures: number;
  readonly last: Failure | undefined;
}

/** One sender since the start; rates are of the last minute. */
export interface SenderStatus {
  readonly sender: string;
  readonly itemsPerSecond: number;
  readonly requestsPerSecond: number;
  readonly items: number;
  /** When it was last answered 200, by whichever of its tokens, in ms since the Unix epoch; undefined: never. */
  readonly lastUse: number | undefined;
  /** Requests by reason, the most first. */
  readonly refused: readonly (readonly [reason: string, requests: number])[];
}

/** All of it. */
export interface Status {
  /** ms since the Unix epoch. */
  readonly at: number;
  readonly startedAt: number;
  readonly version: string;
  /** Whether what is answered 200 is on a disk. */
  readonly durable: boolean;
  readonly health: Health;
  /** What the charts show. */
  readonly view: View;
  readonly latency: ReturnType<History["latency"]>;
  readonly queue: {
    readonly bytes: number;
    readonly bytesMax: number;
    readonly records: number;
    readonly inFlight: number;
    readonly oldestS: number;
  };
  /** The relays that share the queue; undefined where it is this relay's alone, or not known yet. */
  readonly relays?: readonly LiveRelay[] | undefined;
  readonly signals: readonly SignalStatus[];
  readonly ways: readonly WayStatus[];
  /** Those with the most items in the last minute first. */
  readonly senders: readonly SenderStatus[];
  /** How many more there are. */
  readonly sendersMore: number;
  /** Requests of nobody in particular, since the start, by reason. */
  readonly refused: readonly (readonly [reason: string, requests: number])[];
  readonly deadLetters: {
    readonly records: number;
    readonly bytes: number;
    /** By sender, signal and reason, the newest first; undefined where they cannot be read. */
    readonly groups: readonly DeadLetterGroup[] | undefined;
    /** Groups that are not shown. */
    readonly groupsMore: number;
    /** Old ones that stand in no group. */
    readonly ungrouped: number;
    /** The queue's file as a command has to name it; undefined where it is the one that commands use unless told. */
    readonly path: string | undefined;
  };
}

/** Senders shown. */
const SENDERS_SHOWN = 20;

type SendingShown = Pick<Exporter, "failures" | "lastFailure" | "urlOf">;

/** What it is put together from. */
export interface StatusParts {
  readonly at: number;
  readonly startedAt: number;
  readonly version: string;
  readonly durable: boolean;
  readonly health: Health;
  readonly exporter: SendingShown & {
    readonly targets?: readonly { readonly name: string; readonly exporter: SendingShown }[];
  };
  readonly history: History;
  readonly reading: Reading;
  /** When each of these senders was last answered 200, in ms since the Unix epoch. */
  readonly lastUses: (senders: ReadonlySet<string>) => ReadonlyMap<string, number>;
  readonly range: RangeName;
  readonly relays?: readonly LiveRelay[] | undefined;
  readonly deadLetters: Pick<Status["deadLetters"], "groups" | "groupsMore" | "ungrouped" | "path">;
}

/** As of one reading. */
export function statusOf(parts: StatusParts): Status {
  const { at, startedAt, version, durable, health, history, reading } = parts;
  const senders = sendersOf(reading, history);
  const shown = senders.slice(0, SENDERS_SHOWN);
  const lastUses = parts.lastUses(new Set(shown.map(({ sender }) => sender)));
  return {
    at,
    startedAt,
    version,
    durable,
    health,
    relays: parts.relays,
    view: history.view(parts.range),
    latency: history.latency(),
    queue: {
      bytes: reading.value("edgeferry_queue_size"),
      bytesMax: reading.value("edgeferry_queue_capacity"),
      records: reading.value("edgeferry_queue_records"),
      inFlight: reading.value("edgeferry_queue_in_flight_records"),
      oldestS: reading.value("edgeferry_queue_oldest_age"),
    },
    signals: signalsOf(reading, history),
    ways: waysOf(parts),
    senders: shown.map((each) => ({ ...each, lastUse: lastUses.get(each.sender) })),
    sendersMore: Math.max(0, senders.length - SENDERS_SHOWN),
    refused: refusedOfNobody(reading),
    deadLetters: {
      records: reading.value("edgeferry_dead_letter_records"),
      bytes: reading.value("edgeferry_dead_letter_size"),
      ...parts.deadLetters,
    },
  };
}

function signalsOf(reading: Reading, history: History): SignalStatus[] {
  const rates = history.rates();
  const books = reading.points("edgeferry_books_items");
  const names = [...new Set(books.map(({ attributes }) => String(attributes["target"])))];
  return SIGNAL_NAMES.map((signal) => {
    const own = books.filter(({ attributes }) => attributes["signal"] === signal);
    const targets = names.map((target) => ({
      target,
      ...booksOf(own.filter(({ attributes }) => attributes["target"] === target)),
    }));
    return {
      signal,
      taken: rates.taken[signal],
      sent: rates.sent[signal],
      ...booksOf(own),
      // What one has too much another may lack.
      balanced: targets.every(({ balanced }) => balanced),
      targets: names.length > 1 ? targets.filter(({ accepted }) => accepted > 0) : [],
    };
  });
}

function booksOf(points: readonly Point[]): BooksStatus {
  const account = (name: string) =>
    points.reduce((sum, { attributes, value }) => attributes["account"] === name ? sum + value : sum, 0);
  const row = {
    accepted: account("accepted"),
    delivered: account("delivered"),
    rejected: account("rejected_by_collector"),
    deadLettered: account("dead_lettered"),
    expired: account("expired"),
    queued: account("queued"),
  };
  const { accepted, delivered, rejected, deadLettered, expired, queued } = row;
  const gone = delivered + rejected + deadLettered + expired + account("abandoned");
  return { ...row, balanced: accepted === gone + queued };
}

/** Signals of a target that are alike are one row. */
function waysOf({ exporter, reading }: StatusParts): WayStatus[] {
  const { targets } = exporter;
  // Others send what a receiver takes.
  if (targets?.length === 0) return [];
  if (targets === undefined || targets.length < 2) {
    const sent = reading.bySignal("edgeferry_exporter_sent_items");
    const condemned = reading.bySignal("edgeferry_dead_letter_items");
    return waysTo(undefined, exporter, { sent: (signal) => sent[signal], condemned: (signal) => condemned[signal] });
  }
  const books = reading.points("edgeferry_books_items");
  return targets.flatMap(({ name, exporter: own }) => {
    const account = (account: string) => (signal: SignalName) =>
      books.find(({ attributes }) =>
        attributes["target"] === name && attributes["signal"] === signal && attributes["account"] === account
      )?.value ?? 0;
    return waysTo(name, own, { sent: account("delivered"), condemned: account("dead_lettered") });
  });
}

function waysTo(
  target: string | undefined,
  sending: SendingShown,
  { sent, condemned }: Record<"sent" | "condemned", (signal: SignalName) => number>,
): WayStatus[] {
  const ways = SIGNAL_NAMES.map((signal): WayStatus => {
    const failures = sending.failures(signal);
    const taken = sent(signal) > 0 ? "takes" : condemned(signal) > 0 ? "refuses" : "idle";
    return {
      target,
      signals: [signal],
      url: sending.urlOf(signal),
      state: failures > 0 ? "failing" : taken,
      failures,
      last: sending.lastFailure(signal),
    };
  });
  const alike = Map.groupBy(ways, ({ state, last, url }) => [state, last?.fault.code, new URL(url).origin].join(" "));
  return [...alike.values()].map((group) => ({
    ...group.reduce((a, b) => (a.last?.at ?? 0) >= (b.last?.at ?? 0) ? a : b),
    signals: group.flatMap(({ signals }) => signals),
    failures: Math.max(...group.map(({ failures }) => failures)),
    url: group.length === 1 ? group[0]!.url : new URL(group[0]!.url).origin,
  }));
}

function sendersOf(reading: Reading, history: History): Omit<SenderStatus, "lastUse">[] {
  const refused = new Map<string, [string, number][]>();
  for (const { attributes, value } of reading.points("edgeferry_sender_refused_requests")) {
    const sender = String(attributes["sender"]);
    refused.set(sender, [...refused.get(sender) ?? [], [String(attributes["reason"]), value]]);
  }
  const accepted = history.last?.senders ?? new Map();
  return [...new Set([...accepted.keys(), ...refused.keys()])].map((sender) => {
    const rates = history.senderRate(sender);
    return {
      sender,
      itemsPerSecond: rates.items,
      requestsPerSecond: rates.requests,
      items: accepted.get(sender)?.items ?? 0,
      refused: (refused.get(sender) ?? []).sort((a, b) => b[1] - a[1]),
    };
  }).sort((a, b) => b.itemsPerSecond - a.itemsPerSecond || b.items - a.items || (a.sender < b.sender ? -1 : 1));
}

/** Those of senders that had proved who they are stand with them. */
function refusedOfNobody(reading: Reading): [string, number][] {
  const reasons = new Map<string, number>();
  const add = (reason: unknown, requests: number) =>
    reasons.set(String(reason), (reasons.get(String(reason)) ?? 0) + requests);
  for (const { attributes, value } of reading.points("edgeferry_receiver_refused_requests")) {
    add(attributes["reason"], value);
  }
  for (const { attributes, value } of reading.points("edgeferry_sender_refused_requests")) {
    add(attributes["reason"], -value);
  }
  return [...reasons].filter(([, requests]) => requests > 0).sort((a, b) => b[1] - a[1]);
}
