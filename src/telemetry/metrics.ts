/**
 * The relay's own instruments: one table, from which they are made and described.
 *
 * Counters are plain numbers that the metrics SDK reads when it collects. A request thus pays for an addition and not for the
 * hashing of attributes. Names mirror the Collector's (`otelcol_receiver_accepted_spans`), with the signal as an attribute.
 * @module
 */
import {
  type Attributes,
  type Histogram,
  type Meter,
  type MeterProvider,
  type MetricOptions,
  type Observable,
  ValueType,
} from "@opentelemetry/api";
import { kindOfSender, type ProofKind, senderId } from "../config/sender_id.ts";
import { DataPointType, type MetricData, type ResourceMetrics } from "@opentelemetry/sdk-metrics";
import type { DropReason, RefusalCode } from "../errors.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";

/** One instrument. */
export interface Instrument {
  /** `counter`: only rises, from 0 at the start of the process. `gauge`: a state. `histogram`: a distribution. */
  readonly kind: "counter" | "gauge" | "histogram";
  /** UCUM code; `{…}` is an annotation: items are spans, data points or log records. */
  readonly unit: string;
  readonly description: string;
  /** Names of its attributes. */
  readonly attributes: readonly string[];
  /** Upper bounds of a histogram's buckets, in its unit. */
  readonly boundaries?: readonly number[];
}

