/** What the pinned Collector's own decoders say of a body: the program of tests/collector/decode. */
import { Buffer } from "node:buffer";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { SignalName } from "../../../src/signal.ts";
import { runTool } from "./tool.ts";

const source = fileURLToPath(new URL("../../collector/decode/", import.meta.url));
const cache = fileURLToPath(new URL("../../.cache/decode/", import.meta.url));
const binary = `${cache}decode`;

/** What a body is decoded as. `content` asks for what was understood, beside the verdict. */
export interface DecodeCase {
  readonly form: { readonly signal: SignalName; readonly json: boolean } | "gzip";
  readonly content?: boolean;
  readonly body: Uint8Array;
}

export type Verdict =
  | { readonly ok: true; readonly count: number; readonly content: string }
  | { readonly ok: false; readonly reason: string };

const KINDS: Readonly<Record<SignalName, readonly [string, string]>> = {
  traces: ["t", "u"],
  metrics: ["m", "n"],
  logs: ["l", "k"],
  profiles: ["p", "q"],
};

let built: Promise<void> | undefined;

async function build(): Promise<void> {
  await mkdir(cache, { recursive: true });
  using lock = await Deno.open(`${cache}lock`, { create: true, write: true });
  await lock.lock(true);
  await runTool("go", ["build", "-trimpath", "-o", binary, "."], { cwd: source });
}

/** One verdict a case, in order. */
export async function decodeAll(cases: readonly DecodeCase[]): Promise<Verdict[]> {
  await (built ??= build());
  const child = new Deno.Command(binary, { stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  const input = Buffer.concat(cases.flatMap(({ form, content, body }) => {
    const head = Buffer.alloc(5);
    head.write(kindOf(form, content === true), 0, "latin1");
    head.writeUInt32LE(body.length, 1);
    return [head, body];
  }));
  const writer = child.stdin.getWriter();
  const written = writer.write(input).then(() => writer.close());
  const { code, stdout } = await child.output();
  await written;
  if (code !== 0) throw new Error(`The decoder ended with ${code}`);
  const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
  if (lines.length !== cases.length) throw new Error(`${lines.length} verdicts on ${cases.length} cases`);
  return lines.map((line) => {
    const [verdict, second, third] = line.split("\t");
    return verdict === "ok"
      ? { ok: true, count: Number(second), content: third ?? "" }
      : { ok: false, reason: second ?? "" };
  });
}

function kindOf(form: DecodeCase["form"], content: boolean): string {
  if (form === "gzip") return "g";
  const kind = KINDS[form.signal][content ? 1 : 0];
  return form.json ? kind.toUpperCase() : kind;
}
