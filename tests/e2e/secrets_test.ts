/**
 * Secrets in each setting that may hold one, in each wrong form that we could think of, and in the right form too: nothing that
 * any command, log or page says has a part of one in it.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "@std/yaml";
import { environmentName, otelName } from "../../src/config/environment.ts";
import { loadConfig } from "../../src/config/load.ts";
import { OPTIONS } from "../../src/config/schema.ts";
import { shownConfig } from "../../src/config/show.ts";
import { examine } from "../../src/doctor/doctor.ts";
import { messageOf } from "../../src/errors.ts";
import { deployConfig } from "../../src/hosted/relay.ts";
import { startRelay } from "../../src/relay/relay.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { runToEnd } from "../support/program/program.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

/** A secret in one form, and the parts of it of which none may be said. */
interface Planted {
  readonly form: string;
  readonly value: string;
  readonly needles: readonly string[];
}

const WORD = "Zq7-hunter2-Vx9";
const TOKEN = "kPz3vQ8mXw1LrT6yBn0cHsJd4FgAe2Ui9OoKtVbMqNR";
const JWT = `eyJhbGciOiJIUzI1NiJ9.${Buffer.from('{"sub":"planted"}').toString("base64url")}.${TOKEN}`;

/** Each run of 16 characters or more, in pieces of 16. */
function needlesOf(text: string): string[] {
  return [...text.matchAll(/[A-Za-z0-9+/_=-]{16,}/g)].flatMap(([run]) => [run.slice(0, 16), run.slice(-16)])
    .filter((needle) => !/^-+|BEGIN|PRIVATE|CERTIFICATE/.test(needle));
}

function formsOf(key: string, certificate: string): Planted[] {
  const body = key.replaceAll(/-----.*-----|\n/g, "");
  const pem = needlesOf(key);
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const wrapped = base64(key).replace(/.{76}/g, "$&\n");
  return [
    { form: "PEM", value: key, needles: pem },
    { form: "PEM on one line", value: key.replaceAll("\n", "\\n"), needles: pem },
    { form: "PEM with its line ends gone", value: key.replaceAll("\n", " "), needles: pem },
    { form: "base64 of the PEM", value: base64(key), needles: needlesOf(base64(key)) },
    { form: "base64 of the PEM, wrapped", value: wrapped, needles: needlesOf(wrapped) },
    { form: "base64 of the PEM, in quotes", value: `"${base64(key)}"`, needles: needlesOf(base64(key)) },
    { form: "base64 of base64", value: base64(base64(key)), needles: needlesOf(base64(base64(key))) },
    { form: "base64 of the body", value: base64(body), needles: needlesOf(base64(body)) },
    { form: "body without BEGIN", value: body, needles: needlesOf(body) },
    { form: "body in lines", value: key.replaceAll(/-----.*-----\n/g, ""), needles: pem },
    { form: "PEM without BEGIN", value: key.replace(/-----BEGIN.*-----\n/, ""), needles: pem },
    { form: "PEM cut short", value: key.slice(0, 90), needles: needlesOf(key.slice(0, 90)) },
    {
      form: "hex of the key",
      value: Buffer.from(body, "base64").toString("hex"),
      needles: needlesOf(Buffer.from(body, "base64").toString("hex")),
    },
    { form: "certificate", value: certificate, needles: needlesOf(certificate) },
    { form: "token", value: TOKEN, needles: [TOKEN.slice(0, 16), TOKEN.slice(-16)] },
    { form: "bearer token", value: `Bearer ${TOKEN}`, needles: [TOKEN.slice(0, 16), TOKEN.slice(-16)] },
    {
      form: "basic credentials",
      value: `Basic ${base64(`ada:${WORD}`)}`,
      needles: [base64(`ada:${WORD}`).slice(0, 12)],
    },
    { form: "JWT", value: JWT, needles: [JWT.slice(0, 30), TOKEN.slice(0, 16)] },
    { form: "URL with a password", value: `https://ada:${WORD}@collector.example:4318/otlp`, needles: [WORD] },
    { form: "URL with an odd password", value: `https://ada:p/${WORD}@collector.example:4318`, needles: [WORD] },
    { form: "URL without a scheme", value: `ada:${WORD}@collector.example:4318`, needles: [WORD] },
    { form: "URL with a query", value: `https://127.0.0.1:1/otlp?api_key=${WORD}`, needles: [WORD] },
    { form: "URL with a fragment", value: `https://127.0.0.1:1/otlp#${WORD}`, needles: [WORD] },
    { form: "URL with a token in its path", value: `https://127.0.0.1:1/otlp/${TOKEN}`, needles: [TOKEN.slice(0, 16)] },
    { form: "headers", value: `authorization=Bearer ${TOKEN},x-api-key=${WORD}`, needles: [WORD, TOKEN.slice(0, 16)] },
    { form: "header in YAML", value: `{ "x-api-key": "${WORD}" }`, needles: [WORD] },
    { form: "header of no name", value: `${base64(TOKEN)}`, needles: [base64(TOKEN).slice(0, 16)] },
    {
      form: "a tokens file",
      value: stringify({ tokens: [], signing_keys: [{ id: "k", secret: TOKEN, origins: [] }] }),
      needles: [TOKEN.slice(0, 16)],
    },
    {
      form: "a tokens file on one line",
      value: `{ signing_keys: [{ id: k, secret: ${TOKEN} }] }`,
      needles: [TOKEN.slice(0, 16)],
    },
  ];
}

