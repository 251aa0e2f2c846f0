import assert from "node:assert/strict";
import { InvalidArgumentError } from "commander";
import * as option from "../../src/cli/token_options.ts";

const refused = (work: () => unknown, message: string) =>
  assert.throws(work, (error) => error instanceof InvalidArgumentError && error.message === message);

Deno.test("values go into the file as they were written, numbers as numbers", () => {
  assert.equal(option.id("web-1"), "web-1");
  assert.deepEqual(option.origins("https://a.example, http://localhost:3000"), [
    "https://a.example",
    "http://localhost:3000",
  ]);
  assert.equal(option.moment("2027-01-31T12:00:00+01:00"), "2027-01-31T12:00:00+01:00");
  assert.deepEqual(option.attributes("tenant.id=acme, tier=a=b"), { "tenant.id": "acme", tier: "a=b" });
  assert.deepEqual(option.signals("logs, traces"), ["logs", "traces"]);
  assert.equal(option.limit.bytes_per_second("1MiB"), "1MiB");
  assert.equal(option.limit.queue_share("0.5"), 0.5);
  assert.equal(option.duration("1s", "24h")("24h"), "24h");
});

Deno.test("what the file would refuse is refused in words of the option", () => {
  refused(() => option.id(""), "It must be 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first.");
  refused(() => option.signals("traces,"), " is no signal; use traces, metrics, logs, profiles.");
  refused(() => option.limit.queue_share("0"), "It must be a number above 0, up to 1.");
  refused(() => option.limit.concurrent_requests("0"), "It must be a whole number from 1 to 1000000.");
  for (const text of ["0", "999ms", "24h1s", "soon"]) {
    refused(() => option.duration("1s", "24h")(text), "It must be a time such as 5m, from 1s to 24h.");
  }
});
