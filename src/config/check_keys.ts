/**
 * What is wrong with a configuration whose keys are all sound by themselves: keys that exclude, need or bound each other.
 * @module
 */
import type { KeyFault } from "./check_routes.ts";
import { endpointFaults } from "./exporter_endpoints.ts";
import { parsePostgresUrl, POSTGRES_URL_FORM } from "./postgres_url.ts";
import type { Config, ExporterConfig } from "./schema.ts";
import { shownName, shownUrl } from "./shown.ts";
import { formatDuration, formatEndpoint, formatSize, isLoopback, sameEndpoint } from "./units.ts";

/** Keys that do not go together, each with the remedy. What routes and groups need: `check_routes.ts`. */
export function* keyFaults(config: Config): Generator<KeyFault> {
  yield* listenerFaults(config);
  yield* identityFaults(config);
  yield* sizeFaults(config);
  yield* databaseFaults(config);
  yield* redactionFaults(config);
  yield* exporterFaults(config);
}

const fault = (path: readonly string[], message: string): KeyFault => ({ path, message });

function* listenerFaults({ receiver: { http, grpc, auth }, telemetry }: Config): Generator<KeyFault> {
  for (const [key, endpoint] of [["http", http.endpoint], ["grpc", grpc.endpoint]] as const) {
    if (!auth.insecure || endpoint === undefined || isLoopback(endpoint.hostname)) continue;
    yield fault(
      ["receiver", key, "endpoint"],
      `Cannot bind receiver.${key}.endpoint ${formatEndpoint(endpoint)} without authentication: it is not loopback; ` +
        "remove receiver.auth.insecure and add receiver.auth.tokens_file: config/tokens.yaml",
    );
  }
  const others = {
    "receiver.http.endpoint": http.endpoint,
    "telemetry.admin.endpoint": telemetry.admin.endpoint,
  };
  for (const [name, endpoint] of Object.entries(others)) {
    if (grpc.endpoint === undefined || !sameEndpoint(grpc.endpoint, endpoint)) continue;
    yield fault(
      ["receiver", "grpc", "endpoint"],
      `Cannot use receiver.grpc.endpoint ${
        formatEndpoint(grpc.endpoint)
      }: it is ${name} too, and a port takes either HTTP or gRPC; choose another port`,
    );
  }
}

/** How senders prove who they are. */
function* identityFaults({ receiver: { http: { tls }, auth } }: Config): Generator<KeyFault> {
  if ((tls.cert_file === undefined) !== (tls.key_file === undefined) || (tls.client_ca_file && !tls.cert_file)) {
    yield fault(
      ["receiver", "http", "tls"],
      "Cannot use receiver.http.tls: it needs both cert_file and key_file; set the two of a pair",
    );
  }
  if (tls.client_ca_file !== undefined && auth.insecure) {
    yield fault(
      ["receiver", "auth", "insecure"],
      "Cannot use receiver.auth.insecure beside receiver.http.tls.client_ca_file: remove one of them",
    );
  }
  const jwt = ["issuer", "audience", "jwks_url"] as const;
  const missing = jwt.filter((key) => auth.jwt[key] === undefined);
  if (missing.length > 0 && missing.length < jwt.length) {
    yield fault(
      ["receiver", "auth", "jwt"],
      `Cannot use receiver.auth.jwt: it has no ${missing.join(" and no ")}; set ${jwt.join(", ")}, all three`,
    );
  }
}

function* sizeFaults({ receiver: { http }, sending_queue: queue }: Config): Generator<KeyFault> {
  if (http.max_request_body_size > http.max_in_flight_bytes) {
    yield fault(
      ["receiver", "http", "max_request_body_size"],
      `Cannot use receiver.http.max_request_body_size ${formatSize(http.max_request_body_size)}: ` +
        `it is above receiver.http.max_in_flight_bytes ${
          formatSize(http.max_in_flight_bytes)
        }, so such a body could never enter`,
    );
  }
  if (queue.storage !== "none" && http.max_request_body_size > queue.queue_size) {
    yield fault(
      ["sending_queue", "queue_size"],
      `Cannot use sending_queue.queue_size ${formatSize(queue.queue_size)}: it is below ` +
        `receiver.http.max_request_body_size ${
          formatSize(http.max_request_body_size)
        }, so such a body could never be queued`,
    );
  }
}

