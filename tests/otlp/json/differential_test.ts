/** The transcoder against one of the tests' own, over valid, odd and damaged bodies. More of them: `JSON_SEEDS=100`. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { JsonError, TranscodedTooLargeError, transcodeJson } from "../../../src/otlp/json/transcode.ts";
import { REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../src/signal.ts";
import { Walker } from "../../../src/otlp/wire.ts";
import { expect } from "../../support/bodies/json_oracle.ts";
import { oddJson } from "../../support/bodies/odd_json.ts";
import { Random } from "../../support/bodies/requests.ts";

const seeds = Number(process.env["JSON_SEEDS"] ?? 1);
const bodiesPerSeed = 2_000;
const bytesMax = 1 << 22;
const walker = new Walker();

const SYNTAX = new RegExp(
  "^Malformed JSON: (unexpected character (?<character>\\d+) of the body, counted from 0" +
    "|(?<end>the body ends too early|the body is empty, \\{\\} is the empty request))$",
);

function outcome(signal: SignalName, body: Uint8Array, max: number): Uint8Array | Error {
  try {
    const { protobuf, ignored: _, ...found } = transcodeJson(signal, body, max);
    assert.deepEqual(found, walker.walk(signal, protobuf), "what a walk finds");
    return protobuf;
  } catch (error) {
    assert(error instanceof JsonError || error instanceof TranscodedTooLargeError, String(error));
    return error;
  }
}

Deno.test("odd and damaged bodies come to what a second transcoder makes of them", () => {
  const met = { request: 0, fault: 0, syntax: 0 };
  for (let seed = 1; seed <= seeds; seed++) {
    const random = new Random(1_000 + seed);
    for (let index = 0; index < bodiesPerSeed; index++) {
      const signal = random.pick(SIGNAL_NAMES);
      const body = oddJson(random, REQUEST_MESSAGE[signal]);
      const kept = Buffer.from(body);
      const expected = expect(signal, body);
      const got = outcome(signal, body, bytesMax);
      const which = () => `seed ${seed}, body ${index} (${signal}): ${kept.toString().slice(0, 2_000)}\n${String(got)}`;
      met[expected.kind]++;
      assert(kept.equals(body), which());
      if (expected.kind === "request") {
        assert(got instanceof Uint8Array && Buffer.from(got).equals(expected.protobuf), which());
        if (got.length > 0) assert(outcome(signal, body, got.length - 1) instanceof TranscodedTooLargeError, which());
        assert.deepEqual(outcome(signal, body, got.length), got);
        continue;
      }
      assert(got instanceof JsonError, which());
      if (expected.kind === "fault") assert.equal(got.message, expected.message, which());
      else {
        const { character, end } = SYNTAX.exec(got.message)?.groups ?? assert.fail(which());
        assert(
          end !== undefined || expected.character === undefined || Number(character) === expected.character,
          which(),
        );
      }
    }
  }
  for (const [kind, count] of Object.entries(met)) {
    assert(count > bodiesPerSeed * seeds / 20, `${kind}: ${count} bodies of ${bodiesPerSeed * seeds}`);
  }
});
