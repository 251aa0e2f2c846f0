/**
 * The one thing that matters about a relay now: a badge and a sentence. Both stand still while nothing changes, so that they can be
 * read aloud.
 * @module
 */
import { SIGNAL_NAMES, type SignalName, signalOf } from "../signal.ts";
import { count } from "./format.ts";
import type { Status, WayStatus } from "./status.ts";

/** `good`: nothing is to be done. `warn`: nothing is lost, and somebody should look. `bad`: a person is needed. */
export interface Verdict {
  readonly level: "good" | "warn" | "bad";
  readonly badge: string;
  readonly sentence: string;
  /** The fault or warning that the sentence is about; undefined where it is about none. */
  readonly of?: string | undefined;
}

/** How long dead letters count as growing after the last one, in ms. */
const GROWING_MS = 600_000;

/** As of a status: the worst first. */
export function verdictOf(status: Status): Verdict {
  const { health, ways, signals, deadLetters, durable } = status;
  if (!health.ready) {
    return { level: "bad", badge: "Not ready", sentence: `${health.reasons[0] ?? "The relay takes nothing now"}.` };
  }
  const failing = ways.filter(({ state }) => state === "failing");
  if (failing.length > 0) return heldUp(failing, status);
  const refused = ways.filter(({ state }) => state === "refuses").flatMap(({ signals }) => signals);
  if (refused.length > 0) {
    return {
      level: "bad",
      badge: `${capital(listed(refused))} refused`,
      sentence: `The Collector has taken none of what was sent as ${listed(refused)}; it is kept as dead letters.`,
    };
  }
  const unbalanced = signals.filter(({ balanced }) => !balanced).map(({ signal }) => signal);
  if (unbalanced.length > 0) {
    return {
      level: "bad",
      badge: "Books do not balance",
      sentence: `The books of ${listed(unbalanced)} do not balance; keep the queue's file and report it.`,
    };
  }
  const letters = deadLetters.records === 1 ? "1 dead letter" : `${count(deadLetters.records)} dead letters`;
  if (deadLetters.records > 0 && growing(status)) {
    return {
      level: "bad",
      badge: "Dead letters grow",
      sentence: `The Collector refuses some of what it is sent: ${letters}, the newest a few minutes old at most.`,
    };
  }
  if (deadLetters.records > 0) {
    return {
      level: "warn",
      badge: "Ready",
      sentence: `Data flows; ${letters} from earlier wait to be replayed or dropped.`,
    };
  }
  const [warning] = health.warnings;
  if (warning !== undefined) return { level: "warn", badge: "Ready", sentence: `${warning}.`, of: warning };
  if (signals.every(({ accepted }) => accepted === 0)) {
    return { level: "good", badge: "Ready", sentence: "Nobody has sent anything yet." };
  }
  return {
    level: "good",
    badge: "Ready",
    sentence: durable
      ? "What is answered 200 is on disk, and the Collector takes it."
      : "What is answered 200 is with the Collector.",
  };
}

function heldUp(failing: readonly WayStatus[], { ways, durable }: Status): Verdict {
  const lasting = failing.some(({ last }) => last?.fault.lasting === true);
  const signals = failing.flatMap(({ signals }) => signals);
  const all = ways.every(({ state }) => state === "failing" || state === "idle");
  const [what] = failing.flatMap(({ last }) => last?.fault.what ?? []);
  const rest = durable
    ? "What was answered 200 waits in the queue; nothing is lost."
    : "Senders are told to try again.";
  return {
    level: lasting ? "bad" : "warn",
    badge: all ? "Collector takes nothing" : `${capital(listed(signals))} held up`,
    sentence: what === undefined ? rest : `${what}. ${rest}`,
    of: what,
  };
}

function growing({ at, deadLetters: { groups } }: Status): boolean {
  return groups?.some(({ lastAt }) => at - lastAt < GROWING_MS) ?? true;
}

/** `logs`, `traces and logs`, `traces, metrics and logs` */
function listed(signals: readonly SignalName[]): string {
  const names = SIGNAL_NAMES.filter((name) => signals.includes(name)).map((name) => signalOf(name).name);
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);
