import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { queueCommand } from "../../src/cli/queue.ts";
import { FaultFound } from "../../src/cli/io.ts";
import { gzipMember } from "../../src/codec/gzip.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { configFrom } from "../../src/config/load.ts";
import { openQueue } from "../../src/queue/open.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { queueStats } from "../../src/queue/sqlite/inspect.ts";
import { settleAll, takeAll, TestLog } from "../queue/records.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";
import { recorder } from "../support/relay/recorder.ts";

/** Letters 1 and 2 are of `shop`, 3 of `web`, for other reasons; 4 is no request. */
const LETTERS = [
  { sender: "shop", reason: "bad id", payload: logsOf(["order of jane"]) },
  { sender: "shop", reason: "too late\u001b[31m", payload: logsOf(["two", "three\u0085"]) },
  { sender: "web", reason: "bad id of a trace", payload: logsOf(["four"]) },
  { sender: "web", reason: "no request", payload: new Uint8Array([255, 255]) },
] as const;

function logsOf(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const attributes = [{ key: "user.email", value: { stringValue: "jane@example.com" } }];
  const logRecords = texts.map((stringValue) => ({ body: { stringValue }, attributes }));
  return encodeProtobuf(REQUEST_MESSAGE.logs, { resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
}

async function withLetters(body: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-dead-letters-"));
  try {
    const path = join(folder, "queue.db");
    await using queue = await openQueue({
      storage: "sqlite",
      path,
      bytesMax: 1 << 20,
      deadLetterBytesMax: 1 << 20,
      log: new TestLog(),
    });
    for (const { sender, reason, payload } of LETTERS) {
      const member = gzipMember(payload);
      await queue.append({
        signal: "logs",
        encoding: "gzip",
        mergeable: true,
        targets: [1],
        parts: [{ sender, items: 2, bytes: member.length, inflatedBytes: payload.length }],
        payload: new OwnedBytes(member),
      });
      await settleAll(await takeAll(queue, 1, "logs"), { kind: "dead", reason, status: 400 });
    }
    await body(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(path: string, argv: readonly string[], config: Record<string, unknown> = {}) {
  const { io, out } = recorder();
  const { redaction } = configFrom(config);
  await queueCommand(io, () => Promise.resolve({ path, redaction })).parseAsync([...argv], { from: "user" });
  return out.join("\n");
}

const idsOf = async (path: string) =>
  (JSON.parse(await run(path, ["dead-letters", "--json"])) as { id: number }[]).map(({ id }) => id);

Deno.test("a dead letter is shown with what was sent, and nothing in it commands the terminal", () =>
  withLetters(async (path) => {
    const shown = await run(path, ["dead-letters", "show", "1", "--path", path]);
    assert.match(
      shown,
      /^Dead letter 1 of shop: 2 log records, \d+ B\nCame .*, died .* ago\nRefused: 400 bad id\n\{\n/,
    );
    assert.match(shown, /"stringValue": "order of jane"/);
    const second = await run(path, ["dead-letters", "show", "2"]);
    assert.match(second, /^Refused: 400 too late \[31m$/m);
    assert.match(second, /three\\u0085/);
    const json = JSON.parse(await run(path, ["dead-letters", "show", "1", "--json"]));
    assert.deepEqual([json.id, json.sender, json.reason], [1, "shop", "bad id"]);
    assert(Array.isArray(json.request.resourceLogs) && json.payload === undefined);
  }));

Deno.test("a dead letter is shown without what the configuration takes out now", () =>
  withLetters(async (path) => {
    const show = (redaction?: Record<string, unknown>) =>
      run(path, ["dead-letters", "show", "1"], redaction === undefined ? {} : { redaction });
    assert((await show()).includes("jane@example.com"));
    const redaction = { actions: [{ key: "user.*", action: "delete" }] };
    assert(!(await show(redaction)).includes("jane@example.com"));
    assert((await show({ ...redaction, dry_run: true })).includes("jane@example.com"));
  }));

Deno.test("a dead letter that is no request is said to be none; one that is missing is a fault", () =>
  withLetters(async (path) => {
    assert.match(await run(path, ["dead-letters", "show", "4"]), /Its \d+ bytes are no logs request: /);
    await assert.rejects(
      run(path, ["dead-letters", "show", "9"]),
      (error) =>
        error instanceof FaultFound &&
        /No dead letter of queue .* has the id 9; queue dead-letters lists those that are there$/.test(error.message),
    );
    await assert.rejects(run(path, ["dead-letters", "show", "x"]), { code: "commander.invalidArgument" });
  }));

Deno.test("they are chosen by sender, by reason, by signal and by age, each narrowing the others", () =>
  withLetters(async (path) => {
    const chosen = async (...argv: string[]) => {
      const letters = JSON.parse(await run(path, ["drop", ...argv, "--dry-run", "--json"])) as { id: number }[];
      return letters.map(({ id }) => id);
    };
    assert.deepEqual(await chosen("--sender", "shop"), [1, 2]);
    assert.deepEqual(await chosen("--sender", "sho"), [], "a sender is named whole");
    assert.deepEqual(await chosen("--reason", "bad id"), [1, 3]);
    assert.deepEqual(await chosen("--reason", "bad id", "--sender", "web"), [3]);
    assert.deepEqual(await chosen("--signal", "traces"), []);
    assert.deepEqual(await chosen("--older-than", "1h"), []);
    assert.deepEqual(await chosen("--older-than", "0"), [1, 2, 3, 4]);
    assert.deepEqual(await chosen("--older-than", "30d"), []);
    assert.deepEqual(await chosen("2", "3", "--sender", "web"), [3]);
    assert.deepEqual(await idsOf(path), [1, 2, 3, 4], "nothing has been dropped");
    await assert.rejects(run(path, ["drop", "--older-than", "soon"]), { code: "commander.invalidArgument" });
  }));

Deno.test("nothing is dropped or replayed by saying nothing, or by saying both", () =>
  withLetters(async (path) => {
    for (const verb of ["drop", "replay"]) {
      for (const argv of [[], ["--all", "1"], ["--all", "--sender", "web"], ["--json"]]) {
        await assert.rejects(run(path, [verb, ...argv]), { code: "commander.error" }, [verb, ...argv].join(" "));
      }
    }
    assert.deepEqual(await idsOf(path), [1, 2, 3, 4]);
  }));

Deno.test("what is dropped is gone and stays dead-lettered in the books; the rest is replayed", () =>
  withLetters(async (path) => {
    assert.equal(await run(path, ["drop", "--sender", "web", "--reason", "no request"]), "Dropped 1 dead letter");
    await assert.rejects(
      run(path, ["drop", "4", "3", "--sender", "web"]),
      /No dead letter that fits has the id 4; queue dead-letters lists those that are there$/,
    );
    const stats = queueStats(path);
    assert.deepEqual([stats.deadLetters.records, stats.books.logs.deadLettered, stats.balanced], [2, 8, true]);
    assert.equal(await run(path, ["replay", "--sender", "shop", "--reason", "bad id"]), "Replayed 1 dead letter");
    assert.deepEqual(await idsOf(path), [2]);
    assert.deepEqual([queueStats(path).books.logs.queued, queueStats(path).balanced], [2, true]);
    assert.equal(await run(path, ["drop", "--all"]), "Dropped 1 dead letter");
    const { records, bytes } = queueStats(path).deadLetters;
    assert.deepEqual([records, bytes], [0, 0]);
  }));
