import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { terminalOf } from "../../src/cli/terminal.ts";

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
  assert.deepEqual(rest, { isTerminal: true, colours: true, width: 80 });
  assert(progress !== undefined);
  assert.deepEqual(terminalOf(pipe, pipe, {}), {
    isTerminal: false,
    colours: false,
    width: undefined,
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
