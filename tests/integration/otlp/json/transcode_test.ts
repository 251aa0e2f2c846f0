import assert from "node:assert/strict";
import process from "node:process";
import { ENUM_NAMES, REQUEST_MESSAGE } from "../../../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../../src/signal.ts";
import { Walker } from "../../../../src/otlp/wire.ts";
import { decodeAll, type DecodeCase, type Verdict } from "../../../support/tools/decoder.ts";
import {
  encodeJson,
  encodeProtobuf,
  Random,
  randomRequest,
  type TestMessage,
} from "../../../support/bodies/requests.ts";
import { encoder, faultOf, log, point, span, transcode } from "../../../support/bodies/json_bodies.ts";

/** Seeds of the differential test: more by `JSON_SEEDS=100`. */
const seeds = Number(process.env["JSON_SEEDS"] ?? 1);
const requestsPerSeed = 1_500;

/** What the Collector understands, as it would write it itself. NaN has many forms: all are written as one. */
function content(verdict: Verdict): string {
  assert.ok(verdict.ok, verdict.ok ? "" : verdict.reason);
  return `${verdict.count} ${verdict.content.replaceAll("010000000000f87f", "000000000000f87f")}`;
}

/** A request with a value in a field that is an enum. */
function enumIn(field: string, value: string): [SignalName, string] {
  const [message, name] = field.split(".");
  const member = `"${name}":${value}`;
  switch (message) {
    case "Span":
      return ["traces", span(member)];
    case "Status":
      return ["traces", span(`"status":{${member}}`)];
    case "LogRecord":
      return ["logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{${member}}]}]}]}`];
    default: {
      const data = `${message![0]!.toLowerCase()}${message!.slice(1)}`;
      return ["metrics", `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"${data}":{${member}}}]}]}]}`];
    }
  }
}

Deno.test("valid requests of every signal mean to the Collector what its own JSON decoder reads in them", async () => {
  for (let seed = 1; seed <= seeds; seed++) {
    const random = new Random(seed);
    const cases: DecodeCase[] = [];
    const texts: string[] = [];
    for (let index = 0; index < requestsPerSeed; index++) {
      const signal = SIGNAL_NAMES[index % SIGNAL_NAMES.length]!;
      const message = REQUEST_MESSAGE[signal];
      const request = withoutDeprecated(randomRequest(random, signal));
      const text = encodeJson(message, request, random);
      texts.push(text);
      const transcoded = transcode(text, signal);
      assert.doesNotThrow(() => new Walker().walk(signal, transcoded));
      cases.push(
        { form: { signal, json: true }, content: true, body: encoder.encode(text) },
        { form: { signal, json: false }, content: true, body: transcoded },
        { form: { signal, json: false }, content: true, body: encodeProtobuf(message, request) },
      );
    }
    const verdicts = await decodeAll(cases);
    for (let index = 0; index < requestsPerSeed; index++) {
      const [theirs, ours, plain] = verdicts.slice(3 * index, 3 * index + 3);
      assert.equal(content(ours!), content(theirs!), `seed ${seed}, case ${index}: ${texts[index]}`);
      assert.equal(content(ours!), content(plain!), `seed ${seed}, case ${index}: ${texts[index]}`);
    }
  }
});

/** The deprecated scopes have no name in JSON: the test below says what becomes of them. */
function withoutDeprecated(request: TestMessage): TestMessage {
  for (const resource of Object.values(request).flat() as TestMessage[]) {
    for (const name of Object.keys(resource)) if (name.startsWith("deprecated")) delete resource[name];
  }
  return request;
}

Deno.test("what the relay takes of odd JSON, and what the Collector takes of it", async () => {
  // [signal, text, taken by us, taken by the Collector]
  const table: [SignalName, string, boolean, boolean][] = [
    ["traces", "{}", true, true],
    ["traces", '{"resourceSpans":[]}', true, true],
    ["traces", '{"resourceSpans":null}', true, true],
    ["traces", span('"name":null'), true, true],
    ["traces", span('"unknown":{"a":[1,{"b":null}]}'), true, true],
    ["traces", span('"attributes":[{"key":"k","value":{}}]'), true, true],
    ["traces", span('"name":"a","name":"b"'), true, true],
    ["traces", span(String.raw`"name":"\ud800"`), true, true],
    ["traces", span('"startTimeUnixNano":18446744073709551615'), true, true],
    ["traces", span('"startTimeUnixNano":"18446744073709551615"'), true, true],
    ["traces", span('"startTimeUnixNano":18446744073709551616'), false, false],
    ["traces", span('"startTimeUnixNano":"18446744073709551616"'), false, false],
    ["traces", span('"startTimeUnixNano":-1'), false, false],
    ["traces", span('"startTimeUnixNano":1.5'), false, false],
    ["traces", span('"startTimeUnixNano":"x"'), false, false],
    ["traces", span('"startTimeUnixNano":""'), false, false],
    ["traces", span('"startTimeUnixNano":true'), false, false],
    ["traces", span('"startTimeUnixNano":{"low":1,"high":2}'), false, false],
    ["traces", span('"kind":2147483648'), false, false],
    ["traces", span('"traceId":"5b8efff798038103d269b633813fc60"'), false, false],
    ["traces", span('"traceId":"5b8efff798038103d269b633813fc60g"'), false, false],
    ["traces", span('"traceId":"W47/95gDgQPSabYzgT/GDA=="'), false, false],
    ["traces", span('"spanId":"5b8efff798038103d269b633813fc60c"'), false, false],
    ["traces", span('"traceId":7'), false, false],
    ["traces", span('"name":7'), false, false],
    ["traces", span('"attributes":{}'), false, false],
    ["traces", "[]", false, false],
    ["traces", '"x"', false, false],
    ["traces", "", false, false],
    ["traces", "{", false, false],
    ["traces", '{"resourceSpans":[{"scopeSpans":[', false, false],
    ["logs", log('{"bytesValue":"aGk="}'), true, true],
    ["logs", log('{"bytesValue":""}'), true, true],
    ["logs", log('{"bytesValue":"%%"}'), false, false],
    ["logs", log('{"boolValue":"true"}'), false, false],
    ["metrics", point('"asDouble":"NaN"'), true, true],
    ["metrics", point('"asDouble":"-Infinity"'), true, true],
    ["metrics", point('"asDouble":1e400'), false, false],
    ["metrics", point('"asDouble":"abc"'), false, false],
    ["metrics", point('"asInt":"1","asDouble":2.5'), true, true],
    ["metrics", point('"asDouble":2.5,"asInt":"1"'), true, true],
    // Given twice: lists are joined, messages too, and of a oneof the last stands.
    ["traces", '{"resourceSpans":[{"schemaUrl":"a"}],"resourceSpans":[{"schemaUrl":"b"}]}', true, true],
    ["traces", span('"attributes":[{"key":"a"}],"name":"x","attributes":[{"key":"b"}]'), true, true],
    ["traces", span('"status":{"code":1},"status":{"message":"m"}'), true, true],
    ["metrics", point('"asInt":"1","asDouble":2.5,"asInt":"3"'), true, true],
    ["traces", span('"name":7,"name":"b"'), false, false],

    // Names of enums, as they are written and no other way; names of the .proto beside those of OTLP/JSON.
    // The pinned Collector has a blank behind the name of severity 1, and refuses it without.
    ...Object.entries(ENUM_NAMES).flatMap(([field, names]) =>
      names.map((name): [SignalName, string, boolean, boolean] => [
        ...enumIn(field, `"${name}"`),
        true,
        name !== "SEVERITY_NUMBER_TRACE",
      ])
    ),
    ["traces", span('"kind":"SPAN_KIND_X"'), false, false],
    ["traces", span('"kind":"span_kind_client"'), false, false],
    ["traces", span('"kind":"3"'), false, false],
    ["traces", span('"kind":""'), false, false],
    ["traces", span('"kind":77'), true, true],
    [
      "traces",
      span('"trace_id":"5B8EFFF798038103D269B633813FC60C","parent_span_id":"","start_time_unix_nano":"5"'),
      true,
      true,
    ],
    [
      "traces",
      '{"resource_spans":[{"resource":{"dropped_attributes_count":3},"scope_spans":[{"schema_url":"x","spans":[{}]}]}]}',
      true,
      true,
    ],
    [
      "traces",
      '{"resourceSpans":[{"schemaUrl":"a","schema_url":"b"}],"resource_spans":[{"schema_url":"c"}]}',
      true,
      true,
    ],
    ["traces", span('"trace_Id":"5B8EFFF798038103D269B633813FC60C","Trace_id":1,"traceid":2'), true, true],
    ["metrics", point('"as_double":1.5,"time_unix_nano":"7"'), true, true],
    [
      "logs",
      '{"resource_logs":[{"scope_logs":[{"log_records":[{"body":{"kvlist_value":{"values":[{"key":"a"}]}}}]}]}]}',
      true,
      true,
    ],

    // Where the relay takes more: proto3 JSON does.
    ["traces", "null", false, true],
    ["traces", span('"startTimeUnixNano":1e3'), true, false],
    ["traces", span('"startTimeUnixNano":null'), true, false],
    ["metrics", point('"asInt":1.0'), true, false],
    ["metrics", point('"asInt":null,"asDouble":1'), true, false],
    ["logs", log('{"bytesValue":"-_8"}'), true, false],
    ["logs", log('{"bytesValue":"+/8"}'), true, false],

    // Where it takes less: what is no JSON (RFC 8259) is refused though a lax parser stops early.
    ["traces", "{} x", false, true],
    ["traces", span(`"name":"a${"\u0001"}b"`), false, false],
    ["traces", span('"attributes":[null]'), false, true],
    ["metrics", point('"asDouble":"Inf"'), false, true],
    ["metrics", point('"asDouble":"0x10p0"'), false, true],
  ];
  const verdicts = await decodeAll(
    table.map(([signal, text]) => ({ form: { signal, json: true }, content: true, body: encoder.encode(text) })),
  );
  const taken: DecodeCase[] = [];
  const same: Verdict[] = [];
  for (const [index, [signal, text, us, them]] of table.entries()) {
    const verdict = verdicts[index]!;
    assert.equal(verdict.ok, them, `the Collector on ${text}`);
    if (!us) {
      faultOf(text, signal);
      continue;
    }
    const body = transcode(text, signal);
    if (!them) continue;
    taken.push({ form: { signal, json: false }, content: true, body });
    same.push(verdict);
  }
  for (const [index, verdict] of (await decodeAll(taken)).entries()) {
    assert.equal(content(verdict), content(same[index]!), `taken case ${index}`);
  }
});
