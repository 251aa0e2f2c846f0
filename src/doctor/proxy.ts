/**
 * Which proxy variable Deno's own `fetch` obeys for a URL. Its rules are not those of curl, nor of Go; each was measured, and
 * `tests/doctor/proxy_test.ts` asks Deno again.
 * @module
 */
import { BlockList, isIP } from "node:net";
import { bareHost } from "../config/units.ts";

type Variables = Readonly<Record<string, string | undefined>>;

/** The name of the variable whose proxy is used; undefined where the request goes straight. */
export function proxyVariableFor(url: URL, env: Variables): string | undefined {
  if (isDirect(bareHost(url.hostname), env)) return undefined;
  // ALL_PROXY is looked at first. In a CGI program HTTP_PROXY could be a request's header Proxy.
  const own = url.protocol === "https:"
    ? ["HTTPS_PROXY", "https_proxy"]
    : env["REQUEST_METHOD"] === undefined
    ? ["HTTP_PROXY", "http_proxy"]
    : [];
  return ["ALL_PROXY", "all_proxy", ...own].find((name) => isProxy(env[name] ?? ""));
}

/** An empty one does not count, nor one that is no URL; without a scheme it is http. */
function isProxy(value: string): boolean {
  return value !== "" && URL.canParse(/^[a-z0-9]+:\/\//i.test(value) ? value : `http://${value}`);
}

/** NO_PROXY counts before no_proxy, also when it is empty. */
function isDirect(host: string, env: Variables): boolean {
  const parts = (env["NO_PROXY"] ?? env["no_proxy"] ?? "").split(",").map((part) => part.trim()).filter(Boolean);
  const family = isIP(host);
  // An address is matched by addresses and networks alone, not by *; a name by names, in small letters as they stand in a URL.
  if (family !== 0) return parts.some((part) => isWithin(host, family, part));
  return parts.some((part) => {
    const name = part.replace(/^\./, "");
    return part === "*" || host === name || host.endsWith(`.${name}`);
  });
}

/** Whether an address is another one, or in a network such as `10.0.0.0/8`. */
function isWithin(host: string, family: number, part: string): boolean {
  const [address = "", prefix, ...more] = part.split("/");
  const bitsMax = family === 4 ? 32 : 128;
  if (isIP(address) !== family || more.length > 0) return false;
  if (prefix !== undefined && (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bitsMax)) return false;
  const kind = family === 4 ? "ipv4" : "ipv6";
  const network = new BlockList();
  network.addSubnet(address, prefix === undefined ? bitsMax : Number(prefix), kind);
  return network.check(host, kind);
}
