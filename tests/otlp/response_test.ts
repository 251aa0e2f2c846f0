import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import {
  decodeStatus,
  decodeSuccess,
  encodeStatus,
  encodeSuccess,
  type MediaType,
  type PartialSuccess,
  readSuccess,
} from "../../src/otlp/response.ts";
import { SIGNAL_NAMES, signalOf } from "../../src/signal.ts";

const both: readonly MediaType[] = ["application/x-protobuf", "application/json"];
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

Deno.test("a full success is the empty message: no byte in protobuf, {} in JSON", () => {
  for (const signal of SIGNAL_NAMES) {
    assert.equal(encodeSuccess(signal, "application/x-protobuf").length, 0);
    assert.equal(text(encodeSuccess(signal, "application/json")), "{}");
  }
});

Deno.test("a partial success has the field of its signal, an int64 as a decimal string in JSON", () => {
  const partial = { rejected: 300, message: "too old" };
  for (const signal of SIGNAL_NAMES) {
    assert.deepEqual(JSON.parse(text(encodeSuccess(signal, "application/json", partial))), {
      partialSuccess: { [signalOf(signal).rejectedField]: "300", errorMessage: "too old" },
    });
    // partial_success = 1 { rejected = 1 varint 300, error_message = 2 }
    assert.equal(
      hex(encodeSuccess(signal, "application/x-protobuf", partial)),
      `0a0c08ac0212${"07"}${Buffer.from("too old").toString("hex")}`,
    );
  }
});

Deno.test("what is encoded is read again, in both encodings, warnings among it", () => {
  const partials: PartialSuccess[] = [
    { rejected: 1, message: "" },
    { rejected: 0, message: "deprecated" },
    { rejected: 2 ** 40, message: "naïve 日本 😀" },
    { rejected: 127, message: "x".repeat(1_000) },
  ];
  for (const mediaType of both) {
    for (const signal of SIGNAL_NAMES) {
      for (const partial of partials) {
        assert.deepEqual(decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType, partial)), partial);
        const charset = mediaType.replace("json", "JSON") + "; charset=utf-8";
        assert.deepEqual(decodeSuccess(signal, charset, encodeSuccess(signal, mediaType, partial)), partial);
      }
      assert.equal(decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType)), undefined);
      // Set, and saying nothing: the same as unset.
      assert.equal(
        decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType, { rejected: 0, message: "" })),
        undefined,
      );
    }
  }
});

Deno.test("a 200 whose body says nothing that can be read is a full success", () => {
  const bodies = [
    "",
    "null",
    "[]",
    "{",
    "7",
    '{"partialSuccess":null}',
    '{"partialSuccess":7}',
    '{"partialSuccess":{}}',
  ];
  for (
    const body of [...bodies, '{"partialSuccess":{"rejectedSpans":"x"}}', '{"partialSuccess":{"rejectedSpans":-5}}']
  ) {
    assert.equal(decodeSuccess("traces", "application/json", Buffer.from(body)), undefined, body);
  }
  for (
    const body of ["", "ff", "0a", "0aff", "0a05", "08", "0d", "09ff", "0f", "0a0208ff", "ffffffffffffffffffffffff"]
  ) {
    assert.equal(decodeSuccess("traces", "application/x-protobuf", Buffer.from(body, "hex")), undefined, body);
  }
  assert.equal(decodeSuccess("traces", null, Buffer.from("<html>")), undefined);
  // Another signal's field is not this one's.
  assert.equal(
    decodeSuccess("logs", "application/json", Buffer.from('{"partialSuccess":{"rejectedSpans":"5"}}')),
    undefined,
  );
});

Deno.test("fields of later versions are skipped, a number in JSON is taken too", () => {
  const partial = Buffer.from("0a10" + "0805" + "190000000000000000" + "1201" + "61" + "2001", "hex");
  assert.deepEqual(decodeSuccess("traces", "application/x-protobuf", partial), { rejected: 5, message: "a" });
  const fixed = Buffer.from("1d00000000" + "0a02" + "0807", "hex");
  assert.deepEqual(decodeSuccess("traces", "application/x-protobuf", fixed), { rejected: 7, message: "" });
  const json = Buffer.from('{"new":1,"partialSuccess":{"rejectedSpans":5,"errorMessage":"a","new":[]}}');
  assert.deepEqual(decodeSuccess("traces", "application/json", json), { rejected: 5, message: "a" });
});

