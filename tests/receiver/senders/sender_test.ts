import assert from "node:assert/strict";
import { Refusal } from "../../../src/errors.ts";
import { authorize, kindOfProof, type Proof, type Sender } from "../../../src/receiver/senders/sender.ts";

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
  const words = (proof: Proof, more: Partial<Sender> = {}) => {
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

Deno.test("the kind that the log limits by has a static token's id, and never a name that a stranger chooses", () => {
  const kind = (id: string, proof: Proof, more: Partial<Sender>) => {
    try {
      authorize({ ...sender, id, proof, ...more }, "traces", "https://evil.example");
    } catch (error) {
      if (error instanceof Refusal) return error.kind;
    }
    return undefined;
  };
  const signals: Sender["signals"] = new Set(["logs"]);
  const origins = ["https://app.example"];
  assert.equal(kind("edge", "token 0a1b2c3d", { signals }), "forbidden signal edge");
  assert.equal(kind("key:web", "key", { origins }), "forbidden origin key:web");
  for (const name of ["one", "two"]) {
    assert.equal(kind(`jwt:${name}`, "jwt", { signals }), "forbidden signal jwt");
    assert.equal(kind(`jwt:${name}`, "jwt", { origins }), "forbidden origin jwt");
    assert.equal(kind(`certificate:${name}`, "certificate", { signals }), "forbidden signal certificate");
  }
  assert.deepEqual(["token 5e884898", "key", "jwt", "certificate", "none"].map(kindOfProof), [
    "token",
    "key",
    "jwt",
    "certificate",
    "none",
  ]);
});
