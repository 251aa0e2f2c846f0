/**
 * `doctor`: goes down the path of the data, from the configuration to the Collector's answer and the queue's disk, and says of each
 * step what it found, on what evidence, and what to do. A step that needs one that failed is skipped, and says so.
 * @module
 */
import { lookup } from "node:dns/promises";
import { dirname } from "node:path";
import { exporterSettings, headersFor } from "../config/exporter_settings.ts";
import { exporterNames } from "../config/routes.ts";
import type { Environment } from "../config/environment.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { faultNamed } from "../diagnosis/faults.ts";
import { ConfigError, messageOf } from "../errors.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";
import type { ResolveName } from "../exporter/client/transports.ts";
import type { Check, Finding, Status } from "./finding.ts";
import { databaseSettings } from "../postgres/settings.ts";
import { DATABASE_CHECKS, DatabaseSubject } from "./checks/database.ts";
import { HOST_CHECKS, type HostSubject } from "./checks/host.ts";
import { IDENTITY_CHECKS } from "./checks/identity.ts";
import { STORAGE_CHECKS } from "./checks/storage.ts";
import { WAY_CHECKS } from "./checks/way.ts";
import { RECEIVER_CHECKS } from "./receiver_checks.ts";
import { Way } from "./way.ts";

/** A step and what came of it. */
export interface CheckResult {
  readonly id: string;
  readonly title: string;
  /** The endpoint it was about, where there are several. */
  readonly endpoint: string | null;
  readonly status: Status;
  readonly finding: string;
  readonly evidence: readonly string[];
  readonly fault: string | null;
  /** What other programs call this fault. */
  readonly knownAs: readonly string[];
  readonly remedy: string | null;
  /** Skipped: the step that failed, directly or by way of others. */
  readonly waitsFor: string | null;
}