const LATENCY_BOUNDARIES_S = [
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
];
const SIZE_BOUNDARIES = [1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];
const COUNT_BOUNDARIES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/** Every instrument of the relay, by name, in the order of the data path. */
export const INSTRUMENTS = {
  edgeferry_receiver_accepted_requests: {
    kind: "counter",
    unit: "{request}",
    description: "Requests answered 200",
    attributes: ["signal"],
  },
  edgeferry_receiver_accepted_items: {
    kind: "counter",
    unit: "{item}",
    description: "Spans, data points or log records in requests answered 200",
    attributes: ["signal"],
  },
  edgeferry_receiver_unrecognised_requests: {
    kind: "counter",
    unit: "{request}",
    description: "Requests answered 200 with a warning: JSON whose names are no fields of OTLP and that holds no item",
    attributes: ["signal"],
  },
  edgeferry_receiver_refused_requests: {
    kind: "counter",
    unit: "{request}",
    description: "Requests not taken; signal is absent where the path named none",
    attributes: ["reason", "signal"],
  },
  edgeferry_receiver_refused_items: {
    kind: "counter",
    unit: "{item}",
    description: "Items of refused requests, as far as they had been counted",
    attributes: ["reason", "signal"],
  },
  edgeferry_sender_accepted_requests: {
    kind: "counter",
    unit: "{request}",
    description: "Requests answered 200, by sender",
    attributes: ["sender", "signal"],
  },
  edgeferry_sender_accepted_items: {
    kind: "counter",
    unit: "{item}",
    description: "Spans, data points or log records in requests answered 200, by sender",
    attributes: ["sender", "signal"],
  },
  edgeferry_sender_refused_requests: {
    kind: "counter",
    unit: "{request}",
    description: "Requests not taken, of senders that had proved who they are",
    attributes: ["sender", "reason"],
  },
  edgeferry_redaction_attributes: {
    kind: "counter",
    unit: "{attribute}",
    description:
      "Attributes that a redaction action matched, in requests answered 200; with dry_run they are not changed",
    attributes: ["key", "action", "signal", "dry_run"],
  },
  edgeferry_receiver_in_flight_size: {
    kind: "gauge",
    unit: "By",
    description: "Bytes of bodies held for requests under way",
    attributes: [],
  },
  edgeferry_receiver_connections: {
    kind: "gauge",
    unit: "{connection}",
    description: "Connections open; absent where the listener does not bound them",
    attributes: [],
  },
  edgeferry_receiver_dropped_connections: {
    kind: "counter",
    unit: "{connection}",
    description:
      "Connections closed without an answer: max_connections were open, no TLS handshake, no further request in idle_timeout, or frames against the rules of HTTP/2",
    attributes: ["reason"],
  },
  edgeferry_queue_append_duration: {
    kind: "histogram",
    unit: "s",
    description:
      "Time until requests that were written together were safe and their 200s could be sent, from the first one on",
    attributes: ["signal"],
    boundaries: LATENCY_BOUNDARIES_S,
  },
  edgeferry_queue_size: {
    kind: "gauge",
    unit: "By",
    description: "Bytes queued, those in flight included: payloads, and what each record costs beside",
    attributes: [],
  },
  edgeferry_queue_capacity: {
    kind: "gauge",
    unit: "By",
    description: "Bound on the bytes queued",
    attributes: [],
  },
  edgeferry_queue_records: {
    kind: "gauge",
    unit: "{record}",
    description: "Records queued, those in flight included",
    attributes: [],
  },
  edgeferry_queue_in_flight_records: {
    kind: "gauge",
    unit: "{record}",
    description: "Records taken by the exporter and not yet settled",
    attributes: [],
  },
  edgeferry_queue_drain_time: {
    kind: "gauge",
    unit: "s",
    description:
      "Time until the queue will have drained, at the rate of the last half minute; absent while nothing drains",
    attributes: [],
  },
  edgeferry_queue_oldest_age: {
    kind: "gauge",
    unit: "s",
    description: "Age of the oldest queued record; 0 when the queue is empty",
    attributes: [],
  },
  edgeferry_queue_storage_wait: {
    kind: "gauge",
    unit: "s",
    description:
      "How long the queue's storage has not answered; 0 when no answer is due. Several seconds mean that the disk hangs",
    attributes: [],
  },
  edgeferry_books_items: {
    kind: "gauge",
    unit: "{item}",
    description:
      "The books of each target, kept across restarts (sqlite, postgres): accepted = delivered + rejected_by_collector + dead_lettered + " +
      "expired + abandoned + queued",
    attributes: ["account", "signal", "target"],
  },
  edgeferry_target_size: {
    kind: "gauge",
    unit: "By",
    description:
      "Bytes that wait for a target of the routes, as edgeferry_queue_size counts them; where there are several targets",
    attributes: ["target"],
  },
  edgeferry_target_capacity: {
    kind: "gauge",
    unit: "By",
    description: "Bound on the bytes that wait for a target; where there are several",
    attributes: ["target"],
  },
  edgeferry_target_records: {
    kind: "gauge",
    unit: "{record}",
    description: "Records that wait for a target, those in flight included; where there are several targets",
    attributes: ["target"],
  },
  edgeferry_target_oldest_age: {
    kind: "gauge",
    unit: "s",
    description: "Age of the oldest record that waits for a target; 0 when none does; where there are several targets",
    attributes: ["target"],
  },
  edgeferry_target_skipped_items: {
    kind: "gauge",
    unit: "{item}",
    description:
      "Items that a target did not get because it was full and is not required; kept across restarts (sqlite, postgres)",
    attributes: ["target"],
  },
  edgeferry_target_failures: {
    kind: "gauge",
    unit: "{request}",
    description: "Requests for a target that failed one after another; 0 is healthy; where there are several targets",
    attributes: ["signal", "target"],
  },
  edgeferry_fleet_relays: {
    kind: "gauge",
    unit: "{relay}",
    description:
      "Relays that share the queue and live, by what they do (postgres). Each relay tells the same: take the max, not the sum",
    attributes: ["role"],
  },
  edgeferry_fleet_durability: {
    kind: "gauge",
    unit: "1",
    description: "1 for what keeps a 200 safe: disk, standby, or managed, where that is not checked (postgres)",
    attributes: ["kept_by"],
  },
  edgeferry_dead_letter_items: {
    kind: "counter",
    unit: "{item}",
    description: "Items set aside because the Collector will never take them",
    attributes: ["signal"],
  },
  edgeferry_dead_letter_records: {
    kind: "gauge",
    unit: "{record}",
    description: "Records among the dead letters",
    attributes: [],
  },
  edgeferry_dead_letter_size: {
    kind: "gauge",
    unit: "By",
    description: "Payload bytes among the dead letters",
    attributes: [],
  },
  edgeferry_exporter_sent_items: {
    kind: "counter",
    unit: "{item}",
    description: "Items in requests that the Collector answered with a 2xx, those that it rejected in them included",
    attributes: ["signal"],
  },
  edgeferry_exporter_rejected_items: {
    kind: "counter",
    unit: "{item}",
    description: "Items that the Collector rejected by partial_success",
    attributes: ["signal"],
  },
  edgeferry_exporter_send_failures: {
    kind: "counter",
    unit: "{request}",
    description: "Requests to the Collector that failed and will be tried again, by the named fault",
    attributes: ["fault", "signal"],
  },
  edgeferry_exporter_moved_requests: {
    kind: "counter",
    unit: "{request}",
    description:
      "Requests that another exporter of the group took because the first one could not, by the named fault; " +
      "with maybe_both=true the first one may have the request, too",
    attributes: ["fault", "from", "maybe_both", "signal", "to"],
  },
  edgeferry_exporter_up: {
    kind: "gauge",
    unit: "1",
    description: "State of an exporter in a group: 1 if it takes data as far as is known, 0 until it takes data again",
    attributes: ["exporter", "signal"],
  },
  edgeferry_exporter_send_duration: {
    kind: "histogram",
    unit: "s",
    description: "Time of one request that the Collector answered with a 2xx",
    attributes: ["signal"],
    boundaries: LATENCY_BOUNDARIES_S,
  },
  edgeferry_exporter_batch_size: {
    kind: "histogram",
    unit: "By",
    description: "Body of one request to the Collector, as sent",
    attributes: ["signal"],
    boundaries: SIZE_BOUNDARIES,
  },
  edgeferry_exporter_batch_parts: {
    kind: "histogram",
    unit: "{request}",
    description: "Senders' requests merged into one request to the Collector",
    attributes: ["signal"],
    boundaries: COUNT_BOUNDARIES,
  },
  edgeferry_certificate_days_left: {
    kind: "gauge",
    unit: "d",
    description: "Whole days until a certificate that the relay shows, trusts or is shown ends; negative once it has",
    attributes: ["role", "subject", "fingerprint"],
  },
} as const satisfies Record<string, Instrument>;

