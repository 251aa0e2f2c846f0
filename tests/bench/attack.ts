/**
 * A sender that means harm, in a process of its own: `attack.ts URL TOKEN ATTACK SECONDS`. It keeps all its connections busy and waits for
 * nothing but the answers. Prints one line of JSON: `{ ok, refused, failed }`.
 */
import { Agent, request } from "node:http";
import process from "node:process";
import { gzipSync, zstdCompressSync } from "node:zlib";

/** One way to make a relay work hard for little. */
interface Attack {
  readonly connections: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: () => Uint8Array;
}

const MIB = 1024 * 1024;
const JSON_GZIP = { "content-type": "application/json", "content-encoding": "gzip" };
const PROTOBUF_GZIP = { "content-type": "application/x-protobuf", "content-encoding": "gzip" };

const SPAN =
  '{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /users/:id","kind":2,' +
  '"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000001000000000",' +
  '"attributes":[{"key":"http.route","value":{"stringValue":"/users/:id"}}]}';
const spans = (bytes: number): string =>
  `{"resourceSpans":[{"scopeSpans":[{"spans":[${Array(Math.floor(bytes / (SPAN.length + 1))).fill(SPAN)}]}]}]}`;

/** JSON that the reader has to go through value by value, and that holds nothing. */
const emptyJson = (bytes: number): string => `{"unknown":[${"{},".repeat(Math.floor(bytes / 3) - 10)}0]}`;

export const ATTACKS: Readonly<Record<string, Attack>> = {
  "JSON of 20 MiB without items, gzip": {
    connections: 2,
    headers: JSON_GZIP,
    body: () => gzipSync(emptyJson(19 * MIB)),
  },
  "JSON of 19 MiB of spans, gzip": { connections: 4, headers: JSON_GZIP, body: () => gzipSync(spans(19 * MIB)) },
  "JSON of 250 KiB of spans, gzip": { connections: 64, headers: JSON_GZIP, body: () => gzipSync(spans(250 * 1024)) },
  "JSON of 250 KiB without items, gzip": {
    connections: 64,
    headers: JSON_GZIP,
    body: () => gzipSync(emptyJson(250 * 1024)),
  },
  "JSON of 19 MiB of spans, zstd": {
    connections: 4,
    headers: { "content-type": "application/json", "content-encoding": "zstd" },
    body: () => zstdCompressSync(spans(19 * MIB)),
  },
  "protobuf of 19 MiB in one unknown field, gzip": {
    connections: 4,
    headers: PROTOBUF_GZIP,
    // Field 15, length-delimited.
    body: () => {
      const content = new Uint8Array(19 * MIB);
      content.set([
        0x7a,
        ...[0, 7, 14, 21].map((shift) => (((19 * MIB - 5) >>> shift) & 0x7f) | (shift < 21 ? 0x80 : 0)),
      ]);
      return gzipSync(content);
    },
  },
  "protobuf of a million empty fields, gzip": {
    connections: 4,
    headers: PROTOBUF_GZIP,
    body: () => gzipSync(new Uint8Array(2 * MIB).map((_, index) => index % 2 === 0 ? 0x7a : 0)),
  },
};

/** Keeps the connections of an attack busy for so long. */
async function run(url: string, token: string, { connections, headers, body }: Attack, seconds: number) {
  const bytes = body();
  const agent = new Agent({ keepAlive: true });
  const counts = { ok: 0, refused: 0, failed: 0 };
  const end = performance.now() + seconds * 1000;
  const post = () =>
    new Promise<void>((resolve) => {
      const sent = request(new URL("/v1/traces", url), {
        method: "POST",
        agent,
        headers: { ...headers, authorization: `Bearer ${token}`, "content-length": bytes.length },
      }, (answer) => {
        answer.resume().on("end", () => {
          if (answer.statusCode === 200) counts.ok++;
          else counts.refused++;
          resolve();
        });
      });
      sent.on("error", () => {
        counts.failed++;
        // A connection that is refused again and again is not tried faster than that.
        setTimeout(resolve, 10);
      });
      sent.end(bytes);
    });
  await Promise.all(Array.from({ length: connections }, async () => {
    while (performance.now() < end) await post();
  }));
  agent.destroy();
  return counts;
}

if (import.meta.main) {
  const [url = "", token = "", name = "", seconds = "6"] = process.argv.slice(2);
  const attack = ATTACKS[name];
  if (attack === undefined) throw new Error(`No such attack: ${name}; there are ${Object.keys(ATTACKS).join("; ")}`);
  console.log(JSON.stringify(await run(url, token, attack, Number(seconds))));
  process.exit(0);
}
