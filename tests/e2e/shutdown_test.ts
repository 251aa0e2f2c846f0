/** SIGTERM while senders are at it: what is under way is answered, nothing answered 200 is lost, and the process ends with 0. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigInput } from "../../src/config/schema.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { type RealCollector, startCollector } from "../support/tools/collector.ts";
import { booksIn, type Engine, ENGINES, type RelayProcess, startRelayProcess } from "../support/relay/relay.ts";
import { type Sink, startSink } from "../support/far_end/sink.ts";

/** From SIGTERM to the end of the process, in ms: what service managers give it before they kill. */
const END_MS_MAX = 10_000;
const ARRIVAL_MS = 30_000;
const SENDERS = 16;

function spanId(number: number): string {
  return number.toString(16).padStart(16, "0");
}

function bodyOf(id: string): string {
  const span = { traceId: "5b8efff798038103d269b633813fc60c", spanId: id, name: "load" };
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
}

/** The span ids of the load that a sink holds. */
function arrivedAt(sink: Sink): string[] {
  return sink.spans().filter(({ name }) => name === "load").map(({ spanId }) => spanId);
}

/** Sends SIGTERM and waits for the end: exit code 0, in time. */
function terminate(relay: RelayProcess): Promise<void> {
  const ended = endOf(relay);
  // It is awaited in the end; a test that fails before that fails for its own reason.
  ended.catch(() => {});
  return ended;
}

async function endOf(relay: RelayProcess): Promise<void> {
  relay.signal("SIGTERM");
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`It had not ended ${END_MS_MAX} ms after SIGTERM; it said:\n${relay.log().join("\n")}`)),
      END_MS_MAX,
    );
  });
  try {
    const { code, signal } = await Promise.race([relay.ended, late]);
    assert.deepEqual([code, signal], [0, null], relay.log().join("\n"));
  } finally {
    clearTimeout(timer);
  }
}

/** A request whose body the relay has begun to read: it has asked for it by 100 Continue (RFC 9110, 10.1.1). */
class UnderWay implements Disposable {
  readonly #connection: Deno.TcpConn;
  readonly #body: Uint8Array;
  readonly #received: string[] = [];
  readonly #decoder = new TextDecoder();

  private constructor(connection: Deno.TcpConn, body: string) {
    this.#connection = connection;
    this.#body = new TextEncoder().encode(body);
  }

  static async begin(relay: RelayProcess, body: string): Promise<UnderWay> {
    const { hostname, port } = new URL(relay.url);
    const request = new UnderWay(await Deno.connect({ hostname, port: Number(port) }), body);
    await request.#write(
      new TextEncoder().encode(
        `POST /v1/traces HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${relay.token}\r\n` +
          `content-type: application/json\r\ncontent-length: ${request.#body.length}\r\nexpect: 100-continue\r\n\r\n`,
      ),
    );
    await request.#until(/^HTTP\/1\.1 100 .*\r\n\r\n/);
    request.#received.length = 0;
    return request;
  }

  sendHalf(): Promise<void> {
    return this.#write(this.#body.subarray(0, this.#body.length / 2));
  }

  sendRest(): Promise<void> {
    return this.#write(this.#body.subarray(this.#body.length / 2));
  }

  /** The head of the answer. */
  answer(): Promise<string> {
    return this.#until(/^HTTP\/1\.1 \d{3}[^]*?\r\n\r\n/);
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length;) sent += await this.#connection.write(bytes.subarray(sent));
  }

  async #until(pattern: RegExp): Promise<string> {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const text = this.#received.join("");
      const found = pattern.exec(text);
      if (found !== null) return found[0];
      const length = await this.#connection.read(buffer);
      if (length === null) throw new Error(`The connection was closed after ${JSON.stringify(text)}`);
      this.#received.push(this.#decoder.decode(buffer.subarray(0, length), { stream: true }));
    }
  }
}

interface Scene extends AsyncDisposable {
  readonly certificates: TestCertificates;
  readonly sink: Sink;
  readonly collector: RealCollector;
  readonly queuePath: string;
  start(config?: ConfigInput): Promise<RelayProcess>;
}

