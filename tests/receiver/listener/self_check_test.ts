import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { SelfCheck } from "../../../src/receiver/listener/self_check.ts";
import { openRaw, type RawConnection, sendRaw } from "../../support/bodies/raw_http.ts";
import { GrpcClient } from "../../support/far_end/grpc_client.ts";
import { startProgram } from "../../support/program/program.ts";
import { waitWhile } from "../../support/wait_while.ts";

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/** A listener under a small limit on open files. */
async function withFewFiles(...args: string[]) {
  const script = join(import.meta.dirname!, "../../support/relay/few_files.ts");
  const program = startProgram({
    command: "sh",
    args: ["-c", `ulimit -n 80 && exec "$0" run -A "$@"`, Deno.execPath(), script, ...args],
    cwd: import.meta.dirname!,
    env: {},
  });
  const port = /port (\d+)/.exec(await program.line(/^port/))![1]!;
  return { program, url: `http://127.0.0.1:${port}` };
}

/** More connections than there are files, which are gone again. */
async function flood(url: string): Promise<void> {
  const open: RawConnection[] = [];
  for (let count = 0; count < 120; count++) open.push(await openRaw(url));
  for (const one of open) one[Symbol.dispose]();
}

Deno.test("a listener that has run out of files listens anew, and its open connections go on", async () => {
  const { program, url } = await withFewFiles();
  await using _ended = program;
  using kept = await openRaw(url);
  kept.write(request);
  assert.equal((await kept.answer()).body.toString(), "here");
  await flood(url);
  await program.line(/anew/);
  assert.equal((await sendRaw(url, request)).body.toString(), "here");
  kept.write(request);
  assert.equal((await kept.answer()).body.toString(), "here");
});

Deno.test("so does the one of gRPC", async () => {
  const { program, url } = await withFewFiles("grpc");
  await using _ended = program;
  await using kept = await GrpcClient.connect(url);
  const code = async (client: GrpcClient) => (await client.call(new Uint8Array(0))).code;
  assert.equal(await code(kept), 0);
  await flood(url);
  await program.line(/anew/);
  await using another = await GrpcClient.connect(url);
  assert.equal(await code(another), 0);
  assert.equal(await code(kept), 0);
});

Deno.test("while connections come nobody else connects; without any the check does", async () => {
  const server = createServer((socket) => {
    count++;
    check.accepted();
    socket.on("error", () => {});
  });
  let count = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const anew: string[] = [];
  const check = new SelfCheck({
    server,
    hostname: "0.0.0.0",
    intervalMs: 20,
    onListenedAnew: () => anew.push("anew"),
    onFailed: (error) => anew.push(String(error)),
  });
  check.start(port);
  await waitWhile(() => count < 3);
  assert.deepEqual([check.accepting, anew], [true, []]);
  check[Symbol.dispose]();
  const closed = once(server, "close");
  server.close();
  await closed;
});
