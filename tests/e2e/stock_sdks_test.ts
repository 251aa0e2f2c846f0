/**
 * The stock SDKs of four languages through an outage: what the relay answers makes each try again while it still has its data. The
 * queue is full and the Collector comes back after 9 s; and `none`, with the Collector away for 13 s.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { type EmbeddedCollector, startCollector } from "../../src/collector/server.ts";
import { Changes } from "../support/far_end/changes.ts";
import { collectorTls } from "../support/far_end/far_end.ts";
import { quietPort } from "../support/far_end/quiet_port.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startProgram } from "../support/program/program.ts";
import { fillQueue } from "../support/relay/fill_queue.ts";
import { type Engine, startRelayHere } from "../support/relay/relay.ts";
import { STOCK_SDKS } from "../support/tools/stock_sdks.ts";

type Sdk = keyof typeof STOCK_SDKS;

/** One try of a sender to hand its spans over. */
interface Try {
  readonly at: number;
  readonly spans: readonly string[];
  readonly status: number;
  readonly retryAfter: string | undefined;
}

const SPAN = /(?:java|go|node|python) \d+;/g;
const spansIn = (body: Uint8Array): string[] => {
  const plain = body[0] === 0x1f && body[1] === 0x8b ? gunzipSync(body) : body;
  return new TextDecoder("latin1").decode(plain).match(SPAN) ?? [];
};

/** Stands before the relay, passes on what comes, and notes each try with its answer. */
async function recorder(target: string) {
  const tries: Try[] = [];
  const changes = new Changes();
  const server = createServer((request, response) => {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    request.on("data", (chunk: Uint8Array<ArrayBuffer>) => chunks.push(chunk));
    request.on("end", async () => {
      const at = performance.now();
      const body = new Uint8Array(await new Blob(chunks).arrayBuffer());
      const answer = await fetch(target + request.url, { method: "POST", headers: forwarded(request.headers), body });
      const bytes = new Uint8Array(await answer.arrayBuffer());
      const retryAfter = answer.headers.get("retry-after") ?? undefined;
      tries.push({ at, spans: spansIn(body), status: answer.status, retryAfter });
      changes.tell();
      response.writeHead(answer.status, {
        "content-type": answer.headers.get("content-type") ?? "application/x-protobuf",
        ...(retryAfter === undefined ? {} : { "retry-after": retryAfter }),
      }).end(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tries,
    /** Resolves at the first try. */
    first: () => changes.until(() => tries.length > 0, START_MS),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The fields that are the request's own. */
function forwarded(headers: IncomingHttpHeaders): Headers {
  const kept = new Headers();
  for (const name of ["authorization", "content-type", "content-encoding"]) {
    const value = headers[name];
    if (typeof value === "string") kept.set(name, value);
  }
  return kept;
}

interface Outage {
  readonly engine: Engine;
  readonly seconds: number;
  readonly spans: number;
}

const OUTAGES: readonly Outage[] = [
  { engine: "sqlite", seconds: 9, spans: 64 },
  { engine: "none", seconds: 13, spans: 80 },
];
const INTERVAL_MS = 250;

/**
 * What each SDK can save: it gives an export 10 s (Go 30 s) and three to five tries; with the waits that the relay asks for the last
 * one comes 7 s after the first or later. The second less is the machine's.
 */
const SAVED_MS = 6_000;
const ARRIVAL_MS = 30_000;
const START_MS = 60_000;

for (const outage of OUTAGES) {
  const { engine, seconds } = outage;
  Deno.test(`four stock SDKs: ${engine}, the Collector is back after ${seconds} s`, async () => {
    const sdks = Object.keys(STOCK_SDKS) as Sdk[];
    // Made before any clock runs.
    for (const sdk of sdks) await STOCK_SDKS[sdk]();
    const results = await Promise.allSettled(sdks.map((sdk) => sendThrough(outage, sdk)));
    const failed = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
    if (failed.length > 0) throw new AggregateError(failed, failed.map(String).join("\n"));
  });
}

/** One SDK with a relay and a Collector of its own: what is lost is what no SDK could still have had. */
async function sendThrough({ engine, seconds, spans }: Outage, sdk: Sdk): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const port = await quietPort();
  const relay = stack.use(
    await startRelayHere({
      engine,
      collectorUrl: `https://localhost:${port}`,
      certsDir: certificates.dir,
      config: {
        receiver: { limits: { queue_share: 1 } },
        sending_queue: { queue_size: "1MiB" },
        telemetry: {
          admin: { endpoint: "127.0.0.1:0" },
          traces: { enabled: false },
          metrics: { enabled: false },
        },
      },
      http: { endpoint: "127.0.0.1:0", max_request_body_size: "1MiB" },
    }),
  );
  if (engine === "sqlite") await fillQueue(relay);
  const door = stack.use(await recorder(relay.url));
  const { command, args } = await STOCK_SDKS[sdk]();
  const sender = stack.use(startProgram({
    command,
    args,
    cwd: certificates.dir,
    env: {
      ENDPOINT: door.url,
      TOKEN: relay.token,
      SPANS: String(spans),
      INTERVAL_MS: String(INTERVAL_MS),
      OTEL_BSP_SCHEDULE_DELAY: "1000",
    },
  }));

  assert(await door.first(), `The sender has sent nothing: ${sender.lines.join("\n")}`);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const arrived = new Set<string>();
  const arrivals = new Changes();
  const collector: EmbeddedCollector = stack.use(
    await startCollector({
      host: "127.0.0.1",
      port,
      tls: await collectorTls(certificates.dir),
      onReceived: ({ body }) => {
        for (const span of spansIn(body)) arrived.add(span);
        arrivals.tell();
      },
    }),
  );
  await sender.ended;
  const { tries } = door;
  const kept = new Set(tries.filter(({ status }) => status === 200).flatMap(({ spans }) => spans));
  await arrivals.until(() => kept.isSubsetOf(arrived), ARRIVAL_MS);
  const made = new Set(Array.from({ length: spans }, (_, number) => `${sdk} ${number};`));
  console.log(`${sdk}, ${engine}: ${arrived.intersection(made).size} of ${spans} spans arrived`);

  assert.deepEqual([...kept.difference(arrived)], [], "answered 200 and not arrived");
  for (const { status, retryAfter } of tries) {
    if (status === 200) continue;
    assert.equal(status, 503);
    assert.match(retryAfter ?? "", /^[1-5]$/);
  }
  const backAt = tries.find(({ status }) => status === 200)?.at;
  assert(backAt !== undefined, "the sender got through");
  // What never came: only spans that were first tried so long before the relay took again that no SDK still had them.
  for (const span of made.difference(arrived)) {
    const first = tries.find(({ spans }) => spans.includes(span));
    assert(first !== undefined, `${span} was never sent`);
    assert(
      first.at < backAt - SAVED_MS,
      `${span} was first sent ${backAt - first.at} ms before the relay took again`,
    );
  }
  assert.equal(collector.port, port);
}
