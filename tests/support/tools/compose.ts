/** docker-compose.yaml as Compose itself would load it, and a service's folder as it would be laid out. */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { runTool } from "./tool.ts";

export const rootFolder: string = fileURLToPath(new URL("../../../", import.meta.url));
export const composeFile: string = join(rootFolder, "docker-compose.yaml");
const loaderFolder = join(rootFolder, "tests/support/tools/compose");

export interface Mount {
  type: string;
  source: string;
  target: string;
  read_only?: boolean;
  bind?: { create_host_path?: boolean };
}

export interface Service {
  image: string;
  user?: string;
  command: string[] | null;
  entrypoint: string[] | null;
  environment?: Record<string, string>;
  ports?: { host_ip?: string; published: string; target: number }[];
  volumes?: Mount[];
  depends_on?: Record<string, { condition: string; required: boolean }>;
  healthcheck?: { test: string[] };
  read_only?: boolean;
  cap_drop?: string[];
}

export interface Project {
  services: Record<string, Service>;
}

/** Loads the file with the library that Docker Compose loads it with: schema, interpolation, profiles, consistency. */
export async function load(file: string, profiles: string, flags: string[] = []): Promise<Project> {
  const { PATH = "", HOME = "", ...rest } = Deno.env.toObject();
  const go = Object.fromEntries(Object.entries(rest).filter(([name]) => /^GO|PROXY$|^SSL_/i.test(name)));
  const { stdout } = await runTool("go", ["run", ".", file, ...flags], {
    cwd: loaderFolder,
    clearEnv: true,
    env: {
      ...go,
      PATH,
      HOME,
      OWNER_UID: "1234",
      OWNER_GID: "5678",
      ADMIN_TOKEN: "open sesame",
      ...(profiles === "" ? {} : { COMPOSE_PROFILES: profiles }),
    },
  });
  return JSON.parse(stdout);
}

export function service(project: Project, name: string): Service {
  const found = project.services[name];
  assert.ok(found, `There is no service ${name} in ${Object.keys(project.services)}`);
  return found;
}

/** The service's folder /app, with what Compose mounts there and nothing else. */
export async function layOut(service: Service, certsDir: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "edgeferry-app-"));
  for (const { type, source, target } of service.volumes ?? []) {
    if (!target.startsWith("/app/")) continue;
    const place = join(folder, relative("/app", target));
    const name = relative(rootFolder, source);
    await mkdir(type === "volume" ? place : dirname(place), { recursive: true });
    if (type === "bind") {
      const from = name.startsWith("certs/") ? join(certsDir, relative("certs", name)) : source;
      await cp(from, place, { recursive: true, filter: (path) => !path.endsWith("tokens.yaml") });
    }
  }
  return folder;
}
