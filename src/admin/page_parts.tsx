/**
 * The parts of the status page that change, each by the id of the element that it stands in.
 * @module
 */
// Said here too: a program that uses the library has a configuration of its own.
/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
import type { Child } from "hono/jsx";
import { SIGNAL_NAMES, signalOf } from "../signal.ts";
import { lengthOf } from "../pki/certificate.ts";
import type { Expiry } from "../pki/expiry.ts";
import type { LiveRelay } from "../queue/postgres/inspect.ts";
import { bytes, count, duration, moment, rate } from "./format.ts";
import { RANGES } from "./history.ts";
import { BINARY, Chart, DECIMAL, sinceKnown, TEMPORAL } from "./page_charts.tsx";
import { Letters, LettersNote } from "./page_letters.tsx";
import type { BooksStatus, SignalStatus, Status, WayStatus } from "./status.ts";
import { verdictOf } from "./verdict.ts";

/** What stands in each element. */
export const PARTS = {
  state: State,
  facts: Facts,
  notices: Notices,
  ranges: Ranges,
  chart_items: ItemsChart,
  chart_queue: QueueChart,
  chart_age: AgeChart,
  chart_latency: LatencyChart,
  relays: Relays,
  signals: Signals,
  listeners: Listeners,
  ways: Ways,
  certificates: Certificates,
  senders: Senders,
  senders_note: SendersNote,
  letters: Letters,
  letters_note: LettersNote,
} as const satisfies Record<string, (status: Status) => Child>;

export type PartId = keyof typeof PARTS;

/** The HTML of one part. */
export function partHtml(id: PartId, status: Status): string {
  return String(<>{PARTS[id](status)}</>);
}

function State(status: Status) {
  const { level, badge, sentence } = verdictOf(status);
  return (
    <>
      <strong class={`badge ${level}`}>{badge}</strong>
      <span class="sentence">{sentence}</span>
    </>
  );
}

/** A choice, where there is one. Links, so that it needs no script. */
function Ranges({ view: { range, offered } }: Status) {
  if (offered.length < 2) return null;
  return (
    <>
      {offered.map((name) => (
        <a href={`?range=${name}`} aria-current={name === range ? "true" : undefined}>{RANGES[name].words}</a>
      ))}
    </>
  );
}

function Facts({ version, startedAt, at }: Status) {
  return (
    <>
      <span>{version}</span> <span>up {duration(Math.round((at - startedAt) / 1000))}</span>{" "}
      <time dateTime={new Date(at).toISOString()}>{moment(at)}</time>
    </>
  );
}

/** What the sentence of the state has no room for. */
function Notices(status: Status) {
  const { health, ways, at, durable } = status;
  const { of: told } = verdictOf(status);
  return (
    <>
      {health.reasons.slice(1).map((reason) => (
        <div class="notice">
          <p>
            <strong>{reason}</strong>
          </p>
        </div>
      ))}
      {[...Map.groupBy(ways.filter(isFailing), ({ last }) => last?.fault.code).values()].map((alike) => (
        <Outage ways={alike} at={at} durable={durable} told={told} />
      ))}
      {health.warnings.filter((warning) => warning !== told).map((warning) => (
        <div class="notice mild">
          <p>{warning}</p>
        </div>
      ))}
    </>
  );
}

function isFailing(way: WayStatus): boolean {
  return way.state === "failing" && way.last !== undefined;
}

/** Those with the same fault. */
function Outage(
  { ways, at, durable, told }: { ways: readonly WayStatus[]; at: number; durable: boolean; told: string | undefined },
) {
  const lasts = ways.flatMap(({ last }) => last ?? []);
  const last = lasts.reduce((a, b) => a.at >= b.at ? a : b);
  const waitS = Math.max(0, Math.min(...lasts.map(({ retryAt }) => retryAt)) - at) / 1000;
  return (
    <div class={last.fault.lasting ? "notice" : "notice mild"}>
      {told !== last.fault.what && (
        <p>
          <strong>{last.fault.what}</strong>
        </p>
      )}
      <p class="todo">
        <b>To do:</b> {last.fault.remedy}. <span class="code">{last.fault.code}</span>
      </p>
      <p class="soft">
        {names([...new Set(ways.flatMap(({ signals }) => signals))])}:{" "}
        {count(Math.max(...ways.map(({ failures }) => failures)))} requests failed in a row, the last {ago(at, last.at)}
        {durable && (waitS === 0 ? "; trying again" : `; next attempt in ${duration(Math.ceil(waitS))}`)}.{" "}
        {durable ? "What was answered 200 is kept in the queue." : "Senders are told to try again."} In its own words:
        {" "}
        <q>{last.cause}</q>
      </p>
    </div>
  );
}

