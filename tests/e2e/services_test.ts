/**
 * The systemd unit and the Kubernetes manifests of docs/deploy: checked by systemd's and Kubernetes' own code, their commands run
 * with the permissions, variables and files that they name, in folders of this test for the absolute paths.
 */
import assert from "node:assert/strict";
import { copyFile, cp, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { addToken, newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";
import { freePort, startCollector } from "../support/tools/collector.ts";
import { folder } from "../support/files/folder.ts";
import { type Program, startProgram } from "../support/program/program.ts";
import { docText } from "../support/files/docs.ts";
import { type Sink, startSink } from "../support/far_end/sink.ts";
import { toolOutput } from "../support/tools/tool.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** The exposure that `systemd-analyze security` may find, times 10; its own default refuses nothing. */
const EXPOSURE_MAX = 15;

async function run(command: string, args: string[], cwd: string, input = "") {
  const { code, stdout, stderr } = await toolOutput(command, args, { cwd, input });
  return { code, out: stdout, said: stdout + stderr };
}

/** What the program needs of the checkout. */
async function layOutProgram(at: string): Promise<void> {
  for (const name of ["deno.json", "deno.lock", "src"]) await cp(join(root, name), join(at, name), { recursive: true });
}

async function sendsOneSpan(program: Program, sink: Sink, port: number, token: string): Promise<void> {
  await program.line(new RegExp(`Receiving.*:${port}`));
  const span = { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", name: "checkout" };
  const answer = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
  });
  assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  await sink.waitFor(() => sink.spans().some(({ name }) => name === "checkout"));
}

async function endsWell(program: Program): Promise<void> {
  const { code } = await program.stop();
  const said = program.lines.join("\n");
  assert.equal(code, 0, said);
  assert.doesNotMatch(said, /NotCapable|Requires \w+ access|ERROR/);
}

Deno.test("the systemd unit", async (t) => {
  await using dir = await folder();
  const unit = await docText("deploy/edgeferry.service");
  const file = join(dir.path, "edgeferry.service");
  await writeFile(file, unit.replace("/usr/local/bin/deno", Deno.execPath()));

  await t.step("systemd takes it, without a warning", async () => {
    assert.deepEqual(await run("systemd-analyze", ["verify", file], dir.path), { code: 0, out: "", said: "" });
    await writeFile(`${file}.d.service`, unit.replace("Restart=on-failure", "Restart=on-failur"));
    assert.match((await run("systemd-analyze", ["verify", `${file}.d.service`], dir.path)).said, /on-failur/);
  });
  await t.step("it is closed as far as V8 lets it be", async () => {
    const args = ["security", "--offline=true", "--no-pager", `--threshold=${EXPOSURE_MAX}`, file];
    const { code, said } = await run("systemd-analyze", args, dir.path);
    assert.equal(code, 0, said);
    assert.match(
      unit,
      /^SystemCallErrorNumber=EPERM$/m,
      "V8 tries pkey_alloc, which is in no set: it must not be killed for it",
    );
    const open = [...said.matchAll(/^✗ (\S+)=\S* /gm)].map(([, name]) => name);
    for (const name of ["CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem", "SystemCallFilter"]) {
      assert(!open.includes(name), said);
    }
  });
  await t.step("its command, with its permissions and variables, carries a span to the Collector", async () => {
    await using certs = await testCertificates();
    await using sink = startSink();
    await using collector = await startCollector({ certsDir: certs.dir, sink });
    const places = Object.fromEntries(
      ["/opt/edgeferry", "/etc/edgeferry", "/var/lib/edgeferry"].map((path) => [path, join(dir.path, path)]),
    );
    for (const place of Object.values(places)) await mkdir(place, { recursive: true });
    await layOutProgram(places["/opt/edgeferry"]!);
    for (const name of ["ca.crt", "client.crt", "client.key"]) {
      await copyFile(join(certs.dir, name), join(places["/etc/edgeferry"]!, name));
    }
    const token = newSecret();
    await addToken(join(places["/etc/edgeferry"]!, "tokens.yaml"), { id: "shop", secret: token });
    const here = (text: string) =>
      Object.entries(places).reduce((all, [from, to]) => all.replaceAll(from, to), text)
        .replace("https://collector.example:4318", collector.httpUrl);

    const joined = unit.replaceAll(/\\\n\s*/g, "");
    const settings = [...joined.matchAll(/^(\w+)=(.*)$/gm)].map(([, key, value]) => ({ key, value: value! }));
    const environment = settings.filter(({ key }) => key === "Environment").flatMap(({ value }) => value.split(" "))
      .map((each) => [each.slice(0, each.indexOf("=")), here(each.slice(each.indexOf("=") + 1))])
      // Packages are where this machine has them.
      .filter(([name]) => name !== "DENO_DIR");
    const [command, ...args] = settings.find(({ key }) => key === "ExecStart")!.value.split(" ").map(here);
    assert.equal(command, "/usr/local/bin/deno");
    const [port, adminPort] = [await freePort(), await freePort()];
    await using program = startProgram({
      command: Deno.execPath(),
      args,
      cwd: places["/opt/edgeferry"]!,
      env: {
        ...Object.fromEntries(environment),
        EDGEFERRY_RECEIVER_HTTP_ENDPOINT: `127.0.0.1:${port}`,
        EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: `127.0.0.1:${adminPort}`,
      },
    });
    await sendsOneSpan(program, sink, port, token);
    await endsWell(program);
  });
});

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface StatefulSet {
  readonly kind: "StatefulSet";
  readonly spec: {
    readonly selector: { readonly matchLabels: Record<string, string> };
    readonly template: {
      readonly metadata: { readonly labels: Record<string, string> };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly {
          readonly command: readonly string[];
          readonly args: readonly string[];
          readonly env: readonly { readonly name: string; readonly value?: string }[];
          readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
          readonly livenessProbe: Probe;
          readonly readinessProbe: Probe;
          readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
        }[];
        readonly volumes: readonly {
          readonly name: string;
          readonly secret: { secretName: string; defaultMode: number };
        }[];
      };
    };
    readonly volumeClaimTemplates: readonly { readonly metadata: { readonly name: string } }[];
  };
}

