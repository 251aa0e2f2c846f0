import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { Refusal } from "../../src/errors.ts";
import { Batcher, type BatchLimits, type Submission } from "../../src/queue/batcher.ts";
import type { Accepted, QueueCapabilities, QueueRecord, SendingQueue } from "../../src/queue/queue.ts";
import { Shares } from "../../src/queue/shares.ts";
import { Random } from "../support/bodies/requests.ts";

/** A record whose payload the queue has taken over. */
type Appended = Omit<QueueRecord, "payload"> & { readonly payload: Uint8Array<ArrayBuffer> };

/** The queue's entrance, whose commits the test ends. */
class Entrance {
  readonly appended: Appended[] = [];
  /** Commits under way, oldest first. */
  readonly open: { record: Appended; resolve: (accepted: Accepted) => void; reject: (error: unknown) => void }[] = [];
  readonly queue: SendingQueue;

  constructor(capabilities: Partial<QueueCapabilities> = {}) {
    this.queue = {
      capabilities: { durable: true, merges: true, shared: false, ...capabilities },
      target: () => assert.fail("a batcher knows its targets"),
      admits: () => assert.fail("a batcher asks for no leave"),
      append: ({ payload, ...rest }) => {
        const record = { ...rest, payload: payload.take() };
        this.appended.push(record);
        return new Promise((resolve, reject) => this.open.push({ record, resolve, reject }));
      },
      take: () => assert.fail("a batcher takes nothing"),
      hasten: () => assert.fail("a batcher hastens nothing"),
      reaches: () => assert.fail("a batcher sends nothing"),
      stats: () => assert.fail("a batcher asks for no statistics"),
      readiness: () => ({ ready: true }),
      shares: new Shares(Date.now),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  /** Ends every commit that is under way. */
  commit(accepted: Accepted = {}): void {
    for (const { resolve } of this.open.splice(0)) resolve(accepted);
  }

  fail(error: unknown): void {
    for (const { reject } of this.open.splice(0)) reject(error);
  }
}

const limits: BatchLimits = { bytesMax: 1_000, inflatedBytesMax: 5_000 };

function submission(payload: string | Uint8Array, rest: Partial<Submission> = {}): Submission {
  const bytes = new Uint8Array(typeof payload === "string" ? Buffer.from(payload) : payload);
  return {
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    targets: [1],
    sender: "a",
    items: 1,
    inflatedBytes: bytes.length * 2,
    payload: new OwnedBytes(bytes),
    ...rest,
  };
}

const text = ({ payload }: Appended) => Buffer.from(payload).toString();
/** Every promise reaction that is due has run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("a request that finds the queue idle is committed at once, in its own turn and its own buffer", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const only = submission("one");
  const { bytes } = only.payload;
  const answer = batcher.append(only);
  assert.deepEqual(entrance.appended.map(text), ["one"]);
  assert.equal(entrance.appended[0]!.payload, bytes);
  assert.throws(() => only.payload.bytes, ReferenceError, "it is the queue's");
  entrance.commit();
  await answer;
});

Deno.test("what arrives during a commit shares the next one, in order, with its boundaries", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const answers = [batcher.append(submission("first"))];
  answers.push(
    batcher.append(submission("second", { sender: "b", items: 5, inflatedBytes: 50 })),
    batcher.append(submission("third", { sender: "c", items: 7, inflatedBytes: 70 })),
  );
  await turn();
  assert.equal(entrance.appended.length, 1, "nothing is committed beside a commit");
  entrance.commit();
  await turn();
  assert.deepEqual(entrance.appended.map(text), ["first", "secondthird"]);
  assert.deepEqual(entrance.appended[1], {
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    targets: [1],
    parts: [
      { sender: "b", items: 5, bytes: 6, inflatedBytes: 50 },
      { sender: "c", items: 7, bytes: 5, inflatedBytes: 70 },
    ],
    payload: new Uint8Array(Buffer.from("secondthird")),
  });
  const { payload } = entrance.appended[1]!;
  assert.equal(payload.byteLength, payload.buffer.byteLength, "a buffer of its own");
  entrance.commit();
  await Promise.all(answers);
});

Deno.test("no answer before the commit that holds the request, whatever came before or after", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const answered: string[] = [];
  const append = (name: string) => batcher.append(submission(name)).then(() => void answered.push(name));
  const all = [append("a"), append("b")];
  entrance.commit();
  await turn();
  assert.deepEqual(answered, ["a"]);
  all.push(append("c"));
  entrance.commit();
  await turn();
  assert.deepEqual(answered, ["a", "b"]);
  entrance.commit();
  await Promise.all(all);
  assert.deepEqual(answered, ["a", "b", "c"]);
});

Deno.test("a record is of one signal and one encoding, and a request that is not mergeable stays alone", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const answers = [
    batcher.append(submission("0")),
    batcher.append(submission("t1")),
    batcher.append(submission("m1", { signal: "metrics" })),
    batcher.append(submission("i1", { encoding: "identity" })),
    batcher.append(submission("alone", { mergeable: false })),
    batcher.append(submission("t2")),
    batcher.append(submission("m2", { signal: "metrics" })),
    batcher.append(submission("alone too", { mergeable: false })),
    batcher.append(submission("i2", { encoding: "identity" })),
  ];
  entrance.commit();
  await turn();
  assert.deepEqual(entrance.appended.slice(1).map(text), ["t1t2", "m1m2", "i1i2", "alone", "alone too"]);
  assert.deepEqual(entrance.appended.map(({ mergeable }) => mergeable), [true, true, true, true, false, false]);
  entrance.commit();
  await Promise.all(answers);
});

Deno.test("limits end a record: bytes, inflated bytes and parts; what is larger makes one by itself", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const answers = [batcher.append(submission("0"))];
  const sizes = [600, 400, 1, 5_000, 1];
  for (const size of sizes) answers.push(batcher.append(submission(Buffer.alloc(size, "x"), { inflatedBytes: size })));
  for (let index = 0; index < 3; index++) {
    answers.push(batcher.append(submission("y", { signal: "logs", inflatedBytes: 2_500 })));
  }
  for (let index = 0; index < 1_001; index++) {
    answers.push(batcher.append(submission(new Uint8Array(0), { signal: "metrics", inflatedBytes: 0 })));
  }
  entrance.commit();
  await turn();
  const byParts = (signal: string) =>
    entrance.appended.slice(1).filter((record) => record.signal === signal).map(({ parts }) => parts.length);
  assert.deepEqual(byParts("traces"), [2, 1, 1, 1]);
  assert.deepEqual(byParts("logs"), [2, 1]);
  assert.deepEqual(byParts("metrics"), [1_000, 1]);
  entrance.commit();
  await Promise.all(answers);
});

Deno.test("a commit that fails fails its own requests, and the next go on", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const first = batcher.append(submission("a"));
  const others = [batcher.append(submission("b")), batcher.append(submission("c"))];
  const full = new Refusal("queue_full", "full", { retryAfterS: 5 });
  entrance.fail(full);
  await assert.rejects(first, full);
  await turn();
  assert.deepEqual(entrance.appended.map(text), ["a", "bc"]);
  const both = Promise.allSettled(others);
  entrance.fail(full);
  assert.deepEqual((await both).map(({ status }) => status), ["rejected", "rejected"]);
  const last = batcher.append(submission("d"));
  await turn();
  entrance.commit();
  await last;
});

Deno.test("one record's failure is not another's of the same turn", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  const start = batcher.append(submission("0"));
  const traces = batcher.append(submission("t"));
  const logs = batcher.append(submission("l", { signal: "logs" }));
  entrance.commit();
  await start;
  await turn();
  const [first, second] = entrance.open.splice(0);
  const failed = assert.rejects(traces, /disk/);
  first!.reject(new Error("disk"));
  second!.resolve({});
  await failed;
  await logs;
});

Deno.test("idle resolves when nothing waits and nothing is under way", async () => {
  const entrance = new Entrance();
  const batcher = new Batcher(entrance.queue, limits);
  await batcher.idle();
  const answers = [batcher.append(submission("a")), batcher.append(submission("b"))];
  let idle = false;
  const waiting = batcher.idle().then(() => idle = true);
  entrance.commit();
  await turn();
  assert.equal(idle, false);
  entrance.commit();
  await waiting;
  await Promise.all(answers);
});

Deno.test("an engine that does not merge gets each request as it comes, and its answer goes to that sender", async () => {
  const entrance = new Entrance({ merges: false });
  const batcher = new Batcher(entrance.queue, limits);
  const answers = ["a", "b", "c"].map((name) => batcher.append(submission(name, { sender: name })));
  assert.deepEqual(entrance.appended.map(text), ["a", "b", "c"]);
  const [a, b, c] = entrance.open.splice(0);
  b!.resolve({ partialSuccess: { rejected: 1, message: "b's" } });
  a!.resolve({});
  c!.reject(new Refusal("rejected_upstream", "c's"));
  const settled = await Promise.allSettled(answers);
  assert.deepEqual(settled[0], { status: "fulfilled", value: {} });
  assert.deepEqual(settled[1], {
    status: "fulfilled",
    value: { partialSuccess: { rejected: 1, message: "b's" } },
  });
  assert.equal(settled[2]!.status, "rejected");
});

Deno.test("whatever arrives when, each request is in one record once, whole, and its answer is that record's", async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new Random(seed);
    const entrance = new Entrance();
    const batcher = new Batcher(entrance.queue, { bytesMax: 60, inflatedBytesMax: 200 }, undefined, async () => {});
    const outcomes = new Map<number, string>();
    const sent: (Submission & { readonly bytes: Uint8Array })[] = [];
    const committed = new Map<Appended, string>();
    for (let step = 0; step < 120; step++) {
      if (random.chance(0.7)) {
        const id = sent.length;
        const one = submission(`<${id}>`.padEnd(4 + random.below(30), "."), {
          sender: `s${id}`,
          signal: random.pick(["traces", "metrics", "logs"]),
          encoding: random.pick(["gzip", "identity"]),
          mergeable: random.chance(0.9),
          items: random.below(9),
        });
        sent.push({ ...one, bytes: one.payload.bytes });
        batcher.append(one).then(() => outcomes.set(id, "kept"), () => outcomes.set(id, "refused"));
      } else {
        for (const { record, resolve, reject } of entrance.open.splice(0)) {
          const keep = random.chance(0.8);
          committed.set(record, keep ? "kept" : "refused");
          if (keep) resolve({});
          else reject(new Refusal("queue_full", "full"));
        }
        await turn();
      }
    }
    // What came last may still wait for company.
    await turn();
    while (entrance.open.length > 0) {
      for (const { record } of entrance.open) committed.set(record, "kept");
      entrance.commit();
      await turn();
    }
    await batcher.idle();
    await turn();
    const seen: number[] = [];
    const lastOf = new Map<string, number>();
    for (const record of entrance.appended) {
      let offset = 0;
      if (record.parts.length > 1) {
        assert.ok(record.payload.length <= 60 && record.mergeable);
        assert.ok(record.parts.reduce((sum, part) => sum + part.inflatedBytes, 0) <= 200);
      }
      for (const part of record.parts) {
        const id = Number(part.sender.slice(1));
        const { bytes, items, inflatedBytes, signal, encoding, mergeable } = sent[id]!;
        seen.push(id);
        assert.deepEqual([signal, encoding, mergeable], [record.signal, record.encoding, record.mergeable]);
        assert.deepEqual(part, { sender: `s${id}`, items, bytes: bytes.length, inflatedBytes });
        assert.deepEqual(record.payload.slice(offset, offset + part.bytes), bytes);
        offset += part.bytes;
        assert.equal(outcomes.get(id), committed.get(record), `seed ${seed}, request ${id}`);
        if (mergeable) {
          const key = `${signal} ${encoding}`;
          assert.ok((lastOf.get(key) ?? -1) < id, "in order of arrival");
          lastOf.set(key, id);
        }
      }
      assert.equal(offset, record.payload.length);
    }
    assert.deepEqual(seen.toSorted((a, b) => a - b), sent.map((_, id) => id));
  }
});

Deno.test("behind a commit of many the next one waits a little for as many, also where none had come meanwhile", async () => {
  const entrance = new Entrance();
  const delays: { ms: number; over: () => void }[] = [];
  const delay = (ms: number) => new Promise<void>((over) => delays.push({ ms, over }));
  const batcher = new Batcher(entrance.queue, { bytesMax: 1_000, inflatedBytesMax: 5_000 }, undefined, delay);
  const answers = [batcher.append(submission("alone"))];
  for (let count = 0; count < 20; count++) answers.push(batcher.append(submission("m")));
  entrance.commit();
  await turn();
  assert.equal(delays.length, 0, "one request alone is no load");
  assert.deepEqual(entrance.appended.map(text), ["alone", "m".repeat(20)]);
  entrance.commit();
  await Promise.all(answers);
  const later = [batcher.append(submission("a"))];
  await turn();
  assert.deepEqual(delays.map(({ ms }) => ms), [2]);
  later.push(batcher.append(submission("b")));
  assert.equal(entrance.appended.length, 2, "nothing is kept before the time is over");
  delays[0]!.over();
  await turn();
  assert.equal(text(entrance.appended[2]!), "ab");
  entrance.commit();
  await Promise.all(later);
  await turn();
  // Two are no load.
  const last = batcher.append(submission("c"));
  assert.equal(delays.length, 1);
  entrance.commit();
  await last;
  await batcher.idle();
});
