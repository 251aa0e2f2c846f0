/**
 * Servers whose certificates have an odd form, made and served by openssl: what its tools let people make, and other servers show.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { startProgram } from "../program/program.ts";

const OPENSSL_MS_MAX = 120_000;

/** Each form, and the fault that the relay must call it. */
export const ODD_FORMS = [
  ["a CA as its own certificate", "is_ca", "server_certificate_is_ca"],
  ["issued by a certificate that is no CA", "of_no_ca", "server_certificate_issuer_no_ca"],
  ["X.509 v1", "v1", "server_certificate_version"],
  ["an unknown critical extension", "critical", "server_certificate_extension"],
  ["a name that its CA may not issue", "constrained", "server_certificate_name_constraint"],
  ["more CAs than allowed", "path", "server_certificate_path_length"],
  ["RSA of 1024 bits", "rsa1024", "server_certificate_weak_key"],
  ["an intermediate CA with RSA of 1024 bits", "of_rsa1024", "server_certificate_weak_key"],
  ["SHA-1", "sha1", "server_certificate_weak_signature"],
  ["SHA-1 below an RSA CA", "sha1_rsa", "server_certificate_weak_signature"],
] as const;

const NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n";
const LEAF = `basicConstraints=critical,CA:FALSE\n${NAMES}`;
const CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";

/** A name of files, its extensions, who signs it, its key and its digest; what is sent behind it. */
interface Step {
  readonly name: string;
  readonly extensions?: string;
  readonly issuer?: string;
  readonly key?: "ec" | "rsa1024" | "rsa2048";
  readonly digest?: "sha1";
  readonly behind?: readonly string[];
}

const STEPS: readonly Step[] = [
  { name: "sound", extensions: LEAF },
  { name: "is_ca", extensions: `basicConstraints=critical,CA:TRUE\n${NAMES}` },
  { name: "no_ca", extensions: "basicConstraints=critical,CA:FALSE\n" },
  { name: "of_no_ca", extensions: LEAF, issuer: "no_ca", behind: ["no_ca"] },
  { name: "v1" },
  { name: "critical", extensions: `${LEAF}1.2.3.4.5=critical,ASN1:UTF8String:x\n` },
  { name: "narrow_ca", extensions: `${CA}nameConstraints=critical,permitted;DNS:example.com\n` },
  { name: "constrained", extensions: LEAF, issuer: "narrow_ca", behind: ["narrow_ca"] },
  { name: "short_ca", extensions: CA.replace("TRUE", "TRUE,pathlen:0") },
  { name: "lower_ca", extensions: CA, issuer: "short_ca" },
  { name: "path", extensions: LEAF, issuer: "lower_ca", behind: ["lower_ca", "short_ca"] },
  { name: "rsa1024", extensions: LEAF, key: "rsa1024" },
  { name: "rsa1024_ca", extensions: CA, key: "rsa1024" },
  { name: "of_rsa1024", extensions: LEAF, issuer: "rsa1024_ca", behind: ["rsa1024_ca"] },
  { name: "sha1", extensions: LEAF, digest: "sha1" },
  { name: "rsa_ca", extensions: CA, key: "rsa2048" },
  { name: "sha1_rsa", extensions: LEAF, issuer: "rsa_ca", digest: "sha1", behind: ["rsa_ca"] },
];

/** The certificates of one test, below `ca.crt`. */
export interface OddServers extends AsyncDisposable {
  readonly caFile: string;
  /** Serves one of them; it asks for no client certificate. */
  serve(name: string, version: "1.2" | "1.3"): Promise<{ readonly url: string } & AsyncDisposable>;
}

/** Makes them. */
export async function oddServers(): Promise<OddServers> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-odd-"));
  const openssl = (...args: string[]) => promisify(execFile)("openssl", args, { cwd: dir, timeout: OPENSSL_MS_MAX });
  const newKey = (name: string, kind: Step["key"] = "ec") =>
    kind === "ec"
      ? openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`)
      : openssl("genrsa", "-out", `${name}.key`, kind.slice(3));
  await newKey("ca");
  await openssl(
    ...["req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=OddRootCA", "-days", "3650", "-out", "ca.crt"],
    ...["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
  );
  for (const { name, extensions, issuer = "ca", key, digest = "sha256" } of STEPS) {
    await newKey(name, key);
    await openssl("req", "-new", "-key", `${name}.key`, "-subj", `/CN=${name}`, "-out", `${name}.csr`);
    if (extensions !== undefined) await writeFile(join(dir, `${name}.ext`), extensions);
    await openssl(
      ...["x509", "-req", "-in", `${name}.csr`, "-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`, "-CAcreateserial"],
      ...["-days", "365", `-${digest}`, "-out", `${name}.crt`],
      ...(extensions === undefined ? [] : ["-extfile", `${name}.ext`]),
    );
  }
  for (const { name, behind = [] } of STEPS) {
    const texts = await Promise.all(behind.map((each) => Deno.readTextFile(join(dir, `${each}.crt`))));
    await writeFile(join(dir, `${name}.chain`), texts.join(""));
  }
  return {
    caFile: join(dir, "ca.crt"),
    async serve(name, version) {
      const args = ["s_server", "-accept", "127.0.0.1:0", "-www", `-tls${version.replace(".", "_")}`];
      const chain = (await Deno.readTextFile(join(dir, `${name}.chain`))) === ""
        ? []
        : ["-cert_chain", `${name}.chain`];
      const program = startProgram({
        command: "openssl",
        args: [...args, "-cert", `${name}.crt`, "-key", `${name}.key`, ...chain, "-cipher", "ALL:@SECLEVEL=0"],
        cwd: dir,
      });
      const line = await program.line(/^ACCEPT /);
      return {
        url: `https://localhost:${line.slice(line.lastIndexOf(":") + 1).trim()}`,
        [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
      };
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true }),
  };
}
