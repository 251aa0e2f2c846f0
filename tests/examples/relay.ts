/** The relay in a program of yours, on ports of its own, by a configuration file and the environment. */
import { ConfigError, createLog, loadConfig, startRelay } from "../../src/mod.ts";

try {
  const { config, warnings } = await loadConfig();
  for (const warning of warnings) console.error(warning);
  await using relay = await startRelay(config, createLog(config.telemetry.log));
  console.log(`Senders post to ${relay.url}, health is at ${relay.adminUrl}`);
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
  await Promise.race([stopped, relay.failed]);
} catch (error) {
  // It names the key, its place and the remedy.
  if (!(error instanceof ConfigError)) throw error;
  console.error(error.message);
  Deno.exit(1);
}
Deno.exit(0);
