import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeUsage, usageRows } from "../../src/cli/token_usage.ts";
import { main } from "../../src/main.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { startRelayHere } from "../support/relay/relay.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { recorder } from "../support/relay/recorder.ts";
import { startCollector } from "../../src/collector/server.ts";
import { collectorTls } from "../support/far_end/far_end.ts";

async function run(...argv: string[]) {
  const { io, out, err } = recorder();
  return { code: await main(["token", "usage", ...argv], io), out: out.join("\n"), err: err.join("\n") };
}

const span = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}';

Deno.test("what a relay has counted is shown after it has ended, and unused tokens too", async () => {
  await using at = await folder();
  await using certs = await testCertificates();
  await using collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: await collectorTls(certs.dir),
  });
  const tokens_file = join(at.path, "tokens.yaml");
  const queuePath = join(at.path, "queue.db");
  const entry = (id: string, secret: string, more = "") => `  - { id: ${id}, sha256: ${digestOf(secret)}${more} }\n`;
  const entries = [
    entry("web", "first", ", signals: [traces]"),
    entry("web", "second"),
    entry("page", "page", ", origins: [https://app.example]"),
    entry("late", "late", ", not_after: 2020-01-01T00:00:00Z"),
    entry("idle", "idle"),
  ];
  const leaked = `{ id: leaked, sha256: ${digestOf("leaked")}, at: 2026-01-01T00:00:00Z }`;
  const file = (more = "") => `tokens:\n${entries.join("")}${more}revoked: [${leaked}]\n`;
  await writeFile(tokens_file, file(entry("gone", "gone")));
  {
    await using relay = await startRelayHere({
      engine: "sqlite",
      collectorUrl: collector.url,
      certsDir: certs.dir,
      queuePath,
      auth: { tokens_file },
    });
    const post = async (token: string, path = "traces", headers = {}) => {
      const response = await fetch(`${relay.url}/v1/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-api-key": token, ...headers },
        body: span,
      });
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await post("first"), 200);
    assert.equal(await post("first"), 200);
    assert.equal(await post("first", "logs"), 403);
    assert.equal(await post("gone"), 200);
    assert.equal(await post("late"), 401);
    assert.equal(await post("nobody"), 401);
    assert.equal(await post("leaked"), 401);
    assert.equal(await post("page", "traces", { origin: "https://app.example" }), 200);
    assert.equal(await post("page", "traces", { origin: "https://evil.example" }), 403);
  }
  await writeFile(tokens_file, file());
  const json = await run("--file", tokens_file, "--path", queuePath, "--json");
  assert.equal(json.code, 0);
  const { since, until, tokens } = JSON.parse(json.out) as {
    since: string;
    until: string;
    tokens: Record<string, unknown>[];
  };
  assert.ok(since < until);
  assert.deepEqual(
    tokens.map(({ id, proof, state, requests, items, refused, last_use, from }) => [
      id,
      proof,
      state,
      requests,
      items,
      refused,
      last_use !== null,
      (from as { place: string }[]).map(({ place }) => place).sort(),
    ]),
    [
      ["web", `token ${digestOf("first").slice(0, 8)}`, "valid", 2, 4, { forbidden: 1 }, true, ["127.0.0.1"]],
      ["web", `token ${digestOf("second").slice(0, 8)}`, "valid", 0, 0, {}, false, []],
      [
        "page",
        `token ${digestOf("page").slice(0, 8)}`,
        "valid",
        1,
        2,
        { forbidden: 1 },
        true,
        ["https://app.example", "https://evil.example"],
      ],
      ["late", `token ${digestOf("late").slice(0, 8)}`, "expired", 0, 0, { expired: 1 }, false, ["127.0.0.1"]],
      ["idle", `token ${digestOf("idle").slice(0, 8)}`, "valid", 0, 0, {}, false, []],
      ["leaked", `token ${digestOf("leaked").slice(0, 8)}`, "revoked", 0, 0, { revoked: 1 }, false, ["127.0.0.1"]],
      ["gone", `token ${digestOf("gone").slice(0, 8)}`, "removed", 1, 2, {}, true, ["127.0.0.1"]],
    ],
  );
  const shown = await run("--file", tokens_file, "--path", queuePath);
  const lines = shown.out.split("\n");
  assert.match(lines[0]!, /^id +proof +last use +requests +items +in the last hour +refused +from$/);
  assert.match(lines[1]!, /^web +token [0-9a-f]{8} +20\S+Z +2 +4 +2 +forbidden 1 +127\.0\.0\.1$/);
  assert.match(lines[5]!, /^idle +token [0-9a-f]{8} +never +0 +0 +0 +- +-$/);
  assert.match(shown.err, /^Counted since 20\S+Z, written at 20\S+Z$/);
});

Deno.test("a relay without a disk keeps no file of it, and is said to", async () => {
  await using at = await folder();
  const config = join(at.path, "relay.yaml");
  await writeFile(config, "sending_queue: { storage: none }\n");
  const { code, err } = await run("--config", config);
  assert.equal(code, 1);
  assert.match(err, /^Cannot show usage: sending_queue\.storage is none/m);
});

Deno.test("more places than a line has room for, one of them not made for a terminal", () => {
  const places = ["https://\u001b[31mred.example", "192.0.2.1", "192.0.2.2", "192.0.2.3"];
  const rows = usageRows({ tokens: [], signingKeys: [], revoked: [] }, {
    since: 0,
    until: 10,
    tokens: [{
      id: "shop",
      proof: "jwt",
      last_seen: 9,
      requests: 0,
      items: 0,
      hour: { start: 0, requests: 0, items: 0, previous_requests: 0, previous_items: 0 },
      refused: { throttled: 1 },
      places: places.map((place, index) => ({ place, first_use: 0, last_use: 9 - index })),
    }],
  }, 10);
  assert.deepEqual(rows.map(({ state }) => state), ["valid"]);
  assert.match(
    describeUsage(rows)[1]!,
    /throttled 1 +https:\/\/ \[31mred\.example, 192\.0\.2\.1, 192\.0\.2\.2 and 1 more$/,
  );
});

Deno.test("without a file every token is there as never used; a damaged file is a fault", async () => {
  await using at = await folder();
  const [file, path] = [join(at.path, "tokens.yaml"), join(at.path, "queue.db")];
  await writeFile(file, `tokens:\n  - { id: web, sha256: ${digestOf("a")} }\n`);
  const none = await run("--file", file, "--path", path);
  assert.equal(none.code, 0);
  assert.match(none.out, /web +token [0-9a-f]{8} +never/);
  assert.match(none.err, /^Nothing is counted yet: there is no .*queue\.db\.usage, which a running relay writes/);
  await writeFile(`${path}.usage`, "{");
  const damaged = await run("--file", file, "--path", path);
  assert.deepEqual([damaged.code, damaged.out], [1, ""]);
  assert.match(damaged.err, /is damaged; remove it/);
});
