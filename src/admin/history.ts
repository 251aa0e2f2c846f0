/**
 * The last day, sampled: what the charts of the status page are drawn from.
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

/** One step of a chart; undefined where nothing is known. Where steps are merged: the mean of rates and p50, the maximum of the rest. */
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

/** How far back charts go, the shortest first. */
export const RANGES = {
  "15min": { words: "15 min", ms: 900_000 },
  "1h": { words: "1 h", ms: 3_600_000 },
  "6h": { words: "6 h", ms: 21_600_000 },
  "24h": { words: "24 h", ms: 86_400_000 },
} as const;

export type RangeName = keyof typeof RANGES;

/** Where nobody has chosen. */
export const RANGE_DEFAULT: RangeName = "1h";

/** The range of that name; the default for any other text. */
export function rangeNamed(text: string | undefined): RangeName {
  return (Object.keys(RANGES) as RangeName[]).find((name) => name === text) ?? RANGE_DEFAULT;
}

/** A range as it is drawn. */
export interface View {
  readonly range: RangeName;
  /** Those worth a choice: a longer one than all that is known shows no more. */
  readonly offered: readonly RangeName[];
  /** The length of a step, in ms. */
  readonly stepMs: number;
  /** All of the range; the last is now. */
  readonly steps: readonly Step[];
}

/** What is kept over a restart: steps by their number since the Unix epoch, ascending. */
export interface HistorySnapshot {
  readonly fine: readonly (readonly [step: number, values: Step])[];
  readonly coarse: readonly (readonly [step: number, values: Step])[];
}

/** The length of a fine step, in ms. */
export const STEP_MS = 10_000;
/** Fine steps kept: an hour. */
export const STEPS = 360;
/** Fine steps in a coarse one. */
const FINE_IN_COARSE = 12;
/** The length of a coarse step, in ms. */
const COARSE_MS = STEP_MS * FINE_IN_COARSE;
/** Coarse steps kept: a day. */
const COARSE_STEPS = 720;
/** Points of a line at most: where there are more, several are one. */
const POINTS_MAX = 360;
/** Over how many steps latency is computed: a single step of a quiet relay has too few requests. */
const LATENCY_STEPS = 6;
/** Steps over which the rate of a sender is told. */
const SENDER_STEPS = 6;
/** Samples that are nearer together than this, in ms, make no rate of their own. */
const RATE_MS_MIN = 1_000;

const UNKNOWN: Step = {
  taken: undefined,
  sent: undefined,
  queueBytes: undefined,
  oldestS: undefined,
  p50S: undefined,
  p99S: undefined,
};

/** A day: the last hour in fine steps, all of it in coarse ones. Samples themselves are kept for a minute. */
export class History {
  readonly #boundariesS: readonly number[];
  /** Ascending, of the last minute; a step in which nothing was sampled is absent. */
  readonly #samples: Sample[] = [];
  /** By their number, ascending. */
  readonly #fine = new Map<number, Step>();
  readonly #coarse = new Map<number, Step>();

  /** @param boundariesS Upper bounds of the latency's buckets, in s. */
  constructor(boundariesS: readonly number[]) {
    this.#boundariesS = boundariesS;
  }

