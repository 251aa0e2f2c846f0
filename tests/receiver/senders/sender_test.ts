import assert from "node:assert/strict";
import { Refusal } from "../../../src/errors.ts";
import { authorize, type Sender } from "../../../src/receiver/senders/sender.ts";

const sender: Sender = { id: "edge", proof: "token 0a1b2c3d", signals: new Set(["traces", "logs"]) };

function forbidden(work: () => void, message: string): void {
  assert.throws(work, (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.status, error.message], ["forbidden", 403, message]);
    return true;
  });
}

Deno.test("a signal that the token is not for is 403, which names what it is for", () => {
  authorize(sender, "traces", null);
  forbidden(
    () => authorize(sender, "metrics", null),
    "Token edge may not send metrics; it may send traces, logs",
  );
});

Deno.test("a token that is bound to origins is of no use elsewhere", () => {
  authorize(sender, "traces", "https://anywhere.example");
  const web: Sender = { ...sender, origins: ["https://app.example"] };
  authorize(web, "logs", "https://app.example");
  forbidden(
    () => authorize(web, "logs", null),
    "Token edge is for web pages, and the request has no Origin; use another token outside a browser",
  );
  for (const origin of ["https://app.example.evil", "http://app.example", "null", ""]) {
    forbidden(
      () => authorize(web, "logs", origin),
      "Token edge may not be used from this origin; add the origin to its origins",
    );
  }
});

Deno.test("a sender is called by what it has proved itself by", () => {
  const words = (proof: string, more: Partial<Sender> = {}) => {
    try {
      authorize({ ...sender, proof, ...more }, "traces", "https://evil.example");
    } catch (error) {
      if (error instanceof Refusal) return error.message;
    }
    return undefined;
  };
  const signals: Sender["signals"] = new Set(["logs"]);
  const only = "may not send traces; it may send logs";
  assert.equal(words("key", { signals }), `The token that was minted with key edge ${only}`);
  assert.equal(words("jwt", { signals }), `The JWT of edge ${only}`);
  assert.equal(words("certificate", { signals }), `The certificate of edge ${only}`);
  assert.equal(words("none", { signals }), `Sender edge ${only}`);
  assert.equal(words("jwt", { signals: new Set() }), "The JWT of edge may not send traces; it may send nothing");
  const origins = ["https://app.example"];
  assert.match(
    words("key", { origins }) ?? "",
    /^The token .* may not be used from this origin; mint one for the origin/,
  );
  assert.match(words("jwt", { origins }) ?? "", /^The JWT of edge .*; add the origin to the origins that it claims$/);
});
