/**
 * Two relays on one machine: if a start fails because another process has a port or the queue, one error names all such things.
 * @module
 */
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import type { Config } from "../config/schema.ts";
import { type Endpoint, formatEndpoint } from "../config/units.ts";
import { codeOf, ConfigError } from "../errors.ts";
import { realPathOf, takeLock } from "../queue/sqlite/file/lock.ts";
import { StorageError } from "../queue/storage_error.ts";

/** Something that a start needs for itself. */
interface Need {
  /** What it is, with its value. */
  readonly what: string;
  /** What to set, or to do. */
  readonly remedy: string;
  isTaken(): boolean | Promise<boolean>;
}

/**
 * The error of a start, or one that names everything that is taken where it is more than one thing.
 * @param collector Where the embedded Collector is to listen; undefined where there is none.
 */
export async function withAllThatIsTaken(config: Config, error: unknown, collector?: Endpoint): Promise<unknown> {
  if (!isOfAnother(error)) return error;
  const taken: Need[] = [];
  for (const need of needsOf(config, collector)) if (await need.isTaken()) taken.push(need);
  if (taken.length < 2) return error;
  return new ConfigError(
    [
      "Cannot start: another process, probably another relay, has what this one would use. Stop it, or set all of these:",
      ...taken.map(({ what, remedy }) => `  ${remedy} (${what} is taken)`),
    ].join("\n"),
  );
}

/** Whether an error says that another process has a port or the queue. */
function isOfAnother(error: unknown): boolean {
  if (error instanceof StorageError) return error.code === "locked";
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (codeOf(cause) === "EADDRINUSE") return true;
  }
  return false;
}

function needsOf({ receiver, telemetry, sending_queue }: Config, collector: Endpoint | undefined): Need[] {
  const endpoint = (name: string, remedy: string, at: Endpoint): Need => ({
    what: `${name} ${formatEndpoint(at)}`,
    remedy,
    isTaken: () => isBound(at),
  });
  return [
    endpoint("receiver.http.endpoint", "EDGEFERRY_RECEIVER_HTTP_ENDPOINT", receiver.http.endpoint),
    ...(receiver.grpc.endpoint === undefined
      ? []
      : [endpoint("receiver.grpc.endpoint", "EDGEFERRY_RECEIVER_GRPC_ENDPOINT", receiver.grpc.endpoint)]),
    endpoint("telemetry.admin.endpoint", "EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT", telemetry.admin.endpoint),
    ...(sending_queue.storage === "sqlite"
      ? [{
        what: `sending_queue.path ${sending_queue.path}`,
        remedy: "EDGEFERRY_SENDING_QUEUE_PATH",
        isTaken: () => isLocked(sending_queue.path),
      }]
      : []),
    ...(collector === undefined
      ? []
      : [endpoint("the Collector's", "dev --no-collector, or OTEL_EXPORTER_OTLP_ENDPOINT", collector)]),
  ];
}

/** Whether another process listens there. */
function isBound({ hostname, port }: Endpoint): Promise<boolean> {
  if (port === 0) return Promise.resolve(false);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE"));
  server.listen({ host: hostname, port, exclusive: true }, () => server.close(() => resolve(false)));
  return promise;
}

function isLocked(configured: string): boolean {
  try {
    const path = realPathOf(configured);
    if (!existsSync(`${path}.lock`)) return false;
    takeLock(path)[Symbol.dispose]();
    return false;
  } catch (error) {
    return error instanceof StorageError && error.code === "locked";
  }
}
