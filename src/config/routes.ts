/**
 * Where each sender's data goes: the configuration's exporters, groups and routes as one thing that answers (signal, sender) with targets.
 * Nothing here reads or sends anything.
 * @module
 */
import { matchesGlob } from "./glob.ts";
import { SIGNAL_NAMES, type SignalName } from "../signal.ts";
import type { Config } from "./schema.ts";

/** What `exporter:` alone is called. */
export const DEFAULT_EXPORTER = "default";

/** An exporter in a target. */
export interface Member {
  /** The exporter's name. */
  readonly name: string;
  /** In a balance: how often it is chosen, relative to the others. 1 elsewhere. */
  readonly weight: number;
}

/** What a route names: an exporter, or a group of exporters. */
export interface ExportTarget {
  readonly name: string;
  /** `single`: one exporter. `failover`: the first that works. `balance`: one of those that work, by weight. */
  readonly kind: "single" | "failover" | "balance";
  /** At least one, in the order of the file. */
  readonly members: readonly Member[];
  /** Nothing that was answered 200 may miss it. */
  readonly required: boolean;
}

/** A rule: the first one whose signals and senders match gets the data. */
export interface Route {
  /** All of them, where the file names none. */
  readonly signals: readonly SignalName[];
  /** Globs; `*` alone where the file names none. */
  readonly senders: readonly string[];
  readonly targets: readonly ExportTarget[];
}

/** Names of exporters, in the order of the file: `default` where there is `exporter:` alone. */
export function exporterNames(config: Pick<Config, "exporters">): readonly string[] {
  const names = Object.keys(config.exporters);
  return names.length === 0 ? [DEFAULT_EXPORTER] : names;
}

/** The exporter by which the relay's own telemetry leaves: `default`, or the first. */
export function primaryExporter(config: Pick<Config, "exporters">): string {
  const names = exporterNames(config);
  return names.includes(DEFAULT_EXPORTER) ? DEFAULT_EXPORTER : names[0] ?? DEFAULT_EXPORTER;
}

/** The targets by name that a configuration has, whether a route names them or not. */
export function targetsOf(config: Pick<Config, "exporters" | "groups">): ReadonlyMap<string, ExportTarget> {
  const targets = new Map<string, ExportTarget>();
  const isRequired = (name: string): boolean => config.exporters[name]?.required ?? true;
  for (const name of exporterNames(config)) {
    targets.set(name, { name, kind: "single", members: [{ name, weight: 1 }], required: isRequired(name) });
  }
  for (const [name, { failover, balance }] of Object.entries(config.groups)) {
    const members = failover !== undefined
      ? failover.map((each) => ({ name: each, weight: 1 }))
      : Object.entries(balance ?? {}).map(([each, weight]) => ({ name: each, weight }));
    const required = members.some((member) => isRequired(member.name));
    targets.set(name, { name, kind: failover === undefined ? "balance" : "failover", members, required });
  }
  return targets;
}

/** The routes of a configuration that has been checked; without any, all goes to the one exporter. */
export function routesOf(config: Pick<Config, "exporters" | "groups" | "routes">): readonly Route[] {
  const targets = targetsOf(config);
  const written = config.routes.length === 0 ? [{ exporters: [primaryExporter(config)] }] : config.routes;
  return written.map(({ signals, senders, exporters }: Config["routes"][number]) => ({
    signals: signals ?? SIGNAL_NAMES,
    senders: senders ?? ["*"],
    targets: exporters.flatMap((name) => targets.get(name) ?? []),
  }));
}

/** Each route in words: `traces of checkout-*: eu (eu-1, else eu-2), and audit (not required)`. */
export function describeRoutes(routes: readonly Route[]): string[] {
  return routes.map(({ signals, senders, targets }, index) => {
    const all = signals.length === SIGNAL_NAMES.length;
    const what = senders.includes("*")
      ? all ? index === 0 ? "everything" : "everything else" : signals.join(", ")
      : `${all ? "everything" : signals.join(", ")} of ${senders.join(", ")}`;
    return `${what}: ${targets.map(describeTarget).join(", and ") || "nowhere"}`;
  });
}

function describeTarget({ name, kind, members, required }: ExportTarget): string {
  const inside = kind === "single"
    ? []
    : kind === "failover"
    ? [members.map((member) => member.name).join(", else ")]
    : [members.map((member) => `${member.name} ${member.weight}`).join(" : ")];
  const notes = [...inside, ...(required ? [] : ["not required"])];
  return notes.length === 0 ? name : `${name} (${notes.join("; ")})`;
}

/** Answers remembered at most; senders may be as many as an issuer of JWT names. */
const REMEMBERED_MAX = 10_000;

/** The routes as a request asks them. */
export class Routing {
  /** Every target that a route names, each once, in the order of the routes. */
  readonly targets: readonly ExportTarget[];
  readonly #routes: readonly Route[];
  readonly #remembered = new Map<string, readonly ExportTarget[]>();

  constructor(routes: readonly Route[]) {
    this.#routes = routes;
    const byName = new Map(routes.flatMap(({ targets }) => targets).map((target) => [target.name, target]));
    this.targets = [...byName.values()];
  }

  /**
   * Where the data of a sender goes; the same array for the same signal and sender. Empty where no route matches, which the check
   * of the configuration refuses.
   */
  targetsFor(signal: SignalName, sender: string): readonly ExportTarget[] {
    const key = `${signal} ${sender}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    const route = this.#routes.find(({ signals, senders }) =>
      signals.includes(signal) && senders.some((glob) => matchesGlob(glob, sender))
    );
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    const targets = route?.targets ?? [];
    this.#remembered.set(key, targets);
    return targets;
  }
}

/** Whether whatever the second glob matches is matched by the first one, as far as can be told without trying all texts. */
export function covers(glob: string, other: string): boolean {
  // A star of the other one stands for text that only a star here can take, whatever stands around it.
  return matchesGlob(glob, other) && (!other.includes("*") || glob.includes("*")) &&
    (!glob.includes("?") || !other.includes("*"));
}