/** Those that are drawn, alike in all charts. */
const shown = ({ steps, stepMs }: Status["view"]) =>
  sinceKnown(steps, stepMs, ({ queueBytes }) => queueBytes !== undefined);

function ItemsChart({ view, signals }: Status) {
  const drawn = shown(view);
  const sum = (of: (signal: SignalStatus) => number) => signals.reduce((all, each) => all + of(each), 0);
  return (
    <Chart
      title="Items a second"
      now={
        <>
          {rate(sum(({ taken }) => taken))} <span class="soft">in</span> {rate(sum(({ sent }) => sent))}{" "}
          <span class="soft">out</span>
        </>
      }
      series={[
        { name: "taken", values: drawn.map(({ taken }) => taken) },
        { name: "sent on", values: drawn.map(({ sent }) => sent) },
      ]}
      overlaid
      axis={{ format: rate, topMin: 1, top: DECIMAL }}
      stepMs={view.stepMs}
    />
  );
}

function QueueChart({ view, queue }: Status) {
  return (
    <Chart
      title="Queue"
      now={
        <>
          {bytes(queue.bytes)} <span class="soft">of {bytes(queue.bytesMax)}</span>
        </>
      }
      series={[{ name: "Bytes queued", values: shown(view).map(({ queueBytes }) => queueBytes) }]}
      axis={{ format: bytes, topMin: 1_024, top: BINARY }}
      stepMs={view.stepMs}
    />
  );
}

function AgeChart({ view, queue }: Status) {
  return (
    <Chart
      title="Oldest queued"
      now={queue.records === 0 ? "empty" : duration(queue.oldestS)}
      series={[{ name: "Age", values: shown(view).map(({ oldestS }) => oldestS) }]}
      axis={{ format: duration, topMin: 1, top: TEMPORAL }}
      stepMs={view.stepMs}
    />
  );
}

function LatencyChart({ view, latency: { p50S, p99S } }: Status) {
  const drawn = shown(view);
  return (
    <Chart
      title="Time to a safe 200"
      now={p50S === undefined || p99S === undefined
        ? (
          <>
            none <span class="soft">in the last minute</span>
          </>
        )
        : (
          <>
            <span class="soft">p50</span> {duration(p50S)} <span class="soft">p99</span> {duration(p99S)}
          </>
        )}
      series={[
        { name: "p50", values: drawn.map(({ p50S }) => p50S) },
        { name: "p99", values: drawn.map(({ p99S }) => p99S) },
      ]}
      axis={{ format: duration, topMin: 0.001, top: TEMPORAL }}
      stepMs={view.stepMs}
    />
  );
}

/** What is in development and has never been used is not shown. */
function isShown({ signal, accepted, deadLettered, queued, taken }: SignalStatus): boolean {
  return signalOf(signal).stable || accepted + deadLettered + queued + taken > 0;
}

function Signals({ signals }: Status) {
  return (
    <>
      {signals.filter(isShown).map((row) => (
        <>
          <tr role="row">
            <th scope="row" role="rowheader">{row.signal}</th>
            <Cell label="In /s" number>{rate(row.taken)}</Cell>
            <Cell label="Out /s" number>{rate(row.sent)}</Cell>
            {row.targets.length === 0 ? <Books row={row} /> : <td role="cell" colspan={7}></td>}
          </tr>
          {row.targets.map((own) => (
            <tr role="row">
              <th scope="row" role="rowheader" class="target">{row.signal} to {own.target}</th>
              <td role="cell" colspan={2}></td>
              <Books row={own} />
            </tr>
          ))}
        </>
      ))}
    </>
  );
}

