/**
 * Every option of the relay, once: type, bounds, default and help. Key names are the Collector's own wherever it has one, and
 * stay as they are in the TypeScript type; durations become ms, sizes bytes.
 * @module
 */
import {
  actions,
  choice,
  duration,
  endpoint,
  exporterUrl,
  file,
  flag,
  headers,
  names,
  number,
  type Option,
  option,
  optionsOf,
  origins,
  pem,
  postgresUrl,
  routes,
  secretStructure,
  secretText,
  section,
  sections,
  size,
  text,
  url,
  weights,
} from "./option.ts";
import type { Config, ConfigInput } from "./types.ts";

export type { Config, ConfigInput };

/** The signals that a route may name. */
const EXPORTED = ["traces", "metrics", "logs", "profiles"] as const;

const PEM = "PEM text with its -----BEGIN line, or base64 of it";

/** When the relay reports the end of a certificate; the same for each end of the relay. */
const expiryLimits = () => ({
  expiry_warning: option(
    duration("0", "87600h").prefault("720h"),
    "A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz",
  ),
  expiry_error: option(
    duration("0", "87600h").prefault("72h"),
    "A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready",
  ),
});

/** Whether a key is used that others can read; the same for each end of the relay. */
const exposedKey = () =>
  option(
    flag().prefault(false),
    "Use a key file that every user of the machine can read, where the host protects it otherwise",
  );

const keyPassphrase = () => option(secretText("text").exactOptional(), "Passphrase of an encrypted key");

/** A client's identity and trust as text, in place of files; the same for each end that is asked for a client certificate. */
const clientAsText = () => ({
  ca_pem: option(pem(PEM).exactOptional(), "CA certificates as PEM text, instead of ca_file"),
  cert_pem: option(pem(PEM).exactOptional(), "The client certificate as PEM text, instead of cert_file"),
  key_pem: option(pem(PEM).exactOptional(), "The client key as PEM text, instead of key_file"),
  key_passphrase: keyPassphrase(),
});

/** When files are looked at; the same for each end of the relay. */
const reloadInterval = () =>
  option(
    duration("100ms", "24h").prefault("5s"),
    "How often the files are checked; changed ones are used without a restart",
  );

/** The client's identity and trust for one signal, where it differs from `exporter.tls`. */
const signalTls = () =>
  section({
    ca_file: option(file().exactOptional(), "CA certificates for this signal"),
    cert_file: option(file().exactOptional(), "Client certificate for this signal"),
    key_file: option(file().exactOptional(), "Client key for this signal"),
    ca_pem: option(pem(PEM).exactOptional(), "CA certificates for this signal, as PEM text"),
    cert_pem: option(pem(PEM).exactOptional(), "Client certificate for this signal, as PEM text"),
    key_pem: option(pem(PEM).exactOptional(), "Client key for this signal, as PEM text"),
    key_passphrase: option(secretText("text").exactOptional(), "Passphrase of this signal's key"),
  });

const protocol = () => choice("http/protobuf", "grpc");

const signalOverrides = () =>
  section({
    protocol: option(protocol().exactOptional(), "Replaces exporter.protocol"),
    headers: option(headers().exactOptional(), "Replaces exporter.headers for this signal"),
    compression: option(choice("passthrough", "gzip", "zstd", "none").exactOptional(), "Replaces exporter.compression"),
    timeout: option(duration("1ms", "10m").exactOptional(), "Replaces exporter.timeout"),
    tls: signalTls().prefault({}),
  }).prefault({});

