import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type RequestBounds, TooManyError } from "../../src/otlp/bounds.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { Walker } from "../../src/otlp/wire.ts";
import { SIGNAL_NAMES, type SignalName } from "../../src/signal.ts";
import {
  encodeJson,
  encodeProtobuf,
  Random,
  randomRequest,
  type TestMessage,
  type TestValue,
} from "../support/bodies/requests.ts";

const walker = new Walker();
const walk = (signal: SignalName, body: Uint8Array, bounds: RequestBounds) => walker.walk(signal, body, bounds);
const transcode = (signal: SignalName, body: Uint8Array, bounds: RequestBounds) =>
  transcodeJson(signal, body, 1 << 28, bounds);

/** Nested messages of a request, and strings in lists, counted on the tests' own objects. */
function messagesIn(name: MessageName, message: TestMessage, deprecated: boolean): number {
  let messages = 0;
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    // JSON has no name for the deprecated scopes.
    if (value === undefined || (field.number === 1000 && !deprecated)) continue;
    const values = (field.repeated ? value : [value]) as readonly TestValue[];
    if (isMessage(field.kind)) {
      for (const one of values) messages += 1 + messagesIn(field.kind, one as TestMessage, deprecated);
    } else if (field.repeated && field.kind === "string") messages += values.length;
  }
  return messages;
}

const tooMany = (of: "resources" | "messages", max: number) => (error: unknown) =>
  error instanceof TooManyError && error.of === of && error.max === max;

Deno.test("a request passes with as many messages and resources as it has, and not with one less, in both encodings", () => {
  const random = new Random(146);
  for (let round = 0; round < 400; round++) {
    const signal = random.pick(SIGNAL_NAMES);
    const name = REQUEST_MESSAGE[signal];
    const request = randomRequest(random, signal);
    const [resources] = MESSAGES[name].filter((field) => field.number === 1);
    const resourcesMax = (request[resources!.name] as readonly TestValue[] | undefined)?.length ?? 0;
    const forms = [
      [walk, encodeProtobuf(name, request), messagesIn(name, request, true)],
      [transcode, Buffer.from(encodeJson(name, request, random)), messagesIn(name, request, false)],
    ] as const;
    for (const [read, body, messagesMax] of forms) {
      read(signal, body, { resourcesMax, messagesMax });
      if (messagesMax > 0) {
        assert.throws(
          () => read(signal, body, { resourcesMax, messagesMax: messagesMax - 1 }),
          tooMany("messages", messagesMax - 1),
        );
      }
      if (resourcesMax > 0) {
        assert.throws(
          () => read(signal, body, { resourcesMax: resourcesMax - 1, messagesMax }),
          tooMany("resources", resourcesMax - 1),
        );
      }
    }
  }
});

Deno.test("ten million empty resources are refused at the bound, and so are strings of a profile's table", () => {
  const bounds = { resourcesMax: 50_000, messagesMax: 2_000_000 };
  const empties = new Uint8Array(20 << 20);
  for (let at = 0; at < empties.length; at += 2) empties[at] = 0x0a;
  for (const signal of SIGNAL_NAMES) assert.throws(() => walk(signal, empties, bounds), tooMany("resources", 50_000));
  const json = Buffer.from(`{"resourceSpans":[{}${",{}".repeat(50_000)}]}`);
  assert.throws(() => transcode("traces", json, bounds), tooMany("resources", 50_000));
  // A dictionary of empty strings.
  const strings = new Uint8Array(20 << 20);
  strings.set([0x12, 0xfa, 0xff, 0xff, 0x09]);
  for (let at = 5; at + 1 < strings.length; at += 2) strings[at] = 0x2a;
  assert.throws(() => walk("profiles", strings.subarray(0, -1), bounds), tooMany("messages", 2_000_000));
});
