import assert from "node:assert/strict";
import { createLog, type LogOptions } from "../../src/telemetry/log.ts";

function setup(options: LogOptions = {}) {
  const lines: string[] = [];
  let nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
  const log = createLog({ write: (line) => lines.push(line), now: () => nowMs, ...options });
  return { log, lines, passMs: (ms: number) => (nowMs += ms) };
}

Deno.test("text: one line with time, level, message and fields", () => {
  const { log, lines } = setup();
  log.info("Relay listening", {
    url: "http://127.0.0.1:4319",
    senders: 3,
    note: 'two "words"',
    gone: undefined,
    no: null,
  });
  assert.deepEqual(lines, [
    '2026-01-02T03:04:05.678Z INFO  Relay listening url=http://127.0.0.1:4319 senders=3 note="two \\"words\\"" no=null\n',
  ]);
});

Deno.test("json: one object a line; a field does not replace time, level or message", () => {
  const { log, lines } = setup({ format: "json" });
  log.error("Disk full", { message: "mine", level: 7, bytes: 12n, rate: NaN, ok: false });
  assert.deepEqual(JSON.parse(lines[0] ?? ""), {
    time: "2026-01-02T03:04:05.678Z",
    level: "error",
    message: "Disk full",
    message_: "mine",
    level_: 7,
    bytes: "12",
    rate: "NaN",
    ok: false,
  });
  assert.ok(lines[0]?.endsWith("}\n"));
});

Deno.test("the level filters what is below it", () => {
  const { log, lines } = setup({ level: "warn" });
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  assert.deepEqual(lines.map((line) => line.slice(25).trim()), ["WARN  c", "ERROR d"]);
});

for (const format of ["text", "json"] as const) {
  Deno.test(`${format}: what a sender chose cannot forge a line, drive a terminal or hide words`, () => {
    const { log, lines } = setup({ format });
    const evil = "x\n2026-01-01T00:00:00.000Z ERROR forged\r\u001b[2J\u009b1m\u2028\u202e\u0000\ud800";
    log.warn(evil, { [evil]: evil });
    assert.equal(lines.length, 1);
    const line = lines[0] ?? "";
    assert.equal(line.indexOf("\n"), line.length - 1);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/);
    assert.ok(line.isWellFormed());
    if (format === "json") assert.match(JSON.parse(line).message, /^x\n2026/);
  });

  Deno.test(`${format}: long texts and many fields are cut`, () => {
    const { log, lines } = setup({ format });
    const fields = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`f${i}`, "y".repeat(10_000)]));
    log.warn("z".repeat(100_000), fields);
    assert.ok((lines[0]?.length ?? 0) < 40_000);
    assert.match(lines[0] ?? "", /f31/);
    assert.doesNotMatch(lines[0] ?? "", /f32/);
  });
}

Deno.test("an error is written with its causes", () => {
  const { log, lines } = setup();
  log.warn("Send failed", { cause: new TypeError("fetch failed", { cause: new Error("UnknownIssuer") }) });
  assert.match(lines[0] ?? "", /cause="fetch failed: UnknownIssuer"\n$/);
});

Deno.test("limited: one line an interval and key, and the next tells how many were withheld", () => {
  const { log, lines, passMs } = setup();
  for (let i = 0; i < 5; i++) log.limited("collector", 60_000).warn("down");
  log.limited("disk", 60_000).warn("full");
  log.warn("down");
  passMs(59_999);
  log.limited("collector", 60_000).error("down");
  passMs(1);
  log.limited("collector", 60_000).warn("down");
  passMs(60_000);
  log.limited("collector", 60_000).warn("down");
  assert.deepEqual(lines.map((line) => line.slice(31).trim()), ["down", "full", "down", "down withheld=5", "down"]);
});

Deno.test("limited: a line that the level filters does not use up the interval; a clock set back silences nobody", () => {
  const { log, lines, passMs } = setup({ level: "warn" });
  log.limited("k", 1_000).debug("unseen");
  log.limited("k", 1_000).warn("seen");
  passMs(-3_600_000);
  log.limited("k", 1_000).warn("seen too");
  assert.deepEqual(lines.map((line) => line.slice(31).trim()), ["seen", "seen too"]);
});

Deno.test("limited: keys without end are forgotten, the oldest first", () => {
  const { log, lines } = setup();
  log.limited("first", 60_000).warn("first");
  for (let i = 0; i < 1_000; i++) log.limited(`k${i}`, 60_000).warn("other");
  log.limited("k999", 60_000).warn("withheld");
  log.limited("first", 60_000).warn("first");
  assert.equal(lines.filter((line) => line.includes("first")).length, 2);
  assert.equal(lines.filter((line) => line.includes("withheld")).length, 0);
});

Deno.test("the default log writes to standard error", async () => {
  const module = new URL("../../src/telemetry/log.ts", import.meta.url).href;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `import { createLog } from ${JSON.stringify(module)}; createLog().info("hello"); createLog().debug("no");`,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(new TextDecoder().decode(stdout), "");
  assert.match(new TextDecoder().decode(stderr), /INFO {2}hello\n$/);
});
