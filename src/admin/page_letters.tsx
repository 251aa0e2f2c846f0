/**
 * Dead letters on the status page: by sender and reason, each with the command that sends them again.
 * @module
 */
// Said here too: a program that uses the library has a configuration of its own.
/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
import { signalOf } from "../signal.ts";
import { bytes, count, duration, moment } from "./format.ts";
import type { Status } from "./status.ts";

type Group = NonNullable<Status["deadLetters"]["groups"]>[number];

/** The groups. */
export function Letters({ at, deadLetters: { groups, path } }: Status) {
  if (groups === undefined) return <li class="none">They cannot be read; see the log</li>;
  if (groups.length === 0) return <li class="none">None</li>;
  return (
    <>
      {groups.map((group) => (
        <li>
          <p class="reason">
            <b>{group.sender}</b> <q>{group.status !== undefined && `${group.status} `}{group.reason}</q>
          </p>
          <p class="soft">
            {count(group.records)} {group.records === 1 ? "letter" : "letters"} with {count(group.items)}{" "}
            {signalOf(group.signal).item}
            {group.items === 1 ? "" : "s"}, {bytes(group.bytes)};{" "}
            {group.records > 1 && <>the first {moment(group.firstAt)},{" "}</>}
            the last {duration(Math.max(0, Math.round((at - group.lastAt) / 1000)))} ago
          </p>
          <code class="command">{replayCommand(group, path)}</code>
        </li>
      ))}
    </>
  );
}

/** How many there are in all, and what a command does with them. */
export function LettersNote({ deadLetters: { records, bytes: size, groupsMore, ungrouped } }: Status) {
  if (records === 0) return null;
  return (
    <>
      {count(records)} in all, {bytes(size)}. Once the cause is mended, the command sends them again;{" "}
      <code>queue drop</code> with the same options gives them up.
      {groupsMore > 0 && ` ${count(groupsMore)} more groups are not shown.`}
      {ungrouped > 0 && ` ${count(ungrouped)} older letters are in no group.`}
    </>
  );
}

/** Characters of a reason that a command names: it is looked for in the whole. */
const REASON_MAX = 60;

/**
 * The whole command that replays a group. What others have written stands in quotes of a POSIX shell, without a control character:
 * whoever pastes it runs nothing else.
 */
export function replayCommand({ sender, signal, reason }: Group, path: string | undefined): string {
  // deno-lint-ignore no-control-regex
  const [words = ""] = reason.trim().split(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  // Not through the midst of a character of two code units.
  const part = [...words].slice(0, REASON_MAX).join("");
  return [
    "deno task queue replay",
    `--sender ${quoted(sender)}`,
    `--signal ${signal}`,
    ...(part === "" ? [] : [`--reason ${quoted(part)}`]),
    ...(path === undefined ? [] : [`--path ${quoted(path)}`]),
  ].join(" ");
}

function quoted(text: string): string {
  // deno-lint-ignore no-control-regex
  const plain = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, "");
  return /^[\w./:@=-]+$/.test(plain) ? plain : `'${plain.replaceAll("'", `'\\''`)}'`;
}