async function scene(engine: Engine): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certificates.dir, sink }));
  const folder = await mkdtemp(join(tmpdir(), "edgeferry-queue-"));
  stack.defer(() => rm(folder, { recursive: true }));
  const queuePath = join(folder, "queue.db");
  const kept = stack.move();
  return {
    certificates,
    sink,
    collector,
    queuePath,
    start: (config = {}) =>
      startRelayProcess({ engine, collectorUrl: collector.httpUrl, certsDir: certificates.dir, queuePath, config }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

for (const engine of ENGINES) {
  Deno.test(`SIGTERM during load, storage: ${engine}`, async () => {
    await using scenery = await scene(engine);
    const { sink, queuePath } = scenery;
    await using relay = await scenery.start();
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: SENDERS });
    const kept: string[] = [];
    const refused: string[] = [];
    const unanswered: string[] = [];
    const warm = Promise.withResolvers<void>();
    let next = 1_000;

    /** Sends until it is turned away. */
    const send = async () => {
      for (;;) {
        const id = spanId(next++);
        try {
          const answer = await fetch(`${relay.url}/v1/traces`, {
            method: "POST",
            headers: { "content-type": "application/json", "x-api-key": relay.token },
            body: bodyOf(id),
            client,
          });
          const text = await answer.text();
          if (answer.status === 200) kept.push(id);
          else {
            assert.equal(answer.status, 503, text);
            assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
            assert.match(text, /shutting down/);
            refused.push(id);
            return;
          }
        } catch (error) {
          if (!(error instanceof TypeError)) throw error;
          unanswered.push(id);
          return;
        }
        if (kept.length >= 300) warm.resolve();
      }
    };
    using first = await UnderWay.begin(relay, bodyOf(spanId(1)));
    using second = await UnderWay.begin(relay, bodyOf(spanId(2)));
    await first.sendHalf();
    const senders = Array.from({ length: SENDERS }, send);
    await Promise.race([warm.promise, ...senders]);
    const ended = terminate(relay);
    // Admitted before, and not yet read in full: they are answered.
    await relay.line(/"message":"Stopping"/);
    await first.sendRest();
    await second.sendHalf();
    await second.sendRest();
    for (const request of [first, second]) assert.match(await request.answer(), /^HTTP\/1\.1 200 /);
    await Promise.all([ended, ...senders]);
    kept.push(spanId(1), spanId(2));
    assert(kept.length >= 300);
    assert.equal(refused.length + unanswered.length, SENDERS);

    if (engine === "sqlite") {
      // What it could not deliver in time is on disk, and the next start delivers it.
      const { traces } = booksIn(queuePath);
      assert.equal(traces.accepted, kept.length);
      assert.equal(traces.delivered + traces.queued, kept.length);
      await using again = await scenery.start();
      await sink.waitFor(() => arrivedAt(sink).length >= kept.length, ARRIVAL_MS);
      assert.equal((await again.stop()).code, 0);
    }
    // Each once: no loss behind a 200, and nothing kept of what was refused or had no answer.
    assert.deepEqual(arrivedAt(sink).sort(), kept.sort());
  });

  Deno.test(`SIGTERM while the Collector does not answer, storage: ${engine}`, async () => {
    await using scenery = await scene(engine);
    const { sink, collector, queuePath } = scenery;
    {
      await using relay = await scenery.start();
      collector.signal("SIGSTOP");
      using request = await UnderWay.begin(relay, bodyOf(spanId(1)));
      await request.sendHalf();
      await request.sendRest();
      // A durable relay answers at once, another has until the end of its grace.
      if (engine === "sqlite") assert.match(await request.answer(), /^HTTP\/1\.1 200 /);
      const ended = terminate(relay);
      if (engine === "none") {
        const head = await request.answer();
        assert.match(head, /^HTTP\/1\.1 503 /);
        assert.match(head, /\r\nretry-after: [1-9]/i);
      }
      await ended;
      collector.signal("SIGCONT");
    }
    if (engine === "none") return;
    assert.deepEqual([booksIn(queuePath).traces.accepted, booksIn(queuePath).traces.queued], [1, 1]);
    await using again = await scenery.start();
    await sink.waitFor(() => arrivedAt(sink).length > 0, ARRIVAL_MS);
    assert.equal((await again.stop()).code, 0);
    assert.equal(booksIn(queuePath).traces.queued, 0);
  });
}

Deno.test("SIGTERM while a body is on its way that does not come in time: told to send it again", async () => {
  await using scenery = await scene("sqlite");
  await using relay = await scenery.start({ shutdown: { grace: "2s" } });
  using request = await UnderWay.begin(relay, bodyOf(spanId(1)));
  await request.sendHalf();
  const ended = terminate(relay);
  const head = await request.answer();
  // Not 400, which would have the sender drop it.
  assert.match(head, /^HTTP\/1\.1 503 /);
  assert.match(head, /\r\nretry-after: [1-9]/i);
  await ended;
  assert.equal(booksIn(scenery.queuePath).traces.accepted, 0);
});
