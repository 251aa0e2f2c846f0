/** Prometheus's own checker. */

/** Runs it with a text as its standard input. `words`: what it printed, without colours. */
export async function promtool(args: readonly string[], input = ""): Promise<{ ok: boolean; words: string }> {
  const child = new Deno.Command("promtool", { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  return { ok: success, words: (text.decode(stdout) + text.decode(stderr)).trim() };
}
