import assert from "node:assert/strict";
import { SIGNALS } from "../../src/signal.ts";
import { assertRefused, MEDIA_TYPES, testEachWay } from "../support/relay/receiver.ts";

const both = MEDIA_TYPES;

testEachWay("another method is 405 with Allow, on every signal, in the request's encoding", async (receiver) => {
  const { post, app, told } = receiver();
  for (const { path, name } of SIGNALS) {
    for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      for (const type of both) {
        const response = await post(null, { path, method, type });
        assert.equal(response.headers.get("allow"), "POST");
        await assertRefused(response, 405, new RegExp(`^Method not allowed on ${path}; use POST$`), type);
        assert.deepEqual(told.pop(), { kind: "refused", code: "method_not_allowed", signal: name, sender: undefined });
      }
    }
    const head = await app.request(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("allow"), await head.text()], [405, "POST", ""]);
  }
});