export type InstrumentName = keyof typeof INSTRUMENTS;

/** The state of the queue, as far as it is measured; the `stats()` of a sending queue are one. */
export interface QueueState {
  readonly records: number;
  readonly bytes: number;
  readonly bytesMax: number;
  /** In how many seconds `bytes` will have drained; undefined while nothing drains. */
  readonly drainS: number | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly oldestAt: number | undefined;
  readonly inFlight: number;
  /** How long storage has owed an answer, in ms. */
  readonly storageWaitMs: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number };
  readonly targets: readonly {
    readonly name: string;
    readonly records: number;
    readonly bytes: number;
    readonly bytesMax: number;
    /** Milliseconds since the Unix epoch. */
    readonly oldestAt: number | undefined;
    /** Items. */
    readonly skipped: number;
    readonly books: Readonly<Record<SignalName, Readonly<Record<keyof typeof ACCOUNTS, number>>>>;
  }[];
}

/** The accounts of the books, as they are exported. */
const ACCOUNTS = {
  accepted: "accepted",
  delivered: "delivered",
  rejectedByCollector: "rejected_by_collector",
  deadLettered: "dead_lettered",
  expired: "expired",
  abandoned: "abandoned",
  queued: "queued",
} as const;

/** One certificate of the relay's, as far as it is measured. */
export interface CertificateState {
  readonly role: string;
  readonly subject: string;
  readonly fingerprintSha256: string;
  readonly daysLeft: number;
}

/** The relays that share a queue. */
export interface FleetState {
  /** How many live, by role; undefined where it is not known. */
  readonly relays: Readonly<Record<string, number>> | undefined;
  readonly keptBy: string | undefined;
}

