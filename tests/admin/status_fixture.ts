/** A status with an hour behind it, for tests of what is drawn from it. */
import { configFrom } from "../../src/config/load.ts";
import { STEP_MS, STEPS } from "../../src/admin/history.ts";
import type { Status } from "../../src/admin/status.ts";
import { faultNamed } from "../../src/diagnosis/faults.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";

/** 2026-11-26 12:00:00Z */
export const AT = Date.UTC(2026, 10, 26, 12);

const UNUSED: Status["signals"][number] = {
  signal: "profiles",
  taken: 0,
  sent: 0,
  accepted: 0,
  delivered: 0,
  rejected: 0,
  deadLettered: 0,
  expired: 0,
  queued: 0,
  balanced: true,
  targets: [],
};

/** Calm, unless parts are given. */
export function statusWith(parts: Partial<Status> = {}): Status {
  const wave = (index: number, size: number) => size * (1 + 0.4 * Math.sin(index / 17) + 0.15 * Math.sin(index * 1.7));
  const { queue_size: bytesMax } = configFrom({}).sending_queue;
  return {
    at: AT,
    startedAt: AT - 3 * 86_400_000 - 4 * 3_600_000,
    version: "0.1.0",
    durable: true,
    health: {
      ready: true,
      reasons: [],
      warnings: [],
      listeners: [
        { protocol: "OTLP/HTTP", url: "http://127.0.0.1:4319", accepting: true, connections: 1 },
        { protocol: "OTLP/gRPC", url: "http://127.0.0.1:4327", accepting: true, connections: 1_200 },
      ],
      certificates: [{
        role: "client",
        ours: true,
        subject: "CN=client-app",
        fingerprintSha256: "AB",
        validTo: new Date(AT + 200 * 86_400_000),
        daysLeft: 200,
        msLeft: 200 * 86_400_000,
        level: "ok",
      }],
    },
    view: {
      range: "1h",
      offered: ["15min", "1h"],
      stepMs: STEP_MS,
      steps: Array.from({ length: STEPS }, (_, index) => ({
        taken: wave(index, 1_200),
        sent: index > 150 && index < 200 ? 0 : wave(index - 1, 1_200) + (index >= 200 && index < 220 ? 2_400 : 0),
        queueBytes: index > 150 && index < 220
          ? (index < 200 ? (index - 150) * 90_000 : (220 - index) * 225_000)
          : wave(index, 6_000),
        oldestS: index > 150 && index < 220 ? (index < 200 ? (index - 150) * 10 : (220 - index) * 25) : 0.2,
        p50S: wave(index, 0.0021),
        p99S: wave(index + 9, 0.011),
      })),
    },
    latency: { count: 4_000, p50S: 0.0021, p99S: 0.0113 },
    queue: { bytes: 6_000, bytesMax, records: 3, inFlight: 1, oldestS: 0.2 },
    signals: SIGNAL_NAMES.map((signal) =>
      signal === "profiles" ? UNUSED : ({
        signal,
        taken: 300,
        sent: 299,
        accepted: 1_000_121,
        delivered: 1_000_100,
        rejected: 5,
        deadLettered: 6,
        expired: 0,
        queued: 10,
        balanced: true,
        targets: [],
      })
    ),
    ways: [{
      target: undefined,
      signals: [...SIGNAL_NAMES],
      url: "https://collector.example:4318",
      state: "takes",
      failures: 0,
      last: undefined,
    }],
    senders: [
      {
        sender: "checkout",
        itemsPerSecond: 880,
        requestsPerSecond: 12,
        items: 700_000,
        lastUse: AT - 500,
        refused: [],
      },
      {
        sender: "web",
        itemsPerSecond: 0.25,
        requestsPerSecond: 0.25,
        items: 90,
        lastUse: AT - 90_000,
        refused: [["throttled", 12], ["too_large", 1]],
      },
    ],
    sendersMore: 0,
    refused: [["unauthenticated", 3]],
    deadLetters: {
      records: 0,
      bytes: 0,
      groups: [],
      groupsMore: 0,
      ungrouped: 0,
      path: undefined,
    },
    ...parts,
  };
}

/** Three of one sender, of a day ago. */
export function oldLetters(): Pick<Status, "deadLetters"> {
  return {
    deadLetters: {
      records: 3,
      bytes: 2_048,
      groups: [{
        sender: "web",
        signal: "logs",
        reason: "invalid trace id",
        status: 400,
        records: 3,
        items: 6,
        bytes: 2_048,
        firstAt: AT - 86_460_000,
        lastAt: AT - 86_400_000,
      }],
      groupsMore: 0,
      ungrouped: 0,
      path: undefined,
    },
  };
}

/** A Collector that does not answer any more. */
export function outage(): Pick<Status, "ways"> {
  return {
    ways: [{
      target: undefined,
      signals: [...SIGNAL_NAMES],
      url: "https://collector.example:4318",
      state: "failing",
      failures: 4,
      last: {
        at: AT - 3_000,
        fault: faultNamed("connection_refused"),
        cause: "Connection refused (os error 111)",
        retryAt: AT + 12_000,
      },
    }],
  };
}
