/**
 * Certificates for one test: a CA, a server and a client that fit together, and clients with one fault each.
 */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CLIENT,
  createAuthority,
  type Issued,
  type IssueOptions,
  type LeafOptions,
  SERVER,
} from "../../../src/pki/authority.ts";

/** A certificate and its key, as PEM and as files. */
export interface Pair extends Issued {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** All certificates of one test, in one folder that goes when they are disposed of. */
export interface TestCertificates extends AsyncDisposable {
  readonly dir: string;
  readonly ca: Pair;
  readonly server: Pair;
  readonly client: Pair;
  /** A CA of another name, and a client of it. */
  readonly otherCa: Pair;
  readonly otherClient: Pair;
  /** Signed by a CA that has the name of `ca`, but another key. */
  readonly namesakeClient: Pair;
  readonly expiredClient: Pair;
  readonly futureClient: Pair;
  /** Its extended key usage is serverAuth. */
  readonly wrongUsageClient: Pair;
  /** The certificate of `client` with a key of its own. */
  readonly mismatchedClient: Pair;
  /** Issues one more client of `ca`, under another file name. */
  issueClient(name: string, options?: IssueOptions): Promise<Pair>;
  /** Issues one more server of `ca`, under another file name. */
  issueServer(name: string, options?: Partial<LeafOptions>): Promise<Pair>;
  /** A server of the CA that has the name of `ca`, but another key. */
  readonly namesakeServer: Pair;
}

const DAY_MS = 86_400_000;
const YEAR_MS = 365 * DAY_MS;

/** For a certificate of a year that has so many days left. One that is issued for so few is near its end later. */
export function ending(days: number): { readonly days: number; readonly now: Date } {
  return { days: 365, now: new Date(Date.now() - YEAR_MS + days * DAY_MS) };
}

/** Makes them, with EC P-256 keys unless told otherwise: a few milliseconds each. */
export async function testCertificates(options: IssueOptions = {}): Promise<TestCertificates> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-certs-"));
  await chmod(dir, 0o755); // As certs/ is: a Collector under another user finds its files there.
  const { rsaBits } = options;
  async function save(name: string, issued: Issued): Promise<Pair> {
    const certificateFile = join(dir, `${name}.crt`);
    const keyFile = join(dir, `${name}.key`);
    await writeFile(certificateFile, issued.certificate, { mode: 0o644 });
    await writeFile(keyFile, issued.key, { mode: 0o600 });
    return { certificate: issued.certificate, key: issued.key, certificateFile, keyFile };
  }
  const authority = await createAuthority({ commonName: "MyRootCA", rsaBits });
  const other = await createAuthority({ commonName: "OtherCA", rsaBits });
  const namesake = await createAuthority({ commonName: "MyRootCA", rsaBits });
  const client = await authority.issue({ ...CLIENT, rsaBits });
  const otherClient = await other.issue({ ...CLIENT, rsaBits });
  return {
    dir,
    ca: await save("ca", authority),
    server: await save("server", await authority.issue({ ...SERVER, rsaBits })),
    client: await save("client", client),
    otherCa: await save("other-ca", other),
    otherClient: await save("other-client", otherClient),
    namesakeClient: await save("namesake-client", await namesake.issue({ ...CLIENT, rsaBits })),
    expiredClient: await save(
      "expired-client",
      await authority.issue({ ...CLIENT, rsaBits, days: 30, now: new Date(Date.now() - YEAR_MS) }),
    ),
    futureClient: await save(
      "future-client",
      await authority.issue({ ...CLIENT, rsaBits, now: new Date(Date.now() + YEAR_MS) }),
    ),
    wrongUsageClient: await save(
      "wrong-usage-client",
      await authority.issue({ ...CLIENT, rsaBits, usages: ["serverAuth"] }),
    ),
    mismatchedClient: await save("mismatched-client", { certificate: client.certificate, key: otherClient.key }),
    namesakeServer: await save("namesake-server", await namesake.issue({ ...SERVER, rsaBits })),
    issueServer: async (name, more = {}) => await save(name, await authority.issue({ ...SERVER, rsaBits, ...more })),
    issueClient: async (name, more = {}) => await save(name, await authority.issue({ ...CLIENT, rsaBits, ...more })),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}