function Books({ row }: { readonly row: BooksStatus }) {
  return (
    <>
      <Cell label="Accepted" number>{count(row.accepted)}</Cell>
      <Cell label="Delivered" number>{count(row.delivered)}</Cell>
      <Cell label="Rejected" number bad={row.rejected > 0}>{count(row.rejected)}</Cell>
      <Cell label="Dead" number bad={row.deadLettered > 0}>{count(row.deadLettered)}</Cell>
      <Cell label="Expired" number bad={row.expired > 0}>{count(row.expired)}</Cell>
      <Cell label="Queued" number>{count(row.queued)}</Cell>
      <Cell label="Books">
        {row.balanced ? <span class="good">balanced</span> : <span class="bad">do not balance</span>}
      </Cell>
    </>
  );
}

/** A cell that names its column where the table is a list, on a narrow screen. */
function Cell(
  { label, number, bad, words, children }: {
    readonly label: string;
    readonly number?: boolean;
    readonly bad?: boolean;
    readonly words?: boolean;
    readonly children?: Child;
  },
) {
  const classes = [number && "n", bad && "bad", words && "words"].filter(Boolean).join(" ");
  return <td role="cell" data-label={label} class={classes || undefined}>{children}</td>;
}

const WAY_WORDS = {
  takes: ["good", "takes"],
  refuses: ["bad", "refuses all"],
  failing: ["bad", "failing"],
  idle: ["idle", "nothing sent yet"],
} as const;

/** A card for each listener of the receiver. */
function Listeners({ health: { listeners } }: Status) {
  if (listeners.length === 0) return <li class="card">This relay has no listener of its own</li>;
  return (
    <>
      {listeners.map(({ protocol, url, accepting, connections }) => (
        <li class="card">
          <h3>{url}</h3>
          <p>
            <span class={`dot ${accepting ? "good" : "bad"}`}>{accepting ? "accepts" : "accepts nothing"}</span>{" "}
            <b>{protocol}</b>
            {connections !== undefined &&
              `, ${connections === 1 ? "1 connection" : `${count(connections)} connections`} open`}
          </p>
        </li>
      ))}
    </>
  );
}

/** A card for each Collector; in it a line for the signals that fare alike. */
function Ways({ ways, signals, at }: Status) {
  if (ways.length === 0) return <li class="card">Other relays send what this one takes</li>;
  const shown = signals.filter(isShown).map(({ signal }) => signal);
  const used = ways.map((way) => ({
    ...way,
    signals: way.signals.filter((signal) => shown.includes(signal) || way.failures > 0 || way.state === "refuses"),
  })).filter((way) => way.signals.length > 0);
  return (
    <>
      {[...Map.groupBy(used, ({ url }) => URL.parse(url)?.origin ?? url)].map(([origin, alike]) => (
        <li class="card">
          <h3>{origin}</h3>
          <ul class="ways">
            {alike.map((way) => <Way way={way} all={shown.length === way.signals.length} origin={origin} at={at} />)}
          </ul>
        </li>
      ))}
    </>
  );
}

function Way({ way, all, origin, at }: { way: WayStatus; all: boolean; origin: string; at: number }) {
  const { target, signals, url, state, failures, last } = way;
  const [level, words] = WAY_WORDS[state];
  const path = url.startsWith(origin) ? url.slice(origin.length) : "";
  return (
    <li>
      <p>
        <span class={`dot ${level}`}>{words}</span> {target !== undefined && <span class="soft">{`${target}: `}</span>}
        <b>{all ? "all signals" : signals.join(", ")}</b>
        {failures > 0 && <span>{`, ${count(failures)} in a row`}</span>}
        {path.length > 1 && !all && <span class="soft path">{path}</span>}
      </p>
      {last !== undefined && (
        <p class="soft">
          {state === "failing" ? "" : `Healed fault, ${ago(at, last.at)}: `}
          {last.fault.what} <span class="code">{last.fault.code}</span>
          {state === "failing" && ` ${ago(at, last.at)}`}
        </p>
      )}
    </li>
  );
}

