/**
 * The certificates that the Collectors show, for their ends alone: `fetch` does not tell them, so that one handshake of its own
 * looks at them now and then. Nothing is trusted, sent or decided by it.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { bareHost } from "../../config/units.ts";
import { shakeHands } from "../../diagnosis/handshake.ts";
import { type CertificateFacts, describe } from "../../pki/certificate.ts";
import type { ClientIdentity } from "./transport.ts";

/** Settings of a watch. */
export interface PeerOptions {
  /** The Collectors' URLs; those without TLS are left out. */
  readonly urls: readonly URL[];
  /** What is shown to them. */
  readonly identity: () => ClientIdentity;
  /** Something was seen that was not seen before. */
  readonly onSeen: () => void;
  /** Between two looks, in ms; for tests. */
  readonly intervalMs?: number;
}

/** A watch over the Collectors' certificates. */
export interface PeerCertificates extends AsyncDisposable {
  /** As seen last; none of a Collector that was never reached. Roots that came with them are left out. */
  seen(): CertificateFacts[];
  /** Looks at once. Never rejects. */
  look(): Promise<void>;
}

const INTERVAL_MS = 3_600_000;
/** The same, while there is a Collector that has not been seen yet. */
const UNSEEN_MS = 60_000;
const HANDSHAKE_MS = 10_000;

/** Another one's certificate may be of any kind: what cannot be described is left out. */
function described(certificate: X509Certificate): CertificateFacts[] {
  try {
    return [describe(certificate)];
  } catch {
    return [];
  }
}

/** Looks now, and from time to time. */
export function watchPeers({ urls, identity, onSeen, intervalMs = INTERVAL_MS }: PeerOptions): PeerCertificates {
  const secure = urls.filter(({ protocol }) => protocol === "https:");
  const known = new Map<string, readonly CertificateFacts[]>();
  const ended = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last: Promise<void> = Promise.resolve();

  async function lookAt({ origin, hostname, port }: URL): Promise<void> {
    if (ended.signal.aborted) return;
    const { cert, key } = identity();
    const { certificates } = await shakeHands({
      host: bareHost(hostname),
      port: Number(port || 443),
      cert,
      key,
      timeoutMs: HANDSHAKE_MS,
      abort: ended.signal,
    });
    // Not reached, or refused: what was seen before is as near to the truth as can be told.
    if (certificates.length === 0 || ended.signal.aborted) return;
    const before = known.get(origin)?.map(({ fingerprintSha256 }) => fingerprintSha256) ?? [];
    const facts = certificates.flatMap(described).filter(({ subject, issuer }, index) =>
      index === 0 || subject !== issuer
    );
    known.set(origin, facts);
    if (facts.some(({ fingerprintSha256 }) => !before.includes(fingerprintSha256))) onSeen();
  }

  function look(): Promise<void> {
    last = last.then(async () => {
      for (const url of secure) await lookAt(url);
    });
    return last;
  }

  async function lookAndSchedule(): Promise<void> {
    await look();
    if (ended.signal.aborted || secure.length === 0) return;
    timer = setTimeout(lookAndSchedule, known.size < secure.length ? Math.min(UNSEEN_MS, intervalMs) : intervalMs);
  }

  void lookAndSchedule();
  return {
    seen: () => [...known.values()].flat(),
    look,
    async [Symbol.asyncDispose]() {
      ended.abort();
      clearTimeout(timer);
      await last;
    },
  };
}
