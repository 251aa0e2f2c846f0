import assert from "node:assert/strict";
import { checkDeno } from "../../src/hosted/deno_version.ts";

Deno.test("a host's Deno that is too old is named", () => {
  for (const version of ["2.8.1", "2.8.10", "2.9.0", "3.0.0", Deno.version.deno]) checkDeno(version);
  for (const version of ["2.5.0", "2.8.0", "1.46.3"]) {
    assert.throws(() => checkDeno(version), {
      name: "ConfigError",
      message: new RegExp(`^Cannot run on Deno ${version}: it is too old; choose 2\\.8\\.1`),
    });
  }
});