const ROLE_WORDS: Readonly<Record<Expiry["role"], string>> = {
  client: "client",
  intermediate: "intermediate",
  ca: "CA",
  receiver: "receiver",
  receiver_client_ca: "receiver's client CA",
  collector: "Collector",
  database_client: "client (database)",
  database_ca: "CA (database)",
};
const LEVEL_CLASSES = { ok: "", warning: "warn", error: "bad" } as const;

/** The relays that share the queue, and the figures on this page that are theirs as well; nothing where there are none. */
function Relays({ relays }: Status) {
  if (relays === undefined) return null;
  const living = relays.filter(({ alive }) => alive);
  const gone = relays.filter(({ alive, owns }) => !alive && owns > 0);
  const told = (relay: LiveRelay) =>
    `${relay.name} (${relay.role}${relay.owns > 0 ? `, holds ${count(relay.owns)}` : ""})`;
  return (
    <>
      Queue, books and dead letters are those of all relays; rates, senders and the Collector are this one's. Live:{" "}
      {living.map(told).join(", ") || "none"}.
      {gone.length > 0 && ` Gone, and about to be relieved: ${gone.map(told).join(", ")}.`}
    </>
  );
}

function Certificates({ health: { certificates } }: Status) {
  if (certificates === undefined || certificates.length === 0) return <Nothing columns={4}>None in use</Nothing>;
  return (
    <>
      {certificates.map(({ role, subject, validTo, msLeft, level }) => (
        <tr role="row">
          <th scope="row" role="rowheader">{ROLE_WORDS[role]}</th>
          <Cell label="Subject" words>{subject || "without a name"}</Cell>
          <Cell label="Ends">{moment(validTo.getTime())}</Cell>
          <Cell label="Left" number>
            <span class={LEVEL_CLASSES[level]}>
              {msLeft < 0 ? `ended ${lengthOf(-msLeft)} ago` : lengthOf(msLeft)}
            </span>
          </Cell>
        </tr>
      ))}
    </>
  );
}

function Senders({ senders, at }: Status) {
  if (senders.length === 0) return <Nothing columns={6}>Nobody has sent anything yet</Nothing>;
  return (
    <>
      {senders.map(({ sender, itemsPerSecond, requestsPerSecond, items, lastUse, refused }) => (
        <tr role="row">
          <th scope="row" role="rowheader" class="name">{sender}</th>
          <Cell label="Items /s" number>{rate(itemsPerSecond)}</Cell>
          <Cell label="Requests /s" number>{rate(requestsPerSecond)}</Cell>
          <Cell label="Items" number>{count(items)}</Cell>
          <Cell label="Last 200">{lastUse === undefined ? <span class="soft">never</span> : ago(at, lastUse)}</Cell>
          <Cell label="Refused requests" words>
            {refused.length === 0 ? <span class="soft">none</span> : reasons(refused)}
          </Cell>
        </tr>
      ))}
    </>
  );
}

function SendersNote({ sendersMore, refused }: Status) {
  return (
    <>
      {sendersMore > 0 && `${count(sendersMore)} more are not shown. `}
      {refused.length > 0 && `Refused before it was known who sent: ${reasons(refused)}.`}
    </>
  );
}

function Nothing({ columns, children }: { columns: number; children?: Child }) {
  return (
    <tr role="row">
      <td role="cell" class="none" colSpan={columns}>{children}</td>
    </tr>
  );
}

function reasons(refused: readonly (readonly [string, number])[]): string {
  return refused.map(([reason, requests]) => `${count(requests)} ${reason}`).join(", ");
}

function names(signals: WayStatus["signals"]): string {
  if (signals.length === SIGNAL_NAMES.length) return "All signals";
  return signals.join(", ");
}

function ago(now: number, at: number): string {
  return `${duration(Math.max(0, Math.round((now - at) / 1000)))} ago`;
}
