/**
 * What is wrong with exporters, groups and routes that no single key can know: names that nothing has, routes that nothing reaches,
 * data that goes nowhere.
 * @module
 */
import { SIGNAL_NAMES } from "../signal.ts";
import { type ExporterSettings, exporterSettings } from "./exporter_settings.ts";
import { nearest } from "./nearest.ts";
import { covers, DEFAULT_EXPORTER, exporterNames, targetsOf } from "./routes.ts";
import type { Config } from "./schema.ts";
import { shownName } from "./shown.ts";

/** A fault of the configuration, at a key. */
export interface KeyFault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** The key itself is wrong, not its value. */
  readonly at?: "key";
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

/** Faults, in the order of the file. */
export function routingFaults(config: Config): KeyFault[] {
  return [...nameFaults(config), ...groupFaults(config), ...routeFaults(config)];
}

function nameFaults({ exporters, groups }: Config): KeyFault[] {
  const faults: KeyFault[] = [];
  for (const section of ["exporters", "groups"] as const) {
    for (const name of Object.keys(section === "exporters" ? exporters : groups)) {
      const path = [section, name];
      const cannot = `Cannot use ${section}.${shownName(name)}`;
      if (!NAME.test(name)) {
        const message =
          `${cannot}: a name has 1 to 63 letters, digits, "_" and "-", a letter or digit first; choose another`;
        faults.push({ path, at: "key", message });
      } else if (section === "groups" && Object.hasOwn(exporters, name)) {
        const message =
          `${cannot}: an exporter has this name already; give the group another, since routes name both alike`;
        faults.push({ path, at: "key", message });
      }
    }
  }
  return faults;
}

function groupFaults(config: Config): KeyFault[] {
  const exporters = exporterNames(config);
  return Object.entries(config.groups).flatMap(([group, { failover, balance }]): KeyFault[] => {
    if ((failover === undefined) === (balance === undefined)) {
      const state = failover === undefined ? "it has neither failover nor balance" : "it has failover and balance";
      return [{ path: ["groups", group], message: `Cannot use groups.${group}: ${state}; set one of them` }];
    }
    const key = failover === undefined ? "balance" : "failover";
    const members = failover ?? Object.keys(balance ?? {});
    const faults = members.flatMap((name, index): KeyFault[] => {
      const path = ["groups", group, key, failover === undefined ? name : index];
      const cannot = `Cannot use groups.${group}.${key}`;
      const at = failover === undefined ? { at: "key" as const } : {};
      if (members.indexOf(name) !== index) {
        return [{ ...at, path, message: `${cannot}: ${shownName(name)} is in it twice` }];
      }
      if (exporters.includes(name)) return [];
      if (Object.hasOwn(config.groups, name)) {
        const message = `${cannot}: ${shownName(name)} is a group, and a group holds exporters alone; name those`;
        return [{ ...at, path, message }];
      }
      return [{
        ...at,
        path,
        message: `${cannot}: no exporter is called ${shownName(name)}; ${hint(name, exporters)}`,
      }];
    });
    const required = new Set(members.map((name) => config.exporters[name]?.required ?? true));
    if (faults.length > 0 || required.size < 2) return faults;
    const message =
      `Cannot use groups.${group}: some of its exporters have required: false and some not; make them alike`;
    return [{ path: ["groups", group], message }];
  });
}

