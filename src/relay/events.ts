/**
 * The events of the receiver and the exporter, as metrics and log lines.
 * @module
 */
import { shownUrl } from "../config/shown.ts";
import { concernsTheEndpoint, faultNamed } from "../diagnosis/faults.ts";
import { messageOf } from "../errors.ts";
import type { ExporterEvents } from "../exporter/exporter.ts";
import type { GroupEvents } from "../exporter/group.ts";
import type { RecoderEvents } from "../exporter/recode/recoder.ts";
import type { ReceiverEvents } from "../receiver/receive.ts";
import type { PreparerEvents } from "../receiver/preparer.ts";
import type { SignalName } from "../signal.ts";
import type { Log } from "../telemetry/log.ts";
import type { RelayMetrics } from "../telemetry/metrics.ts";

/** One line of a kind in this time, in ms; the next one tells how many were withheld. */
const LOG_INTERVAL_MS = 10_000;

/** Failures in a row after which even a fault that mends itself is logged as one that needs a person. */
const FAILURES_ALARMING = 5;

/** The most characters logged of a text that a caller has chosen. */
const CHOSEN_CHARACTERS_MAX = 100;

/** An error's text may quote a URL, and its query holds tokens. */
function withoutQueries(text: string): string {
  return text.replaceAll(/\?[^\s'"`<>]*/g, "?...");
}

/** WARN: nothing is lost, a refused request is its sender's. */
export function receiverEvents(metrics: RelayMetrics, log: Log): ReceiverEvents {
  return {
    accepted: (signal, sender, items) => metrics.accepted(signal, items, sender),
    redacted(signal, { rules, dryRun }, hits) {
      for (const [index, { key, action }] of rules.entries()) {
        if (hits[index]! > 0) metrics.redacted({ signal, key, action, dryRun }, hits[index]!);
      }
    },
    unrecognised(signal, sender, names) {
      metrics.unrecognised(signal);
      log.limited(`unrecognised ${signal}`, LOG_INTERVAL_MS).warn(
        "Took JSON of which nothing is kept: its names are no fields of OTLP; the sender was warned",
        { signal, sender, names },
      );
    },
    refused({ refusal, signal, sender, items, path, origin }) {
      metrics.refused(refusal.code, signal, items, sender);
      const { code, what, remedy } = refusal;
      log.limited(`refused ${refusal.kind}`, LOG_INTERVAL_MS).warn("Refused a request", {
        reason: code,
        signal,
        sender,
        message: what,
        // A stranger chooses it: it is cut, and never part of the line's kind.
        path: path?.slice(0, CHOSEN_CHARACTERS_MAX),
        origin: origin?.slice(0, CHOSEN_CHARACTERS_MAX),
        // What may be retried asks nothing of those who read this.
        remedy: refusal.retryAfterS === undefined ? remedy : undefined,
      });
    },
    failed: (error) =>
      log.limited("receiver failed", LOG_INTERVAL_MS).error("Failed to take a request; its sender was told to retry", {
        cause: withoutQueries(messageOf(error)),
      }),
  };
}

/** WARN: nothing is lost; large bodies hold up others, or are their senders' to send again. */
export function preparerEvents(log: Log): PreparerEvents {
  return {
    threadless: (cause) =>
      log.warn("Large bodies are prepared on the event loop, where others wait for them: no thread can be started", {
        cause,
      }),
    crashed: (cause) =>
      log.limited("preparer crashed", LOG_INTERVAL_MS).warn(
        "The thread that prepares large bodies ended by an error; the sender was told to retry, and a new thread starts",
        { cause },
      ),
  };
}

export function recoderEvents(log: Log): RecoderEvents {
  return {
    recodesInline: (cause) =>
      log.warn(
        "Large requests are compressed on the event loop, where others wait for them: there is no thread for it",
        {
          cause,
        },
      ),
  };
}

/** The same log, whose lines name a target. */
function logFor(log: Log, target: string): Log {
  return {
    debug: (message, fields) => log.debug(message, { target, ...fields }),
    info: (message, fields) => log.info(message, { target, ...fields }),
    warn: (message, fields) => log.warn(message, { target, ...fields }),
    error: (message, fields) => log.error(message, { target, ...fields }),
    limited: (key, intervalMs) => logFor(log.limited(`${target} ${key}`, intervalMs), target),
  };
}

/**
 * ERROR: a person is needed, or the Collector gave data up.
 * @param originOf Where a signal goes: what all signals meet there is told once.
 * @param target The target's name, where there are several: its lines name it, and each has limits of its own.
 */
export function exporterEvents(
  metrics: RelayMetrics,
  relayLog: Log,
  originOf: (signal: SignalName) => string = () => "",
  target?: string,
): ExporterEvents & GroupEvents {
  const log = target === undefined ? relayLog : logFor(relayLog, target);
  return {
    sent: (signal, sent) => metrics.sent(signal, sent),
    rejected(signal, items, message) {
      metrics.rejected(signal, items);
      const limited = log.limited(`rejected ${signal}`, LOG_INTERVAL_MS);
      if (items === 0) limited.warn("The Collector took a request with a warning", { signal, message });
      else limited.error("The Collector rejected items of a request that it took", { signal, items, message });
    },
    deadLettered(signal, items, sender, reason) {
      metrics.deadLettered(signal, items);
      log.limited(`dead ${signal}`, LOG_INTERVAL_MS).error("Set aside what the Collector will never take", {
        signal,
        items,
        sender,
        reason,
      });
    },
    failed(signal, fault, { cause, failures, retryMs }) {
      metrics.failed(signal, fault.code);
      const of = concernsTheEndpoint(fault.code) ? originOf(signal) || signal : signal;
      const limited = log.limited(`failed ${of} ${fault.code}`, LOG_INTERVAL_MS);
      const fields = { signal, fault: fault.code, remedy: fault.remedy, cause, failures, retryMs: Math.round(retryMs) };
      if (fault.lasting || failures >= FAILURES_ALARMING) limited.error(fault.what, fields);
      else limited.warn(fault.what, fields);
    },
    setApart(signal, fault, { items, sender, cause, failures, retryMs }) {
      metrics.failed(signal, fault.code);
      log.limited(`apart ${signal}`, LOG_INTERVAL_MS).error(fault.what, {
        signal,
        fault: fault.code,
        remedy: fault.remedy,
        sender,
        items,
        cause,
        failures,
        retryMs,
      });
    },
    suspected(signal, fault, { items, sender, cause, refusals, retryMs }) {
      metrics.failed(signal, fault.code);
      const fields = { signal, fault: fault.code, remedy: fault.remedy, sender, items, cause, refusals, retryMs };
      log.limited(`suspected ${signal}`, LOG_INTERVAL_MS).warn(fault.what, fields);
    },
    senderRefused(signal, fault, { sender, cause, refusals, retryMs }) {
      metrics.failed(signal, fault.code);
      log.limited(`refused sender ${signal}`, LOG_INTERVAL_MS).error(
        "The Collector does not take what one sender has sent, and takes others': that sender's data waits alone",
        { signal, sender, fault: fault.code, remedy: fault.remedy, cause, refusals, retryMs },
      );
    },
    looking(signal, { requests, ms, bounded }) {
      const limited = log.limited(`looking ${signal} ${bounded}`, LOG_INTERVAL_MS);
      if (bounded) {
        limited.warn("Looking for what the Collector does not take has reached its bound", { signal, requests, ms });
      } else limited.warn("Looking for what the Collector does not take lasts", { signal, requests, ms });
    },
    silent(signal, fault, url) {
      const fields = { signal, fault: fault.code, remedy: fault.remedy, url: shownUrl(url) };
      log.limited(`silent ${signal}`, LOG_INTERVAL_MS).warn(fault.what, fields);
    },
    moved(signal, from, to, fault, { first, maybeBoth }) {
      metrics.moved({ signal, from, to, fault: fault.code, maybeBoth });
      if (maybeBoth) {
        log.limited(`twice ${signal} ${from}`, LOG_INTERVAL_MS).warn(
          "A request may be on two exporters of the group: the first did not answer for it, and another took it",
          { signal, from, to },
        );
      }
      if (!first) return;
      const fields = { signal, from, to, fault: fault.code, remedy: fault.remedy };
      const limited = log.limited(`moved ${signal} ${from}`, LOG_INTERVAL_MS);
      if (fault.lasting) limited.error("An exporter of the group cannot take data, and another has it", fields);
      else limited.warn("An exporter of the group cannot take data, and another has it", fields);
    },
    returned: (signal, name) => log.info("An exporter of the group takes data again", { signal, exporter: name }),
    recovered: (signal, failures) => log.info("The Collector takes the signal again", { signal, failures }),
    members(signal, form, members, to) {
      const url = shownUrl(to);
      if (form === "zstd") {
        const { what, remedy } = faultNamed("zstd_unread");
        if (members === "all") log.debug("The endpoint reads zstd", { signal, url });
        else log.warn(what, { signal, url, remedy });
      } else if (members === "all") {
        log.debug("The endpoint reads every gzip member of a body: requests are merged", { signal, url });
      } else if (members === "first_only") {
        log.warn("The endpoint reads only the first gzip member of a body, so every request goes by itself", {
          signal,
          url,
        });
      } else {
        log.warn(
          "The endpoint refuses an empty request of two gzip members, or a field that OTLP does not have, as merged requests " +
            "begin with one: every request goes by itself",
          { signal, url },
        );
      }
    },
  };
}
