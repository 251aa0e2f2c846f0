import assert from "node:assert/strict";
import { decodeRequest } from "../../src/otlp/decode.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import { Walker, WireError } from "../../src/otlp/wire.ts";
import { mutate } from "../support/bodies/mutate.ts";
import { encodeProtobuf, Random, randomRequest, varint } from "../support/bodies/requests.ts";

const encoder = new TextEncoder();

Deno.test("what is decoded, written as OTLP/JSON and transcoded again is the same request", () => {
  const random = new Random(11);
  for (let round = 0; round < 600; round++) {
    const signal = SIGNAL_NAMES[round % SIGNAL_NAMES.length]!;
    const decoded = decodeRequest(signal, encodeProtobuf(REQUEST_MESSAGE[signal], randomRequest(random, signal)));
    const again = decodeRequest(
      signal,
      transcodeJson(signal, encoder.encode(JSON.stringify(decoded)), 1 << 24).protobuf,
    );
    // JSON.stringify writes -0 as 0.
    const plain: unknown = JSON.parse(JSON.stringify(decoded));
    assert.deepEqual(withoutEmpty(again), withoutEmpty(plain));
  }
});

/** A packed list of nothing stands on the wire and says nothing; the deprecated scopes have no name in JSON. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, content]) => !name.startsWith("deprecated") && !(Array.isArray(content) && content.length === 0))
      .map(([name, content]) => [name, withoutEmpty(content)] as const)
      .toSorted(([a], [b]) => a < b ? -1 : 1),
  );
}

Deno.test("whatever the walk lets in is decoded, and nothing else", () => {
  const random = new Random(12);
  const walker = new Walker();
  let decoded = 0;
  let refused = 0;
  for (let round = 0; round < 3_000; round++) {
    const signal = SIGNAL_NAMES[round % SIGNAL_NAMES.length]!;
    const whole = encodeProtobuf(REQUEST_MESSAGE[signal], randomRequest(random, signal));
    if (whole.length === 0) continue;
    const body = mutate(random, whole, whole);
    let valid = true;
    try {
      walker.walk(signal, body);
    } catch {
      valid = false;
    }
    if (valid) {
      assert.equal(typeof decodeRequest(signal, body), "object");
      decoded++;
    } else {
      assert.throws(() => decodeRequest(signal, body), WireError);
      refused++;
    }
  }
  assert.ok(decoded > 100 && refused > 100, `${decoded} decoded, ${refused} refused`);
});

Deno.test("values are spelt as OTLP/JSON spells them", () => {
  const text = JSON.stringify({
    resourceSpans: [{
      scopeSpans: [{
        spans: [{
          traceId: "5B8EFFF798038103D269B633813FC60C",
          startTimeUnixNano: 1,
          attributes: [
            { key: "a", value: { bytesValue: "aGk" } },
            { key: "b", value: { doubleValue: "NaN" } },
            { key: "c", value: { intValue: -5 } },
          ],
          unknown: 1,
        }],
      }],
    }],
  });
  assert.deepEqual(decodeRequest("traces", transcodeJson("traces", encoder.encode(text), 4_096).protobuf), {
    resourceSpans: [{
      scopeSpans: [{
        spans: [{
          traceId: "5b8efff798038103d269b633813fc60c",
          startTimeUnixNano: "1",
          attributes: [
            { key: "a", value: { bytesValue: "aGk=" } },
            { key: "b", value: { doubleValue: "NaN" } },
            { key: "c", value: { intValue: "-5" } },
          ],
        }],
      }],
    }],
  });
});

Deno.test("bytes of any length are decoded", () => {
  const bytesValue = "A".repeat(400_000);
  const text = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"${bytesValue}"}}]}]}]}`;
  const decoded = decodeRequest("logs", transcodeJson("logs", encoder.encode(text), 1 << 20).protobuf);
  assert.ok(JSON.stringify(decoded).includes(bytesValue));
});

Deno.test("a request nested as deep as the walk allows is decoded, empty from some depth on", () => {
  const heads: Uint8Array[] = [];
  let length = 0;
  for (const number of [...Array<number>(9_000).fill(0).map((_, level) => level % 2 === 0 ? 1 : 5), 2, 1, 1, 1]) {
    const head = Uint8Array.of(number * 8 + 2, ...varint(BigInt(length)));
    heads.push(head);
    length += head.length;
  }
  const body = Uint8Array.from(heads.reverse().flatMap((head) => [...head]));
  const text = JSON.stringify(decodeRequest("traces", body));
  assert.ok(text.includes("{}") && text.length < 20_000, `${text.length} characters`);
});