/** In a setting that takes secrets, URLs or files; elsewhere nobody can tell one from a name. */
const WORDS: readonly Planted[] = [{ form: "password", value: WORD, needles: [WORD] }];

function assertHidden(said: string, { form, needles }: Planted, where: string): void {
  for (const needle of needles) {
    const at = said.indexOf(needle);
    assert(
      at < 0,
      `${where}, ${form}: ${JSON.stringify(needle)} is in …${said.slice(Math.max(0, at - 300), at + 100)}…`,
    );
  }
}

/** What is said by whatever reads the configuration. */
async function saidOf(env: Record<string, string>, deep: boolean): Promise<string> {
  const said: string[] = [];
  const all = { DENO_TLS_CA_STORE: "", ...env };
  try {
    const { config, warnings, sources } = await loadConfig({ env: all, file: null });
    said.push(...warnings, stringify(shownConfig(config)), JSON.stringify(sources));
  } catch (error) {
    said.push(messageOf(error));
  }
  await deployConfig(all).then(({ warnings }) => said.push(...warnings), (error) => said.push(messageOf(error)));
  if (deep) said.push(JSON.stringify(await examine({ env: all, cwd: tmpdir() })));
  return said.join("\n");
}

Deno.test("whatever is put into whatever setting, no command tells more of it than it may", async () => {
  await using certs = await testCertificates();
  const forms = formsOf(certs.client.key, certs.client.certificate);
  for (const option of OPTIONS) {
    const names = [environmentName(option.path), otelName(option) ?? []].flat();
    const mayBeSecret = option.secret || option.type === "url" || /(_file|tokens)$/.test(option.path.at(-1) ?? "");
    const ofCollector = option.path[0] === "exporter" && option.path[1] !== "signals";
    for (const name of names) {
      for (const planted of mayBeSecret ? [...forms, ...WORDS] : forms) {
        const said = await saidOf(
          { EDGEFERRY_EXPORTER_ENDPOINT: "https://127.0.0.1:1", [name]: planted.value },
          mayBeSecret && ofCollector,
        );
        // The name of an audience may be as random as a token.
        if (option.path.at(-1) !== "audience" || !said.includes(`audience: ${planted.value}`)) {
          assertHidden(said, planted, name);
        }
      }
    }
  }
});

Deno.test("the words say how long it is and what it looks like", async () => {
  await using certs = await testCertificates();
  const forms = new Map(formsOf(certs.client.key, certs.client.certificate).map(({ form, value }) => [form, value]));
  const NAME = "EDGEFERRY_EXPORTER_TLS_KEY_PEM";
  for (
    const [form, looks] of [
      ["body without BEGIN", "the body of a PEM without its BEGIN and END lines"],
      ["PEM without BEGIN", "PEM text without its BEGIN line"],
      ["token", "random letters and digits, such as a token"],
      ["JWT", "a JWT"],
    ] as const
  ) {
    const value = forms.get(form) ?? "";
    const said = await saidOf({ [NAME]: value }, false);
    assert(said.includes(`exporter.tls.key_pem (${value.length} characters, ${looks}): it must be PEM text`), said);
  }
});

Deno.test("base64 of a PEM is taken, in every form of it that hosts make", async () => {
  await using certs = await testCertificates();
  const forms = new Map(formsOf(certs.client.key, certs.client.certificate).map(({ form, value }) => [form, value]));
  for (
    const form of [
      "PEM",
      "PEM on one line",
      "base64 of the PEM",
      "base64 of the PEM, wrapped",
      "base64 of the PEM, in quotes",
    ]
  ) {
    for (const name of ["OTEL_EXPORTER_OTLP_CLIENT_KEY", "EDGEFERRY_EXPORTER_TLS_KEY_PEM"]) {
      const { config } = await loadConfig({ env: { [name]: forms.get(form) }, file: null });
      assert.equal(config.exporter.tls.key_pem, certs.client.key, `${name}: ${form}`);
    }
  }
});

