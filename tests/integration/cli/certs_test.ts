import assert from "node:assert/strict";
import { join } from "node:path";
import { certsCommand } from "../../../src/cli/certs.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { opensslCertificates } from "../../support/tools/openssl.ts";
import { recorder } from "../../support/relay/recorder.ts";
import process from "node:process";
import { runTool } from "../../support/tools/tool.ts";

/** Runs `certs …`; returns what it printed to out, or throws what the program's entry would map to an exit code. */
async function certs(...argv: string[]): Promise<string> {
  const { io, out } = recorder();
  await certsCommand(io).parseAsync(argv, { from: "user" });
  return out.join("\n");
}

Deno.test("show prints what was issued here and by openssl, without a fault", async () => {
  await using certificates = await testCertificates();
  const made = join(certificates.dir, "made");
  await certs("init", "--dir", made);
  for (const dir of [made, await opensslCertificates()]) {
    const text = await certs("show", "--dir", dir);
    assert.match(text, /^ {2}subject +CN=otel-collector$/m);
    assert.match(text, /^ {2}SAN +DNS:otel-collector DNS:localhost IP:127\.0\.0\.1$/m);
    assert.ok(text.includes(`CN=MyRootCA (${join(dir, "ca.crt")})`));
    assert.match(text, /^ {2}valid +\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d \(36\d days left\)$/m);
    assert.match(text, /^ {2}usages +clientAuth digitalSignature/m);
    assert.match(text, /^ {2}SHA-256 +([0-9A-F]{2}:){31}[0-9A-F]{2}$/m);
    assert.match(text, /^ {2}key +\S+client\.key: \S+ \S+, matches \S+client\.crt$/m);
    assert.doesNotMatch(text, /FAULT/);
  }
});

Deno.test("the lines that init ends with can be sourced by a shell", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "with blank");
  const text = await certs("init", "--dir", dir);
  const lines = text.slice(text.indexOf("Lines for .env:\n") + "Lines for .env:\n".length);
  const script = `set -a\n${lines}\nset +a\nprintf '%s %s' "$OWNER_UID" "$OTEL_EXPORTER_OTLP_CERTIFICATE"`;
  const { stdout } = await runTool("bash", ["-euc", script]);
  assert.equal(stdout, `${process.getuid?.()} ${join(dir, "ca.crt")}`);
});