Deno.test("names of the .proto are read in JSON, too: what a Collector rejects is never counted as delivered", () => {
  const rows = [
    ["traces", "rejected_spans"],
    ["metrics", "rejected_data_points"],
    ["logs", "rejected_log_records"],
    ["profiles", "rejected_profiles"],
  ] as const;
  for (const [signal, field] of rows) {
    const body = Buffer.from(JSON.stringify({ partial_success: { [field]: "5", error_message: "too old" } }));
    assert.deepEqual(decodeSuccess(signal, "application/json", body), { rejected: 5, message: "too old" });
  }
});

Deno.test("of an answer's fields and values 10,000 are read, and its texts may be long", () => {
  const nested = Buffer.from("[".repeat(4_000_000));
  const before = process.memoryUsage().rss;
  assert.equal(decodeStatus("application/json", nested).length, 2_000, "in its own words");
  // Made into lists they take 190 MiB.
  assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20);
  const many = (count: number) => `{"partialSuccess":{${`"a":[],`.repeat(count)}"rejectedSpans":1}}`;
  const read = (body: Uint8Array, contentType: string) =>
    readSuccess("traces", { status: 200, contentType, body, whole: true }).kind;
  assert.equal(read(Buffer.from(many(4_000)), "application/json"), "success");
  assert.equal(read(Buffer.from(many(6_000)), "application/json"), "foreign");
  const words = `\\"[{,`.repeat(20_000);
  const long = Buffer.from(JSON.stringify({ partialSuccess: { errorMessage: words } }));
  assert.equal(decodeSuccess("traces", "application/json", long)?.message.slice(0, 100), words.slice(0, 100));
  const fields = (count: number) => new Uint8Array(2 * count).map((_, index) => index % 2 === 0 ? 0x18 : 1);
  assert.equal(read(fields(10_000), "application/x-protobuf"), "success");
  assert.equal(read(fields(10_001), "application/x-protobuf"), "foreign");
});

Deno.test("an answer that came before the whole request is no success: who sent it has not read it", () => {
  for (const status of [200, 202, 204]) {
    const reading = readSuccess("traces", {
      status,
      contentType: null,
      body: new Uint8Array(0),
      whole: true,
      early: true,
    });
    assert(reading.kind === "foreign");
    assert.match(reading.why, new RegExp(`^answered ${status} before it had the whole request`));
  }
});

Deno.test("a Status has its code and message in both encodings", () => {
  const status = { code: 14, message: "retry" };
  assert.equal(hex(encodeStatus("application/x-protobuf", status)), "080e1205" + Buffer.from("retry").toString("hex"));
  assert.deepEqual(JSON.parse(text(encodeStatus("application/json", status))), status);
  for (const mediaType of both) {
    assert.equal(decodeStatus(mediaType, encodeStatus(mediaType, status)), "retry");
    assert.equal(decodeStatus(`${mediaType}; charset=utf-8`, encodeStatus(mediaType, status)), "retry");
  }
});

Deno.test("what is bad of a request stands in the details of its Status, as a BadRequest", () => {
  const type = "type.googleapis.com/google.rpc.BadRequest";
  for (const field of ["resourceSpans[0].kind", ""]) {
    const status = { code: 3, message: "bad", violation: { field, description: "a string" } };
    const details = [{
      "@type": type,
      fieldViolations: [{ ...(field === "" ? {} : { field }), description: "a string" }],
    }];
    assert.deepEqual(JSON.parse(text(encodeStatus("application/json", status))), { code: 3, message: "bad", details });
    const len = (number: number, ...content: (string | Uint8Array)[]): Uint8Array => {
      const bytes = Buffer.concat(content.map((one) => typeof one === "string" ? Buffer.from(one) : one));
      return Buffer.from([number * 8 + 2, bytes.length, ...bytes]);
    };
    const violation = len(1, ...(field === "" ? [] : [len(1, field)]), len(2, "a string"));
    const expected = Buffer.concat([Buffer.from([8, 3]), len(2, "bad"), len(3, len(1, type), len(2, violation))]);
    assert.equal(hex(encodeStatus("application/x-protobuf", status)), expected.toString("hex"));
    for (const mediaType of ["application/x-protobuf", "application/json"] as const) {
      assert.equal(decodeStatus(mediaType, encodeStatus(mediaType, status)), "bad");
    }
  }
});

Deno.test("the words of a proxy are kept, bounded, whatever they are", () => {
  assert.equal(decodeStatus("text/plain", Buffer.from(" bad gateway \n")), "bad gateway");
  assert.equal(decodeStatus(null, Buffer.from("x".repeat(1 << 20))).length, 2_000);
  assert.equal(decodeStatus("application/json", Buffer.from('{"error":"x"}')), '{"error":"x"}');
  assert.equal(decodeStatus("application/json", Buffer.from("<html>")), "<html>");
  assert.equal(decodeStatus("application/x-protobuf", Buffer.from("ffff", "hex")), "");
  assert.equal(decodeStatus(null, new Uint8Array(0)), "");
});

