/** The configuration of a relay in a test: on free ports of loopback, with the certificates of a folder. One place for all of them. */
import { join } from "node:path";
import type { ConfigInput } from "../../../src/config/types.ts";

/** Where the relay's own files are, and where it sends. */
export interface RelayPlaces {
  /** The Collector's base URL. */
  readonly collectorUrl: string;
  /** A folder with ca.crt, client.crt and client.key. */
  readonly certsDir: string;
  /** The durable queue's file. */
  readonly queuePath: string;
}

/** The base, and over it each of `more`, key by key at any depth; a list replaces a list. */
export function relayConfig({ collectorUrl, certsDir, queuePath }: RelayPlaces, ...more: ConfigInput[]): ConfigInput {
  const base: ConfigInput = {
    receiver: { http: { endpoint: "127.0.0.1:0" } },
    sending_queue: { path: queuePath },
    exporter: {
      endpoint: collectorUrl,
      tls: {
        ca_file: join(certsDir, "ca.crt"),
        cert_file: join(certsDir, "client.crt"),
        key_file: join(certsDir, "client.key"),
      },
    },
    telemetry: { admin: { endpoint: "127.0.0.1:0" } },
  };
  const { exporter, ...rest } = more.reduce(merged, base);
  // Several have names, and the one without a name is none of them.
  return rest.exporters === undefined && exporter !== undefined ? { ...rest, exporter } : rest;
}

/** A relay that sends nothing of its own. */
export const SILENT: ConfigInput = { telemetry: { traces: { enabled: false }, metrics: { enabled: false } } };

/** `over` on `base`, as {@link relayConfig} lays them. */
export function merged<Tree extends object>(base: Tree, over: Partial<Tree>): Tree {
  const result: Record<string, unknown> = Object.fromEntries(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    const under = result[key];
    result[key] = isTree(under) && isTree(value) ? merged(under, value) : value;
  }
  return result as Tree;
}

const isTree = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);