function routeFaults(config: Config): KeyFault[] {
  const { routes, exporters } = config;
  const names = exporterNames(config);
  if (routes.length === 0) {
    if (names.length === 1) return [];
    const message = `Cannot use exporters without routes: nothing says which of ${names.join(", ")} has the data; ` +
      `add routes: [{ exporters: [${names.join(", ")}] }] to send all of it to each`;
    return [{ path: ["exporters"], message, at: "key" }];
  }
  const targets = targetsOf(config);
  const faults: KeyFault[] = [];
  for (const [index, route] of routes.entries()) {
    const path = ["routes", index];
    for (const [place, name] of route.exporters.entries()) {
      const at = [...path, "exporters", place];
      if (!targets.has(name)) {
        const known = [...targets.keys()];
        const none = Object.keys(exporters).length === 0 && known.length === 1
          ? `; there is ${DEFAULT_EXPORTER} alone, which exporter sets`
          : "";
        const message = `Cannot use routes.${index}.exporters: no exporter and no group is called ${shownName(name)}`;
        faults.push({ path: at, message: `${message}${none || `; ${hint(name, known)}`}` });
      } else if (route.exporters.indexOf(name) !== place) {
        faults.push({ path: at, message: `Cannot use routes.${index}.exporters: ${name} is in it twice` });
      }
    }
    const found = route.exporters.flatMap((name) => targets.get(name) ?? []);
    if (found.length === route.exporters.length && !found.some(({ required }) => required)) {
      const message =
        `Cannot use routes.${index}: all that it names has required: false, so what was answered 200 could be ` +
        "lost; name one that is required";
      faults.push({ path, message });
    } else if (config.sending_queue.storage === "none" && found.filter(({ required }) => required).length > 1) {
      const message =
        `Cannot use routes.${index}: with sending_queue.storage none the answer to a sender is that of one ` +
        "required exporter or group; set required: false for the others, or use sqlite";
      faults.push({ path, message });
    }
    if (isUnreachable(routes, index)) {
      const message =
        `Cannot use routes.${index}: the routes before it match all that it matches; put it before them, or remove it`;
      faults.push({ path, message });
    }
  }
  const last = routes.at(-1);
  const forAll = last !== undefined && SIGNAL_NAMES.every((signal) => signalsOf(last).includes(signal)) &&
    sendersOf(last).some((glob) => covers(glob, "*"));
  if (!forAll) {
    const message =
      "Cannot use routes: the last one is not for all signals and senders, so some data would go nowhere; " +
      `add one such as { exporters: [${names[0]}] }`;
    faults.push({ path: ["routes"], message, at: "key" });
  }
  return faults;
}

type WrittenRoute = Config["routes"][number];
const signalsOf = ({ signals }: WrittenRoute): readonly string[] => signals ?? SIGNAL_NAMES;
const sendersOf = ({ senders }: WrittenRoute): readonly string[] => senders ?? ["*"];

/** Each of its signals and senders is matched by a route before it. */
function isUnreachable(routes: Config["routes"], index: number): boolean {
  const route = routes[index];
  return route !== undefined && signalsOf(route).every((signal) => {
    const before = routes.slice(0, index).filter((each) => signalsOf(each).includes(signal)).flatMap(sendersOf);
    return sendersOf(route).every((glob) => before.some((each) => covers(each, glob)));
  });
}

function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return near === undefined ? `there are ${known.join(", ")}` : `did you mean ${near}?`;
}

/** What works and yet is hardly meant. */
export function routingWarnings(config: Config): string[] {
  if (Object.keys(config.exporters).length === 0 && config.routes.length === 0) return [];
  const named = new Set(config.routes.flatMap(({ exporters }) => exporters));
  const members = new Set(
    Object.entries(config.groups).filter(([group]) => named.has(group))
      .flatMap(([, { failover, balance }]) => failover ?? Object.keys(balance ?? {})),
  );
  const idle = config.routes.length === 0
    ? []
    : exporterNames(config).filter((name) => !named.has(name) && !members.has(name));
  return [
    ...idle.map((name) => `No route leads to the exporter ${name}: nothing is sent to it`),
    ...Object.keys(config.groups).filter((group) => !named.has(group)).map((group) =>
      `No route names the group ${group}: it is not used`
    ),
    ...[...members].filter((name) => named.has(name)).map((name) =>
      `The exporter ${name} is named by a route and is in a group that one names: what goes to both may arrive there twice`
    ),
    ...groupWarnings(config, new Set(Object.keys(config.groups).filter((group) => named.has(group)))),
  ];
}

/** What a group takes of its first exporter alone. */
function groupWarnings(config: Config, used: ReadonlySet<string>): string[] {
  return Object.entries(config.groups).flatMap(([group, { failover, balance }]): string[] => {
    const [first, ...others] = failover ?? Object.keys(balance ?? {});
    if (!used.has(group) || first === undefined) return [];
    const differ = (what: (settings: ExporterSettings) => unknown) =>
      others.filter((name) =>
        SIGNAL_NAMES.some((signal) =>
          JSON.stringify(what(exporterSettings(config, signal, name))) !==
            JSON.stringify(what(exporterSettings(config, signal, first)))
        )
      );
    const kinds = [["compression", differ(({ compression }) => compression)], [
      "retry_on_failure",
      differ(({ retry }) => retry),
    ]] as const;
    return kinds.filter(([, names]) => names.length > 0).map(([key, names]) =>
      `The group ${group} uses ${key} of its first exporter, ${first}: that of ${
        names.join(", ")
      } is another and is not used`
    );
  });
}
