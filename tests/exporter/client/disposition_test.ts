import assert from "node:assert/strict";
import { diagnose } from "../../../src/diagnosis/faults.ts";
import { dispositionOf } from "../../../src/exporter/client/disposition.ts";

const RETRIED = [429, 502, 503, 504];
const INSPECTED = [400, 413, 422];

Deno.test("every status has one meaning, and nothing but a 2xx settles", () => {
  for (let status = 200; status < 600; status++) {
    const expected = status < 300
      ? "delivered"
      : RETRIED.includes(status)
      ? "retry"
      : INSPECTED.includes(status)
      ? "inspect"
      : "hold";
    assert.equal(dispositionOf({ status }), expected, `${status}`);
  }
});

Deno.test("what is held is what needs a person, by the table of faults", () => {
  for (let status = 300; status < 600; status++) {
    const disposition = dispositionOf({ status });
    if (disposition === "inspect") continue;
    assert.equal(diagnose({ status, text: "" }).lasting, disposition === "hold", `${status}`);
  }
});

Deno.test("a 2xx that is no success of OTLP settles nothing, and is named", () => {
  for (const status of [200, 201, 202, 204, 206]) {
    assert.equal(dispositionOf({ status, foreign: true }), "hold");
    const fault = diagnose({ status, foreign: true, text: "answered 200 with text/html" });
    assert.deepEqual([fault.code, fault.lasting], ["wrong_protocol", true]);
  }
});