/** The state of what sends, where there is more than one exporter. */
export interface ExportersState {
  /** Failures in a row, by target and signal. */
  readonly failures: readonly { readonly target: string; readonly signal: SignalName; readonly failures: number }[];
  /** Whether an exporter of a group takes data, by exporter and signal. */
  readonly up: readonly { readonly exporter: string; readonly signal: SignalName; readonly up: boolean }[];
}

/** One request that went to another exporter. */
export interface MovedRequest {
  readonly signal: SignalName;
  readonly from: string;
  readonly to: string;
  readonly fault: string;
  readonly maybeBoth: boolean;
}

/** The state of the receiver. */
export interface ReceiverState {
  /** Bodies held, in bytes. */
  readonly inFlightBytes: number;
  /** undefined where nobody can tell. */
  readonly connections: number | undefined;
}

/** Which attributes were redacted. */
export interface RedactionOfMetrics {
  readonly signal: SignalName;
  readonly key: string;
  readonly action: string;
  readonly dryRun: boolean;
}

/** What the relay reports about itself. Every method is safe on the hot path and never throws. */
export interface RelayMetrics {
  /** A request was answered 200. */
  accepted(signal: SignalName, items: number, sender?: string): void;
  /** A request was answered 200 with the warning that nothing of it is known. */
  unrecognised(signal: SignalName): void;
  /** A request was refused; `items` where the walk had counted them. */
  refused(reason: RefusalCode, signal: SignalName | undefined, items?: number, sender?: string): void;
  /** An action of redaction was for attributes of a request that was answered 200. */
  redacted(rule: RedactionOfMetrics, attributes: number): void;
  /** Requests that were written together were safe, `durationMs` after the first one came. */
  appended(signal: SignalName, durationMs: number): void;
  /** The Collector will never take them. */
  deadLettered(signal: SignalName, items: number): void;
  /** The Collector answered a request with a 2xx. `requests`: how many senders' requests it was merged from. */
  sent(
    signal: SignalName,
    sent: { readonly items: number; readonly requests: number; readonly bytes: number; readonly durationMs: number },
  ): void;
  /** The Collector rejected them by `partial_success`. */
  rejected(signal: SignalName, items: number): void;
  /** A request to the Collector failed. `fault`: its name; beyond 64 different ones they count as `other`. */
  failed(signal: SignalName, fault: string): void;
  /** An exporter of a group could not take a request, and another one took it. */
  moved(request: MovedRequest): void;
  /** A connection was closed without an answer. */
  droppedConnection(reason: DropReason): void;
  /** Where the receiver's gauges come from, read at each collection; a second call replaces the first. */
  observeReceiver(read: () => ReceiverState): void;
  /** Where the queue's gauges come from, read at each collection; a second call replaces the first. */
  observeQueue(read: () => QueueState | Promise<QueueState>): void;
  /** Where the gauges of targets and exporters come from, read at each collection; a second call replaces the first. */
  observeExporters(read: () => ExportersState): void;
  /** Where the gauges of the relays come from that share the queue, read at each collection; a second call replaces the first. */
  observeFleet(read: () => FleetState | Promise<FleetState>): void;
  /** Where the days left of certificates come from, read at each collection; a second call replaces the first. */
  observeCertificates(read: () => readonly CertificateState[]): void;
}

function isGauge(name: string): boolean {
  return Object.hasOwn(INSTRUMENTS, name) && INSTRUMENTS[name as InstrumentName].kind === "gauge";
}

/** What the SDK collected, with the gauges as such: {@link createMetrics} makes sums of them. */
export function asGauges(collected: ResourceMetrics): ResourceMetrics {
  return {
    ...collected,
    scopeMetrics: collected.scopeMetrics.map(({ scope, metrics }) => ({
      scope,
      metrics: metrics.map((metric): MetricData =>
        metric.dataPointType === DataPointType.SUM && isGauge(metric.descriptor.name)
          ? {
            descriptor: metric.descriptor,
            aggregationTemporality: metric.aggregationTemporality,
            dataPointType: DataPointType.GAUGE,
            dataPoints: metric.dataPoints,
          }
          : metric
      ),
    })),
  };
}

