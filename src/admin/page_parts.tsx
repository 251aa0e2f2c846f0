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
import { bytes, count, duration, moment, rate } from "./format.ts";
import { BINARY, Chart, DECIMAL, sinceKnown, TEMPORAL } from "./page_charts.tsx";
import type { SignalStatus, Status, WayStatus } from "./status.ts";

/** What stands in each element. */
export const PARTS = {
  state: State,
  facts: Facts,
  notices: Notices,
  chart_items: ItemsChart,
  chart_queue: QueueChart,
  chart_age: AgeChart,
  chart_latency: LatencyChart,
  signals: Signals,
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

function State({ health, ways }: Status) {
  if (!health.ready) return <span class="bad">Not ready</span>;
  const failing = ways.some(({ state }) => state === "failing");
  if (failing) return <span class="warn">Ready, but the Collector does not take everything</span>;
  return <span class="good">Ready</span>;
}

function Facts({ version, startedAt, at }: Status) {
  return (
    <>
      {version}, up {duration(Math.round((at - startedAt) / 1000))}, as of{" "}
      <time dateTime={new Date(at).toISOString()}>{moment(at)}</time>
    </>
  );
}

function Notices({ health, ways, at, durable }: Status) {
  return (
    <>
      {health.reasons.map((reason) => (
        <div class="notice">
          <p>
            <strong>{reason}</strong>
          </p>
        </div>
      ))}
      {[...Map.groupBy(ways.filter(isFailing), ({ last }) => last?.fault.code).values()].map((alike) => (
        <Outage ways={alike} at={at} durable={durable} />
      ))}
      {health.warnings.map((warning) => (
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
function Outage({ ways, at, durable }: { ways: readonly WayStatus[]; at: number; durable: boolean }) {
  const lasts = ways.flatMap(({ last }) => last ?? []);
  const last = lasts.reduce((a, b) => a.at >= b.at ? a : b);
  const waitS = Math.max(0, Math.min(...lasts.map(({ retryAt }) => retryAt)) - at) / 1000;
  return (
    <div class={last.fault.lasting ? "notice" : "notice mild"}>
      <p>
        <strong>{last.fault.what}</strong> <span class="soft">{last.fault.code}</span>
      </p>
      <p>To do: {last.fault.remedy}.</p>
      <p class="soft">
        {names(ways.flatMap(({ signals }) => signals))}: {count(Math.max(...ways.map(({ failures }) => failures)))}{" "}
        requests failed in a row, the last {ago(at, last.at)}
        {durable && (waitS === 0 ? "; trying again" : `; next attempt in ${duration(Math.ceil(waitS))}`)}.{" "}
        {durable ? "What was answered 200 is kept in the queue." : "Senders are told to try again."} In its own words:
        {" "}
        {last.cause}
      </p>
    </div>
  );
}

/** Those that are drawn, alike in all charts. */
const shown = (steps: Status["steps"]) => sinceKnown(steps, ({ queueBytes }) => queueBytes !== undefined);

function ItemsChart({ steps, signals }: Status) {
  const drawn = shown(steps);
  const sum = (of: (signal: SignalStatus) => number) => signals.reduce((all, each) => all + of(each), 0);
  return (
    <Chart
      title="Items a second"
      now={<>{rate(sum(({ taken }) => taken))} in, {rate(sum(({ sent }) => sent))} out</>}
      series={[
        { name: "taken", values: drawn.map(({ taken }) => taken) },
        { name: "sent on", values: drawn.map(({ sent }) => sent) },
      ]}
      axis={{ format: rate, topMin: 1, top: DECIMAL }}
    />
  );
}

function QueueChart({ steps, queue }: Status) {
  return (
    <Chart
      title="Queue"
      now={
        <>
          {bytes(queue.bytes)} <span class="soft">of {bytes(queue.bytesMax)}</span>
        </>
      }
      series={[{ name: "Bytes queued", values: shown(steps).map(({ queueBytes }) => queueBytes) }]}
      axis={{ format: bytes, topMin: 1_024, top: BINARY }}
    />
  );
}

function AgeChart({ steps, queue }: Status) {
  return (
    <Chart
      title="Oldest queued"
      now={queue.records === 0 ? "empty" : duration(queue.oldestS)}
      series={[{ name: "Age", values: shown(steps).map(({ oldestS }) => oldestS) }]}
      axis={{ format: duration, topMin: 1, top: TEMPORAL }}
    />
  );
}

function LatencyChart({ steps, latency: { p50S, p99S } }: Status) {
  const drawn = shown(steps);
  return (
    <Chart
      title="Time to a safe 200"
      now={p50S === undefined || p99S === undefined ? "none in the last minute" : (
        <>
          <span class="soft">p50</span> {duration(p50S)} <span class="soft">p99</span> {duration(p99S)}
        </>
      )}
      series={[
        { name: "p50", values: drawn.map(({ p50S }) => p50S) },
        { name: "p99", values: drawn.map(({ p99S }) => p99S) },
      ]}
      axis={{ format: duration, topMin: 0.001, top: TEMPORAL }}
    />
  );
}

function Signals({ signals }: Status) {
  return (
    <>
      {signals.map((row) => (
        <tr>
          <th scope="row">{row.signal}</th>
          <td class="n">{rate(row.taken)}</td>
          <td class="n">{rate(row.sent)}</td>
          <td class="n">{count(row.accepted)}</td>
          <td class="n">{count(row.delivered)}</td>
          <Lost items={row.rejected} />
          <Lost items={row.deadLettered} />
          <Lost items={row.expired} />
          <td class="n">{count(row.queued)}</td>
          <td>{row.balanced ? <span class="good">balanced</span> : <span class="bad">does not balance</span>}</td>
        </tr>
      ))}
    </>
  );
}

function Lost({ items }: { items: number }) {
  return <td class={items === 0 ? "n" : "n bad"}>{count(items)}</td>;
}

const WAY_WORDS = {
  takes: ["good", "takes"],
  refuses: ["bad", "refuses all"],
  failing: ["bad", "failing"],
  idle: ["soft", "nothing sent yet"],
} as const;

function Ways({ ways, at }: Status) {
  return (
    <>
      {ways.map(({ signals, url, state, failures, last }) => (
        <tr>
          <th scope="row">{names(signals)}</th>
          <td>
            <span class={WAY_WORDS[state][0]}>{WAY_WORDS[state][1]}</span>
            {failures > 0 && `, ${count(failures)} in a row`}
          </td>
          <td class="words">
            {last === undefined ? <span class="soft">none</span> : (
              <>
                {last.fault.what} <span class="soft">{last.fault.code}, {ago(at, last.at)}</span>
              </>
            )}
          </td>
          <td class="address">{addressOf(url)}</td>
        </tr>
      ))}
    </>
  );
}

/** It may be cut between host and path. */
function addressOf(url: string) {
  const path = /(?<=[^:/])\/.*$/.exec(url)?.[0] ?? "";
  return (
    <>
      {url.slice(0, url.length - path.length)}
      <wbr />
      {path}
    </>
  );
}

const ROLE_WORDS: Readonly<Record<Expiry["role"], string>> = {
  client: "client",
  intermediate: "intermediate",
  ca: "CA",
  receiver: "receiver",
  receiver_client_ca: "receiver's client CA",
  collector: "Collector",
};
const LEVEL_CLASSES = { ok: "n", warning: "n warn", error: "n bad" } as const;

function Certificates({ health: { certificates } }: Status) {
  if (certificates === undefined || certificates.length === 0) return <Nothing columns={4}>None in use</Nothing>;
  return (
    <>
      {certificates.map(({ role, subject, validTo, msLeft, level }) => (
        <tr>
          <th scope="row">{ROLE_WORDS[role]}</th>
          <td class="words">{subject || "without a name"}</td>
          <td>{moment(validTo.getTime())}</td>
          <td class={LEVEL_CLASSES[level]}>{msLeft < 0 ? `ended ${lengthOf(-msLeft)} ago` : lengthOf(msLeft)}</td>
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
        <tr>
          <th scope="row" class="name" title={sender}>{sender}</th>
          <td class="n">{rate(itemsPerSecond)}</td>
          <td class="n">{rate(requestsPerSecond)}</td>
          <td class="n">{count(items)}</td>
          <td>{lastUse === undefined ? <span class="soft">never</span> : ago(at, lastUse)}</td>
          <td class="words">{refused.length === 0 ? <span class="soft">none</span> : reasons(refused)}</td>
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

function Letters({ deadLetters: { recent } }: Status) {
  if (recent === undefined) return <Nothing columns={4}>They cannot be read; see the log</Nothing>;
  if (recent.length === 0) return <Nothing columns={4}>None</Nothing>;
  return (
    <>
      {recent.map(({ diedAt, signal, sender, items, reason, status }) => (
        <tr>
          <th scope="row">
            <time dateTime={new Date(diedAt).toISOString()}>{moment(diedAt)}</time>
          </th>
          <td class="name" title={sender}>{sender}</td>
          <td class="n">{count(items)} {signalOf(signal).item}{items === 1 ? "" : "s"}</td>
          <td class="words">{status !== undefined && `${status} `}{reason}</td>
        </tr>
      ))}
    </>
  );
}

function LettersNote({ deadLetters: { records, bytes: size, recent } }: Status) {
  if (records === 0) return null;
  return (
    <>
      {count(records)} in all, {bytes(size)}
      {records > (recent?.length ?? 0) && ", the newest first"}. queue replay sends them again.
    </>
  );
}

function Nothing({ columns, children }: { columns: number; children?: Child }) {
  return (
    <tr>
      <td class="none" colSpan={columns}>{children}</td>
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
