/**
 * The configuration's types, printed from `schema.ts` by `deno task docs`: not to be edited by hand.
 * @module
 */
import type { SignalName } from "../signal.ts";
import type { TokensInput } from "./tokens.ts";
import type { Endpoint } from "./units.ts";

/** The configuration in use. Sizes are bytes, durations ms. */
export interface Config {
  /** What this relay does: receiver takes and has no way to the Collector, exporter sends and opens no port but admin's. The two share a queue (postgres). Default: `"both"`. */
  role: "both" | "receiver" | "exporter";
  /** `receiver`. */
  receiver: {
    /** `http`. */
    http: {
      /** Where senders post their telemetry. Off loopback, authentication must be on. Default: `"127.0.0.1:4319"`. */
      endpoint: Endpoint;
      /** Largest request body, both as received and inflated; above it 413. The Collector's own limit is 20MiB. In bytes. Default: `"20MiB"`. */
      max_request_body_size: number;
      /** Most resources in one request; above it 413. The largest batches of a Collector have some 8,192. Default: `50000`. */
      max_request_resources: number;
      /** Most nested messages in one request: resources, scopes, items, attributes, values and so on; above it 413. 8,192 log records of 20 attributes have 344,066. Default: `2000000`. */
      max_request_messages: number;
      /** Time for a whole request body to arrive. In ms. Default: `"10s"`. */
      request_body_timeout: number;
      /** Request bytes held in memory over all requests; above it 503. One sender may hold at most 75 % of it; beyond that it gets 429. In bytes. Default: `"32MiB"`. */
      max_in_flight_bytes: number;
      /** Longest Retry-After, in whole seconds, with jitter below it. Stock SDKs drop data that is asked to wait 10s or more. In ms. Default: `"5s"`. */
      max_retry_after: number;
      /** Connections open at once. A further one replaces the one without a valid token that has been silent longest; if there is none, the new one is closed. Default: `1000`. */
      max_connections: number;
      /** Connections of one address that have not yet shown a valid token; a further one closes the one that has been silent longest. 0: no bound. Default: `500`. */
      max_connections_per_address: number;
      /** Largest request header; above it 431. In bytes. Default: `"16KiB"`. */
      max_header_size: number;
      /** Time for a request header to arrive; beyond it 503. A TLS handshake has the same time; beyond it the connection is closed. In ms. Default: `"10s"`. */
      read_header_timeout: number;
      /** How long a connection may be silent between requests; then it is closed. In ms. Default: `"1m"`. */
      idle_timeout: number;
      /** After about this time (10% more or less), a connection ends with the answer to its next request, so that senders spread over several relays again. By gRPC its next call is taken, and GOAWAY sends later ones to a new connection. Unset: never. In ms. */
      max_connection_age?: number;
      /** `tls`. */
      tls: {
        /** Serves HTTPS with this certificate, its chain behind it. */
        cert_file?: string;
        /** The certificate's key. */
        key_file?: string;
        /** Asks each sender for a certificate that one of these CAs has issued, in place of a token; the sender's id is certificate: and its name. */
        client_ca_file?: string;
        /** With client_ca_file: false lets senders without a certificate prove themselves by a token. Default: `true`. */
        require_client_certificate: boolean;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** How often the files are checked; changed ones are used without a restart. In ms. Default: `"5s"`. */
        reload_interval: number;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. In ms. Default: `"720h"`. */
        expiry_warning: number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. In ms. Default: `"72h"`. */
        expiry_error: number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others: boolean;
      };
      /** `cors`. */
      cors: {
        /** Web origins whose pages may post here; none by default. Default: `[]`. */
        allowed_origins: string[];
      };
    };
    /** `grpc`. */
    grpc: {
      /** Where senders export by OTLP/gRPC; off unless set. Limits, TLS and client certificates are those of receiver.http; each of the two takes as many connections. */
      endpoint?: Endpoint;
      /** Calls that one connection may have open at once; one more is refused as not processed, and the sender's library tries again. Default: `100`. */
      max_concurrent_streams: number;
    };
    /** `auth`. */
    auth: {
      /** The file that says who may send: the ids of senders, and the SHA-256 of their tokens. Default: `"config/tokens.yaml"`. */
      tokens_file: string;
      /** What a tokens file says, as text or as mappings, instead of its path: for hosts without files. */
      tokens?: string;
      /** How often tokens_file is checked; edits take effect without a restart. In ms. Default: `"500ms"`. */
      reload_interval: number;
      /** `jwt`. */
      jwt: {
        /** Accepts JWTs of this issuer (claim iss), beside the static tokens. */
        issuer?: string;
        /** What the claim aud must hold: this relay's name. */
        audience?: string;
        /** Where the issuer's keys are, as a JWKS. */
        jwks_url?: string;
        /** How far the issuer's clock may differ. In ms. Default: `"5s"`. */
        clock_tolerance: number;
        /** How often the keys are fetched. For a token with an unknown key they are fetched at once. While the host is down, the known keys stay in force. In ms. Default: `"10m"`. */
        refresh_interval: number;
        /** The claim that names the sender, whose id is jwt: and that name. Default: `"sub"`. */
        sender_claim: string;
        /** The claim that may hold signals, origins and limits, as in the tokens file. Default: `"edgeferry"`. */
        permissions_claim: string;
      };
      /** Let every sender in without a token. Refused when the endpoint is not loopback. Default: `false`. */
      insecure: boolean;
    };
    /** `limits`. */
    limits: {
      /** Requests a second of each sender; above it 429. These limits apply to every sender whose token sets nothing else. */
      requests_per_second?: number;
      /** Spans, data points and log records a second of each sender; above it 429. */
      items_per_second?: number;
      /** Bytes of bodies a second of each sender, as received; above it 429. In bytes. */
      bytes_per_second?: number;
      /** Requests of each sender under way at once; above it 429. */
      concurrent_requests?: number;
      /** Largest body of each sender, where it is below receiver.http.max_request_body_size; above it 413. In bytes. */
      max_request_body_size?: number;
      /** Share of the queue that one sender's data may take, so that none fills it alone; above it 503. Default: `0.9`. */
      queue_share: number;
    };
  };
  /** `redaction`. */
  redaction: {
    /** What to do with attributes, by their keys, before anything is stored. delete wins over hash, then the first action. None by default. Default: `[]`. */
    actions: { key: string; action: "delete" | "hash" }[];
    /** Key of the HMAC-SHA-256 that hash puts in place of a value, in hex. Best from a variable. */
    salt?: string;
    /** Change nothing, and count what would have matched. Default: `false`. */
    dry_run: boolean;
  };
  /** `sending_queue`. */
  sending_queue: {
    /** sqlite answers 200 after an fsync; postgres after a commit in a database that several relays share; none when the Collector has accepted, for hosts without a disk. Default: `"sqlite"`. */
    storage: "sqlite" | "none" | "postgres";
    /** The queue's database file (sqlite). Default: `"data/queue.db"`. */
    path: string;
    /** `postgres`. */
    postgres: {
      /** The database, e.g. postgres://edgeferry@db.example:5432/edgeferry. With several hosts, joined by commas, the relay uses the one that takes writes. */
      url?: string;
      /** The role's password, best from a variable, instead of the URL. */
      password?: string;
      /** A file with the role's password, read again for each connection. */
      password_file?: string;
      /** checked refuses a server that answers before its data is on a disk. managed is for services that report fsync=off and keep data safe by other means. Default: `"checked"`. */
      durability: "checked" | "managed";
      /** Time for one connection to one address, with TLS and password. In ms. Default: `"5s"`. */
      connect_timeout: number;
      /** `tls`. */
      tls: {
        /** No TLS, for a network that nobody else can read. To this machine there is none unless a CA is given. Default: `false`. */
        insecure: boolean;
        /** CA certificates that the database's certificate must chain to; without it those of Deno's own store. */
        ca_file?: string;
        /** A client certificate for the database, with its chain. Each connection reads the files anew. */
        cert_file?: string;
        /** The client certificate's key. */
        key_file?: string;
        /** CA certificates as PEM text, instead of ca_file. */
        ca_pem?: string;
        /** The client certificate as PEM text, instead of cert_file. */
        cert_pem?: string;
        /** The client key as PEM text, instead of key_file. */
        key_pem?: string;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. In ms. Default: `"720h"`. */
        expiry_warning: number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. In ms. Default: `"72h"`. */
        expiry_error: number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others: boolean;
      };
    };
    /** Most bytes queued, what a record costs beside its payload included; above it 503, never eviction. In bytes. Default: `"1GiB"`. */
    queue_size: number;
    /** Requests to the Collector under way at once; with 2 or more, eight times as many of what is never merged (profiles), 64 at most. Default: `4`. */
    num_consumers: number;
    /** `batch`. */
    batch: {
      /** How long queued data waits for more of the same signal, to share one request (sqlite, postgres). In ms. Default: `"200ms"`. */
      flush_timeout: number;
      /** Once this many payload bytes are queued, they wait no longer. In bytes. Default: `"512KiB"`. */
      min_size: number;
      /** Payload bytes merged into one request; 0: every request of a sender goes by itself. In bytes. Default: `"4MiB"`. */
      max_size: number;
    };
    /** Drop records that have been queued longer, and count them as expired. Unset: nothing answered 200 is ever dropped for its age. In ms. */
    max_age?: number;
    /** `dead_letters`. */
    dead_letters: {
      /** Room for dead letters, an equal part for each target. When it is full, the refused data stays queued, with an ERROR. In bytes. Default: `"256MiB"`. */
      max_size: number;
    };
  };
  /** `exporter`. */
  exporter: {
    /** The Collector's base URL; v1/<signal> is appended (profiles: v1development/profiles). http:// only to this machine, for debugging without TLS. For gRPC: scheme, host and port; https://localhost:4317 unless set. Default: `"https://localhost:4318"`. */
    endpoint: string;
    /** The protocol of the Collector's endpoint: OTLP/HTTP or OTLP/gRPC. Default: `"http/protobuf"`. */
    protocol: "http/protobuf" | "grpc";
    /** URL for traces, used as it is. */
    traces_endpoint?: string;
    /** URL for metrics, used as it is. */
    metrics_endpoint?: string;
    /** URL for logs, used as it is. */
    logs_endpoint?: string;
    /** URL for profiles, used as it is. */
    profiles_endpoint?: string;
    /** Header fields sent with every request to the Collector. Default: `{}`. */
    headers: Record<string, string>;
    /** passthrough forwards the sender's own compressed data and compresses plain data; gzip and zstd compress merged requests anew. An endpoint that does not read zstd gets gzip. Default: `"passthrough"`. */
    compression: "passthrough" | "gzip" | "zstd" | "none";
    /** Time for one attempt, connecting included. In ms. Default: `"10s"`. */
    timeout: number;
    /** `retry_on_failure`. */
    retry_on_failure: {
      /** Wait before the first retry; jitter is added. In ms. Default: `"1s"`. */
      initial_interval: number;
      /** Longest wait between retries. They never end. In ms. Default: `"30s"`. */
      max_interval: number;
    };
    /** `tls`. */
    tls: {
      /** CA certificates that the Collector must chain to. Default: `"certs/ca.crt"`. */
      ca_file: string;
      /** The client certificate, with its chain. Default: `"certs/client.crt"`. */
      cert_file: string;
      /** The client certificate's key. Default: `"certs/client.key"`. */
      key_file: string;
      /** CA certificates as PEM text, instead of ca_file. */
      ca_pem?: string;
      /** The client certificate as PEM text, instead of cert_file. */
      cert_pem?: string;
      /** The client key as PEM text, instead of key_file. */
      key_pem?: string;
      /** Passphrase of an encrypted key. */
      key_passphrase?: string;
      /** How often the files are checked; changed ones are used without a restart. In ms. Default: `"5s"`. */
      reload_interval: number;
      /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. In ms. Default: `"720h"`. */
      expiry_warning: number;
      /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. In ms. Default: `"72h"`. */
      expiry_error: number;
      /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
      key_readable_by_others: boolean;
    };
    /** `signals`. */
    signals: {
      /** `traces`. */
      traces: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. In ms. */
        timeout?: number;
        /** `tls`. */
        tls: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `metrics`. */
      metrics: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. In ms. */
        timeout?: number;
        /** `tls`. */
        tls: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `logs`. */
      logs: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. In ms. */
        timeout?: number;
        /** `tls`. */
        tls: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `profiles`. */
      profiles: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. In ms. */
        timeout?: number;
        /** `tls`. */
        tls: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
    };
  };
  /** Which signals and senders go to which exporters and groups. The first match counts; the last route must match everything. */
  routes: { signals?: SignalName[]; senders?: string[]; exporters: string[] }[];
  /** `telemetry`. */
  telemetry: {
    /** `admin`. */
    admin: {
      /** Where /livez, /readyz, /metrics and the status page (/) are; the receiver's own endpoint answers them on one port. Default: `"127.0.0.1:9464"`. */
      endpoint: Endpoint;
      /** What /metrics and the status page ask for, as a bearer token or a password. Without it they are there on loopback only. */
      token?: string;
    };
    /** `traces`. */
    traces: {
      /** Trace the relay's own requests. Default: `true`. */
      enabled: boolean;
      /** Share of requests traced when the caller has not decided. Default: `0.01`. */
      sampling_ratio: number;
    };
    /** `metrics`. */
    metrics: {
      /** Export the relay's own metrics to the Collector. Default: `true`. */
      enabled: boolean;
      /** Time between exports of metrics. In ms. Default: `"60s"`. */
      interval: number;
    };
    /** `log`. */
    log: {
      /** The lowest level that is logged. Default: `"info"`. */
      level: "debug" | "info" | "warn" | "error";
      /** How a log line is written. Default: `"text"`. */
      format: "text" | "json";
    };
    /** `resource`. */
    resource: {
      /** service.name of the relay's own telemetry. Default: `"edgeferry"`. */
      service_name: string;
    };
  };
  /** `shutdown`. */
  shutdown: {
    /** Time after SIGTERM to answer and send what is under way. In ms. Default: `"8s"`. */
    grace: number;
  };
  /** `exporters`. */
  exporters: {
    [name: string]: {
      /** The Collector's base URL; v1/<signal> is appended (profiles: v1development/profiles). http:// only to this machine, for debugging without TLS. For gRPC: scheme, host and port; https://localhost:4317 unless set. Default: `"https://localhost:4318"`. */
      endpoint: string;
      /** The protocol of the Collector's endpoint: OTLP/HTTP or OTLP/gRPC. Default: `"http/protobuf"`. */
      protocol: "http/protobuf" | "grpc";
      /** URL for traces, used as it is. */
      traces_endpoint?: string;
      /** URL for metrics, used as it is. */
      metrics_endpoint?: string;
      /** URL for logs, used as it is. */
      logs_endpoint?: string;
      /** URL for profiles, used as it is. */
      profiles_endpoint?: string;
      /** Header fields sent with every request to the Collector. Default: `{}`. */
      headers: Record<string, string>;
      /** passthrough forwards the sender's own compressed data and compresses plain data; gzip and zstd compress merged requests anew. An endpoint that does not read zstd gets gzip. Default: `"passthrough"`. */
      compression: "passthrough" | "gzip" | "zstd" | "none";
      /** Time for one attempt, connecting included. In ms. Default: `"10s"`. */
      timeout: number;
      /** `retry_on_failure`. */
      retry_on_failure: {
        /** Wait before the first retry; jitter is added. In ms. Default: `"1s"`. */
        initial_interval: number;
        /** Longest wait between retries. They never end. In ms. Default: `"30s"`. */
        max_interval: number;
      };
      /** `tls`. */
      tls: {
        /** CA certificates that the Collector must chain to. Default: `"certs/ca.crt"`. */
        ca_file: string;
        /** The client certificate, with its chain. Default: `"certs/client.crt"`. */
        cert_file: string;
        /** The client certificate's key. Default: `"certs/client.key"`. */
        key_file: string;
        /** CA certificates as PEM text, instead of ca_file. */
        ca_pem?: string;
        /** The client certificate as PEM text, instead of cert_file. */
        cert_pem?: string;
        /** The client key as PEM text, instead of key_file. */
        key_pem?: string;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** How often the files are checked; changed ones are used without a restart. In ms. Default: `"5s"`. */
        reload_interval: number;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. In ms. Default: `"720h"`. */
        expiry_warning: number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. In ms. Default: `"72h"`. */
        expiry_error: number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others: boolean;
      };
      /** `signals`. */
      signals: {
        /** `traces`. */
        traces: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. In ms. */
          timeout?: number;
          /** `tls`. */
          tls: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `metrics`. */
        metrics: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. In ms. */
          timeout?: number;
          /** `tls`. */
          tls: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `logs`. */
        logs: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. In ms. */
          timeout?: number;
          /** `tls`. */
          tls: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `profiles`. */
        profiles: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. In ms. */
          timeout?: number;
          /** `tls`. */
          tls: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
      };
      /** false: when it is full or down for long, it misses data and holds up no other exporter; a metric counts what it missed. Default: `true`. */
      required: boolean;
    };
  };
  /** `groups`. */
  groups: {
    [name: string]: {
      /** Names in order: the first exporter that works gets all data, and gets it again once it has recovered. */
      failover?: string[];
      /** Names with weights: each request goes to an exporter that works, in proportion to the weights. */
      balance?: Record<string, number>;
    };
  };
}

