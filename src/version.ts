/**
 * The name and version by which the relay identifies itself.
 * @module
 */

/** The version, as `deno.json` has it. */
export const VERSION = "0.1.0";

/** `User-Agent` towards the Collector (OTLP: exporter, language, version). */
export const USER_AGENT = `OTel-OTLP-Exporter-edgeferry/${VERSION} (TypeScript; Deno)`;
