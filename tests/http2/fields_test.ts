import assert from "node:assert/strict";
import { contentLength, fieldOf, malformation, withoutBlanks } from "../../src/http2/fields.ts";
import type { Field } from "../../src/http2/hpack_tables.ts";

const REQUEST: readonly Field[] = [[":method", "POST"], [":scheme", "http"], [":path", "/a"], [":authority", "x"]];

Deno.test("takes what is a request, an answer, trailers", () => {
  assert.equal(malformation([...REQUEST, ["te", "trailers"], ["user-agent", "a b"]], "request"), undefined);
  assert.equal(malformation([[":status", "200"], ["content-type", "application/grpc"]], "response"), undefined);
  assert.equal(malformation([["grpc-status", "0"], ["grpc-message", ""]], "trailers"), undefined);
});

const MALFORMED: Readonly<
  Record<string, readonly [fields: readonly Field[], kind: "request" | "response" | "trailers"]>
> = {
  "no :path": [REQUEST.filter(([name]) => name !== ":path"), "request"],
  "no :method": [REQUEST.filter(([name]) => name !== ":method"), "request"],
  "no :scheme": [REQUEST.filter(([name]) => name !== ":scheme"), "request"],
  "an empty :path": [[...REQUEST.slice(0, 2), [":path", ""]], "request"],
  ":path twice": [[...REQUEST, [":path", "/b"]], "request"],
  "a pseudo field behind others": [[...REQUEST.slice(0, 3), ["a", "b"], [":authority", "x"]], "request"],
  "an unknown pseudo field": [[...REQUEST, [":protocol", "x"]], "request"],
  ":status in a request": [[...REQUEST, [":status", "200"]], "request"],
  "a capital letter": [[...REQUEST, ["User-Agent", "x"]], "request"],
  "a blank in a name": [[...REQUEST, ["a b", "x"]], "request"],
  "an empty name": [[...REQUEST, ["", "x"]], "request"],
  "a line break in a value": [[...REQUEST, ["a", "x\r\nb: y"]], "request"],
  "NUL in a value": [[...REQUEST, ["a", "x\0"]], "request"],
  "a line break in :path": [[...REQUEST.slice(0, 2), [":path", "/a\nb"]], "request"],
  "connection": [[...REQUEST, ["connection", "close"]], "request"],
  "transfer-encoding": [[...REQUEST, ["transfer-encoding", "chunked"]], "request"],
  "te with more": [[...REQUEST, ["te", "gzip"]], "request"],
  "no :status": [[["content-type", "x"]], "response"],
  "a :status that is none": [[[":status", "2000"]], "response"],
  "a pseudo field in trailers": [[[":status", "200"]], "trailers"],
};

for (const [name, [fields, kind]] of Object.entries(MALFORMED)) {
  Deno.test(`says why it is malformed: ${name}`, () => assert(malformation(fields, kind) !== undefined));
}

Deno.test("reads values without the blanks around them, which gRPC libraries send", () => {
  const plain: readonly Field[] = [["grpc-status", "3"], ["grpc-message", "a b"], ["c", ""]];
  assert.equal(withoutBlanks(plain), plain);
  assert.deepEqual(
    withoutBlanks([["grpc-status", "3"], ["grpc-message", " bad data \t"], ["c", "  "], ["d", "\tx"]]),
    [["grpc-status", "3"], ["grpc-message", "bad data"], ["c", ""], ["d", "x"]],
  );
});

Deno.test("finds a field, and the length that is stated", () => {
  assert.equal(fieldOf([["a", "1"], ["b", "2"], ["b", "3"]], "b"), "2");
  assert.equal(fieldOf([], "b"), undefined);
  assert.equal(contentLength([]), undefined);
  assert.equal(contentLength([["content-length", "12"], ["content-length", "12"]]), 12);
  for (const wrong of ["-1", "1.5", "", "x", "9".repeat(30)]) {
    assert.equal(contentLength([["content-length", wrong]]), "malformed");
  }
  assert.equal(contentLength([["content-length", "1"], ["content-length", "2"]]), "malformed");
});
