/**
 * The steps before any Collector is asked: the process and its surroundings.
 * @module
 */
import { exporterSettings } from "../../config/exporter_settings.ts";
import { exporterNames } from "../../config/routes.ts";
import type { Config } from "../../config/schema.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { type Check, ok, warning } from "../finding.ts";
import { proxyVariableFor } from "../proxy.ts";

/** The process and the machine. */
export interface HostSubject {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly config: Config | undefined;
}

/** Before any Collector is asked. */
export const HOST_CHECKS: readonly Check<HostSubject>[] = [
  {
    id: "trust",
    title: "whom Deno trusts",
    needs: [],
    run({ env }) {
      const more = [
        ...(env["DENO_TLS_CA_STORE"] === "" ? [] : ["Deno's own roots: DENO_TLS_CA_STORE is not empty"]),
        ...["DENO_CERT", "NODE_EXTRA_CA_CERTS"].filter((name) => (env[name] ?? "") !== "").map((name) =>
          `the roots of ${name}`
        ),
      ];
      return more.length === 0
        ? ok("The CA in exporter.tls.ca_file alone is trusted")
        : warning("trusts_more", "Other CAs are trusted beside the one in exporter.tls.ca_file", ...more);
    },
  },
  {
    id: "proxy",
    title: "proxy variables",
    needs: [],
    run({ env, config }) {
      // Every signal's own, whichever key it is from. OTLP/gRPC goes by no proxy.
      const settings = config === undefined
        ? []
        : exporterNames(config).flatMap((name) => SIGNAL_NAMES.map((signal) => exporterSettings(config, signal, name)));
      const variablesFor = (byGrpc: boolean): string =>
        [
          ...new Set(
            settings.filter(({ protocol }) => (protocol === "grpc") === byGrpc)
              .flatMap(({ url }) => proxyVariableFor(new URL(url), env) ?? []),
          ),
        ].join(", ");
      const used = variablesFor(false);
      if (used !== "") return warning("proxied", `Requests to the Collector go through the proxy of ${used}`);
      const unused = variablesFor(true);
      return ok(
        unused === ""
          ? "No proxy variable applies to the Collector"
          : `OTLP/gRPC goes straight to the Collector; ${unused} would apply to OTLP/HTTP alone`,
      );
    },
  },
];
