/** Prometheus's own checker, and other programs that read what they check. */

/** What a program has said, without colours. */
export interface Said {
  readonly ok: boolean;
  readonly words: string;
}

/** Runs it with a text as its standard input. */
export function promtool(args: readonly string[], input = ""): Promise<Said> {
  return runWith("promtool", args, input);
}

/** Runs any program with a text as its standard input. */
export async function runWith(command: string, args: readonly string[], input: string, cwd?: string): Promise<Said> {
  const child = new Deno.Command(command, {
    args: [...args],
    ...(cwd === undefined ? {} : { cwd }),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  return { ok: success, words: (text.decode(stdout) + text.decode(stderr)).trim() };
}
