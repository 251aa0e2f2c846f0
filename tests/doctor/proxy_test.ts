/** What doctor says of proxy variables is what Deno does with them: each case is asked of a process of its own. */
import assert from "node:assert/strict";
import { proxyVariableFor } from "../../src/doctor/proxy.ts";

/** Variables, with PROXY for one that answers, the URL's host, and which variable counts. */
const CASES: readonly [env: Record<string, string>, host: string, variable: string | undefined][] = [
  [{}, "127.0.0.1", undefined],
  [{ HTTP_PROXY: "PROXY" }, "127.0.0.1", "HTTP_PROXY"],
  [{ http_proxy: "PROXY" }, "127.0.0.1", "http_proxy"],
  [{ HTTP_PROXY: "", http_proxy: "PROXY" }, "127.0.0.1", "http_proxy"],
  [{ HTTP_PROXY: "PROXY", http_proxy: "http://127.0.0.1:1" }, "127.0.0.1", "HTTP_PROXY"],
  [{ HTTP_PROXY: "http://127.0.0.1:1", ALL_PROXY: "PROXY" }, "127.0.0.1", "ALL_PROXY"],
  [{ HTTP_PROXY: "nonsense:::", all_proxy: "PROXY" }, "127.0.0.1", "all_proxy"],
  [{ HTTP_PROXY: "nonsense:::" }, "127.0.0.1", undefined],
  [{ HTTPS_PROXY: "PROXY" }, "127.0.0.1", undefined],
  [{ HTTP_PROXY: "PROXY", REQUEST_METHOD: "GET" }, "127.0.0.1", undefined],
  ...([
    ["127.0.0.1", "127.0.0.1", true],
    ["x, 127.0.0.1 ", "127.0.0.1", true],
    ["127.0.0.0/8", "127.0.0.1", true],
    ["127.0.0.1/33", "127.0.0.1", false],
    ["10.0.0.0/8", "127.0.0.1", false],
    ["127.*", "127.0.0.1", false],
    ["*", "127.0.0.1", false],
    ["127.0.0.1:PORT", "127.0.0.1", false],
    ["*", "localhost", true],
    ["localhost", "localhost", true],
    [".localhost", "localhost", true],
    ["LOCALHOST", "localhost", false],
    ["host", "localhost", false],
    ["localhost.", "localhost", false],
    ["localhost:PORT", "localhost", false],
    ["*.localhost", "localhost", false],
    ["x localhost", "localhost", false],
    ["127.0.0.0/8", "localhost", false],
    ["[::1]", "[::1]", false],
  ] as const).map(([list, host, direct]): typeof CASES[number] => [
    { HTTP_PROXY: "PROXY", NO_PROXY: list },
    host,
    direct ? undefined : "HTTP_PROXY",
  ]),
  [{ HTTP_PROXY: "PROXY", no_proxy: "127.0.0.1" }, "127.0.0.1", undefined],
  [{ HTTP_PROXY: "PROXY", NO_PROXY: "", no_proxy: "127.0.0.1" }, "127.0.0.1", "HTTP_PROXY"],
  [{ ALL_PROXY: "PROXY", NO_PROXY: "127.0.0.1" }, "127.0.0.1", undefined],
];

Deno.test("proxies are used where Deno uses them", async () => {
  const answering = (text: string) =>
    Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => new Response(text));
  await using proxy = answering("proxied");
  await using target = answering("direct");
  for (const [env, host, variable] of CASES) {
    const url = `http://${host}:${target.addr.port}/`;
    const variables = Object.fromEntries(
      Object.entries(env).map(([name, value]) => [
        name,
        value.replace("PROXY", `http://127.0.0.1:${proxy.addr.port}`).replace("PORT", String(target.addr.port)),
      ]),
    );
    const what = JSON.stringify([env, host]);
    assert.equal(proxyVariableFor(new URL(url), variables), variable, what);
    const code = `const a = await fetch(${JSON.stringify(url)}, { client: Deno.createHttpClient({}) });` +
      "console.log(await a.text()); Deno.exit(0);";
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", code],
      clearEnv: true,
      env: { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "", ...variables },
    }).output();
    const said = new TextDecoder().decode(stdout).trim();
    assert.equal(said, variable === undefined ? "direct" : "proxied", what + new TextDecoder().decode(stderr));
  }
});

Deno.test("networks of IPv6, and names below a name", () => {
  const used = (list: string, url: string) =>
    proxyVariableFor(new URL(url), { HTTPS_PROXY: "http://p:1", NO_PROXY: list });
  assert.equal(used("::/0", "https://[::1]:1"), undefined);
  assert.equal(used("fd00::/8", "https://[fd12::1]:1"), undefined);
  assert.equal(used("fd00::/8", "https://[fe80::1]:1"), "HTTPS_PROXY");
  assert.equal(used("example.com", "https://otel.example.com"), undefined);
  assert.equal(used("example.com", "https://badexample.com"), "HTTPS_PROXY");
});
