/** The relay as a process of its own, that can be killed and started again over the same queue. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ConfigInput } from "../../../src/config/types.ts";
import type { Fault } from "../../../src/queue/sqlite/injected_faults.ts";
import type { TestCertificates } from "../files/certificates.ts";
import { type Program, startProgram } from "../program/program.ts";
import { START_TASK } from "../program/start_task.ts";
import { merged, relayConfig, SILENT } from "./config.ts";

/** Sections and keys as relay.yaml has them. */
export interface Settings {
  readonly [key: string]: string | number | boolean | Settings | readonly (string | Settings)[];
}

export interface RestartableOptions {
  readonly certs: TestCertificates;
  /** `https://localhost:PORT`. */
  readonly collectorUrl: string;
  /** Added to what every such relay has: loopback, free ports, no tokens, quick retries, no telemetry of its own. */
  readonly settings?: Settings;
  readonly env?: Readonly<Record<string, string>>;
  /** A file that says by how many ms the relay's wall clock is off, now. */
  readonly clockFile?: string;
  /** Put before the command, e.g. `["strace", "-D", …]`; it must exec the relay under its own pid. */
  readonly under?: readonly string[];
  /** Another checkout to run, with `deno.json` and `src`. */
  readonly root?: string;
  /** The folder of the queue; by default one of its own. */
  readonly queueDir?: string;
}

/** How one start differs from the others. */
export interface StartOptions {
  readonly faults?: readonly Fault[];
  readonly env?: Readonly<Record<string, string>>;
}

export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));

const OWN: ConfigInput = {
  receiver: { auth: { insecure: true } },
  exporter: { timeout: "2s", retry_on_failure: { initial_interval: "50ms", max_interval: "400ms" } },
};

export class RestartableRelay implements AsyncDisposable {
  /** The file's own folder, and all that the relay keeps. */
  readonly dir: string;
  readonly queueDir: string;
  readonly #options: RestartableOptions;
  readonly #earlier: string[] = [];
  #program: Program | undefined;
  #url = "http://127.0.0.1:9";
  #grpcUrl = "http://127.0.0.1:9";

  private constructor(dir: string, options: RestartableOptions) {
    this.dir = dir;
    this.queueDir = options.queueDir ?? join(dir, "data");
    this.#options = options;
  }

  /** Prepares a relay; nothing runs yet. */
  static async prepare(options: RestartableOptions): Promise<RestartableRelay> {
    const dir = await mkdtemp(join(tmpdir(), "edgeferry-relay-"));
    const relay = new RestartableRelay(dir, options);
    await relay.configure(options.settings ?? {});
    return relay;
  }

  static async start(options: RestartableOptions, first: StartOptions = {}): Promise<RestartableRelay> {
    const relay = await RestartableRelay.prepare(options);
    try {
      await relay.start(first);
    } catch (error) {
      await relay[Symbol.asyncDispose]();
      throw error;
    }
    return relay;
  }

  get queuePath(): string {
    return join(this.queueDir, "queue.db");
  }

  /** Where senders post; another port after each start. */
  get url(): string {
    return this.#url;
  }

  /** The same by gRPC, where the settings have it. */
  get grpcUrl(): string {
    return this.#grpcUrl;
  }

  get pid(): number {
    return this.#running().pid;
  }

  /** All that was logged, over all starts. */
  get lines(): readonly string[] {
    return [...this.#earlier, ...this.#program?.lines ?? []];
  }

  /** Writes relay.yaml anew, for the next start. */
  async configure(settings: Settings): Promise<void> {
    const { certs, collectorUrl } = this.#options;
    const places = { collectorUrl, certsDir: certs.dir, queuePath: this.queuePath };
    const { exporter, ...rest } = merged<Settings>(relayConfig(places, SILENT, OWN) as Settings, settings);
    // Where there are several by name, each has all that this one has.
    const named = isSection(rest["exporters"]) ? Object.entries(rest["exporters"]) : undefined;
    const each = (own: Settings[string]) => merged<Settings>(exporter as Settings, own as Settings);
    const config = named === undefined
      ? { exporter, ...rest }
      : { ...rest, exporters: Object.fromEntries(named.map(([name, own]) => [name, each(own)])) };
    await mkdir(this.dir, { recursive: true });
    // JSON is YAML.
    await writeFile(join(this.dir, "relay.yaml"), JSON.stringify(config, null, 2));
  }

  /** Runs it, and does not wait for anything. */
  launch({ faults: own, env }: StartOptions = {}): Program {
    const { under = [], root = ROOT, clockFile } = this.#options;
    const faults = own ?? (clockFile === undefined ? undefined : []);
    this.#earlier.push(...this.#program?.lines ?? []);
    const entry = faults === undefined ? ["src/main.ts", "run"] : ["tests/support/relay/relay_with_faults.ts"];
    const [command, ...args] = [
      ...under,
      Deno.execPath(),
      "run",
      "-A",
      "--quiet",
      ...START_TASK.v8Flags,
      `--config=${join(root, "deno.json")}`,
      join(root, entry[0]!),
      ...entry.slice(1),
      "--config",
      join(this.dir, "relay.yaml"),
    ];
    this.#program = startProgram({
      command: command!,
      args,
      cwd: this.dir,
      env: {
        ...START_TASK.env,
        ...(faults === undefined ? {} : { RELAY_FAULTS: JSON.stringify(faults) }),
        ...(clockFile === undefined ? {} : { RELAY_CLOCK: clockFile }),
        ...this.#options.env,
        ...env,
      },
    });
    return this.#program;
  }

  /** Runs it and waits until it receives. @throws with what it said, when it ends before. */
  async start(options: StartOptions = {}): Promise<void> {
    const program = this.launch(options);
    this.#url = /url=(\S+)/.exec(await program.line(/ Receiving url=/))![1]!;
    const receiver = this.#options.settings?.["receiver"];
    if (!isSection(receiver) || receiver["grpc"] === undefined) return;
    this.#grpcUrl = /url=(\S+)/.exec(await program.line(/ Receiving gRPC url=/))![1]!;
  }

  /** Resolves with the first line of the process that runs, past or to come, that matches. */
  line(test: RegExp): Promise<string> {
    return this.#running().line(test);
  }

  signal(name: Deno.Signal): void {
    this.#running().signal(name);
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    this.#running().signal("SIGKILL");
    await this.ended();
  }

  /** Resolves when the process that runs has ended by itself, or by a signal. */
  ended(): Promise<Deno.CommandStatus> {
    return this.#running().ended;
  }

  /** SIGTERM, and waits for the end. */
  stop(): Promise<Deno.CommandStatus> {
    return this.#running().stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program?.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  #running(): Program {
    if (this.#program === undefined) throw new Error("The relay has not been started");
    return this.#program;
  }
}

function isSection(value: Settings[string] | undefined): value is Settings {
  return typeof value === "object" && !Array.isArray(value);
}