/** The configuration as it is written: every key may be left out, sizes and durations are text. */
export interface ConfigInput {
  /** What this relay does: receiver takes and has no way to the Collector, exporter sends and opens no port but admin's. The two share a queue (postgres). Default: `"both"`. */
  role?: "both" | "receiver" | "exporter";
  /** `receiver`. */
  receiver?: {
    /** `http`. */
    http?: {
      /** Where senders post their telemetry. Off loopback, authentication must be on. Default: `"127.0.0.1:4319"`. */
      endpoint?: string;
      /** Largest request body, both as received and inflated; above it 413. The Collector's own limit is 20MiB. Default: `"20MiB"`. */
      max_request_body_size?: string | number;
      /** Most resources in one request; above it 413. The largest batches of a Collector have some 8,192. Default: `50000`. */
      max_request_resources?: number;
      /** Most nested messages in one request: resources, scopes, items, attributes, values and so on; above it 413. 8,192 log records of 20 attributes have 344,066. Default: `2000000`. */
      max_request_messages?: number;
      /** Time for a whole request body to arrive. Default: `"10s"`. */
      request_body_timeout?: string | number;
      /** Request bytes held in memory over all requests; above it 503. One sender may hold at most 75 % of it; beyond that it gets 429. Default: `"32MiB"`. */
      max_in_flight_bytes?: string | number;
      /** Longest Retry-After, in whole seconds, with jitter below it. Stock SDKs drop data that is asked to wait 10s or more. Default: `"5s"`. */
      max_retry_after?: string | number;
      /** Connections open at once. A further one replaces the one without a valid token that has been silent longest; if there is none, the new one is closed. Default: `1000`. */
      max_connections?: number;
      /** Connections of one address that have not yet shown a valid token; a further one closes the one that has been silent longest. 0: no bound. Default: `500`. */
      max_connections_per_address?: number;
      /** Largest request header; above it 431. Default: `"16KiB"`. */
      max_header_size?: string | number;
      /** Time for a request header to arrive; beyond it 503. A TLS handshake has the same time; beyond it the connection is closed. Default: `"10s"`. */
      read_header_timeout?: string | number;
      /** How long a connection may be silent between requests; then it is closed. Default: `"1m"`. */
      idle_timeout?: string | number;
      /** After about this time (10% more or less), a connection ends with the answer to its next request, so that senders spread over several relays again. By gRPC its next call is taken, and GOAWAY sends later ones to a new connection. Unset: never. */
      max_connection_age?: string | number;
      /** `tls`. */
      tls?: {
        /** Serves HTTPS with this certificate, its chain behind it. */
        cert_file?: string;
        /** The certificate's key. */
        key_file?: string;
        /** Asks each sender for a certificate that one of these CAs has issued, in place of a token; the sender's id is certificate: and its name. */
        client_ca_file?: string;
        /** With client_ca_file: false lets senders without a certificate prove themselves by a token. Default: `true`. */
        require_client_certificate?: boolean;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** How often the files are checked; changed ones are used without a restart. Default: `"5s"`. */
        reload_interval?: string | number;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. Default: `"720h"`. */
        expiry_warning?: string | number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. Default: `"72h"`. */
        expiry_error?: string | number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others?: boolean;
      };
      /** `cors`. */
      cors?: {
        /** Web origins whose pages may post here; none by default. Default: `[]`. */
        allowed_origins?: string[];
      };
    };
    /** `grpc`. */
    grpc?: {
      /** Where senders export by OTLP/gRPC; off unless set. Limits, TLS and client certificates are those of receiver.http; each of the two takes as many connections. */
      endpoint?: string;
      /** Calls that one connection may have open at once; one more is refused as not processed, and the sender's library tries again. Default: `100`. */
      max_concurrent_streams?: number;
    };
    /** `auth`. */
    auth?: {
      /** The file that says who may send: the ids of senders, and the SHA-256 of their tokens. Default: `"config/tokens.yaml"`. */
      tokens_file?: string;
      /** What a tokens file says, as text or as mappings, instead of its path: for hosts without files. */
      tokens?: string | TokensInput;
      /** How often tokens_file is checked; edits take effect without a restart. Default: `"500ms"`. */
      reload_interval?: string | number;
      /** `jwt`. */
      jwt?: {
        /** Accepts JWTs of this issuer (claim iss), beside the static tokens. */
        issuer?: string;
        /** What the claim aud must hold: this relay's name. */
        audience?: string;
        /** Where the issuer's keys are, as a JWKS. */
        jwks_url?: string;
        /** How far the issuer's clock may differ. Default: `"5s"`. */
        clock_tolerance?: string | number;
        /** How often the keys are fetched. For a token with an unknown key they are fetched at once. While the host is down, the known keys stay in force. Default: `"10m"`. */
        refresh_interval?: string | number;
        /** The claim that names the sender, whose id is jwt: and that name. Default: `"sub"`. */
        sender_claim?: string;
        /** The claim that may hold signals, origins and limits, as in the tokens file. Default: `"edgeferry"`. */
        permissions_claim?: string;
      };
      /** Let every sender in without a token. Refused when the endpoint is not loopback. Default: `false`. */
      insecure?: boolean;
    };
    /** `limits`. */
    limits?: {
      /** Requests a second of each sender; above it 429. These limits apply to every sender whose token sets nothing else. */
      requests_per_second?: number;
      /** Spans, data points and log records a second of each sender; above it 429. */
      items_per_second?: number;
      /** Bytes of bodies a second of each sender, as received; above it 429. */
      bytes_per_second?: string | number;
      /** Requests of each sender under way at once; above it 429. */
      concurrent_requests?: number;
      /** Largest body of each sender, where it is below receiver.http.max_request_body_size; above it 413. */
      max_request_body_size?: string | number;
      /** Share of the queue that one sender's data may take, so that none fills it alone; above it 503. Default: `0.9`. */
      queue_share?: number;
    };
  };
  /** `redaction`. */
  redaction?: {
    /** What to do with attributes, by their keys, before anything is stored. delete wins over hash, then the first action. None by default. Default: `[]`. */
    actions?: { key: string; action: "delete" | "hash" }[];
    /** Key of the HMAC-SHA-256 that hash puts in place of a value, in hex. Best from a variable. */
    salt?: string;
    /** Change nothing, and count what would have matched. Default: `false`. */
    dry_run?: boolean;
  };
  /** `sending_queue`. */
  sending_queue?: {
    /** sqlite answers 200 after an fsync; postgres after a commit in a database that several relays share; none when the Collector has accepted, for hosts without a disk. Default: `"sqlite"`. */
    storage?: "sqlite" | "none" | "postgres";
    /** The queue's database file (sqlite). Default: `"data/queue.db"`. */
    path?: string;
    /** `postgres`. */
    postgres?: {
      /** The database, e.g. postgres://edgeferry@db.example:5432/edgeferry. With several hosts, joined by commas, the relay uses the one that takes writes. */
      url?: string;
      /** The role's password, best from a variable, instead of the URL. */
      password?: string;
      /** A file with the role's password, read again for each connection. */
      password_file?: string;
      /** checked refuses a server that answers before its data is on a disk. managed is for services that report fsync=off and keep data safe by other means. Default: `"checked"`. */
      durability?: "checked" | "managed";
      /** Time for one connection to one address, with TLS and password. Default: `"5s"`. */
      connect_timeout?: string | number;
      /** `tls`. */
      tls?: {
        /** No TLS, for a network that nobody else can read. To this machine there is none unless a CA is given. Default: `false`. */
        insecure?: boolean;
        /** CA certificates that the database's certificate must chain to; without it those of Deno's own store. */
        ca_file?: string;
        /** A client certificate for the database, with its chain. Each connection reads the files anew. */
        cert_file?: string;
        /** The client certificate's key. */
        key_file?: string;
        /** CA certificates as PEM text, instead of ca_file. */
        ca_pem?: string;
        /** The client certificate as PEM text, instead of cert_file. */
        cert_pem?: string;
        /** The client key as PEM text, instead of key_file. */
        key_pem?: string;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. Default: `"720h"`. */
        expiry_warning?: string | number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. Default: `"72h"`. */
        expiry_error?: string | number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others?: boolean;
      };
    };
    /** Most bytes queued, what a record costs beside its payload included; above it 503, never eviction. Default: `"1GiB"`. */
    queue_size?: string | number;
    /** Requests to the Collector under way at once; with 2 or more, eight times as many of what is never merged (profiles), 64 at most. Default: `4`. */
    num_consumers?: number;
    /** `batch`. */
    batch?: {
      /** How long queued data waits for more of the same signal, to share one request (sqlite, postgres). Default: `"200ms"`. */
      flush_timeout?: string | number;
      /** Once this many payload bytes are queued, they wait no longer. Default: `"512KiB"`. */
      min_size?: string | number;
      /** Payload bytes merged into one request; 0: every request of a sender goes by itself. Default: `"4MiB"`. */
      max_size?: string | number;
    };
    /** Drop records that have been queued longer, and count them as expired. Unset: nothing answered 200 is ever dropped for its age. */
    max_age?: string | number;
    /** `dead_letters`. */
    dead_letters?: {
      /** Room for dead letters, an equal part for each target. When it is full, the refused data stays queued, with an ERROR. Default: `"256MiB"`. */
      max_size?: string | number;
    };
  };
  /** `exporter`. */
  exporter?: {
    /** The Collector's base URL; v1/<signal> is appended (profiles: v1development/profiles). http:// only to this machine, for debugging without TLS. For gRPC: scheme, host and port; https://localhost:4317 unless set. Default: `"https://localhost:4318"`. */
    endpoint?: string;
    /** The protocol of the Collector's endpoint: OTLP/HTTP or OTLP/gRPC. Default: `"http/protobuf"`. */
    protocol?: "http/protobuf" | "grpc";
    /** URL for traces, used as it is. */
    traces_endpoint?: string;
    /** URL for metrics, used as it is. */
    metrics_endpoint?: string;
    /** URL for logs, used as it is. */
    logs_endpoint?: string;
    /** URL for profiles, used as it is. */
    profiles_endpoint?: string;
    /** Header fields sent with every request to the Collector. Default: `{}`. */
    headers?: Record<string, string>;
    /** passthrough forwards the sender's own compressed data and compresses plain data; gzip and zstd compress merged requests anew. An endpoint that does not read zstd gets gzip. Default: `"passthrough"`. */
    compression?: "passthrough" | "gzip" | "zstd" | "none";
    /** Time for one attempt, connecting included. Default: `"10s"`. */
    timeout?: string | number;
    /** `retry_on_failure`. */
    retry_on_failure?: {
      /** Wait before the first retry; jitter is added. Default: `"1s"`. */
      initial_interval?: string | number;
      /** Longest wait between retries. They never end. Default: `"30s"`. */
      max_interval?: string | number;
    };
    /** `tls`. */
    tls?: {
      /** CA certificates that the Collector must chain to. Default: `"certs/ca.crt"`. */
      ca_file?: string;
      /** The client certificate, with its chain. Default: `"certs/client.crt"`. */
      cert_file?: string;
      /** The client certificate's key. Default: `"certs/client.key"`. */
      key_file?: string;
      /** CA certificates as PEM text, instead of ca_file. */
      ca_pem?: string;
      /** The client certificate as PEM text, instead of cert_file. */
      cert_pem?: string;
      /** The client key as PEM text, instead of key_file. */
      key_pem?: string;
      /** Passphrase of an encrypted key. */
      key_passphrase?: string;
      /** How often the files are checked; changed ones are used without a restart. Default: `"5s"`. */
      reload_interval?: string | number;
      /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. Default: `"720h"`. */
      expiry_warning?: string | number;
      /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. Default: `"72h"`. */
      expiry_error?: string | number;
      /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
      key_readable_by_others?: boolean;
    };
    /** `signals`. */
    signals?: {
      /** `traces`. */
      traces?: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. */
        timeout?: string | number;
        /** `tls`. */
        tls?: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `metrics`. */
      metrics?: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. */
        timeout?: string | number;
        /** `tls`. */
        tls?: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `logs`. */
      logs?: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. */
        timeout?: string | number;
        /** `tls`. */
        tls?: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
      /** `profiles`. */
      profiles?: {
        /** Replaces exporter.protocol. */
        protocol?: "http/protobuf" | "grpc";
        /** Replaces exporter.headers for this signal. */
        headers?: Record<string, string>;
        /** Replaces exporter.compression. */
        compression?: "passthrough" | "gzip" | "zstd" | "none";
        /** Replaces exporter.timeout. */
        timeout?: string | number;
        /** `tls`. */
        tls?: {
          /** CA certificates for this signal. */
          ca_file?: string;
          /** Client certificate for this signal. */
          cert_file?: string;
          /** Client key for this signal. */
          key_file?: string;
          /** CA certificates for this signal, as PEM text. */
          ca_pem?: string;
          /** Client certificate for this signal, as PEM text. */
          cert_pem?: string;
          /** Client key for this signal, as PEM text. */
          key_pem?: string;
          /** Passphrase of this signal's key. */
          key_passphrase?: string;
        };
      };
    };
  };
  /** Which signals and senders go to which exporters and groups. The first match counts; the last route must match everything. */
  routes?: { signals?: SignalName[]; senders?: string[]; exporters: string[] }[];
  /** `telemetry`. */
  telemetry?: {
    /** `admin`. */
    admin?: {
      /** Where /livez, /readyz, /metrics and the status page (/) are; the receiver's own endpoint answers them on one port. Default: `"127.0.0.1:9464"`. */
      endpoint?: string;
      /** What /metrics and the status page ask for, as a bearer token or a password. Without it they are there on loopback only. */
      token?: string;
    };
    /** `traces`. */
    traces?: {
      /** Trace the relay's own requests. Default: `true`. */
      enabled?: boolean;
      /** Share of requests traced when the caller has not decided. Default: `0.01`. */
      sampling_ratio?: number;
    };
    /** `metrics`. */
    metrics?: {
      /** Export the relay's own metrics to the Collector. Default: `true`. */
      enabled?: boolean;
      /** Time between exports of metrics. Default: `"60s"`. */
      interval?: string | number;
    };
    /** `log`. */
    log?: {
      /** The lowest level that is logged. Default: `"info"`. */
      level?: "debug" | "info" | "warn" | "error";
      /** How a log line is written. Default: `"text"`. */
      format?: "text" | "json";
    };
    /** `resource`. */
    resource?: {
      /** service.name of the relay's own telemetry. Default: `"edgeferry"`. */
      service_name?: string;
    };
  };
  /** `shutdown`. */
  shutdown?: {
    /** Time after SIGTERM to answer and send what is under way. Default: `"8s"`. */
    grace?: string | number;
  };
  /** `exporters`. */
  exporters?: {
    [name: string]: {
      /** The Collector's base URL; v1/<signal> is appended (profiles: v1development/profiles). http:// only to this machine, for debugging without TLS. For gRPC: scheme, host and port; https://localhost:4317 unless set. Default: `"https://localhost:4318"`. */
      endpoint?: string;
      /** The protocol of the Collector's endpoint: OTLP/HTTP or OTLP/gRPC. Default: `"http/protobuf"`. */
      protocol?: "http/protobuf" | "grpc";
      /** URL for traces, used as it is. */
      traces_endpoint?: string;
      /** URL for metrics, used as it is. */
      metrics_endpoint?: string;
      /** URL for logs, used as it is. */
      logs_endpoint?: string;
      /** URL for profiles, used as it is. */
      profiles_endpoint?: string;
      /** Header fields sent with every request to the Collector. Default: `{}`. */
      headers?: Record<string, string>;
      /** passthrough forwards the sender's own compressed data and compresses plain data; gzip and zstd compress merged requests anew. An endpoint that does not read zstd gets gzip. Default: `"passthrough"`. */
      compression?: "passthrough" | "gzip" | "zstd" | "none";
      /** Time for one attempt, connecting included. Default: `"10s"`. */
      timeout?: string | number;
      /** `retry_on_failure`. */
      retry_on_failure?: {
        /** Wait before the first retry; jitter is added. Default: `"1s"`. */
        initial_interval?: string | number;
        /** Longest wait between retries. They never end. Default: `"30s"`. */
        max_interval?: string | number;
      };
      /** `tls`. */
      tls?: {
        /** CA certificates that the Collector must chain to. Default: `"certs/ca.crt"`. */
        ca_file?: string;
        /** The client certificate, with its chain. Default: `"certs/client.crt"`. */
        cert_file?: string;
        /** The client certificate's key. Default: `"certs/client.key"`. */
        key_file?: string;
        /** CA certificates as PEM text, instead of ca_file. */
        ca_pem?: string;
        /** The client certificate as PEM text, instead of cert_file. */
        cert_pem?: string;
        /** The client key as PEM text, instead of key_file. */
        key_pem?: string;
        /** Passphrase of an encrypted key. */
        key_passphrase?: string;
        /** How often the files are checked; changed ones are used without a restart. Default: `"5s"`. */
        reload_interval?: string | number;
        /** A certificate with less time left than this, or than a third of its lifetime, is a WARN, in the log and in /readyz. Default: `"720h"`. */
        expiry_warning?: string | number;
        /** A certificate with less time left than this, or than a tenth of its lifetime, is an ERROR; the relay is not ready. Default: `"72h"`. */
        expiry_error?: string | number;
        /** Use a key file that every user of the machine can read, where the host protects it otherwise. Default: `false`. */
        key_readable_by_others?: boolean;
      };
      /** `signals`. */
      signals?: {
        /** `traces`. */
        traces?: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. */
          timeout?: string | number;
          /** `tls`. */
          tls?: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `metrics`. */
        metrics?: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. */
          timeout?: string | number;
          /** `tls`. */
          tls?: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `logs`. */
        logs?: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. */
          timeout?: string | number;
          /** `tls`. */
          tls?: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
        /** `profiles`. */
        profiles?: {
          /** Replaces exporter.protocol. */
          protocol?: "http/protobuf" | "grpc";
          /** Replaces exporter.headers for this signal. */
          headers?: Record<string, string>;
          /** Replaces exporter.compression. */
          compression?: "passthrough" | "gzip" | "zstd" | "none";
          /** Replaces exporter.timeout. */
          timeout?: string | number;
          /** `tls`. */
          tls?: {
            /** CA certificates for this signal. */
            ca_file?: string;
            /** Client certificate for this signal. */
            cert_file?: string;
            /** Client key for this signal. */
            key_file?: string;
            /** CA certificates for this signal, as PEM text. */
            ca_pem?: string;
            /** Client certificate for this signal, as PEM text. */
            cert_pem?: string;
            /** Client key for this signal, as PEM text. */
            key_pem?: string;
            /** Passphrase of this signal's key. */
            key_passphrase?: string;
          };
        };
      };
      /** false: when it is full or down for long, it misses data and holds up no other exporter; a metric counts what it missed. Default: `true`. */
      required?: boolean;
    };
  };
  /** `groups`. */
  groups?: {
    [name: string]: {
      /** Names in order: the first exporter that works gets all data, and gets it again once it has recovered. */
      failover?: string[];
      /** Names with weights: each request goes to an exporter that works, in proportion to the weights. */
      balance?: Record<string, number>;
    };
  };
}