/** Makes every instrument of {@link INSTRUMENTS}. `now`: milliseconds since the Unix epoch. */
export function createMetrics(meterProvider: MeterProvider, now: () => number = Date.now): RelayMetrics {
  const meter = meterProvider.getMeter("edgeferry");
  const counters = new Map<InstrumentName, Counter>();
  const histograms = new Map<InstrumentName, Histogram>();
  const gauges = new Map<InstrumentName, Observable>();
  for (const [name, row] of Object.entries(INSTRUMENTS) as [InstrumentName, Instrument][]) {
    if (row.kind === "counter") counters.set(name, new Counter(meter, name, row));
    else if (row.kind === "histogram") histograms.set(name, histogram(meter, name, row));
    // The SDK keeps the later of two samples of a gauge, by the time of day: set back, it would show the old one until that time comes
    // again. A sum it takes as it is read; `asGauges` says that it is a gauge, wherever it goes.
    else gauges.set(name, meter.createObservableUpDownCounter(name, optionsOf(row)));
  }
  const counter = (name: InstrumentName): Counter => existing(counters, name);
  const perSignal = (name: InstrumentName): Record<SignalName, Cell> =>
    bySignal((signal) => counter(name).cell({ signal }));
  const timed = (name: InstrumentName): Histogram => existing(histograms, name);

  let readReceiver: (() => ReceiverState) | undefined;
  const observeReceiver = (name: InstrumentName, value: (state: ReceiverState) => number | undefined) =>
    existing(gauges, name).addCallback((result) => {
      const observed = readReceiver === undefined ? undefined : value(readReceiver());
      if (observed !== undefined) result.observe(observed);
    });
  observeReceiver("edgeferry_receiver_in_flight_size", ({ inFlightBytes }) => inFlightBytes);
  observeReceiver("edgeferry_receiver_connections", ({ connections }) => connections);

  let readQueue: (() => QueueState | Promise<QueueState>) | undefined;
  let readExporters: (() => ExportersState) | undefined;
  let readFleet: (() => FleetState | Promise<FleetState>) | undefined;
  let readCertificates: (() => readonly CertificateState[]) | undefined;
  meter.addBatchObservableCallback(async (result) => {
    for (const { role, subject, fingerprintSha256, daysLeft } of readCertificates?.() ?? []) {
      const fingerprint = fingerprintSha256.replaceAll(":", "").toLowerCase();
      result.observe(existing(gauges, "edgeferry_certificate_days_left"), daysLeft, { role, subject, fingerprint });
    }
    const fleet = await readFleet?.();
    for (const [role, relays] of Object.entries(fleet?.relays ?? {})) {
      result.observe(existing(gauges, "edgeferry_fleet_relays"), relays, { role });
    }
    if (fleet?.keptBy !== undefined) {
      result.observe(existing(gauges, "edgeferry_fleet_durability"), 1, { kept_by: fleet.keptBy });
    }
    const exporters = readExporters?.();
    for (const { target, signal, failures } of exporters?.failures ?? []) {
      result.observe(existing(gauges, "edgeferry_target_failures"), failures, { signal, target });
    }
    for (const { exporter, signal, up } of exporters?.up ?? []) {
      result.observe(existing(gauges, "edgeferry_exporter_up"), up ? 1 : 0, { exporter, signal });
    }
    const state = await readQueue?.();
    if (state === undefined) return;
    // A clock that was set back makes no negative age.
    const age = (oldestAt: number | undefined) => oldestAt === undefined ? 0 : Math.max(0, now() - oldestAt) / 1000;
    const values: Partial<Record<InstrumentName, number>> = {
      edgeferry_queue_size: state.bytes,
      edgeferry_queue_capacity: state.bytesMax,
      edgeferry_queue_records: state.records,
      edgeferry_queue_in_flight_records: state.inFlight,
      ...(state.drainS === undefined ? {} : { edgeferry_queue_drain_time: state.drainS }),
      edgeferry_queue_oldest_age: age(state.oldestAt),
      edgeferry_queue_storage_wait: state.storageWaitMs / 1000,
      edgeferry_dead_letter_records: state.deadLetters.records,
      edgeferry_dead_letter_size: state.deadLetters.bytes,
    };
    for (const [name, gauge] of gauges) {
      const value = values[name];
      if (value !== undefined) result.observe(gauge, value);
    }
    const books = existing(gauges, "edgeferry_books_items");
    for (const target of state.targets) {
      const own: Partial<Record<InstrumentName, number>> = state.targets.length === 1 ? {} : {
        edgeferry_target_size: target.bytes,
        edgeferry_target_capacity: target.bytesMax,
        edgeferry_target_records: target.records,
        edgeferry_target_oldest_age: age(target.oldestAt),
        edgeferry_target_skipped_items: target.skipped,
      };
      for (const [name, gauge] of gauges) {
        const value = own[name];
        if (value !== undefined) result.observe(gauge, value, { target: target.name });
      }
      for (const signal of SIGNAL_NAMES) {
        for (const [account, name] of Object.entries(ACCOUNTS) as [keyof typeof ACCOUNTS, string][]) {
          result.observe(books, target.books[signal][account], { account: name, signal, target: target.name });
        }
      }
    }
  }, [...gauges.values()]);

  const acceptedRequests = perSignal("edgeferry_receiver_accepted_requests");
  const acceptedItems = perSignal("edgeferry_receiver_accepted_items");
  const unrecognised = perSignal("edgeferry_receiver_unrecognised_requests");
  const refusedRequests = counter("edgeferry_receiver_refused_requests");
  const refusedItems = counter("edgeferry_receiver_refused_items");
  const senderRequests = counter("edgeferry_sender_accepted_requests");
  const senderItems = counter("edgeferry_sender_accepted_items");
  const senderRefused = counter("edgeferry_sender_refused_requests");
  const accounts = new Map<string, { readonly requests: Cell; readonly items: Cell }>();
  const senders = new Map<ProofKind, Set<string>>();
  const named = (sender: string): string => {
    const kind = kindOfSender(sender);
    let known = senders.get(kind);
    if (known === undefined) senders.set(kind, known = new Set());
    if (known.size < SENDERS_MAX[kind]) known.add(sender);
    return known.has(sender) ? sender : senderId(kind, "other");
  };
  const accountOf = (sender: string, signal: SignalName) => {
    const key = `${signal} ${sender}`;
    let account = accounts.get(key);
    if (account === undefined) {
      const attributes = { sender: named(sender), signal };
      account = { requests: senderRequests.cell(attributes), items: senderItems.cell(attributes) };
      if (attributes.sender === sender) accounts.set(key, account);
    }
    return account;
  };
  const redactedAttributes = counter("edgeferry_redaction_attributes");
  const movedRequests = counter("edgeferry_exporter_moved_requests");
  const droppedConnections = counter("edgeferry_receiver_dropped_connections");
  const deadLettered = perSignal("edgeferry_dead_letter_items");
  const sent = perSignal("edgeferry_exporter_sent_items");
  const rejected = perSignal("edgeferry_exporter_rejected_items");
  const sendFailures = counter("edgeferry_exporter_send_failures");
  const appendDuration = timed("edgeferry_queue_append_duration");
  const sendDuration = timed("edgeferry_exporter_send_duration");
  const batchSize = timed("edgeferry_exporter_batch_size");
  const batchParts = timed("edgeferry_exporter_batch_parts");

  const signalAttributes = bySignal<Attributes>((signal) => ({ signal }));
  const faults = new Set<string>();
  const knownFault = (fault: string): string => {
    if (faults.size < FAULTS_MAX) faults.add(fault);
    return faults.has(fault) ? fault : "other";
  };

  return {
    accepted(signal, items, sender) {
      acceptedRequests[signal].value++;
      acceptedItems[signal].value += items;
      if (sender === undefined) return;
      const account = accountOf(sender, signal);
      account.requests.value++;
      account.items.value += items;
    },
    unrecognised: (signal) => void unrecognised[signal].value++,
    refused(reason, signal, items, sender) {
      const attributes: Record<string, string> = signal === undefined ? { reason } : { reason, signal };
      refusedRequests.cell(attributes).value++;
      if (items !== undefined) refusedItems.cell(attributes).value += items;
      if (sender !== undefined) senderRefused.cell({ sender: named(sender), reason }).value++;
    },
    redacted({ signal, key, action, dryRun }, attributes) {
      redactedAttributes.cell({ key, action, signal, dry_run: String(dryRun) }).value += attributes;
    },
    appended: (signal, durationMs) => appendDuration.record(durationMs / 1000, signalAttributes[signal]),
    deadLettered: (signal, items) => void (deadLettered[signal].value += items),
    sent(signal, { items, requests, bytes, durationMs }) {
      const attributes = signalAttributes[signal];
      sent[signal].value += items;
      sendDuration.record(durationMs / 1000, attributes);
      batchSize.record(bytes, attributes);
      batchParts.record(requests, attributes);
    },
    rejected: (signal, items) => void (rejected[signal].value += items),
    failed(signal, fault) {
      sendFailures.cell({ fault: knownFault(fault), signal }).value++;
    },
    moved({ signal, from, to, fault, maybeBoth }) {
      movedRequests.cell({ fault: knownFault(fault), from, maybe_both: String(maybeBoth), signal, to }).value++;
    },
    droppedConnection: (reason) => void droppedConnections.cell({ reason }).value++,
    observeReceiver(read) {
      readReceiver = read;
    },
    observeQueue(read) {
      readQueue = read;
    },
    observeExporters(read) {
      readExporters = read;
    },
    observeFleet(read) {
      readFleet = read;
    },
    observeCertificates(read) {
      readCertificates = read;
    },
  };
}

