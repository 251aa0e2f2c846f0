/** What the document adds to the library: places, and changes that leave alone what they are not about. */
import assert from "node:assert/strict";
import { parse } from "@std/yaml";
import { readDocument, withItem, withoutItems, YamlFault } from "../../src/config/yaml_document.ts";

const BLOCK = `# Who may send.
tokens:
  # The shop's own service.
  - id: shop # since May
    sha256: 'aa'
    signals: [traces, logs]

  # Somebody's laptop.
  - id: laptop
    sha256: bb
# Keys, last.
signing_keys:
  - { id: web, secret: cc } # pages
`;

const idOf = (item: unknown) => (item as { id: string }).id;

Deno.test("an item that goes takes its own comment with it; all else stays as it was, to the letter", () => {
  assert.equal(
    withoutItems(BLOCK, "tokens", (item) => idOf(item) === "laptop"),
    BLOCK.replace(/\n {2}# Somebody[^]*?sha256: bb\n/, ""),
  );
  assert.equal(
    withoutItems(BLOCK, "tokens", (item) => idOf(item) === "shop"),
    BLOCK.replace(/ {2}# The shop[^]*?logs\]\n/, ""),
  );
  assert.equal(withoutItems(BLOCK, "tokens", () => false), BLOCK);
  assert.equal(withoutItems(BLOCK, "revoked", () => true), BLOCK);
  assert.equal(
    withoutItems(BLOCK, "tokens", () => true),
    "# Who may send.\ntokens: []\n# Keys, last.\nsigning_keys:\n  - { id: web, secret: cc } # pages\n",
  );
});

Deno.test("what is added stands at the end, in the style of what stands there", () => {
  let text = withItem(BLOCK, "tokens", { id: "new", sha256: "dd" });
  text = withItem(text, "signing_keys", { id: "app", secret: "ee" });
  text = withItem(text, "revoked", { id: "old", sha256: "ff" });
  assert.equal(
    text,
    BLOCK.replace("    sha256: bb\n", "    sha256: bb\n  - id: new\n    sha256: dd\n") +
      "  - { id: app, secret: ee }\nrevoked:\n  - id: old\n    sha256: ff\n",
  );
});

Deno.test("other styles: lists that are not set in, flow, empty, none at all", () => {
  const added = (text: string) => withItem(text, "tokens", { id: "new" });
  assert.equal(added("tokens:\n- id: a\n"), "tokens:\n- id: a\n- id: new\n");
  assert.equal(added("tokens:\n  - id: a"), "tokens:\n  - id: a\n  - id: new\n");
  assert.equal(added("tokens: [{ id: a }] # one\n"), "tokens: [{ id: a }, { id: new }] # one\n");
  assert.equal(added("tokens: [] # none\nrevoked: []\n"), "tokens: # none\n  - id: new\nrevoked: []\n");
  assert.equal(added("tokens:\n"), "tokens:\n  - id: new\n");
  assert.equal(added(""), "tokens:\n  - id: new\n");
  assert.equal(added("# Only a comment.\n"), "# Only a comment.\ntokens:\n  - id: new\n");
  const without = (text: string, id: string) => withoutItems(text, "tokens", (item) => idOf(item) === id);
  assert.equal(without("tokens: [{id: a}, {id: b}, {id: c}]\n", "b"), "tokens: [{id: a}, {id: c}]\n");
  assert.equal(without("tokens: [{id: a}, {id: b}]\n", "b"), "tokens: [{id: a}]\n");
  assert.equal(without("tokens: [{id: a}]\n", "a"), "tokens: []\n");
  assert.equal(without("tokens:\n- id: a\n- id: b # last\n", "b"), "tokens:\n- id: a\n");
});

Deno.test("what no change of the text can do, the library does", () => {
  for (
    const text of ["{ tokens: [{ id: a }] }\n", "base: &all\n  - id: a\ntokens: *all\n", "tokens:\n  -\n    id: a\n"]
  ) {
    const changed = parse(withItem(text, "tokens", { id: "b" })) as { tokens: unknown };
    assert.deepEqual(changed.tokens, [{ id: "a" }, { id: "b" }], text);
    const emptied = parse(withoutItems(text, "tokens", () => true)) as { tokens: unknown };
    assert.deepEqual(emptied.tokens, [], text);
  }
});

Deno.test("what a text has that cannot be is at its place", () => {
  assert.throws(() => readDocument("a: 1\na: 2\n"), (error) => {
    assert.ok(error instanceof YamlFault);
    return error.position?.line === 2 && error.message === "Not YAML: Map keys must be unique";
  });
  const deep = "a:\n" + Array.from({ length: 40 }, (_, depth) => `${" ".repeat(depth + 1)}b:\n`).join("");
  assert.throws(() => readDocument(deep), /nested deeper than 32/);
});