  /**
   * A sample in the step of the last one takes its place, but for the very first, from which all counts. After a clock that was
   * set back everything begins anew.
   */
  add(sample: Sample): void {
    const samples = this.#samples;
    const last = samples.at(-1);
    if (last !== undefined && stepOf(sample) < stepOf(last)) {
      samples.length = 0;
      this.#fine.clear();
      this.#coarse.clear();
    } else if (samples.length > 1 && stepOf(sample) === stepOf(last!)) samples.pop();
    samples.push(sample);
    while (stepOf(samples[0]!) < stepOf(sample) - Math.max(SENDER_STEPS, LATENCY_STEPS) && samples.length > 2) {
      samples.shift();
    }
    const step = stepOf(sample);
    put(this.#fine, step, this.#lastStep(), STEPS);
    const coarse = Math.floor(step / FINE_IN_COARSE);
    const within = Array.from(
      { length: FINE_IN_COARSE },
      (_, index) => this.#fine.get(coarse * FINE_IN_COARSE + index),
    );
    put(this.#coarse, coarse, inOne(within.filter((each) => each !== undefined)), COARSE_STEPS);
  }

  /** The last sample; undefined before the first. */
  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  /** What a relay before this one has kept; what is of the future, or older than a day, is left out. @param at ms since the Unix epoch */
  restore({ fine, coarse }: HistorySnapshot, at: number): void {
    const before = (target: Map<number, Step>, kept: HistorySnapshot["fine"], now: number, count: number) => {
      const own = [...target];
      target.clear();
      const first = own[0]?.[0] ?? now + 1;
      for (const [step, values] of kept) {
        if (step > now - count && step <= now && step < first) target.set(step, values);
      }
      for (const [step, values] of own) target.set(step, values);
    };
    before(this.#fine, fine, Math.floor(at / STEP_MS), STEPS);
    before(this.#coarse, coarse, Math.floor(at / COARSE_MS), COARSE_STEPS);
  }

  /** What is to be kept over a restart. */
  snapshot(): HistorySnapshot {
    return { fine: [...this.#fine], coarse: [...this.#coarse] };
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
    const last = this.last;
    if (last === undefined) return { count: 0, p50S: undefined, p99S: undefined };
    const from = this.#samples.find((sample) => stepOf(sample) >= stepOf(last) - LATENCY_STEPS);
    const counts = last.latency.map((count, bucket) =>
      from === undefined || from === last ? 0 : count - (from.latency[bucket] ?? 0)
    );
    const count = counts.reduce((sum, each) => sum + each, 0);
    const of = (share: number) => quantile(share, counts, this.#boundariesS);
    return { count, p50S: of(0.5), p99S: of(0.99) };
  }

  /** A range up to now; where it is longer than what is known, the shortest that has all of it. */
  view(wanted: RangeName): View {
    const names = Object.keys(RANGES) as RangeName[];
    const oldest = Math.min(
      ...[...this.#fine.keys()].slice(0, 1).map((step) => step * STEP_MS),
      ...[...this.#coarse.keys()].slice(0, 1).map((step) => step * COARSE_MS),
    );
    const knownMs = this.last === undefined ? 0 : Math.max(0, this.last.at - oldest);
    const offered = names.filter((_, index) => index === 0 || RANGES[names[index - 1]!].ms < knownMs);
    const range = offered.includes(wanted) ? wanted : offered.at(-1)!;
    const { ms } = RANGES[range];
    const now = this.last?.at ?? 0;
    if (ms <= STEPS * STEP_MS) {
      return { range, offered, stepMs: STEP_MS, steps: lastOf(this.#fine, Math.floor(now / STEP_MS), ms / STEP_MS) };
    }
    const steps = lastOf(this.#coarse, Math.floor(now / COARSE_MS), ms / COARSE_MS);
    const inEach = Math.ceil(steps.length / POINTS_MAX);
    const points = Array.from(
      { length: steps.length / inEach },
      (_, index) => inOne(steps.slice(index * inEach, (index + 1) * inEach)),
    );
    return { range, offered, stepMs: COARSE_MS * inEach, steps: points };
  }

  #lastStep(): Step {
    const [before, last] = [this.#samples.at(-2), this.last!];
    const rate = (of: (sample: Sample) => number) =>
      before === undefined ? undefined : perSecond(of(before), of(last), before, last);
    const { p50S, p99S } = this.latency();
    return {
      taken: rate(({ taken }) => total(taken)),
      sent: rate(({ sent }) => total(sent)),
      queueBytes: last.queueBytes,
      oldestS: last.oldestS,
      p50S,
      p99S,
    };
  }
}

/** Puts a step at its end, and takes out what is older than `count` steps. */
function put(steps: Map<number, Step>, step: number, values: Step, count: number): void {
  steps.set(step, values);
  for (const each of steps.keys()) {
    if (each > step - count) break;
    steps.delete(each);
  }
}

function lastOf(steps: ReadonlyMap<number, Step>, last: number, count: number): Step[] {
  return Array.from({ length: count }, (_, index) => steps.get(last - count + 1 + index) ?? UNKNOWN);
}

function inOne(steps: readonly Step[]): Step {
  const known = (key: keyof Step) => steps.map((step) => step[key]).filter((value) => value !== undefined);
  const mean = (key: keyof Step) => {
    const values = known(key);
    return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  const highest = (key: keyof Step) => known(key).reduce<number | undefined>((a, b) => Math.max(a ?? b, b), undefined);
  return {
    taken: mean("taken"),
    sent: mean("sent"),
    queueBytes: highest("queueBytes"),
    oldestS: highest("oldestS"),
    p50S: mean("p50S"),
    p99S: highest("p99S"),
  };
}

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
