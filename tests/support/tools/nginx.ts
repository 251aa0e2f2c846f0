/** An nginx in which TLS ends, demanding a client certificate, before a Collector: as many do it; and one before relays. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pair } from "../files/certificates.ts";
import { startProgram } from "../program/program.ts";
import { freePort } from "./collector.ts";
import { MissingTool } from "./tool.ts";

/** One `server` of the configuration. */
export interface NginxServer {
  readonly name: string;
  readonly server: Pair;
  /** What clients' certificates must lead to; `off` asks for none. */
  readonly clientCaFile: string | "off";
  /** As `ssl_protocols` names it. */
  readonly version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3";
  readonly crlFile?: string;
}

export interface NginxOptions {
  readonly servers: readonly NginxServer[];
  /** Where all of them pass on to, and as whom. */
  readonly upstream: { readonly url: string; readonly ca: Pair; readonly client: Pair };
}

export interface Nginx extends AsyncDisposable {
  /** `https://localhost:PORT` of a server. */
  url(name: string): string;
  readonly lines: readonly string[];
}

/** Starts it and resolves when it takes connections. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const ports = new Map<string, number>();
  for (const { name } of options.servers) ports.set(name, await freePort());
  const program = await startWith((dir) => configOf(options, ports, dir));
  return {
    url(name) {
      const port = ports.get(name);
      if (port === undefined) throw new Error(`No server is called ${name}`);
      return `https://localhost:${port}`;
    },
    lines: program.lines,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Starts one on the configuration for its folder, which goes with it. */
async function startWith(configFor: (dir: string) => string) {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-nginx-"));
  await writeFile(join(dir, "nginx.conf"), configFor(dir));
  const program = startProgram({ command: "nginx", args: ["-e", "stderr", "-c", join(dir, "nginx.conf")], cwd: dir });
  const leave = async () => {
    await program.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    // It listens before it has workers.
    await program.line(/start worker process \d/);
  } catch (error) {
    await leave();
    throw error;
  }
  return { lines: program.lines, pid: program.pid, [Symbol.asyncDispose]: leave };
}

function configOf({ servers, upstream }: NginxOptions, ports: ReadonlyMap<string, number>, dir: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) =>
    `${kind}_temp_path ${join(dir, kind)};`
  );
  const blocks = servers.map(({ name, server, clientCaFile, version, crlFile }) => `
  server {
    listen 127.0.0.1:${ports.get(name)} ssl http2;
    ssl_protocols ${version};
    ${version === "TLSv1.1" ? "ssl_ciphers DEFAULT@SECLEVEL=0;" : ""}
    ssl_certificate ${server.certificateFile};
    ssl_certificate_key ${server.keyFile};
    ${clientCaFile === "off" ? "" : `ssl_client_certificate ${clientCaFile}; ssl_verify_client on;`}
    ${crlFile === undefined ? "" : `ssl_crl ${crlFile};`}
    location / {
      proxy_pass ${upstream.url};
      proxy_ssl_name localhost;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate ${upstream.ca.certificateFile};
      proxy_ssl_certificate ${upstream.client.certificateFile};
      proxy_ssl_certificate_key ${upstream.client.keyFile};
    }
  }`);
  return `
daemon off;
worker_processes 1;
pid ${join(dir, "nginx.pid")};
error_log stderr notice;
events { worker_connections 128; }
http {
  access_log off;
  client_max_body_size 20m;
  ${temporary.join("\n  ")}
${blocks.join("\n")}
}
`;
}

/** One that passes connections on without a look at them, in turn, as a balancer of layer 4 does. */
export async function startNginxStream(
  ports: readonly number[],
): Promise<AsyncDisposable & { readonly port: number; readonly pid: number }> {
  const module = "/usr/lib/nginx/modules/ngx_stream_module.so";
  if (!existsSync(module)) throw new MissingTool("nginx stream");
  const port = await freePort();
  const program = await startWith((dir) => `
load_module ${module};
daemon off;
worker_processes 1;
pid ${join(dir, "nginx.pid")};
error_log stderr notice;
events { worker_connections 512; }
stream {
  upstream relays {
    ${ports.map((each) => `server 127.0.0.1:${each} max_fails=0;`).join("\n    ")}
  }
  server {
    listen 127.0.0.1:${port};
    proxy_pass relays;
  }
}
`);
  return { port, pid: program.pid, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}
