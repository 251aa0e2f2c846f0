import assert from "node:assert/strict";
import { replayCommand } from "../../src/admin/page_letters.tsx";
import { partHtml } from "../../src/admin/page_parts.tsx";
import { oldLetters, statusWith } from "./status_fixture.ts";

const text = (html: string) => html.replaceAll(/<\/(p|code)>/g, "\n").replaceAll(/<[^>]+>/g, "").trim();
const { deadLetters } = oldLetters();
const [group] = deadLetters.groups!;

Deno.test("a group says who, why, how many and since when, and how to send it again", () => {
  assert.deepEqual(text(partHtml("letters", statusWith({ deadLetters }))).split("\n"), [
    "web 400 invalid trace id",
    "3 letters with 6 log records, 2.0 KiB; the first 2026-11-25 11:59:00Z, the last 1 d ago",
    "deno task queue replay --sender web --signal logs --reason &#39;invalid trace id&#39;",
  ]);
  assert.match(text(partHtml("letters_note", statusWith({ deadLetters }))), /^3 in all, 2\.0 KiB\./);
  const more = { ...deadLetters, groupsMore: 4, ungrouped: 1_200 };
  assert.match(
    text(partHtml("letters_note", statusWith({ deadLetters: more }))),
    /4 more groups are not shown\. 1,200 older letters are in no group\.$/,
  );
});

Deno.test("without any there is one word, and no command", () => {
  assert.equal(text(partHtml("letters", statusWith())), "None");
  assert.equal(partHtml("letters_note", statusWith()), "");
  const unread = { ...deadLetters, groups: undefined };
  assert.match(partHtml("letters", statusWith({ deadLetters: unread })), /cannot be read; see the log/);
});

Deno.test("whoever pastes the command runs nothing that others have written", () => {
  const command = (reason: string, sender = "web", path?: string) => replayCommand({ ...group!, reason, sender }, path);
  const base = "deno task queue replay --sender web --signal logs";
  assert.equal(command("it's $(rm -rf ~) `x`"), `${base} --reason 'it'\\''s $(rm -rf ~) \`x\`'`);
  assert.equal(command("first\nsecond"), `${base} --reason first`);
  assert.equal(command("\u001b[31mred"), base, "an escape sequence of a terminal ends what is named");
  assert.equal(command("x".repeat(100)), `${base} --reason ${"x".repeat(60)}`);
  assert.equal(command("no", "a\nb'c"), `deno task queue replay --sender 'ab'\\''c' --signal logs --reason no`);
  assert.equal(command("no", "web", "/var/lib/a b.db"), `${base} --reason no --path '/var/lib/a b.db'`);
});