/** The settings of one Collector. */
const exporterKeys = () => ({
  endpoint: option(
    exporterUrl().prefault("https://localhost:4318"),
    "The Collector's base URL; v1/<signal> is appended (profiles: v1development/profiles). http:// only to this machine, for debugging without TLS. " +
      "For gRPC: scheme, host and port; https://localhost:4317 unless set",
  ),
  protocol: option(
    protocol().prefault("http/protobuf"),
    "The protocol of the Collector's endpoint: OTLP/HTTP or OTLP/gRPC",
  ),
  traces_endpoint: option(exporterUrl().exactOptional(), "URL for traces, used as it is"),
  metrics_endpoint: option(exporterUrl().exactOptional(), "URL for metrics, used as it is"),
  logs_endpoint: option(exporterUrl().exactOptional(), "URL for logs, used as it is"),
  profiles_endpoint: option(exporterUrl().exactOptional(), "URL for profiles, used as it is"),
  headers: option(headers().prefault({}), "Header fields sent with every request to the Collector"),
  compression: option(
    choice("passthrough", "gzip", "zstd", "none").prefault("passthrough"),
    "passthrough forwards the sender's own compressed data and compresses plain data; gzip and zstd compress merged requests anew. " +
      "An endpoint that does not read zstd gets gzip",
  ),
  timeout: option(duration("1ms", "10m").prefault("10s"), "Time for one attempt, connecting included"),
  retry_on_failure: section({
    initial_interval: option(duration("1ms", "1h").prefault("1s"), "Wait before the first retry; jitter is added"),
    max_interval: option(duration("1ms", "24h").prefault("30s"), "Longest wait between retries. They never end"),
  }).prefault({}),
  tls: section({
    ca_file: option(file().prefault("certs/ca.crt"), "CA certificates that the Collector must chain to"),
    cert_file: option(file().prefault("certs/client.crt"), "The client certificate, with its chain"),
    key_file: option(file().prefault("certs/client.key"), "The client certificate's key"),
    ...clientAsText(),
    reload_interval: reloadInterval(),
    ...expiryLimits(),
    key_readable_by_others: exposedKey(),
  }).prefault({}),
  signals: section({
    traces: signalOverrides(),
    metrics: signalOverrides(),
    logs: signalOverrides(),
    profiles: signalOverrides(),
  }).prefault({}),
});

/** One exporter of several. */
const namedExporter = () =>
  section({
    ...exporterKeys(),
    required: option(
      flag().prefault(true),
      "false: when it is full or down for long, it misses data and holds up no other exporter; a metric counts what it missed",
    ),
  });

/** A group of exporters, of which each request goes to one. */
const group = () =>
  section({
    failover: option(
      names().exactOptional(),
      "Names in order: the first exporter that works gets all data, and gets it again once it has recovered",
    ),
    balance: option(
      weights().exactOptional(),
      "Names with weights: each request goes to an exporter that works, in proportion to the weights",
    ),
  });

/**
 * The schema of the configuration file. `ConfigSchema.parse({})` is the defaults.
 * @internal
 */
