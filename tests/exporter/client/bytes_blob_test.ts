import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { BytesBlob, largeBody } from "../../../src/exporter/client/bytes_blob.ts";

const content = new Uint8Array(300_001).map((_, index) => index % 251);

Deno.test("a blob over bytes has their length and content", async () => {
  const blob = new BytesBlob(content);
  assert.equal(blob.size, content.length);
  assert.deepEqual(new Uint8Array(await new Response(blob.stream()).arrayBuffer()), content);
});

Deno.test("fetch sends it whole, and states its length over HTTP/1.1", async () => {
  const got = Promise.withResolvers<{ length: string | undefined; body: Uint8Array }>();
  const server = createServer(async (request, response) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk);
    got.resolve({
      length: request.headers["content-length"],
      body: new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer()),
    });
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: new BytesBlob(content) });
    assert.equal(response.status, 200);
    await response.body?.cancel();
    const { length, body } = await got.promise;
    assert.equal(length, String(content.length));
    assert.deepEqual(body, content);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("where a Blob is read by its stream, large bytes go so; where it is not, in one piece", async () => {
  assert(await largeBody(content) instanceof BytesBlob);
  // A module of its own, in a Deno that reads what a Blob holds inside.
  const { stream } = BytesBlob.prototype;
  const fresh: typeof import("../../../src/exporter/client/bytes_blob.ts") = await import(
    `../../../src/exporter/client/bytes_blob.ts?${crypto.randomUUID()}`
  );
  fresh.BytesBlob.prototype.stream = Blob.prototype.stream as typeof stream;
  assert.equal(await fresh.largeBody(content), content);
});

Deno.test("bytes that are given up while it is read end it", async () => {
  const bytes = content.slice();
  const reader = new BytesBlob(bytes).stream().getReader();
  assert.equal((await reader.read()).done, false);
  bytes.buffer.transfer(0);
  assert.equal((await reader.read()).done, true);
});
