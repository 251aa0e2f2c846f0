/** src/deploy.ts and src/serve.ts as a host starts them: the task's own words, or those of `deno serve`, in a folder that is empty. */
import assert from "node:assert/strict";
import { chmod, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../../src/receiver/senders/authenticator.ts";
import { newSecret } from "../../../src/receiver/senders/tokens_file.ts";
import type { TestCertificates } from "../files/certificates.ts";
import { folder } from "../files/folder.ts";
import type { NumberedRequest } from "../bodies/numbered_spans.ts";
import { type Program, startProgram } from "../program/program.ts";
import { ROOT } from "./restartable_relay.ts";

export interface Deployed extends AsyncDisposable {
  readonly program: Program;
  readonly url: string;
  send(request: NumberedRequest): Promise<Response>;
  /** SIGKILL: it has no end of its own then. */
  kill(): Promise<void>;
}

/** How it is started, and what says where it listens. */
export interface Entry {
  readonly module: string;
  args(): Promise<string[]>;
  readonly env: Readonly<Record<string, string>>;
  listening(program: Program): Promise<string>;
}

export const DEPLOY: Entry = {
  module: "src/deploy.ts",
  args: taskArgs,
  env: { DENO_SERVE_ADDRESS: "tcp:127.0.0.1:0" },
  async listening(program) {
    const { url } = JSON.parse(await program.line(/"message":"Receiving"/)) as { url: string };
    return url.replace("0.0.0.0", "127.0.0.1");
  },
};

export const SERVE: Entry = {
  module: "src/serve.ts",
  args: () =>
    Promise.resolve([
      "serve",
      // Looked for from the working folder, where `deno run` looks beside the module.
      ...["--config", join(ROOT, "deno.json")],
      ...["--cached-only", "--allow-net", "--allow-env", "--host", "127.0.0.1", "--port", "0", "src/serve.ts"],
    ]),
  env: {},
  async listening(program) {
    return /http:\/\/127\.0\.0\.1:\d+/.exec(await program.line(/Listening on http:\/\/127\.0\.0\.1:\d+/))![0];
  },
};

async function taskArgs(): Promise<string[]> {
  const manifest: { tasks: { deploy: { command: string } } } = JSON.parse(
    await readFile(join(ROOT, "deno.json"), "utf8"),
  );
  const [deno, ...args] = manifest.tasks.deploy.command.split(" ");
  assert.equal(deno, "deno");
  return args;
}

/** The variables of one that sends to the Collector itself. */
export function collectorVariables(certs: TestCertificates, collectorUrl: string): Record<string, string> {
  return {
    EDGEFERRY_EXPORTER_OTLP_ENDPOINT: collectorUrl,
    EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: certs.ca.certificate,
    EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE: certs.client.certificate,
    EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY: certs.client.key,
  };
}

/** Starts it with these variables, a token, and what the host sets. At its end it has to stop by itself, in order, and to have written nothing. */
export async function startDeployed(entry: Entry, env: Readonly<Record<string, string>>): Promise<Deployed> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await folder());
  await chmod(path, 0o555);
  const args = await entry.args();
  const token = newSecret();
  const program = startProgram({
    command: Deno.execPath(),
    args: args.map((word) => word === entry.module ? join(ROOT, word) : word),
    cwd: path,
    env: {
      ...env,
      EDGEFERRY_RECEIVER_AUTH_TOKENS: `{tokens: [{id: edge, sha256: ${digestOf(token)}}]}`,
      // Set by the host itself.
      DENO_DEPLOY: "true",
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
      ...entry.env,
    },
  });
  let killed = false;
  stack.defer(async () => {
    const { code } = await program.stop();
    if (!killed) assert.equal(code, 0, program.lines.join("\n"));
    assert.deepEqual(await readdir(path), [], "nothing was written");
  });
  const url = await entry.listening(program);
  const kept = stack.move();
  return {
    program,
    url,
    send: ({ body, headers }) =>
      fetch(`${url}/v1/traces`, { method: "POST", headers: { ...headers, authorization: `Bearer ${token}` }, body }),
    async kill() {
      killed = true;
      program.signal("SIGKILL");
      await program.ended;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
