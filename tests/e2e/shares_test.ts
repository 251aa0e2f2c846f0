/** One sender fills its share of the queue while nothing drains it: the others still have room, also after a restart. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { startRelayHere } from "../support/relay/relay.ts";

/** A request that does not compress, of some 64 KiB. */
const body = () =>
  JSON.stringify({
    resourceSpans: [{ scopeSpans: [{ spans: [{ name: randomBytes(48 * 1024).toString("base64") }] }] }],
  });

Deno.test("a sender that fills its share of the queue leaves room for the others, before and after a restart", async () => {
  await using at = await folder();
  await using certs = await testCertificates();
  const tokens_file = join(at.path, "tokens.yaml");
  await writeFile(
    tokens_file,
    ["noisy", "quiet"].map((id) => `  - { id: ${id}, sha256: ${digestOf(id)}, limits: { queue_share: 0.5 } }\n`)
      .reduce((text, entry) => text + entry, "tokens:\n"),
  );
  const start = () =>
    startRelayHere({
      engine: "sqlite",
      collectorUrl: "https://127.0.0.1:9",
      certsDir: certs.dir,
      queuePath: join(at.path, "queue.db"),
      http: { max_request_body_size: "1MiB" },
      auth: { tokens_file },
      config: { sending_queue: { storage: "sqlite", path: join(at.path, "queue.db"), queue_size: "1MiB" } },
    });
  const post = async (url: string, token: string) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    const response = await fetch(`${url}/v1/traces`, { method: "POST", headers, body: body() });
    return { status: response.status, text: await response.text(), retryAfter: response.headers.get("retry-after") };
  };
  {
    await using relay = await start();
    const answers = [];
    // All at once: what is on its way to the queue counts too.
    for (const answer of await Promise.all(Array.from({ length: 40 }, () => post(relay.url, "noisy")))) {
      answers.push(answer);
    }
    const kept = answers.filter(({ status }) => status === 200).length;
    assert.ok(kept >= 6 && kept <= 11, `${kept} of some 49 KiB fit into half of 1 MiB`);
    for (const { status, text, retryAfter } of answers.filter(({ status }) => status !== 200)) {
      assert.equal(status, 503);
      assert.match(
        text,
        /Sender noisy fills its share of the queue: \d+ of 524288 bytes; (?:nothing drains now|there will be room in about \d+ s); retry/,
      );
      assert.match(retryAfter!, /^[1-9]\d*$/);
    }
    assert.equal((await post(relay.url, "quiet")).status, 200);
  }
  await using relay = await start();
  assert.equal((await post(relay.url, "noisy")).status, 503);
  assert.equal((await post(relay.url, "quiet")).status, 200);
});
