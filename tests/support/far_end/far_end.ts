/**
 * The far end of the oracle: a Collector that can be crashed, frozen and told to misbehave, and the record of all spans that
 * it has acknowledged or may have. The embedded Collector in a process of its own, or the real one with a server behind it.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { TestCertificates } from "../files/certificates.ts";
import { type RealCollector, startCollector as startRealCollector } from "../tools/collector.ts";
import { type ArrivedSpan, arrivedSpans, CUTS, FAILS, POISON } from "../bodies/numbered_spans.ts";
import { type Program, startProgram } from "../program/program.ts";
import { ROOT } from "../relay/restartable_relay.ts";

/** One request that the far end took. */
export interface Receipt {
  /** ms since the Unix epoch. */
  readonly at: number;
  readonly spans: readonly ArrivedSpan[];
}

/** What it does to every request; one with {@link POISON} in it is answered 400 in any case. */
export type Trouble =
  | { readonly kind: "status"; readonly status: number; readonly retryAfterS?: number }
  /** Cuts the connection, before or after it has taken the data. Embedded only. */
  | { readonly kind: "disconnect"; readonly accepted: boolean }
  | { readonly kind: "silence" }
  /** Takes empty requests, and refuses all with data. Embedded only; a `status` of 400 makes the real one do so. */
  | { readonly kind: "refuses_data" }
  /** Answers 200 with a page of HTML, and takes nothing. Embedded only. */
  | { readonly kind: "page" }
  /** Reads the first gzip member of a body alone. Embedded only. */
  | { readonly kind: "first_member_only" };

/** What the embedded Collector's process is told. */
export interface Control {
  readonly trouble?: Trouble;
  readonly mended: boolean;
}

export interface FarEnd extends AsyncDisposable {
  readonly name: "embedded" | "real";
  /** `https://localhost:PORT`, the same after a crash. */
  readonly url: string;
  /** The same for OTLP/gRPC; undefined where it is not spoken. */
  readonly grpcUrl?: string;
  readonly receipts: readonly Receipt[];
  trouble(trouble: Trouble | undefined): Promise<void>;
  /** From now on it takes what it failed on ({@link FAILS}, {@link CUTS}). */
  mend(): Promise<void>;
  /** SIGKILL. */
  crash(): Promise<void>;
  /** Comes back at the same port. */
  revive(): Promise<void>;
  /** SIGSTOP. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
}

/** The embedded Collector; `dir` is for the file that tells it how to misbehave. */
export async function startEmbeddedFarEnd(certs: Pick<TestCertificates, "dir">, dir: string): Promise<FarEnd> {
  const control = join(dir, "trouble.json");
  let present: Control = { mended: false };
  const tell = async (next: Control) => {
    present = next;
    await writeFile(`${control}.new`, JSON.stringify(present));
    await rename(`${control}.new`, control);
  };
  await tell(present);
  const earlier: string[] = [];
  let program: Program | undefined;
  let port = 0;
  const revive = async () => {
    earlier.push(...receiptLines(program));
    program = startProgram({
      command: Deno.execPath(),
      args: [
        "run",
        "-A",
        "--quiet",
        join(ROOT, "tests/support/far_end/far_end_embedded.ts"),
        certs.dir,
        String(port),
        control,
      ],
      cwd: ROOT,
    });
    port = Number((await program.line(/^listening \d+$/)).split(" ")[1]);
  };
  await revive();
  // A line is read once: there are many.
  const receipts: Receipt[] = [];
  return {
    name: "embedded",
    url: `https://localhost:${port}`,
    get receipts() {
      const lines = [...earlier, ...receiptLines(program)];
      for (const line of lines.slice(receipts.length)) receipts.push(JSON.parse(line));
      return receipts;
    },
    trouble: (trouble) => tell({ mended: present.mended, ...(trouble === undefined ? {} : { trouble }) }),
    mend: () => tell({ ...present, mended: true }),
    async crash() {
      program!.signal("SIGKILL");
      await program!.ended;
    },
    revive,
    freeze: () => program!.signal("SIGSTOP"),
    thaw: () => program!.signal("SIGCONT"),
    async [Symbol.asyncDispose]() {
      await program?.stop();
    },
  };
}

function receiptLines(program: Program | undefined): string[] {
  return program?.out.filter((line) => line.startsWith("{")) ?? [];
}

/** The real Collector, and a server that plays the backend: its answers come through, its receipts are decoded by JSON.parse. */
export async function startRealFarEnd(certs: TestCertificates): Promise<FarEnd> {
  const receipts: Receipt[] = [];
  let trouble: Trouble | undefined;
  let mended = false;
  const backend = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const body = new Uint8Array(await request.arrayBuffer());
    const text = new TextDecoder().decode(request.headers.get("content-encoding") === "gzip" ? gunzipSync(body) : body);
    if (text.includes(POISON)) return Response.json({ code: 3, message: `refused: ${POISON}` }, { status: 400 });
    // The Collector's own exporter is answered, and it answers 503 for both.
    if (!mended && (text.includes(FAILS) || text.includes(CUTS))) return Response.json({}, { status: 503 });
    if (trouble?.kind === "status") return Response.json({ message: "told to" }, { status: trouble.status });
    receipts.push({ at: Date.now(), spans: arrivedSpans(JSON.parse(text)) });
    return Response.json({});
  });
  const config = `
exporters:
  otlp_http/backend:
    endpoint: http://127.0.0.1:${backend.addr.port}
    encoding: json
    sending_queue: { enabled: false }
    retry_on_failure: { enabled: false }
service: { pipelines: { traces: { exporters: [otlp_http/backend] } } }
`;
  let collector: RealCollector = await startRealCollector({ certsDir: certs.dir, config });
  const ports = { httpPort: collector.httpPort, grpcPort: collector.grpcPort };
  const url = collector.httpUrl;
  return {
    name: "real",
    url,
    grpcUrl: `https://localhost:${ports.grpcPort}`,
    receipts,
    trouble(next) {
      trouble = next;
      return Promise.resolve();
    },
    mend() {
      mended = true;
      return Promise.resolve();
    },
    async crash() {
      collector.signal("SIGKILL");
      await collector.exited;
      await collector.stop();
    },
    async revive() {
      collector = await startRealCollector({ certsDir: certs.dir, config, ...ports });
    },
    freeze: () => collector.signal("SIGSTOP"),
    thaw: () => collector.signal("SIGCONT"),
    async [Symbol.asyncDispose]() {
      await collector.stop();
      await backend.shutdown();
    },
  };
}

/** The PEM files that the embedded Collector is given. */
export async function collectorTls(dir: string): Promise<{ ca: string[]; cert: string; key: string }> {
  const pem = (name: string) => readFile(join(dir, name), "utf8");
  return { ca: [await pem("ca.crt")], cert: await pem("server.crt"), key: await pem("server.key") };
}