Deno.test("the programs themselves: run, doctor, config check, deploy, send, token", async () => {
  await using certs = await testCertificates();
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-secrets-"));
  try {
    const body = certs.client.key.replaceAll(/-----.*-----|\n/g, "");
    const planted: Planted = {
      form: "several",
      value: "",
      needles: [...needlesOf(body), WORD, TOKEN.slice(0, 16), TOKEN.slice(-16)],
    };
    await writeFile(join(dir, "relay.yaml"), `exporter: { headers: { x: "${TOKEN}", "${WORD}` + `": [ }\n`);
    const env = {
      DENO_TLS_CA_STORE: "",
      OTEL_EXPORTER_OTLP_CLIENT_KEY: body,
      OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${TOKEN}`,
      EDGEFERRY_TELEMETRY_ADMIN_TOKEN: WORD,
      EDGEFERRY_RECEIVER_AUTH_TOKENS: `tokens: [${TOKEN}]`,
      EDGEFERRY_SIGNING_KEY: TOKEN,
      EDGEFERRY_TOKEN: TOKEN,
      PORT: "0",
    };
    const main = join(ROOT, "src/main.ts");
    for (
      const args of [
        [main, "run"],
        [main, "doctor"],
        [main, "doctor", "--json"],
        [main, "config", "check"],
        [main, "config", "check", "--json"],
        [main, "config", "check", "--config", join(dir, "relay.yaml")],
        [main, "token", "revoke", TOKEN],
        [main, "token", "new", "--id", `${TOKEN}/${WORD}`],
        [main, "token", "mint", "--id", "x", "--expires", TOKEN],
        [main, "token", "usage"],
        [main, "send", "--url", `http://ada:${WORD}@127.0.0.1:1/?k=${TOKEN}`],
        [main, "send", TOKEN],
        [join(ROOT, "src/deploy.ts")],
      ]
    ) {
      const said = await runToEnd({
        command: Deno.execPath(),
        args: ["run", "-A", "--config", join(ROOT, "deno.json"), ...args],
        cwd: dir,
        env,
      });
      assertHidden(said.join("\n"), planted, args.slice(1).join(" ") || "deploy");
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});

Deno.test("a relay whose secrets are right: log, status page, metrics and health tell nothing of them", async () => {
  await using certs = await testCertificates();
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-secrets-"));
  const needles = [WORD, TOKEN, certs.client.key.slice(60, 90), "Pa55-phrase"];
  for (const format of ["text", "json"] as const) {
    const said: string[] = [];
    const { config } = await loadConfig({
      file: null,
      env: {
        EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "127.0.0.1:0",
        EDGEFERRY_RECEIVER_AUTH_INSECURE: "true",
        EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: "127.0.0.1:0",
        EDGEFERRY_TELEMETRY_ADMIN_TOKEN: WORD,
        EDGEFERRY_SENDING_QUEUE_PATH: join(dir, `${format}.db`),
        EDGEFERRY_TELEMETRY_METRICS_INTERVAL: "1s",
        OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:1/?api_key=${TOKEN}`,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `https://nosuchhost.invalid/v1/traces?api_key=${TOKEN}`,
        OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${WORD}`,
        OTEL_EXPORTER_OTLP_CERTIFICATE: certs.ca.certificate,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: certs.client.certificate,
        OTEL_EXPORTER_OTLP_CLIENT_KEY: Buffer.from(certs.client.key).toString("base64"),
        EDGEFERRY_EXPORTER_TLS_KEY_PASSPHRASE: "Pa55-phrase",
      },
    });
    const failed = Promise.withResolvers<void>();
    const write = (line: string) => {
      said.push(line);
      if (/failures/.test(line)) failed.resolve();
    };
    await using relay = await startRelay(config, createLog({ level: "debug", format, write }));
    for (const path of ["/v1/traces", "/v1/logs"]) {
      const answer = await fetch(`${relay.url}${path}?access_token=${WORD}`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
        body: path === "/v1/traces"
          ? '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000001","name":"x"}]}]}]}'
          : "{}",
      });
      said.push(await answer.text(), JSON.stringify([...answer.headers]));
    }
    await failed.promise;
    for (const path of ["/", "/metrics", "/readyz", "/livez"]) {
      const answer = await fetch(`${relay.adminUrl}${path}`, { headers: { authorization: `Bearer ${WORD}` } });
      assert(answer.status === 200 || path === "/readyz", `${path}: ${answer.status}`);
      said.push(await answer.text());
    }
    await relay.stop();
    assertHidden(said.join("\n"), { form: format, value: "", needles }, "a relay");
  }
  await rm(dir, { recursive: true });
});
