import assert from "node:assert/strict";
import { z } from "zod";
import { flag, headers, isHeader, number, option, optionsOf, origins, section } from "../../src/config/option.ts";

const only = (schema: z.ZodType) => {
  const [found] = optionsOf(section({ key: option(schema, "help") }));
  assert.ok(found);
  return found;
};

Deno.test("text from outside a file becomes the value its kind wants", () => {
  assert.equal(only(flag()).fromText("true"), true);
  assert.equal(only(flag()).fromText(" TRUE "), true);
  assert.equal(only(flag()).fromText("yes"), "yes");
  assert.equal(only(number(0, 1, false)).fromText("0.5"), 0.5);
  assert.equal(only(number(0, 1, false)).fromText("half"), "half");
  assert.deepEqual(only(headers()).fromText("{a: b, c: 'd'}"), { a: "b", c: "d" });
  assert.deepEqual(only(origins()).fromText("https://a.example, https://b.example"), [
    "https://a.example",
    "https://b.example",
  ]);
  assert.deepEqual(only(origins()).fromText('["https://a.example"]'), ["https://a.example"]);
  for (const schema of [flag(), number(0, 1, false), headers(), origins()]) {
    assert.equal(only(schema).fromText(""), undefined);
  }
});

Deno.test("an option keeps its default as it is written, and must have kind and help", () => {
  assert.equal(only(number(0, 9, true).prefault(4)).default, 4);
  assert.equal(only(number(0, 9, true).exactOptional()).default, undefined);
  assert.throws(() => optionsOf(section({ key: number(0, 9, true) })), /Option key has no kind or no help/);
  assert.throws(() => optionsOf(section({ key: option(z.string(), "help") })), /Option key has no kind or no help/);
});

Deno.test("a header the relay sets itself cannot be configured", () => {
  assert.ok(isHeader("X-Scope-OrgID", "7"));
  assert.ok(isHeader("authorization", "Bearer x"));
  for (const name of ["Content-Type", "content-encoding", "HOST", "Keep-Alive", "proxy-connection", "", "a:b", "a b"]) {
    assert.ok(!isHeader(name, "x"), name);
  }
  assert.ok(!isHeader("x", "a\r\nb"));
});
