import assert from "node:assert/strict";
import { CertificateError, ConfigError, messageOf, Refusal, type RefusalCode, REFUSALS } from "../src/errors.ts";

const codes = Object.keys(REFUSALS) as RefusalCode[];

Deno.test("a refusal is retryable exactly where OTLP says that its status is, and none is 500", () => {
  for (const code of codes) {
    const { status, retryable } = REFUSALS[code];
    assert.equal(retryable, [429, 502, 503, 504].includes(status), code);
    assert.ok([400, 401, 403, 404, 405, 413, 415, 429, 431, 503].includes(status), code);
    assert.equal(new Refusal(code, "x").status, status);
  }
});

Deno.test("a status says the same as its google.rpc.Code", () => {
  // https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, by the status that each code maps to.
  const allowed: Record<number, number[]> = {
    400: [3],
    401: [16],
    403: [7],
    404: [5],
    405: [12],
    413: [8],
    415: [3],
    429: [8],
    431: [8],
    503: [14, 13, 4],
  };
  for (const code of codes) assert.ok(allowed[REFUSALS[code].status]!.includes(REFUSALS[code].grpcCode), code);
});

Deno.test("Retry-After stands on every retryable refusal and on no other, in whole seconds from 1 to an hour", () => {
  for (const code of codes) {
    assert.equal(new Refusal(code, "x").retryAfterS, REFUSALS[code].retryable ? 1 : undefined);
  }
  const table: [number, number][] = [
    [0, 1],
    [-5, 1],
    [0.2, 1],
    [1, 1],
    [1.01, 2],
    [90, 90],
    [1e9, 3_600],
    [Infinity, 3_600],
    [NaN, 1],
  ];
  for (const [retryAfterS, expected] of table) {
    assert.equal(new Refusal("queue_full", "x", { retryAfterS }).retryAfterS, expected, String(retryAfterS));
  }
  assert.equal(new Refusal("malformed", "x", { retryAfterS: 5 }).retryAfterS, undefined);
});

Deno.test("errors have names, codes, headers and causes", () => {
  const cause = new Error("disk");
  const refusal = new Refusal("storage_failed", "Cannot write", { cause, headers: { allow: "POST" } });
  assert.deepEqual([refusal.name, refusal.code, refusal.message, refusal.cause], [
    "Refusal",
    "storage_failed",
    "Cannot write",
    cause,
  ]);
  assert.deepEqual(refusal.headers, { allow: "POST" });
  const stated = new Refusal("too_large", "Body is too large", { remedy: "send less" });
  assert.deepEqual([stated.what, stated.remedy, stated.message], [
    "Body is too large",
    "send less",
    "Body is too large; send less",
  ]);
  assert.equal("cause" in new Refusal("internal", "x"), false);
  assert.equal(new ConfigError("x").name, "ConfigError");
  const certificate = new CertificateError(
    "expired",
    { what: "Cannot use x", state: "it is old", remedy: "renew it" },
    { cause },
  );
  assert.deepEqual([certificate.name, certificate.code, certificate.cause], ["CertificateError", "expired", cause]);
});

Deno.test("the text of anything thrown has its causes, and ends", () => {
  assert.equal(messageOf(new Error("a", { cause: new Error("b", { cause: "c" }) })), "a: b: c");
  assert.equal(messageOf(new Error("a (b); do", { cause: new Error("b", { cause: "c" }) })), "a (b); do: c");
  assert.equal(messageOf("text"), "text");
  assert.equal(messageOf(undefined), "undefined");
  assert.equal(messageOf(new TypeError("")), "TypeError");
  const refused = new AggregateError([
    new Error("connect ECONNREFUSED ::1"),
    new Error("connect ECONNREFUSED 127.0.0.1"),
  ]);
  assert.equal(
    messageOf(new Error("fetch failed", { cause: refused })),
    "fetch failed: connect ECONNREFUSED ::1; connect ECONNREFUSED 127.0.0.1",
  );
  const circle = new Error("again");
  circle.cause = circle;
  assert.equal(messageOf(circle), "again");
  const chain = Array.from({ length: 20 }, (_, at) => `e${at}.`)
    .reduceRight((cause: unknown, text) => new Error(text, { cause }), undefined);
  assert.equal(messageOf(chain), "e0.: e1.: e2.: e3.: e4.: e5.: e6.: e7.: e8.");
});
