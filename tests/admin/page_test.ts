import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { PAGE_HEADERS, pageHtml } from "../../src/admin/page.tsx";
import { PARTS } from "../../src/admin/page_parts.tsx";
import { statusWith } from "./status_fixture.ts";

const html = pageHtml(statusWith());

Deno.test("the one script and the one style are those of the policy, and nothing else is allowed", () => {
  const policy = PAGE_HEADERS["content-security-policy"]!;
  for (const [tag, directive] of [["script", "script-src"], ["style", "style-src"]] as const) {
    const found = [...html.matchAll(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`, "g"))];
    assert.equal(found.length, 1, tag);
    const hash = createHash("sha256").update(found[0]![1]!).digest("base64");
    assert(policy.includes(`${directive} 'sha256-${hash}'`), tag);
  }
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.doesNotMatch(html, / (style|on[a-z]+)=/);
});

Deno.test("nothing comes from elsewhere", () => {
  const sources = [...html.matchAll(/ (?:src|href)="([^"]*)"/g)].map(([, source]) => source);
  assert.deepEqual(sources, ["data:,", "#main", "?range=15min", "?range=1h", "metrics", "readyz"]);
  assert.doesNotMatch(html, /@import|url\(/);
});

Deno.test("each part has one place", () => {
  for (const id of Object.keys(PARTS)) assert.equal(html.split(` id="${id}"`).length, 2, id);
});
