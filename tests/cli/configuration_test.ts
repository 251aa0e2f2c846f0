import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { configOf } from "../../src/cli/configuration.ts";
import { ConfigError } from "../../src/errors.ts";
import { folder } from "../support/files/folder.ts";
import { recorder } from "../support/relay/recorder.ts";

Deno.test("the configuration of a command is its file's", async () => {
  await using at = await folder();
  const file = join(at.path, "relay.yaml");
  await writeFile(file, "sending_queue: { queue_size: 64MiB }\n");
  const { io, out } = recorder();
  const config = await configOf(io, file);
  assert.equal(config.sending_queue.queue_size, 2 ** 26);
  assert.deepEqual(out, []);
});

Deno.test("a file that is not there is an error that names it", async () => {
  await using at = await folder();
  await assert.rejects(configOf(recorder().io, join(at.path, "none.yaml")), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /none\.yaml/);
    return true;
  });
});
