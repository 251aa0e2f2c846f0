import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { type Look, warn } from "../../src/cli/io.ts";
import { createLog, LOG_LEVELS, type LogFields, type LogLevel } from "../../src/telemetry/log.ts";
import { shownLogLine, shownMessage, terminalOf } from "../../src/cli/terminal.ts";

/** A stream that keeps what is written. */
function stream(more: { isTTY?: boolean; columns?: number }) {
  let text = "";
  const writable = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  return Object.assign(writable, { ...more, text: () => text });
}

Deno.test("a terminal has a width, colours and a bar; what is no terminal has none of them", () => {
  const [terminal, pipe] = [stream({ isTTY: true, columns: 80 }), stream({})];
  const { progress, ...rest } = terminalOf(terminal, terminal, {});
  const look = { colours: true, width: 80 };
  assert.deepEqual(rest, { isTerminal: true, ...look, errLook: look });
  const shown = terminalOf(terminal, pipe, {});
  terminal.columns = 100;
  assert.deepEqual([shown.width, shown.errLook], [100, undefined], "it is asked again");
  terminal.columns = 0;
  assert.equal(shown.width, undefined, "a terminal of a size that nobody knows");
  assert(progress !== undefined);
  assert.deepEqual(terminalOf(pipe, pipe, {}), {
    isTerminal: false,
    colours: false,
    width: undefined,
    errLook: undefined,
    progress: undefined,
  });
});

Deno.test("NO_COLOR takes the colours, unless it is empty; a dumb terminal has none", () => {
  const terminal = stream({ isTTY: true, columns: 80 });
  assert.equal(terminalOf(terminal, terminal, { NO_COLOR: "1" }).colours, false);
  assert.equal(terminalOf(terminal, terminal, { NO_COLOR: "" }).colours, true);
  const dumb = terminalOf(terminal, terminal, { TERM: "dumb" });
  assert.deepEqual([dumb.colours, dumb.progress], [false, undefined]);
});

Deno.test("the bar says how much is done, and ends its line", async () => {
  const terminal = stream({ isTTY: true, columns: 80 });
  {
    const show = await terminalOf(terminal, terminal, {}).progress!();
    using bar = show("Replaying", 200);
    bar.update(200);
  }
  assert.match(terminal.text(), /Replaying \[={30}\] 100%, 200 of 200, /);
  assert.match(terminal.text(), /\n$/);
});

const ISO = "2030-01-02T03:04:05.678Z";

/** One line of a log that is shown by this look. */
function logged(look: Look, level: LogLevel, message: string, fields: LogFields = {}): string {
  let text = "";
  const log = createLog({
    level: "debug",
    format: (line) => shownLogLine(line, look),
    write: (line) => void (text += line),
    now: () => Date.parse(ISO),
  });
  log[level](message, fields);
  return text;
}

Deno.test("a line of the log on a terminal: its level in colour, no longer than the terminal", () => {
  const colours = true;
  const fields = { reason: "unauthenticated", signal: "traces" };
  assert.equal(
    logged({ colours, width: 60 }, "warn", "Refused a request", fields),
    `\u001b[2m${ISO}\u001b[22m \u001b[33mWARN\u001b[39m  Refused a request\n      reason=unauthenticated signal=traces\n`,
  );
  assert.equal(
    logged({ width: 90 }, "warn", "Refused a request", fields),
    `${ISO} WARN  Refused a request reason=unauthenticated signal=traces\n`,
  );
  const levels = LOG_LEVELS.map((level) => logged({ colours }, level, "x"));
  // deno-lint-ignore no-control-regex
  assert.deepEqual(levels.map((line) => /\u001b\[(\d+)m[A-Z]/.exec(line)?.[1]), ["2", "36", "33", "31"]);
  assert.equal(logged({ colours, width: 27 }, "error", "x"), `${ISO}\n      ERROR x\n`, "no room for the level");
});

Deno.test("a message on a terminal goes on set in; the lines of one that has several each by itself", () => {
  const text = "Warning: trusted beside the CA: DENO_CERT\n    at file:///a.ts:1:2 and more of it here";
  assert.equal(
    shownMessage(text, { width: 30 }),
    "Warning: trusted beside the\n  CA: DENO_CERT\n    at file:///a.ts:1:2 and\n      more of it here",
  );
  assert.equal(shownMessage(text, {}), text);
});

Deno.test("a warning has its first word in colour; a text that begins like one has not", () => {
  const look = { colours: true, width: 30 };
  warn({ err: (text, kind) => assert.equal(shownMessage(text, look, kind), "\u001b[33mWarning:\u001b[39m x") }, "x");
  assert.equal(shownMessage("Warning: x", look), "Warning: x");
});

Deno.test("what is to be done stands on a line of its own, without its quotes", () => {
  const remedy = 'start the "Collector", or correct the host';
  assert.equal(
    logged({ width: 200 }, "warn", "Nothing listens", { signal: "traces", remedy, cause: "x" }),
    `${ISO} WARN  Nothing listens signal=traces cause=x\n      To do: start the "Collector", or correct the host\n`,
  );
  assert.equal(
    logged({ width: 30 }, "error", "x", { remedy: "wait" }),
    `${ISO} ERROR\n      x\n      To do: wait\n`,
  );
  assert.equal(
    logged({ width: 90 }, "error", "x", { remedy: "a\u001b[31m\nb" }),
    `${ISO} ERROR x\n      To do: a\\u001b[31m\\u000ab\n`,
  );
});
