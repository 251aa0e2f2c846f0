import assert from "node:assert/strict";
import { kindOfSender, nameOfSender, type ProofKind, senderId } from "../../src/config/sender_id.ts";
import { TOKEN_ID } from "../../src/receiver/senders/tokens_schema.ts";

Deno.test("each kind of proof has its own ids, which say their kind and name", () => {
  const table: [ProofKind, string, string, ProofKind][] = [
    ["token", "checkout", "checkout", "token"],
    ["none", "anonymous", "anonymous", "token"],
    ["key", "checkout", "key:checkout", "key"],
    ["jwt", "checkout", "jwt:checkout", "jwt"],
    ["jwt", "key:checkout", "jwt:key:checkout", "jwt"],
    ["certificate", "urn:node:7", "certificate:urn:node:7", "certificate"],
  ];
  for (const [kind, name, id, read] of table) {
    assert.deepEqual([senderId(kind, name), kindOfSender(id), nameOfSender(id)], [id, read, name]);
  }
  assert.equal(new Set(table.map(([, , id]) => id)).size, table.length);
});

Deno.test("no static token can be named as another kind's sender", () => {
  for (const name of ["jwt:checkout", "key:", "certificate:a", ":"]) assert.ok(!TOKEN_ID.safeParse(name).success, name);
});