const FAULTS_MAX = 64;
/**
 * Senders with values of their own, by the kind of their proof; those beyond count as `other` of their kind. An issuer of tokens or
 * certificates that makes ever new names fills neither the memory nor the place of other kinds.
 */
const SENDERS_MAX: Readonly<Record<ProofKind, number>> = {
  token: 1_000,
  key: 250,
  jwt: 250,
  certificate: 250,
  none: 1,
};

interface Cell {
  value: number;
  readonly attributes: Attributes;
}

/** A counter that counts by itself and is read at collection. */
class Counter {
  readonly #cells = new Map<string, Cell>();

  constructor(meter: Meter, name: string, row: Instrument) {
    const counter = meter.createObservableCounter(name, optionsOf(row));
    counter.addCallback((result) => {
      for (const { value, attributes } of this.#cells.values()) result.observe(value, attributes);
    });
  }

  /** The number of one set of attributes. Callers give the same attributes in the same order. */
  cell(attributes: Readonly<Record<string, string>>): Cell {
    const key = Object.values(attributes).join(" ");
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      cell = { value: 0, attributes };
      this.#cells.set(key, cell);
    }
    return cell;
  }
}

function histogram(meter: Meter, name: string, row: Instrument): Histogram {
  return meter.createHistogram(name, {
    ...optionsOf(row),
    advice: { explicitBucketBoundaries: [...row.boundaries ?? []] },
  });
}

/** Everything but time is a whole number. */
function optionsOf({ unit, description }: Instrument): MetricOptions {
  return { unit, description, valueType: unit === "s" ? ValueType.DOUBLE : ValueType.INT };
}

function existing<T>(map: ReadonlyMap<InstrumentName, T>, name: InstrumentName): T {
  const made = map.get(name);
  if (made === undefined) throw new TypeError(`Instrument ${name} is of another kind`);
  return made;
}