function* databaseFaults({ role, sending_queue: { storage, postgres } }: Config): Generator<KeyFault> {
  const { url, password, password_file: file, tls } = postgres;
  const section = ["sending_queue", "postgres"];
  if (role !== "both" && storage !== "postgres") {
    yield fault(
      ["role"],
      `Cannot use role ${role} with sending_queue.storage ${storage}: nobody else can reach that queue; ` +
        "set sending_queue.storage: postgres, or role: both",
    );
  }
  if (storage === "postgres" && url === undefined) {
    yield fault(
      ["sending_queue", "storage"],
      "Cannot use sending_queue.storage postgres: sending_queue.postgres.url is not set; set it, or " +
        `EDGEFERRY_SENDING_QUEUE_POSTGRES_URL, to ${POSTGRES_URL_FORM}`,
    );
  }
  if (url !== undefined && parsePostgresUrl(url)?.password !== undefined && (password ?? file) !== undefined) {
    yield fault(
      [...section, "url"],
      "Cannot use sending_queue.postgres.url: it has a password, and so has password or password_file; remove one of them",
    );
  }
  const [cert, key] = [tls.cert_pem ?? tls.cert_file, tls.key_pem ?? tls.key_file];
  if ((cert === undefined) !== (key === undefined)) {
    yield fault(
      [...section, "tls"],
      "Cannot use sending_queue.postgres.tls: it needs both cert_file and key_file; set the two of a pair",
    );
  }
  if (tls.insecure && (cert ?? tls.ca_pem ?? tls.ca_file) !== undefined) {
    yield fault(
      [...section, "tls", "insecure"],
      "Cannot use sending_queue.postgres.tls.insecure beside certificates: remove one of them",
    );
  }
}

function* redactionFaults({ redaction: { actions, salt } }: Config): Generator<KeyFault> {
  const hashing = actions.find(({ action }) => action === "hash");
  if (hashing !== undefined && salt === undefined) {
    yield fault(
      ["redaction", "actions"],
      `Cannot use redaction.actions: it hashes ${shownName(hashing.key)} and redaction.salt is empty; ` +
        "set a long random text there, e.g. ${env:REDACTION_SALT}",
    );
  }
}

function* exporterFaults(config: Config): Generator<KeyFault> {
  for (const [section, exporter] of exportersOf(config)) {
    for (const { key, fault: what } of endpointFaults(exporter)) {
      const value = JSON.stringify(shownUrl(exporter[key] ?? ""));
      yield fault([...section, key], `Cannot use ${[...section, key].join(".")} ${value}: ${what}`);
    }
  }
  for (const [section, { retry_on_failure: retry }] of exportersOf(config)) {
    if (retry.initial_interval <= retry.max_interval) continue;
    const key = `${section.join(".")}.retry_on_failure`;
    yield fault(
      [...section, "retry_on_failure", "initial_interval"],
      `Cannot use ${key}.initial_interval ${formatDuration(retry.initial_interval)}: ` +
        `it is above max_interval ${formatDuration(retry.max_interval)}`,
    );
  }
}

/** The sections that set an exporter, with its settings. */
export function exportersOf(config: Config): [section: string[], settings: ExporterConfig][] {
  const several = Object.entries(config.exporters).map(([name, settings]): [string[], ExporterConfig] => [
    ["exporters", name],
    settings,
  ]);
  return several.length === 0 ? [[["exporter"], config.exporter]] : several;
}
