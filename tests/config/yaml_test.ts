/** What the YAML library in use does where libraries differ, and what our own scan adds to it. */
import assert from "node:assert/strict";
import { parse } from "@std/yaml";
import { ConfigError } from "../../src/errors.ts";
import { parseYaml, place } from "../../src/config/yaml.ts";

const faultOf = (text: string): string => {
  try {
    parseYaml(text, "f.yaml");
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail(`No fault in ${JSON.stringify(text)}`);
};

Deno.test("library: `<<` is a key like any other", () => {
  assert.deepEqual(parse("a: &x {p: 1}\nb:\n  <<: *x\n  q: 2\n"), { a: { p: 1 }, b: { "<<": { p: 1 }, q: 2 } });
});

Deno.test("library: 017 is seventeen, 0o17 fifteen, 0x1f thirty-one", () => {
  assert.deepEqual(parse("a: 017\nb: 0o17\nc: 0x1f\n"), { a: 17, b: 15, c: 31 });
});

Deno.test("library: yes and dates are text, ~ and nothing are null", () => {
  assert.deepEqual(parse("a: yes\nb: 2026-01-01\nc: ~\nd:\n"), { a: "yes", b: "2026-01-01", c: null, d: null });
  assert.equal(parse(""), null);
});

Deno.test("library: the message of an error ends its first line with line and column", () => {
  assert.throws(() => parse("a:\n\tb: 1\n"), (error) => {
    assert.ok(error instanceof Error);
    return /at line 2, column 1:?$/.test(error.message.split("\n", 1)[0] ?? "");
  });
});

Deno.test("faults of the library name file, line and column", () => {
  assert.equal(faultOf("a:\n\tb: 1\n"), "f.yaml:2:1: Not YAML: Tabs are not allowed as indentation");
  assert.match(faultOf("a: 1\nb: [1, 2\nc: 3\n"), /^f\.yaml:3:1: Not YAML: Flow sequence/);
  assert.match(faultOf("a: 1\na: 2\n"), /^f\.yaml:2:1: Not YAML: Map keys must be unique/);
  assert.match(faultOf("a: 1\n---\nb: 2\n"), /^f\.yaml:\d:\d: Not YAML: /);
  assert.match(faultOf("a: 1\nb:\n  c: *nowhere\n"), /^f\.yaml:3:6: Not YAML: Unresolved alias/);
});

Deno.test("no fault repeats the file", () => {
  const texts = [
    "key_passphrase: *hunter2\n",
    'key_passphrase: "a\\qhunter2\n',
    "key_passphrase: @hunter2\n",
    "key_passphrase: !hunter2 x\n",
    "key_passphrase: {{ hunter2 }}\n",
    "key_passphrase: hunter2: hunter2\n",
    "key_passphrase: [hunter2\nb: 1\n",
    "? {a: hunter2}\n: 1\n",
    "%hunter2\n---\na: 1\n",
    "hunter2: 1\nhunter2: 2\n",
  ];
  for (const text of texts) assert.ok(!faultOf(text).includes("hunter2"), faultOf(text));
});

Deno.test("tags, directives and keys that are not text are refused at their place", () => {
  assert.match(faultOf("a:\n  b: !foo 1\n"), /^f\.yaml:2:6: Tags/);
  assert.match(faultOf("a: {b: !!str 1}\n"), /^f\.yaml:1:8: Tags/);
  assert.match(faultOf("a: [!foo 1]\n"), /^f\.yaml:1:5: Tags/);
  assert.match(faultOf("%YAML 1.1\n---\na: 1\n"), /^f\.yaml:1:1: Directives/);
  assert.match(faultOf("a: {{b: 1}: 2}\n"), /^f\.yaml:1:5: A key must be/);
  assert.match(faultOf("a:\n  ? [b]\n  : 1\n"), /^f\.yaml:2:5: A key must be/);
});

Deno.test("depth and length are bounded", () => {
  assert.match(faultOf(`a: ${"[".repeat(100_000)}`), /nested deeper than 32/);
  assert.match(faultOf(`a: ${"x".repeat(1_100_000)}`), /longer than 1048576/);
});

Deno.test("`!` and `{` inside quoted and block text are text", () => {
  assert.deepEqual(parseYaml("a: '!x'\nb: |\n  !y\n  k: v\nc: \"{{\"\n", "f.yaml").value, {
    a: "!x",
    b: "!y\nk: v\n",
    c: "{{",
  });
});

Deno.test("keys and values are found in block and flow style", () => {
  const text = [
    "# comment: no key",
    "receiver:",
    "  http: {endpoint: 127.0.0.1:4319, 'max size' : 20MiB, # why: not",
    '    cors: {allowed_origins: [https://a.example, "https://b.example, {x: 1}"]}}',
    "  auth:   # auth: comment",
    '    "tokens": "a: b',
    '      c: d"',
    "exporter:",
    "  ca_pem: |",
    "    no: key",
    "      deeper: no",
    "",
    "    still: none",
    "  headers: &h",
    "    X-Name: it's: not",
    "list:",
    "- a: 1",
    "  b: 2",
    "-   c: 3",
    "after: 1",
  ].join("\n").replace("it's: not", "it's");
  const yaml = parseYaml(text, "f.yaml");
  const key = (...path: string[]) => place("f", yaml.keyAt(path));
  const value = (...path: string[]) => place("f", yaml.valueAt(path));
  assert.equal(key("receiver"), "f:2:1");
  assert.equal(value("receiver"), "f:2:1");
  assert.equal(key("receiver", "http"), "f:3:3");
  assert.equal(key("receiver", "http", "endpoint"), "f:3:10");
  assert.equal(value("receiver", "http", "endpoint"), "f:3:20");
  assert.equal(key("receiver", "http", "max size"), "f:3:36");
  assert.equal(value("receiver", "http", "max size"), "f:3:49");
  assert.equal(key("receiver", "http", "cors", "allowed_origins"), "f:4:12");
  assert.equal(value("receiver", "http", "cors", "allowed_origins", "1"), "f:4:49");
  assert.equal(key("receiver", "auth", "tokens"), "f:6:5");
  assert.equal(key("receiver", "auth", "c"), "f");
  assert.equal(value("exporter", "ca_pem"), "f:9:11");
  assert.equal(key("exporter", "no"), "f");
  assert.equal(key("exporter", "headers", "X-Name"), "f:15:5");
  assert.equal(value("exporter", "headers", "X-Name"), "f:15:13");
  assert.equal(key("list", "0", "b"), "f:18:3");
  assert.equal(value("list", "1", "c"), "f:19:8");
  assert.equal(key("after"), "f:20:1");
  assert.equal(key("absent"), "f");
});

Deno.test("every key of a file the library reads is found by the scan", async () => {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(new URL("../../config/relay.yaml", import.meta.url), "utf8");
  const yaml = parseYaml(text, "relay.yaml");
  let count = 0;
  const visit = (value: unknown, path: string[]): void => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    for (const [key, child] of Object.entries(value)) {
      const position = yaml.keyAt([...path, key]);
      assert.ok(position, [...path, key].join("."));
      assert.ok(text.split("\n")[position.line - 1]?.slice(position.column - 1).startsWith(`${key}:`));
      count++;
      visit(child, [...path, key]);
    }
  };
  visit(yaml.value, []);
  assert.ok(count > 40);
});
