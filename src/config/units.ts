/**
 * Sizes, durations and endpoints as they are written in the configuration, both directions. Parsers answer `undefined` for
 * what they cannot read; the caller knows the key and says what is wanted.
 * @module
 */

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Largest first, so that the first that divides evenly is the shortest way to write a size. */
const SIZE_UNITS_WRITTEN = ["TiB", "GiB", "MiB", "KiB"] as const;

/** Go's `time.ParseDuration`, in ms. */
const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  "μs": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** Bytes of a size such as `8MiB` (binary), `8MB` (decimal) or `1024`; `undefined` for anything else, parts of a byte included. */
export function parseSize(text: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(String(text).trim());
  const unit = SIZE_UNITS[match?.[2] ?? "?"];
  if (match === null || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A size as {@link parseSize} reads it, in the largest unit that divides it. */
export function formatSize(bytes: number): string {
  const name = SIZE_UNITS_WRITTEN.find((unit) => bytes > 0 && bytes % (SIZE_UNITS[unit] ?? 1) === 0);
  return name === undefined ? String(bytes) : `${bytes / (SIZE_UNITS[name] ?? 1)}${name}`;
}

/** Milliseconds of a duration as Go writes it: `200ms`, `10s`, `1m30s`, `1.5h`, or `0`. A bare number is `undefined`. */
export function parseDuration(text: string | number): number | undefined {
  const trimmed = String(text).trim();
  if (trimmed === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|μs|ms|s|m|h))+$/.test(trimmed)) return undefined;
  let ms = 0;
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)/g)) {
    ms += Number(amount) * (DURATION_UNITS[unit ?? ""] ?? 0);
  }
  return Number.isFinite(ms) ? ms : undefined;
}

/** A duration as {@link parseDuration} reads it, in hours, minutes, seconds and milliseconds. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  const parts: string[] = [];
  let rest = ms;
  for (const unit of ["h", "m", "s"] as const) {
    const size = DURATION_UNITS[unit] ?? 1;
    const whole = Math.floor(rest / size);
    if (whole > 0) parts.push(`${whole}${unit}`);
    rest -= whole * size;
  }
  if (rest > 0) parts.push(`${Number(rest.toFixed(6))}ms`);
  return parts.join("");
}

/** Where to listen. */
export interface Endpoint {
  /** A name or an address, an IPv6 address without its brackets. */
  readonly hostname: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** Reads `127.0.0.1:4319`, `localhost:4319` or `[::1]:4319`. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text.trim());
  const hostname = match?.[1] ?? match?.[2];
  if (match === null || hostname === undefined || Number(match[3]) > 65_535) return undefined;
  if (match[1] !== undefined && !URL.canParse(`http://[${hostname}]`)) return undefined;
  // An all-digit name is an address to the resolver; the URL parser refuses 300.0.0.1 and the like.
  if (match[2] !== undefined && !URL.canParse(`http://${hostname}`)) return undefined;
  return { hostname, port: Number(match[3]) };
}

/** An endpoint as {@link parseEndpoint} reads it. */
export function formatEndpoint(endpoint: Endpoint): string {
  const { hostname, port } = endpoint;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** Whether two listeners would want the same port. Port 0, which any free one answers, is never the same. */
export function sameEndpoint(one: Endpoint, other: Endpoint): boolean {
  return one.port !== 0 && one.port === other.port && one.hostname === other.hostname;
}

/** A name for this machine at which a listener on every address is reached. */
export function reachableHost(hostname: string): string {
  if (hostname === "0.0.0.0") return "127.0.0.1";
  return hostname === "::" ? "::1" : hostname;
}

/** The host of a URL as a name server, a socket or a certificate has it: an address of IPv6 without its brackets. */
export function bareHost(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** Whether only this machine can reach the host: `localhost`, `127.0.0.0/8` or `::1`. Brackets are allowed. */
export function isLoopback(hostname: string): boolean {
  const bare = bareHost(hostname).toLowerCase();
  if (bare === "localhost") return true;
  if (bare.includes(":")) return URL.canParse(`http://[${bare}]`) && new URL(`http://[${bare}]`).hostname === "[::1]";
  return /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(bare) && URL.canParse(`http://${bare}`);
}