/** Everything that was found. */
export interface Report {
  /** No step failed. */
  readonly ok: boolean;
  /** Names of the faults, each once, in the order of the path. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
  readonly checks: readonly CheckResult[];
}

/** Settings of an examination. */
export interface ExamineOptions {
  /** As {@link loadConfig} takes it. */
  readonly file?: string;
  readonly env: Environment;
  /** The text of a `.env` file, as {@link loadConfig} takes it. */
  readonly dotEnv?: string;
  readonly cwd?: string;
  /** The clock; for tests. */
  readonly now?: () => Date;
  /** All addresses of a name; for tests. */
  readonly resolve?: ResolveName;
}

/** The longest that one attempt may take here, in ms, whatever the relay itself would wait. */
const ATTEMPT_MS_MAX = 10_000;

/** Examines the relay that this configuration would start. Never rejects for what it finds. */
export async function examine(options: ExamineOptions): Promise<Report> {
  const results: CheckResult[] = [];
  const loaded = await readConfig(options, results);
  const config = loaded?.config;
  const host: HostSubject = { env: options.env, config };
  await runAll(HOST_CHECKS, host, results, null);
  const now = options.now ?? (() => new Date());
  const receiver = config === undefined ? undefined : receiverOf(config, now());
  if (config?.role !== "exporter") await runAll(RECEIVER_CHECKS, receiver, results, null);
  const ways = config === undefined
    ? [undefined]
    : config.role === "receiver"
    ? []
    : waysOf(config, options, loaded?.originOf);
  for (const way of ways) {
    try {
      await runAll([...IDENTITY_CHECKS, ...WAY_CHECKS], way, results, ways.length > 1 ? way?.label ?? null : null);
    } finally {
      way?.close();
    }
  }
  if (config?.sending_queue.storage === "postgres") {
    await using database = new DatabaseSubject(databaseSettings(config), now);
    await runAll(DATABASE_CHECKS, database, results, null);
  } else {
    await runAll(STORAGE_CHECKS, config === undefined ? undefined : storageOf(config), results, null);
  }
  const named = (status: Status) => [
    ...new Set(results.filter((each) => each.status === status).map((each) => each.fault ?? each.id)),
  ];
  const faults = named("fault");
  return { ok: faults.length === 0, faults, warnings: named("warning"), checks: results };
}

async function readConfig(options: ExamineOptions, results: CheckResult[]): Promise<LoadedConfig | undefined> {
  const { file, env, dotEnv, cwd } = options;
  try {
    const loaded = await loadConfig({
      env,
      ...(dotEnv === undefined ? {} : { dotEnv }),
      ...(file === undefined ? {} : { file }),
      ...(cwd === undefined ? {} : { cwd }),
    });
    const from = [loaded.sources.file ?? "no file", ...loaded.sources.environment].join(", ");
    results.push(resultOf(CONFIG, null, {
      status: "ok",
      finding: `The configuration is sound (${from})`,
      evidence: loaded.warnings,
    }));
    return loaded;
  } catch (error) {
    const [finding = "", ...evidence] = error instanceof ConfigError ? error.faults : [messageOf(error)];
    results.push(resultOf(CONFIG, null, { status: "fault", fault: "bad_config", finding, evidence }));
    return undefined;
  }
}

const CONFIG = { id: "config", title: "configuration" };

/** One way for each Collector and identity: one in all, unless there are several exporters, or signals have their own. */
function waysOf(
  config: Config,
  options: ExamineOptions,
  originOf: LoadedConfig["originOf"] = () => "the default",
): Way[] {
  const ways = new Map<string, Way>();
  for (const exporter of exporterNames(config)) {
    for (const signal of SIGNAL_NAMES) {
      const settings = exporterSettings(config, signal, exporter);
      const key = JSON.stringify([exporter, new URL(settings.url).origin, settings.tls, settings.protocol]);
      const way = ways.get(key) ?? new Way({
        exporter: exporterNames(config).length > 1 ? exporter : undefined,
        origin: new URL(settings.url),
        from: originOf(settings.urlKey),
        tls: settings.tls,
        protocol: settings.protocol,
        compression: settings.compression,
        targets: targetsOf(config, exporter),
        now: options.now ?? (() => new Date()),
        attemptMs: Math.min(settings.timeoutMs, ATTEMPT_MS_MAX),
        resolve: options.resolve ?? addressesOf,
      });
      way.signals.push(signal);
      ways.set(key, way);
    }
  }
  return [...ways.values()];
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function targetsOf(config: Config, exporter: string) {
  const target = (signal: SignalName) => {
    const { url, headers, timeoutMs } = exporterSettings(config, signal, exporter);
    return { url, headers: headersFor(headers, SENDER), timeoutMs: Math.min(timeoutMs, ATTEMPT_MS_MAX) };
  };
  return bySignal(target);
}

/** The sender's name that doctor uses in headers that name the sender. */
const SENDER = "doctor";

function receiverOf({ receiver: { http, grpc } }: Config, now: Date) {
  return { tls: http.tls, http: http.endpoint, grpc: grpc.endpoint, now };
}

function storageOf({ sending_queue }: Config) {
  const { storage, path, queue_size } = sending_queue;
  return { storage, path, folder: dirname(path), bytesMax: queue_size };
}

/** Runs the steps in their order. Without a subject all are skipped: there is no configuration to look at. */
async function runAll<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject | undefined,
  results: CheckResult[],
  endpoint: string | null,
): Promise<void> {
  // A step that says itself that there is nothing to look at stands in nobody's way.
  const blocked = new Map<string, string>();
  const titles = new Map([CONFIG, ...checks].map(({ id, title }) => [id, title]));
  for (const check of checks) {
    const need = subject === undefined ? CONFIG.id : check.needs.find((each) => blocked.has(each));
    const finding = subject === undefined || need !== undefined
      ? skipped(titles.get(need ?? CONFIG.id) ?? CONFIG.title)
      : await attempt(check, subject);
    const waitsFor = need === undefined ? null : blocked.get(need) ?? need;
    if (waitsFor !== null || (finding.status === "fault" && finding.goesOn !== true)) {
      blocked.set(check.id, waitsFor ?? check.id);
    }
    results.push(resultOf(check, endpoint, finding, waitsFor));
  }
}

function skipped(need: string): Finding {
  return { status: "skipped", finding: `Skipped: it needs "${need}", which did not pass` };
}

async function attempt<Subject>(check: Check<Subject>, subject: Subject): Promise<Finding> {
  try {
    return await check.run(subject);
  } catch (error) {
    // A step that cannot be taken is a finding too, and no reason to say nothing of the others.
    return { status: "fault", finding: `The check itself failed: ${messageOf(error)}`, remedy: "report this" };
  }
}

function resultOf(
  { id, title }: { id: string; title: string },
  endpoint: string | null,
  found: Finding,
  waitsFor: string | null = null,
): CheckResult {
  const named = found.fault === undefined ? undefined : faultNamed(found.fault);
  return {
    id,
    title,
    endpoint,
    status: found.status,
    finding: found.finding,
    evidence: found.evidence ?? [],
    fault: found.fault ?? null,
    knownAs: named?.knownAs ?? [],
    remedy: found.remedy ?? named?.remedy ?? null,
    waitsFor,
  };
}
