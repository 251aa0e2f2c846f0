/** A queue that is full. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { RelayHere } from "./relay.ts";

/** Fills the queue of 1 MiB until nothing more is taken. */
export async function fillQueue(relay: RelayHere): Promise<void> {
  for (const bytes of [64 * 1024, 4 * 1024, 256, 1]) {
    for (;;) {
      const body = JSON.stringify({
        resourceSpans: [{ scopeSpans: [{ spans: [{ name: randomBytes(bytes).toString("base64") }] }] }],
      });
      const headers = { "content-type": "application/json", authorization: `Bearer ${relay.token}` };
      const answer = await fetch(`${relay.url}/v1/traces`, { method: "POST", headers, body });
      const text = await answer.text();
      if (answer.status === 503) {
        assert.match(text, /The queue is full: 1048576 bytes; nothing drains now; retry/);
        break;
      }
      assert.equal(answer.status, 200, text);
    }
  }
}
