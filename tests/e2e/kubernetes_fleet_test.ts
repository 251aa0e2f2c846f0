/** docs/deploy/kubernetes-fleet.yaml: read by Kubernetes' own types, its containers' commands run on a PostgreSQL with TLS. */
import assert from "node:assert/strict";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { addToken, newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { docText } from "../support/files/docs.ts";
import { folder } from "../support/files/folder.ts";
import { startSink } from "../support/far_end/sink.ts";
import { type Postgres, startPostgres } from "../support/postgres/postgres.ts";
import { startProgram } from "../support/program/program.ts";
import { ROOT } from "../support/relay/restartable_relay.ts";
import { freePort, startCollector } from "../support/tools/collector.ts";
import { runTool } from "../support/tools/tool.ts";

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface Workload {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly selector?: { readonly matchLabels?: Record<string, string>; readonly app?: string };
    readonly ports?: readonly { readonly targetPort: string }[];
    readonly template: {
      readonly metadata: { readonly labels: Record<string, string> };
      readonly spec: {
        readonly containers: readonly {
          readonly command: readonly string[];
          readonly args: readonly string[];
          readonly env: readonly { readonly name: string; readonly value?: string }[];
          readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
          readonly livenessProbe?: Probe;
          readonly readinessProbe?: Probe;
          readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
        }[];
        readonly volumes: readonly {
          readonly name: string;
          readonly secret: {
            readonly secretName: string;
            readonly defaultMode: number;
            readonly items?: readonly { readonly key: string }[];
          };
        }[];
      };
    };
  };
}

Deno.test("the manifests of a fleet: what refers to something finds it, and their commands carry a span", async () => {
  await using stack = new AsyncDisposableStack();
  const { stdout } = await runTool("go", ["run", "."], {
    cwd: join(ROOT, "tests/support/tools/kubernetes"),
    input: await docText("deploy/kubernetes-fleet.yaml"),
  });
  const objects: Workload[] = JSON.parse(stdout);
  assert.deepEqual(objects.map(({ kind }) => kind), ["Job", "Deployment", "Deployment", "Service"]);
  const [job, receiver, exporter, service] = objects as [Workload, Workload, Workload, Workload];
  for (const { spec } of [receiver, exporter]) {
    assert.deepEqual(spec.selector?.matchLabels, spec.template.metadata.labels);
  }
  assert.deepEqual(service.spec.selector, receiver.spec.template.metadata.labels);
  const secretsOf = ({ spec }: Workload) => spec.template.spec.volumes.map(({ secret }) => secret.secretName);
  assert(!secretsOf(receiver).includes("edgeferry-client"), "a receiver has no client certificate");
  for (const workload of [receiver, exporter]) {
    const database = workload.spec.template.spec.volumes.find(({ name }) => name === "database");
    assert.deepEqual(
      database?.secret.items?.map(({ key }) => key),
      ["relay"],
      "a relay is not given the owner's password",
    );
  }

  const certs = stack.use(await testCertificates());
  const server = await certs.issueServer("database", { commonName: "localhost" });
  const postgres: Postgres = stack.use(await startPostgres({ tls: { server } }));
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certs.dir, sink }));
  const { path: dir } = stack.use(await folder());
  const token = newSecret();
  await addToken(join(dir, "tokens.yaml"), { id: "shop", secret: token });
  const secrets: Record<string, Record<string, string>> = {
    "edgeferry-tokens": { "tokens.yaml": await Deno.readTextFile(join(dir, "tokens.yaml")) },
    "edgeferry-client": {
      "tls.crt": certs.client.certificate,
      "tls.key": certs.client.key,
      "ca.crt": certs.ca.certificate,
    },
    "edgeferry-database": { relay: postgres.password("relay"), owner: postgres.password("owner") },
    "database-ca": { "ca.crt": certs.ca.certificate },
  };

  const start = async (workload: Workload) => {
    const pod = workload.spec.template.spec;
    const [container] = pod.containers;
    assert(container !== undefined);
    const app = join(dir, workload.metadata.name);
    for (const name of ["deno.json", "deno.lock", "src"]) {
      await cp(join(ROOT, name), join(app, name), { recursive: true });
    }
    for (const { name, mountPath } of container.volumeMounts) {
      const secret = pod.volumes.find((volume) => volume.name === name)?.secret;
      assert.equal(secret?.defaultMode, 0o440);
      const at = mountPath.replace("/app", app);
      await mkdir(at, { recursive: true });
      for (const [key, text] of Object.entries(secrets[secret.secretName] ?? assert.fail(secret.secretName))) {
        if (secret.items === undefined || secret.items.some((item) => item.key === key)) {
          await writeFile(join(at, key), text, { mode: 0o440 });
        }
      }
    }
    const ports = new Map<string, number>();
    for (const { name } of container.ports ?? []) ports.set(name, await freePort());
    const here = (text: string) =>
      (container.ports ?? []).reduce(
        (all, { name, containerPort }) => all.replace(`0.0.0.0:${containerPort}`, `127.0.0.1:${ports.get(name)}`),
        text,
      ).replace("=/app", `=${app}`).replace("https://collector:4318", collector.httpUrl)
        .replace("@database:5432", `@localhost:${postgres.port}`);
    assert.deepEqual(container.command.map((word) => basename(word)), ["deno"]);
    const program = stack.use(startProgram({
      command: Deno.execPath(),
      args: container.args.map(here),
      cwd: app,
      env: Object.fromEntries(container.env.map(({ name, value = "" }) => [name, here(value)])),
    }));
    return { program, ports, container };
  };
  const migration = (await start(job)).program;
  assert.equal((await migration.ended).code, 0, migration.lines.join("\n"));
  assert.match(migration.lines.join("\n"), /Made the queue's tables.*\nRole relay may use them/);
  const relays = [await start(receiver), await start(exporter)];
  for (const { program, ports, container } of relays) {
    await program.line(/ Ready /);
    for (const probe of [container.livenessProbe, container.readinessProbe]) {
      const { path, port } = probe!.httpGet;
      const answer = await fetch(`http://127.0.0.1:${ports.get(port)}${path}`);
      assert.equal(answer.status, 200, await answer.text());
    }
  }
  const otlp = relays[0]!.ports.get(service.spec.ports?.[0]?.targetPort ?? "");
  const span = { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", name: "checkout" };
  const answer = await fetch(`http://127.0.0.1:${otlp}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
  });
  assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  await sink.waitFor(() => sink.spans().some(({ name }) => name === "checkout"));
  for (const { program } of relays) {
    assert.equal((await program.stop()).code, 0, program.lines.join("\n"));
    assert.doesNotMatch(program.lines.join("\n"), /NotCapable|Requires \w+ access|ERROR/);
  }
});