export const ConfigSchema = section({
  role: option(
    choice("both", "receiver", "exporter").prefault("both"),
    "What this relay does: receiver takes and has no way to the Collector, exporter sends and opens no port but admin's. The two share a queue (postgres)",
  ),
  receiver: section({
    http: section({
      endpoint: option(
        endpoint().prefault("127.0.0.1:4319"),
        "Where senders post their telemetry. Off loopback, authentication must be on",
      ),
      max_request_body_size: option(
        size("1KiB", "256MiB").prefault("20MiB"),
        "Largest request body, both as received and inflated; above it 413. The Collector's own limit is 20MiB",
      ),
      max_request_resources: option(
        number(1, 10_000_000, true).prefault(50_000),
        "Most resources in one request; above it 413. The largest batches of a Collector have some 8,192",
      ),
      max_request_messages: option(
        number(1, 100_000_000, true).prefault(2_000_000),
        "Most nested messages in one request: resources, scopes, items, attributes, values and so on; above it 413. 8,192 log " +
          "records of 20 attributes have 344,066",
      ),
      request_body_timeout: option(duration("100ms", "10m").prefault("10s"), "Time for a whole request body to arrive"),
      max_in_flight_bytes: option(
        size("1MiB", "16GiB").prefault("32MiB"),
        "Request bytes held in memory over all requests; above it 503. One sender may hold at most 75 % of it; beyond that it gets 429",
      ),
      max_retry_after: option(
        duration("1s", "1h").prefault("5s"),
        "Longest Retry-After, in whole seconds, with jitter below it. Stock SDKs drop data that is asked to wait 10s or more",
      ),
      max_connections: option(
        number(1, 1_000_000, true).prefault(1_000),
        "Connections open at once. A further one replaces the one without a valid token that has been silent longest; if there is none, the new one is closed",
      ),
      max_connections_per_address: option(
        number(0, 1_000_000, true).prefault(500),
        "Connections of one address that have not yet shown a valid token; a further one closes the one that has been silent longest. 0: no bound",
      ),
      max_header_size: option(size("1KiB", "64KiB").prefault("16KiB"), "Largest request header; above it 431"),
      read_header_timeout: option(
        duration("100ms", "10m").prefault("10s"),
        "Time for a request header to arrive; beyond it 503. A TLS handshake has the same time; beyond it the connection is closed",
      ),
      idle_timeout: option(
        duration("100ms", "1h").prefault("1m"),
        "How long a connection may be silent between requests; then it is closed",
      ),
      max_connection_age: option(
        duration("1s", "24h").exactOptional(),
        "After about this time (10% more or less), a connection ends with the answer to its next request, so that senders spread over several relays again. By gRPC its next call is taken, and GOAWAY sends later ones to a new connection. Unset: never",
      ),
      tls: section({
        cert_file: option(file().exactOptional(), "Serves HTTPS with this certificate, its chain behind it"),
        key_file: option(file().exactOptional(), "The certificate's key"),
        client_ca_file: option(
          file().exactOptional(),
          "Asks each sender for a certificate that one of these CAs has issued, in place of a token; the sender's id is certificate: and its name",
        ),
        require_client_certificate: option(
          flag().prefault(true),
          "With client_ca_file: false lets senders without a certificate prove themselves by a token",
        ),
        key_passphrase: keyPassphrase(),
        reload_interval: reloadInterval(),
        ...expiryLimits(),
        key_readable_by_others: exposedKey(),
      }).prefault({}),
      cors: section({
        allowed_origins: option(origins().prefault([]), "Web origins whose pages may post here; none by default"),
      }).prefault({}),
    }).prefault({}),
    grpc: section({
      endpoint: option(
        endpoint().exactOptional(),
        "Where senders export by OTLP/gRPC; off unless set. Limits, TLS and client certificates are those of receiver.http; each of " +
          "the two takes as many connections",
      ),
      max_concurrent_streams: option(
        number(1, 10_000, true).prefault(100),
        "Calls that one connection may have open at once; one more is refused as not processed, and the sender's library tries again",
      ),
    }).prefault({}),
    auth: section({
      tokens_file: option(
        file().prefault("config/tokens.yaml"),
        "The file that says who may send: the ids of senders, and the SHA-256 of their tokens",
      ),
      tokens: option(
        secretStructure("the text of a tokens file, or what it says", 1_048_576).exactOptional(),
        "What a tokens file says, as text or as mappings, instead of its path: for hosts without files",
      ),
      reload_interval: option(
        duration("50ms", "1h").prefault("500ms"),
        "How often tokens_file is checked; edits take effect without a restart",
      ),
      jwt: section({
        issuer: option(
          text("the issuer as its tokens name it", 1_024).exactOptional(),
          "Accepts JWTs of this issuer (claim iss), beside the static tokens",
        ),
        audience: option(
          text("an audience", 1_024, true).exactOptional(),
          "What the claim aud must hold: this relay's name",
        ),
        jwks_url: option(url().exactOptional(), "Where the issuer's keys are, as a JWKS"),
        clock_tolerance: option(duration("0", "10m").prefault("5s"), "How far the issuer's clock may differ"),
        refresh_interval: option(
          duration("1s", "24h").prefault("10m"),
          "How often the keys are fetched. For a token with an unknown key they are fetched at once. While the host is down, the known keys stay in force",
        ),
        sender_claim: option(
          text("the name of a claim", 255).prefault("sub"),
          "The claim that names the sender, whose id is jwt: and that name",
        ),
        permissions_claim: option(
          text("the name of a claim", 255).prefault("edgeferry"),
          "The claim that may hold signals, origins and limits, as in the tokens file",
        ),
      }).prefault({}),
      insecure: option(
        flag().prefault(false),
        "Let every sender in without a token. Refused when the endpoint is not loopback",
      ),
    }).prefault({}),
    limits: section({
      requests_per_second: option(
        number(0.001, 1e9, false).exactOptional(),
        "Requests a second of each sender; above it 429. These limits apply to every sender whose token sets nothing else",
      ),
      items_per_second: option(
        number(0.001, 1e12, false).exactOptional(),
        "Spans, data points and log records a second of each sender; above it 429",
      ),
      bytes_per_second: option(
        size("1", "16GiB").exactOptional(),
        "Bytes of bodies a second of each sender, as received; above it 429",
      ),
      concurrent_requests: option(
        number(1, 1_000_000, true).exactOptional(),
        "Requests of each sender under way at once; above it 429",
      ),
      max_request_body_size: option(
        size("1KiB", "256MiB").exactOptional(),
        "Largest body of each sender, where it is below receiver.http.max_request_body_size; above it 413",
      ),
      queue_share: option(
        number(0.001, 1, false).prefault(0.9),
        "Share of the queue that one sender's data may take, so that none fills it alone; above it 503",
      ),
    }).prefault({}),
  }).prefault({}),

  redaction: section({
    actions: option(
      actions("delete", "hash").prefault([]),
      "What to do with attributes, by their keys, before anything is stored. delete wins over hash, then the first action. None by default",
    ),
    salt: option(
      secretText("text that is kept secret").exactOptional(),
      "Key of the HMAC-SHA-256 that hash puts in place of a value, in hex. Best from a variable",
    ),
    dry_run: option(flag().prefault(false), "Change nothing, and count what would have matched"),
  }).prefault({}),

  sending_queue: section({
    storage: option(
      choice("sqlite", "none", "postgres").prefault("sqlite"),
      "sqlite answers 200 after an fsync; postgres after a commit in a database that several relays share; none when the Collector has accepted, for hosts without a disk",
    ),
    path: option(file().prefault("data/queue.db"), "The queue's database file (sqlite)"),
    postgres: section({
      url: option(
        postgresUrl().exactOptional(),
        "The database, e.g. postgres://edgeferry@db.example:5432/edgeferry. With several hosts, joined by commas, the relay uses the one that takes writes",
      ),
      password: option(
        secretText("text").exactOptional(),
        "The role's password, best from a variable, instead of the URL",
      ),
      password_file: option(
        file().exactOptional(),
        "A file with the role's password, read again for each connection",
      ),
      durability: option(
        choice("checked", "managed").prefault("checked"),
        "checked refuses a server that answers before its data is on a disk. managed is for services that report fsync=off and keep data safe by other means",
      ),
      connect_timeout: option(
        duration("100ms", "1m").prefault("5s"),
        "Time for one connection to one address, with TLS and password",
      ),
      tls: section({
        insecure: option(
          flag().prefault(false),
          "No TLS, for a network that nobody else can read. To this machine there is none unless a CA is given",
        ),
        ca_file: option(
          file().exactOptional(),
          "CA certificates that the database's certificate must chain to; without it those of Deno's own store",
        ),
        cert_file: option(
          file().exactOptional(),
          "A client certificate for the database, with its chain. Each connection reads the files anew",
        ),
        key_file: option(file().exactOptional(), "The client certificate's key"),
        ...clientAsText(),
        ...expiryLimits(),
        key_readable_by_others: exposedKey(),
      }).prefault({}),
    }).prefault({}),
    queue_size: option(
      size("1MiB", "16TiB").prefault("1GiB"),
      "Most bytes queued, what a record costs beside its payload included; above it 503, never eviction",
    ),
    num_consumers: option(
      number(1, 64, true).prefault(4),
      "Requests to the Collector under way at once; with 2 or more, eight times as many of what is never merged (profiles), 64 at most",
    ),
    batch: section({
      flush_timeout: option(
        duration("0", "1m").prefault("200ms"),
        "How long queued data waits for more of the same signal, to share one request (sqlite, postgres)",
      ),
      min_size: option(
        size("0", "16MiB").prefault("512KiB"),
        "Once this many payload bytes are queued, they wait no longer",
      ),
      max_size: option(
        size("0", "16MiB").prefault("4MiB"),
        "Payload bytes merged into one request; 0: every request of a sender goes by itself",
      ),
    }).prefault({}),
    max_age: option(
      duration("1m", "8760h").exactOptional(),
      "Drop records that have been queued longer, and count them as expired. Unset: nothing answered 200 is ever dropped for its age",
    ),
    dead_letters: section({
      max_size: option(
        size("0", "16TiB").prefault("256MiB"),
        "Room for dead letters, an equal part for each target. When it is full, the refused data stays queued, with an ERROR",
      ),
    }).prefault({}),
  }).prefault({}),

  exporter: section(exporterKeys()).prefault({}),

  exporters: option(
    sections("exporter", namedExporter()).default({}),
    "Several Collectors by name, each with the keys of exporter, and required; exporter alone is one named default",
  ),
  groups: option(
    sections("group", group()).default({}),
    "Groups of exporters by name; each request goes to one exporter of the group: { failover: [a, b] } or { balance: { a: 2, b: 1 } }",
  ),
  routes: option(
    routes(EXPORTED).default([]),
    "Which signals and senders go to which exporters and groups. The first match counts; the last route must match everything",
  ),

  telemetry: section({
    admin: section({
      endpoint: option(
        endpoint().prefault("127.0.0.1:9464"),
        "Where /livez, /readyz, /metrics and the status page (/) are; the receiver's own endpoint answers them on one port",
      ),
      token: option(
        secretText("text without spaces").exactOptional(),
        "What /metrics and the status page ask for, as a bearer token or a password. Without it they are there on loopback only",
      ),
    }).prefault({}),
    traces: section({
      enabled: option(flag().prefault(true), "Trace the relay's own requests"),
      sampling_ratio: option(
        number(0, 1, false).prefault(0.01),
        "Share of requests traced when the caller has not decided",
      ),
    }).prefault({}),
    metrics: section({
      enabled: option(flag().prefault(true), "Export the relay's own metrics to the Collector"),
      interval: option(duration("1s", "1h").prefault("60s"), "Time between exports of metrics"),
    }).prefault({}),
    log: section({
      level: option(choice("debug", "info", "warn", "error").prefault("info"), "The lowest level that is logged"),
      format: option(choice("text", "json").prefault("text"), "How a log line is written"),
    }).prefault({}),
    resource: section({
      service_name: option(
        text("a name, on one line", 255).prefault("edgeferry"),
        "service.name of the relay's own telemetry",
      ),
    }).prefault({}),
  }).prefault({}),

  shutdown: section({
    grace: option(duration("0", "10m").prefault("8s"), "Time after SIGTERM to answer and send what is under way"),
  }).prefault({}),
});

