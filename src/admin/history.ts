/**
 * The last hour, sampled: what the charts of the status page are drawn from.
 * @module
 */
import { bySignal, type SignalName } from "../signal.ts";

/** What is counted and held at one moment. Counts only rise. */
export interface Sample {
  /** ms since the Unix epoch. */
  readonly at: number;
  /** Items answered 200. */
  readonly taken: Readonly<Record<SignalName, number>>;
  /** Items that the Collector has answered for with a 2xx. */
  readonly sent: Readonly<Record<SignalName, number>>;
  /** Payload bytes queued. */
  readonly queueBytes: number;
  /** Age of the oldest queued record, in s. */
  readonly oldestS: number;
  /** Durable 200s by their time: counts for each bucket, the last one without an upper bound. */
  readonly latency: readonly number[];
  /** Each sender's items and requests answered 200. */
  readonly senders: ReadonlyMap<string, { readonly items: number; readonly requests: number }>;
}

/** One step of the hour, as the charts show it; undefined where nothing is known. */
export interface Step {
  /** Items a second. */
  readonly taken: number | undefined;
  readonly sent: number | undefined;
  readonly queueBytes: number | undefined;
  readonly oldestS: number | undefined;
  /** In s. */
  readonly p50S: number | undefined;
  readonly p99S: number | undefined;
}

/** The length of a step, in ms. */
export const STEP_MS = 10_000;
/** Steps kept: an hour, and the one before it, from which the first rates count. */
const STEPS_KEPT = 361;
/** Steps shown. */
export const STEPS = STEPS_KEPT - 1;
/** Steps over which latency is told: a single one of a quiet relay has too few requests. */
const LATENCY_STEPS = 6;
/** Steps for which senders are kept apart; what is older is kept without them. */
const SENDER_STEPS = 6;

/** What is nearer together than this, in ms, makes no rate of its own. */
const RATE_MS_MIN = 1_000;

const UNKNOWN: Step = {
  taken: undefined,
  sent: undefined,
  queueBytes: undefined,
  oldestS: undefined,
  p50S: undefined,
  p99S: undefined,
};

/** An hour of samples, the last one of each step. */
export class History {
  readonly #boundariesS: readonly number[];
  /** Ascending; a step in which nothing was sampled is absent. */
  readonly #samples: Sample[] = [];

  /** @param boundariesS Upper bounds of the latency's buckets, in s. */
  constructor(boundariesS: readonly number[]) {
    this.#boundariesS = boundariesS;
  }

  /**
   * A sample in the step of the last one takes its place, but for the very first, from which all counts. After a clock that was
   * set back the hour begins anew.
   */
  add(sample: Sample): void {
    const samples = this.#samples;
    const last = samples.at(-1);
    if (last !== undefined && stepOf(sample) < stepOf(last)) samples.length = 0;
    else if (samples.length > 1 && stepOf(sample) === stepOf(last!)) samples.pop();
    samples.push(sample);
    const old = samples.at(-1 - SENDER_STEPS - 1);
    if (old !== undefined && old.senders.size > 0) samples[samples.indexOf(old)] = { ...old, senders: NOBODY };
    while (stepOf(samples[0]!) <= stepOf(sample) - STEPS_KEPT) samples.shift();
  }

  /** The last sample; undefined before the first. */
  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  /** Items a second, by signal, between the step before the last and now. */
  rates(): { readonly taken: Record<SignalName, number>; readonly sent: Record<SignalName, number> } {
    const [before, last] = [this.#samples.at(-2), this.last];
    const rate = (of: (sample: Sample) => number) =>
      before === undefined || last === undefined ? 0 : perSecond(of(before), of(last), before, last);
    return {
      taken: bySignal((signal) => rate(({ taken }) => taken[signal])),
      sent: bySignal((signal) => rate(({ sent }) => sent[signal])),
    };
  }

  /** Items and requests a second of a sender in the last minute. */
  senderRate(sender: string): { readonly items: number; readonly requests: number } {
    const last = this.last;
    const now = last?.senders.get(sender);
    if (last === undefined || now === undefined) return { items: 0, requests: 0 };
    const before = this.#samples.find((sample) => sample !== last && stepOf(sample) >= stepOf(last) - SENDER_STEPS);
    if (before === undefined) return { items: 0, requests: 0 };
    const then = before.senders.get(sender);
    return {
      items: perSecond(then?.items ?? 0, now.items, before, last),
      requests: perSecond(then?.requests ?? 0, now.requests, before, last),
    };
  }

  /** Quantiles of the durable 200's time in the last minute, in s; undefined where there was none. */
  latency(): { readonly count: number; readonly p50S: number | undefined; readonly p99S: number | undefined } {
    return this.#latencyAt(this.#samples.length - 1);
  }

  /** {@link STEPS} of them, the last is now. */
  steps(): readonly Step[] {
    const steps: Step[] = new Array(STEPS).fill(UNKNOWN);
    const last = this.last;
    if (last === undefined) return steps;
    const first = stepOf(last) - STEPS + 1;
    this.#samples.forEach((sample, index) => {
      const place = stepOf(sample) - first;
      if (place < 0) return;
      const before = this.#samples[index - 1];
      const rate = (of: (sample: Sample) => number) =>
        before === undefined ? undefined : perSecond(of(before), of(sample), before, sample);
      const { p50S, p99S } = this.#latencyAt(index);
      steps[place] = {
        taken: rate(({ taken }) => total(taken)),
        sent: rate(({ sent }) => total(sent)),
        queueBytes: sample.queueBytes,
        oldestS: sample.oldestS,
        p50S,
        p99S,
      };
    });
    return steps;
  }

  #latencyAt(index: number): { count: number; p50S: number | undefined; p99S: number | undefined } {
    const sample = this.#samples[index];
    if (sample === undefined) return { count: 0, p50S: undefined, p99S: undefined };
    let from = index;
    while (from > 0 && stepOf(this.#samples[from - 1]!) >= stepOf(sample) - LATENCY_STEPS) from--;
    const before = from === index ? undefined : this.#samples[from]!.latency;
    const counts = sample.latency.map((count, bucket) => before === undefined ? 0 : count - (before[bucket] ?? 0));
    const count = counts.reduce((sum, each) => sum + each, 0);
    const of = (share: number) => quantile(share, counts, this.#boundariesS);
    return { count, p50S: of(0.5), p99S: of(0.99) };
  }
}

const NOBODY: Sample["senders"] = new Map();

const stepOf = ({ at }: Sample): number => Math.floor(at / STEP_MS);
const total = (counts: Readonly<Record<SignalName, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

function perSecond(from: number, to: number, before: Sample, after: Sample): number {
  return Math.max(0, to - from) / (Math.max(RATE_MS_MIN, after.at - before.at) / 1000);
}

/**
 * A quantile of what is counted in buckets, evenly spread in each, as PromQL's `histogram_quantile` has it: in the bucket without
 * an upper bound it is the highest bound there is.
 * @returns undefined where nothing is counted.
 */
export function quantile(share: number, counts: readonly number[], boundaries: readonly number[]): number | undefined {
  const count = counts.reduce((sum, each) => sum + each, 0);
  if (count === 0) return undefined;
  const rank = share * count;
  let below = 0;
  for (const [bucket, upper] of boundaries.entries()) {
    const own = counts[bucket] ?? 0;
    if (own > 0 && below + own >= rank) {
      const lower = boundaries[bucket - 1] ?? 0;
      return lower + (upper - lower) * (rank - below) / own;
    }
    below += own;
  }
  return boundaries.at(-1);
}