Deno.test("messages are bounded in both directions", () => {
  const long = "x".repeat(50_000);
  for (const mediaType of both) {
    assert.ok(encodeStatus(mediaType, { code: 3, message: long }).length < 2_100);
    const violation = { field: long, description: long };
    assert.ok(encodeStatus(mediaType, { code: 3, message: long, violation }).length < 6_300);
    const partial = encodeSuccess("traces", mediaType, { rejected: 1, message: long });
    assert.ok(partial.length < 2_200);
    assert.equal(decodeSuccess("traces", mediaType, partial)?.message.length, 2_000);
  }
  const json = Buffer.from(JSON.stringify({ message: long }));
  assert.equal(decodeStatus("application/json", json).length, 2_000);
});

// --- which answer of 2xx is a success

const PROTOBUF_TYPE = "application/x-protobuf";
const JSON_TYPE = "application/json";

/** Every kind of 2xx, and whether it settles. `docs/answers.md` prints the same table. */
const ANSWERS: readonly [
  what: string,
  status: number,
  type: string | null,
  body: string | Uint8Array,
  taken: boolean,
][] = [
  ["the Collector", 200, PROTOBUF_TYPE, "", true],
  ["the Collector, a partial success", 200, PROTOBUF_TYPE, Buffer.from("0a020805", "hex"), true],
  ["a field of a later version", 200, PROTOBUF_TYPE, Buffer.from("120161", "hex"), true],
  ["Go's media type", 200, "application/protobuf", "", true],
  ["Prometheus: no type, no body", 200, null, "", true],
  ["no type, a message", 200, null, Buffer.from("0a020805", "hex"), true],
  ["Fluent Bit: 201, no body", 201, null, "", true],
  ["202, no body", 202, null, "", true],
  ["202, the message", 202, PROTOBUF_TYPE, "", true],
  ["Loki: 204", 204, null, "", true],
  ["the message as JSON", 200, JSON_TYPE, "{}", true],
  ["the message as JSON, with a charset", 200, "application/json; charset=utf-8", '{"partialSuccess":{}}', true],
  ["the message as JSON, in snake_case", 200, JSON_TYPE, '{"partial_success":null}', true],
  ["said to be JSON, no body", 200, JSON_TYPE, "", true],
  ["a type that only begins as JSON's", 200, "application/jsonp", "", false],
  ["JSON's message with a list in it", 200, JSON_TYPE, '{"partialSuccess":[]}', false],
  ["a page of HTML", 200, "text/html; charset=utf-8", "<html>Please log in</html>", false],
  ["an empty page", 200, "text/html", "", false],
  ["nginx `return 200`", 200, "application/octet-stream", "", false],
  ["a load balancer's word", 200, "text/plain", "OK", false],
  ["HTML without a type", 200, null, "<html>Please log in</html>", false],
  ["HTML under protobuf's type", 200, PROTOBUF_TYPE, "<html>", false],
  ["a Status under 200", 200, PROTOBUF_TYPE, Buffer.from("0803120161", "hex"), false],
  ["a message cut short", 200, PROTOBUF_TYPE, Buffer.from("0a050801", "hex"), false],
  ["a message cut short inside", 200, PROTOBUF_TYPE, Buffer.from("0a0108", "hex"), false],
  ["another API's JSON", 200, JSON_TYPE, '{"status":"ok"}', false],
  ["JSON that is no object", 200, JSON_TYPE, "[]", false],
  ["JSON cut short", 200, JSON_TYPE, '{"partialSuccess":{', false],
  ["203, changed on its way", 203, PROTOBUF_TYPE, "", false],
  ["205", 205, null, "", false],
  ["206, a part of something", 206, PROTOBUF_TYPE, "", false],
  ["207", 207, "application/xml", "", false],
];

for (const [what, status, contentType, body, taken] of ANSWERS) {
  Deno.test(`${what}: ${status} ${taken ? "is a success" : "is none, and says why"}`, () => {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
    const reading = readSuccess("traces", { status, contentType, body: bytes, whole: true });
    assert.equal(reading.kind, taken ? "success" : "foreign");
    if (reading.kind === "foreign") assert.match(reading.why, new RegExp(`^answered ${status}`));
  });
}

Deno.test("an answer that was longer than is read is no success", () => {
  const body = new Uint8Array(0);
  assert.equal(
    readSuccess("traces", { status: 200, contentType: PROTOBUF_TYPE, body, whole: false }).kind,
    "foreign",
  );
});