/** The signals that `exporter.signals` names. */
export type ExporterSignal = keyof Config["exporter"]["signals"];

/** The settings of one exporter. */
export type ExporterConfig = Config["exporter"];

/** Every option, in the order of the file. Those below the names of `exporters` and `groups` are in {@link optionsWith}. */
export const OPTIONS: readonly Option[] = optionsOf(ConfigSchema);

/** The names below `exporters` and `groups`. */
export interface Names {
  readonly exporters: readonly string[];
  readonly groups: readonly string[];
}

/** Every option of a configuration that has these exporters and groups. */
export function optionsWith({ exporters, groups }: Names): readonly Option[] {
  if (exporters.length + groups.length === 0) return OPTIONS;
  const below = [
    ...exporters.flatMap((name) => optionsOf(NAMED_EXPORTER, ["exporters", name])),
    ...groups.flatMap((name) => optionsOf(NAMED_GROUP, ["groups", name])),
  ];
  return [...OPTIONS, ...below];
}

const NAMED_EXPORTER = namedExporter();
const NAMED_GROUP = group();

/** `ca_file` for `ca_pem`, `tokens` for `tokens_file`, and so on: the key that says the same thing the other way. */
export function alternativeOf(
  path: readonly string[],
  options: readonly Option[] = OPTIONS,
): readonly string[] | undefined {
  const key = path.at(-1) ?? "";
  const other = key.endsWith("_pem")
    ? [key.replace(/_pem$/, "_file")]
    : [key.replace(/_file$/, "_pem"), key.replace(/_file$/, ""), `${key}_file`];
  const section = path.slice(0, -1);
  return options.map((option) => option.path).find((candidate) =>
    candidate.length === path.length && section.every((part, index) => candidate[index] === part) &&
    candidate.at(-1) !== key && other.includes(candidate.at(-1) ?? "")
  );
}