interface Certificate {
  readonly kind: "Certificate";
  readonly spec: { readonly secretName: string };
}

interface Service {
  readonly kind: "Service";
  readonly spec: {
    readonly selector: Record<string, string>;
    readonly ports: readonly { readonly targetPort: string }[];
  };
}

/** A secret's volume as the kubelet lays it out: each file a link through `..data`, which is what a renewal swaps. */
async function mountSecret(at: string, files: Readonly<Record<string, string>>, revision: number): Promise<void> {
  await mkdir(join(at, `..${revision}`), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(at, `..${revision}`, name), text, { mode: 0o440 });
    if (revision === 0) await symlink(join("..data", name), join(at, name));
  }
  await symlink(`..${revision}`, join(at, "..data_tmp"));
  await rename(join(at, "..data_tmp"), join(at, "..data"));
  if (revision > 0) await rm(join(at, `..${revision - 1}`), { recursive: true });
}

Deno.test("the Kubernetes manifests", async (t) => {
  const manifests = await docText("deploy/kubernetes.yaml");
  const checker = join(root, "tests/support/tools/kubernetes");
  const read = await run("go", ["run", "."], checker, manifests);
  assert.equal(read.code, 0, read.said);
  const objects = JSON.parse(read.out) as (StatefulSet | Certificate | Service)[];
  const of = <Kind extends string>(kind: Kind) =>
    objects.find((each) => each.kind === kind) as Extract<(typeof objects)[number], { kind: Kind }>;
  const set = of("StatefulSet");
  const pod = set.spec.template.spec;
  const [container] = pod.containers;
  assert(container);

  await t.step("a field that Kubernetes does not know is refused", async () => {
    const wrong = await run(
      "go",
      ["run", "."],
      checker,
      manifests.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"),
    );
    assert.equal(wrong.code, 1);
    assert.match(wrong.said, /unknown field ".*readOnlyRootFileSystem"/);
  });
  await t.step("what refers to something finds it", () => {
    const { labels } = set.spec.template.metadata;
    assert.deepEqual([set.spec.selector.matchLabels, of("Service").spec.selector], [labels, labels]);
    assert(container.ports.some(({ name }) => name === of("Service").spec.ports[0]!.targetPort));
    const volumes = [...pod.volumes, ...set.spec.volumeClaimTemplates.map(({ metadata }) => metadata)].map(({ name }) =>
      name
    );
    assert.deepEqual(container.volumeMounts.map(({ name }) => name).sort(), volumes.sort());
    assert.equal(
      pod.volumes.find(({ name }) => name === "client")?.secret.secretName,
      of("Certificate").spec.secretName,
    );
    for (const { secret } of pod.volumes) assert.equal(secret.defaultMode, 0o440);
    assert(pod.terminationGracePeriodSeconds > 10);
  });
  await t.step(
    "the container's command, with its permissions and variables, takes up a renewed certificate",
    async () => {
      await using dir = await folder();
      await using certs = await testCertificates();
      await using sink = startSink();
      await using collector = await startCollector({ certsDir: certs.dir, sink });
      const app = join(dir.path, "app");
      await layOutProgram(app);
      const secretOf = ({ certificate, key }: Pair) => ({
        "tls.crt": certificate,
        "tls.key": key,
        "ca.crt": certs.ca.certificate,
      });
      await mountSecret(join(app, "certs"), secretOf(certs.client), 0);
      const token = newSecret();
      await addToken(join(dir.path, "tokens.yaml"), { id: "shop", secret: token });
      await mountSecret(
        join(app, "config"),
        { "tokens.yaml": await readFile(join(dir.path, "tokens.yaml"), "utf8") },
        0,
      );
      await mkdir(join(app, "data"));

      const ports = Object.fromEntries(
        await Promise.all(container.ports.map(async ({ name }) => [name, await freePort()])),
      );
      const here = (text: string) =>
        container.ports.reduce(
          (all, { name, containerPort }) => all.replace(`0.0.0.0:${containerPort}`, `127.0.0.1:${ports[name]}`),
          text,
        )
          .replace("/app", app).replace("https://collector:4318", collector.httpUrl);
      assert.deepEqual(container.command.map((word) => basename(word)), ["deno"]);
      await using program = startProgram({
        command: Deno.execPath(),
        args: container.args.map(here),
        cwd: app,
        env: Object.fromEntries(container.env.map(({ name, value = "" }) => [name, here(value)])),
      });
      await sendsOneSpan(program, sink, ports["otlp"], token);
      for (const { httpGet } of [container.livenessProbe, container.readinessProbe]) {
        const answer = await fetch(`http://127.0.0.1:${ports[httpGet.port]}${httpGet.path}`);
        assert.equal(answer.status, 200, await answer.text());
      }
      await mountSecret(join(app, "certs"), secretOf(await certs.issueClient("renewed")), 1);
      await program.line(/Took up a changed client certificate/);
      await endsWell(program);
    },
  );
});
