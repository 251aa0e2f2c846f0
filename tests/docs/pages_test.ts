import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { PAGES } from "./blocks.ts";
import { formatted, generatedPages } from "./pages.ts";

const root = join(import.meta.dirname!, "../..");

Deno.test("the generated pages are those of the tables; deno task docs writes them", async () => {
  for (const [name, text] of Object.entries(generatedPages())) {
    assert.equal(
      readFileSync(join(root, name), "utf8"),
      await formatted(name, text),
      `${name} is not what the tables say; run deno task docs`,
    );
  }
});

/** As GitHub makes them. */
function anchorsOf(markdown: string): Set<string> {
  return new Set(
    [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
    ),
  );
}

/** The links of a page to other files: their paths from the root, and the heading where one is named. */
function linksOf(page: string): { target: string; path: string; anchor: string | undefined }[] {
  const text = readFileSync(join(root, page), "utf8").replaceAll(/^```[^]*?^```$/gm, "");
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].filter(([, target]) => !/^https?:/.test(target!)).map(([, target]) => {
    const [file, anchor] = target!.split("#");
    return { target: target!, path: file === "" ? page : join(dirname(page), file!), anchor };
  });
}

Deno.test("each link of a page leads to a file and a heading that are there", () => {
  for (const page of PAGES) {
    for (const { target, path, anchor } of linksOf(page)) {
      assert(statSync(join(root, path), { throwIfNoEntry: false }), `${page} links to ${target}, which is not there`);
      if (anchor !== undefined) {
        assert(anchorsOf(readFileSync(join(root, path), "utf8")).has(anchor), `${page} links to ${target}: no heading`);
      }
    }
  }
});

Deno.test("README.md is short, and leads to every page", () => {
  const text = readFileSync(join(root, "README.md"), "utf8");
  assert(text.split("\n").length <= 201, "README.md has at most 200 lines");
  const reached = new Set(["README.md"]);
  for (const page of reached) {
    if (page.endsWith(".md")) { for (const { path } of linksOf(page)) reached.add(path); }
  }
  for (const page of PAGES) assert(reached.has(page), `No page links to ${page}; name it in README.md`);
});

Deno.test("each task that a page names is there", () => {
  const manifest = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as { tasks: Record<string, unknown> };
  for (const page of [...PAGES, "docker-compose.yaml"]) {
    const text = readFileSync(join(root, page), "utf8");
    for (const [, task] of text.matchAll(/deno(?:@[\d.]+)? task ([\w:]+)/g)) {
      assert(task! in manifest.tasks, `${page} names the task ${task}, which deno.json has not`);
    }
  }
});
