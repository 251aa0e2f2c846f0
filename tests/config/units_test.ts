import assert from "node:assert/strict";
import {
  formatDuration,
  formatEndpoint,
  formatSize,
  isLoopback,
  parseDuration,
  parseEndpoint,
  parseSize,
} from "../../src/config/units.ts";

Deno.test("a size is binary, decimal or plain bytes", () => {
  const sizes: [string | number, number | undefined][] = [
    ["8MiB", 8_388_608],
    ["8MB", 8_000_000],
    ["8 MiB", 8_388_608],
    ["1024", 1024],
    [1024, 1024],
    ["0", 0],
    ["1.5KiB", 1536],
    ["1.5B", undefined],
    ["8mib", undefined],
    ["8M", undefined],
    ["-1", undefined],
    [-1, undefined],
    ["", undefined],
    ["MiB", undefined],
    ["9007199254740993", undefined],
    ["1e3", undefined],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize(text), bytes, String(text));
});

Deno.test("a duration is Go's, and a bare number is none", () => {
  const durations: [string | number, number | undefined][] = [
    ["200ms", 200],
    ["10s", 10_000],
    ["1m30s", 90_000],
    ["1h", 3_600_000],
    ["1.5h", 5_400_000],
    ["500us", 0.5],
    ["500µs", 0.5],
    ["0", 0],
    [0, 0],
    ["10", undefined],
    [10, undefined],
    ["1d", undefined],
    ["-1s", undefined],
    ["1s 2s", undefined],
    ["", undefined],
  ];
  for (const [text, ms] of durations) assert.equal(parseDuration(text), ms, String(text));
});

Deno.test("what is formatted is read back", () => {
  for (const bytes of [0, 1, 1000, 1024, 1536, 20 * 2 ** 20, 2 ** 40]) {
    assert.equal(parseSize(formatSize(bytes)), bytes);
  }
  assert.equal(formatSize(20 * 2 ** 20), "20MiB");
  for (const ms of [0, 0.5, 200, 1_000, 90_000, 3_661_001]) assert.equal(parseDuration(formatDuration(ms)), ms);
  assert.equal(formatDuration(90_000), "1m30s");
  for (const text of ["127.0.0.1:4319", "localhost:0", "[::1]:65535"]) {
    const endpoint = parseEndpoint(text);
    assert.ok(endpoint);
    assert.equal(formatEndpoint(endpoint), text);
  }
});

Deno.test("an endpoint has a host and a port", () => {
  assert.deepEqual(parseEndpoint("[::1]:4319"), { hostname: "::1", port: 4319 });
  const bad = [
    ":4319",
    "localhost",
    "localhost:",
    "::1:4319",
    "[::1]",
    "[::zz]:1",
    "[:::]:1",
    "h:65536",
    "h:-1",
    "h:1/x",
    "http://h:1",
    "300.0.0.1:1",
    "a b:1",
  ];
  for (const text of bad) assert.equal(parseEndpoint(text), undefined, text);
});

Deno.test("loopback is localhost, 127.0.0.0/8 and ::1 however it is written", () => {
  for (const host of ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "0:0:0:0:0:0:0:1"]) {
    assert.ok(isLoopback(host), host);
  }
  for (const host of ["0.0.0.0", "::", "128.0.0.1", "127.0.0.1.example", "localhost.example", "::2", "127.1.1.999"]) {
    assert.ok(!isLoopback(host), host);
  }
});
