/**
 * Certificates for one test: a CA, a server and a client that fit together, and clients with one fault each.
 */
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Authority,
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

/** What is issued for one test at a time. */
interface IssuedSet {
  readonly authority: Authority;
  readonly files: Readonly<Record<SetFile, Issued>>;
}

type SetFile =
  | "ca"
  | "server"
  | "client"
  | "other-ca"
  | "other-client"
  | "namesake-client"
  | "expired-client"
  | "future-client"
  | "wrong-usage-client"
  | "mismatched-client"
  | "namesake-server";

/** Sets that no test has at the moment, by the size of their keys. Two that are used side by side never share a CA. */
const idle = new Map<number | undefined, IssuedSet[]>();

async function issueSet({ rsaBits }: IssueOptions): Promise<IssuedSet> {
  const authority = await createAuthority({ commonName: "MyRootCA", rsaBits });
  const other = await createAuthority({ commonName: "OtherCA", rsaBits });
  const namesake = await createAuthority({ commonName: "MyRootCA", rsaBits });
  const client = await authority.issue({ ...CLIENT, rsaBits });
  const otherClient = await other.issue({ ...CLIENT, rsaBits });
  return {
    authority,
    files: {
      ca: authority,
      server: await authority.issue({ ...SERVER, rsaBits }),
      client,
      "other-ca": other,
      "other-client": otherClient,
      "namesake-client": await namesake.issue({ ...CLIENT, rsaBits }),
      "expired-client": await authority.issue({
        ...CLIENT,
        rsaBits,
        days: 30,
        now: new Date(Date.now() - YEAR_MS),
      }),
      "future-client": await authority.issue({ ...CLIENT, rsaBits, now: new Date(Date.now() + YEAR_MS) }),
      "wrong-usage-client": await authority.issue({ ...CLIENT, rsaBits, usages: ["serverAuth"] }),
      "mismatched-client": { certificate: client.certificate, key: otherClient.key },
      "namesake-server": await namesake.issue({ ...SERVER, rsaBits }),
    },
  };
}

/**
 * Certificates with EC P-256 keys unless told otherwise, in a new folder. The keys are those of a test before in the same
 * file, where that has ended: to issue them takes longer than most tests.
 */
export async function testCertificates(options: IssueOptions = {}): Promise<TestCertificates> {
  const { rsaBits } = options;
  const set = idle.get(rsaBits)?.pop() ?? await issueSet(options);
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-certs-"));
  await chmod(dir, 0o755); // As certs/ is: a Collector under another user finds its files there.
  async function save(name: string, issued: Issued): Promise<Pair> {
    const certificateFile = join(dir, `${name}.crt`);
    const keyFile = join(dir, `${name}.key`);
    await writeFile(certificateFile, issued.certificate, { mode: 0o644 });
    await writeFile(keyFile, issued.key, { mode: 0o600 });
    return { certificate: issued.certificate, key: issued.key, certificateFile, keyFile };
  }
  const file = (name: SetFile) => save(name, set.files[name]);
  return {
    dir,
    ca: await file("ca"),
    server: await file("server"),
    client: await file("client"),
    otherCa: await file("other-ca"),
    otherClient: await file("other-client"),
    namesakeClient: await file("namesake-client"),
    expiredClient: await file("expired-client"),
    futureClient: await file("future-client"),
    wrongUsageClient: await file("wrong-usage-client"),
    mismatchedClient: await file("mismatched-client"),
    namesakeServer: await file("namesake-server"),
    issueServer: async (name, more = {}) =>
      await save(name, await set.authority.issue({ ...SERVER, rsaBits, ...more })),
    issueClient: async (name, more = {}) =>
      await save(name, await set.authority.issue({ ...CLIENT, rsaBits, ...more })),
    async [Symbol.asyncDispose]() {
      const sets = idle.get(rsaBits);
      if (sets === undefined) idle.set(rsaBits, [set]);
      else sets.push(set);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
