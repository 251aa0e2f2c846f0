/**
 * What a power cut leaves of a folder: of each file what its last fsync covered, and only the names that the last fsync of the
 * folder covered. A small library, preloaded into the relay, remembers it; built once with gcc.
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "../bodies/requests.ts";
import { ROOT } from "../relay/restartable_relay.ts";
import { runTool } from "./tool.ts";

const source = join(ROOT, "tests/support/tools/power_cut.c");
const cacheFolder = join(ROOT, "tests/.cache/power_cut");

/** The library's path, built first where it is missing or its source has changed since. */
async function buildLibrary(): Promise<string> {
  const stamp = createHash("sha256").update(await readFile(source)).digest("hex").slice(0, 16);
  const library = join(cacheFolder, `power_cut-${stamp}.so`);
  await mkdir(cacheFolder, { recursive: true });
  if ((await readdir(cacheFolder)).includes(`power_cut-${stamp}.so`)) return library;
  const draft = `${library}.${Deno.pid}`;
  const args = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", draft, source, "-ldl"];
  await runTool("gcc", args);
  await rename(draft, library);
  return library;
}

/** What a cut has left. */
export interface Remains {
  /** Files by name, and their lengths. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Bytes that had been written and are not there. */
  readonly bytesLost: number;
}

export class PowerCut {
  /** What the relay is to be started with. */
  readonly env: Readonly<Record<string, string>>;
  readonly #watched: string;
  readonly #shadow: string;

  private constructor(library: string, watched: string, shadow: string) {
    this.env = { LD_PRELOAD: library, POWER_CUT_WATCH: watched, POWER_CUT_SHADOW: shadow };
    this.#watched = watched;
    this.#shadow = shadow;
  }

  /** Watches a folder, which is there and empty; `shadow` is a folder of its own for what has been synced. */
  static async watch(watched: string, shadow: string): Promise<PowerCut> {
    await mkdir(shadow, { recursive: true });
    await writeFile(join(shadow, "names"), "");
    return new PowerCut(await buildLibrary(), watched, shadow);
  }

  /**
   * Cuts the folder back, after the process has been killed. With `torn`, blocks that were not synced stay or go at random, as
   * a disk may have written some of them by itself.
   */
  async cut(torn?: Random): Promise<Remains> {
    const now = new Map<string, Uint8Array>();
    for (const name of await readdir(this.#watched)) now.set(name, await readFile(join(this.#watched, name)));
    const files = new Map<string, Uint8Array>();
    for (const line of (await readFile(join(this.#shadow, "names"), "utf8")).split("\n")) {
      const [inode, name] = line.split(" ");
      // Shared memory is no file on a disk: SQLite makes it anew.
      if (inode === undefined || name === undefined || name.endsWith("-shm")) continue;
      const synced = await readFile(join(this.#shadow, `inode-${inode}`)).catch(() => new Uint8Array(0));
      files.set(name, torn === undefined ? synced : tear(synced, now.get(name) ?? synced, torn));
    }
    let bytesLost = 0;
    for (const [name, content] of now) {
      if (!name.endsWith("-shm")) bytesLost += differing(content, files.get(name) ?? new Uint8Array(0));
      await rm(join(this.#watched, name));
    }
    for (const [name, content] of files) await writeFile(join(this.#watched, name), content, { mode: 0o600 });
    await this.#forget(files);
    return { sizes: new Map([...files].map(([name, { length }]) => [name, length])), bytesLost };
  }

  /** What is there after the cut is on the disk: the next start begins from it. */
  async #forget(files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    for (const name of await readdir(this.#shadow)) await rm(join(this.#shadow, name));
    const names: string[] = [];
    for (const name of files.keys()) {
      const path = join(this.#watched, name);
      const { ino } = await Deno.stat(path);
      await copyFile(path, join(this.#shadow, `inode-${ino}`));
      names.push(`${ino} ${name}\n`);
    }
    await writeFile(join(this.#shadow, "names"), names.join(""));
  }
}

const BLOCK_BYTES = 4096;

/** Each block is as it was synced, or as it was written since. */
function tear(synced: Uint8Array, now: Uint8Array, random: Random): Uint8Array {
  const result = new Uint8Array(random.chance(0.5) ? synced.length : now.length);
  for (let at = 0; at < result.length; at += BLOCK_BYTES) {
    const from = random.chance(0.5) ? synced : now;
    result.set(from.subarray(at, Math.min(at + BLOCK_BYTES, result.length)), at);
  }
  return result;
}

function differing(a: Uint8Array, b: Uint8Array): number {
  let count = Math.abs(a.length - b.length);
  for (let at = Math.min(a.length, b.length) - 1; at >= 0; at--) if (a[at] !== b[at]) count++;
  return count;
}
