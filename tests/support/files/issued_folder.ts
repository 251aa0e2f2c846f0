/** A folder of certificates that one test issues and changes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initCertificates } from "../../../src/pki/init.ts";
export async function withFolder(test: (dir: string) => Promise<void>, days?: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-folder-"));
  try {
    await initCertificates({ dir, days });
    await test(dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}

export function refusal(code: string, message: RegExp): { name: string; code: string; message: RegExp } {
  return { name: "CertificateError", code, message };
}
