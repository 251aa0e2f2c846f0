/** docker-compose.yaml as Compose itself would load it, and what of it can be run without a container engine. */
import assert from "node:assert/strict";
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { parse } from "@std/yaml";
import { testCertificates } from "../support/files/certificates.ts";
import { addToken, newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { freePort, startCollector } from "../support/tools/collector.ts";
import { startSink } from "../support/far_end/sink.ts";
import { composeFile, layOut, load, rootFolder, type Service, service } from "../support/tools/compose.ts";

/** source -> target of what is mounted from the checkout. */
function files(service: Service): Record<string, string> {
  const binds = (service.volumes ?? []).filter((mount) => mount.type === "bind");
  return Object.fromEntries(binds.map((mount) => [mount.target, relative(rootFolder, mount.source)]));
}

Deno.test("the Compose file loads with each profile, and the Collector's configuration follows the profile", async (t) => {
  const everywhere = ["otel-collector", "relay", "setup"];
  const expected: [profiles: string, services: string[], source: string][] = [
    ["", [], "config/collector.yaml"],
    ["jaeger", ["jaeger", "profile-check"], "config/collector.jaeger.yaml"],
    ["clickhouse", ["clickhouse", "profile-check"], "config/collector.clickhouse.yaml"],
    ["jaeger,clickhouse", ["clickhouse", "jaeger", "profile-check"], "config/collector.both.yaml"],
    ["clickhouse,jaeger", ["clickhouse", "jaeger", "profile-check"], "config/collector.both.yaml"],
    [
      "postgres",
      ["exporter", "postgres", "queue-migrate", "receiver-1", "receiver-2"],
      "config/collector.yaml",
    ],
  ];
  for (const [profiles, backends, source] of expected) {
    await t.step(profiles || "none", async () => {
      const project = await load(composeFile, profiles);
      assert.deepEqual(Object.keys(project.services).sort(), [...backends, ...everywhere].sort());
      const collector = service(project, "otel-collector");
      const configs = (collector.command ?? []).map((argument) => argument.replace(/^--config=/, ""));
      assert.deepEqual(configs.map((target) => files(collector)[target]), ["config/collector.yaml", source]);
    });
  }
  await t.step("a file that breaks the schema is refused", async () => {
    const folder = await mkdtemp(join(tmpdir(), "edgeferry-compose-"));
    try {
      const file = join(folder, "docker-compose.yaml");
      await writeFile(file, (await readFile(composeFile, "utf8")).replace("    image: otel/", "    imag: otel/"));
      await assert.rejects(load(file, ""), /otel-collector.*imag/s);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

Deno.test("the services of the Compose file are pinned, off the network, and see no file they do not need", async (t) => {
  const project = await load(composeFile, "jaeger,clickhouse");
  const all = Object.entries(project.services);

  await t.step("images are pinned, and the Collector's and Deno's are those tested here", async () => {
    for (const [name, { image }] of all) assert.match(image, /:\d+\.\d+\.\d+(\.\d+)?$/, name);
    const builder = await readFile(join(rootFolder, "tests/collector/builder.yaml"), "utf8");
    const version = /otlpreceiver v(\S+)/.exec(builder)?.[1];
    assert.equal(service(project, "otel-collector").image, `otel/opentelemetry-collector-contrib:${version}`);
    for (const name of ["relay", "setup", "profile-check"]) {
      assert.equal(service(project, name).image, `denoland/deno:${Deno.version.deno}`, name);
    }
  });
  await t.step("ports are published on loopback", () => {
    const ports = all.flatMap(([, { ports }]) => ports ?? []);
    assert.ok(ports.every((port) => port.host_ip === "127.0.0.1"), JSON.stringify(ports));
    assert.deepEqual(ports.map((port) => Number(port.published)).sort((a, b) => a - b), [
      4317,
      4318,
      4319,
      8123,
      9464,
      13133,
      16686,
    ]);
  });
  await t.step("what is mounted of the checkout is read-only and there", async () => {
    for (const [name, { volumes = [] }] of all) {
      for (const mount of volumes.filter((mount) => mount.type === "bind")) {
        assert.equal(mount.read_only, true, `${name}: ${mount.target}`);
        assert.equal(mount.bind?.create_host_path ?? false, false, `${name}: ${mount.target}`);
        const source = relative(rootFolder, mount.source);
        // The certificates are made by each user; all else is in the checkout.
        if (!source.startsWith("certs/")) assert.ok(await stat(mount.source), `${name}: ${source}`);
      }
    }
  });
  await t.step("each service gets the certificates it needs and no others", () => {
    for (const [name, each] of all) {
      const certs = Object.values(files(each)).filter((source) => source.startsWith("certs") || source === "").sort();
      const expected: Record<string, string[]> = {
        "otel-collector": ["certs/ca.crt", "certs/server.crt", "certs/server.key"],
        relay: ["certs/ca.crt", "certs/client.crt", "certs/client.key"],
      };
      assert.deepEqual(certs, expected[name] ?? [], name);
    }
  });
  await t.step("Collector and relay are the owner of the keys, with a file system they cannot change", () => {
    for (const name of ["otel-collector", "relay"]) {
      const { user, read_only, cap_drop } = service(project, name);
      assert.deepEqual({ user, read_only, cap_drop }, { user: "1234:5678", read_only: true, cap_drop: ["ALL"] }, name);
    }
  });
  await t.step("the relay leaves loopback and trusts its own CA alone, with permissions that are named", () => {
    const { command, environment } = service(project, "relay");
    assert.equal(environment?.["EDGEFERRY_RECEIVER_HTTP_ENDPOINT"], "0.0.0.0:4319");
    assert.equal(environment?.["DENO_TLS_CA_STORE"], "");
    assert.equal(environment?.["OTEL_EXPORTER_OTLP_ENDPOINT"], "https://otel-collector:4318");
    const flags = (command ?? []).filter((argument) => argument.startsWith("-"));
    assert.ok(flags.includes("--frozen"));
    assert.ok(!flags.includes("-A") && !flags.includes("--allow-all"));
    for (const open of ["--allow-net", "--allow-read", "--allow-write", "--allow-run", "--allow-ffi"]) {
      assert.ok(!flags.includes(open), `${open} is not bounded`);
    }
  });
});

Deno.test("the overlay for both backends is the sum of the two", async () => {
  const read = async (name: string): Promise<Record<string, Record<string, unknown>>> =>
    parse(await readFile(join(rootFolder, "config", name), "utf8")) as Record<string, Record<string, unknown>>;
  const [jaeger, clickhouse, both] = await Promise.all([
    read("collector.jaeger.yaml"),
    read("collector.clickhouse.yaml"),
    read("collector.both.yaml"),
  ]);
  const merged = (left: unknown, right: unknown): unknown => {
    const isMap = (value: unknown): value is Record<string, unknown> =>
      typeof value === "object" && value !== null && !Array.isArray(value);
    if (!isMap(left) || !isMap(right)) return right ?? left;
    const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
    return Object.fromEntries([...keys].map((key) => [key, merged(left[key], right[key])]));
  };
  assert.deepEqual(both, merged(jaeger, clickhouse));
});

async function runDeno(args: string[], env: Record<string, string> = {}, cwd = rootFolder) {
  const output = await new Deno.Command(Deno.execPath(), { args, env, cwd, stdin: "null" }).output();
  const text = new TextDecoder();
  return { code: output.code, said: text.decode(output.stdout) + text.decode(output.stderr) };
}

Deno.test("the relay's health check asks the relay and the Collector, and fails with either", async () => {
  const project = await load(composeFile, "");
  const [how, deno, ...args] = service(project, "relay").healthcheck?.test ?? [];
  assert.deepEqual([how, deno], ["CMD", "deno"]);

  await using certs = await testCertificates();
  let relayStatus = 200;
  await using relay = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => new Response(null, { status: new URL(request.url).pathname === "/livez" ? relayStatus : 404 }),
  );
  await using collector = await startCollector({ certsDir: certs.dir });
  const here = args.map((argument) =>
    argument.replace("127.0.0.1:9464", `127.0.0.1:${relay.addr.port}`)
      .replace("http://otel-collector:13133/", collector.healthUrl)
  );
  assert.deepEqual(await runDeno(here), { code: 0, said: "" });
  relayStatus = 503;
  assert.match((await runDeno(here)).said, /\/livez answered 503/);
  relayStatus = 200;
  await collector.stop();
  assert.equal((await runDeno(here)).code, 1);
});

Deno.test("the relay's command, with what is mounted and permitted, carries a span to the Collector", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink });
  const relay = service(await load(composeFile, ""), "relay");
  const [port, adminPort] = [await freePort(), await freePort()];
  // Loopback and free ports here, for the addresses on the Compose network.
  const here = (text: string) =>
    text.replaceAll("0.0.0.0:4319", `127.0.0.1:${port}`)
      .replaceAll("0.0.0.0:9464", `127.0.0.1:${adminPort}`)
      .replaceAll("otel-collector:4318", `localhost:${collector.httpPort}`);
  const folder = await layOut(relay, certs.dir);
  try {
    const secret = newSecret();
    await addToken(join(folder, "config/tokens.yaml"), { id: "shop", secret });
    const environment = Object.entries(relay.environment ?? {}).map(([name, value]) => [name, here(value)]);
    const child = new Deno.Command(Deno.execPath(), {
      args: (relay.command ?? []).map(here),
      cwd: folder,
      env: {
        ...Object.fromEntries(environment),
        // Its own traces too, so that whatever they need in permissions is asked for here.
        EDGEFERRY_TELEMETRY_TRACES_SAMPLING_RATIO: "1",
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const said: string[] = [];
    const ready = Promise.withResolvers<void>();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        said.push(text);
        if (said.join("").includes(`url=http://127.0.0.1:${port}`)) ready.resolve();
      }
    };
    const ended = Promise.all([read(child.stdout), read(child.stderr), child.status]).then(([, , status]) => {
      ready.reject(new Error(`The relay ended before it was ready:\n${said.join("")}`));
      return status;
    });
    ended.catch(() => {});
    let isRunning = true;
    child.status.then(() => isRunning = false);
    try {
      await ready.promise;
      const span = {
        traceId: "5b8efff798038103d269b633813fc60c",
        spanId: "eee19b7ec3c1b174",
        name: "checkout",
        startTimeUnixNano: "1",
        endTimeUnixNano: "2",
      };
      const answer = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${secret}` },
        body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
      });
      assert.deepEqual([answer.status, await answer.json()], [200, {}]);
      await sink.waitFor(() => sink.spans().some(({ name, spanId }) => name === "checkout" && spanId === span.spanId));
      const live = await fetch(`http://127.0.0.1:${adminPort}/livez`);
      assert.equal(live.status, 200);
      await live.body?.cancel();
      const authorization = `Basic ${btoa(`anybody:${relay.environment?.["EDGEFERRY_TELEMETRY_ADMIN_TOKEN"]}`)}`;
      const page = await fetch(`http://127.0.0.1:${adminPort}/`, { headers: { authorization } });
      assert.match(await page.text(), /<title>/);
    } finally {
      if (isRunning) child.kill("SIGTERM");
      const status = await ended;
      assert.equal(status.code, 0, said.join(""));
    }
    assert.doesNotMatch(said.join(""), /NotCapable|Requires \w+ access|ERROR/);
    // Its own telemetry came by the same way, sent before it ended.
    const own = (item: { resource: { attributes: Record<string, unknown> } }) =>
      item.resource.attributes["service.name"] === "edgeferry";
    assert.ok(sink.spans().some(own), "no span of the relay's own");
    assert.ok(sink.dataPoints().some(own), "no data point of the relay's own");
  } finally {
    await rm(folder, { recursive: true });
  }
});

Deno.test("a profile named by --profile alone is refused with the reason", async () => {
  const byFlag = await load(composeFile, "", ["jaeger"]);
  const check = service(byFlag, "profile-check");
  assert.deepEqual(service(byFlag, "jaeger").depends_on, {
    "profile-check": { condition: "service_completed_successfully", required: true },
  });
  const refused = await runDeno(check.command ?? [], check.environment);
  assert.equal(refused.code, 1);
  assert.match(refused.said, /COMPOSE_PROFILES=jaeger docker compose up/);

  const byVariable = service(await load(composeFile, "jaeger"), "profile-check");
  assert.deepEqual(await runDeno(byVariable.command ?? [], byVariable.environment), { code: 0, said: "" });
});

Deno.test("the packages that the setup fetches are those of the lock file", async () => {
  const { entrypoint, command } = service(await load(composeFile, ""), "setup");
  assert.deepEqual(entrypoint, ["/bin/sh", "-ec"]);
  const [install] = (command?.[0] ?? "").split("\n");
  const folder = await mkdtemp(join(tmpdir(), "edgeferry-setup-"));
  try {
    for (const name of ["deno.json", "deno.lock"]) await copyFile(join(rootFolder, name), join(folder, name));
    const [deno, ...args] = (install ?? "").split(" ");
    assert.equal(deno, "deno");
    const installed = await runDeno(args, { DENO_TLS_CA_STORE: "system" }, folder);
    assert.equal(installed.code, 0, installed.said);
  } finally {
    await rm(folder, { recursive: true });
  }
});
