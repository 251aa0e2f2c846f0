/**
 * The senders that the configuration admits: the authenticator with its watch over the tokens file, and the limits.
 * @module
 */
import { readFile } from "node:fs/promises";
import type { Config } from "../config/schema.ts";
import { shownPath, shownUrl } from "../config/shown.ts";
import { codeOf, ConfigError, messageOf } from "../errors.ts";
import { Redactor } from "../otlp/rewrite/redaction.ts";
import type { SendingQueue } from "../queue/queue.ts";
import { type Authenticator, INSECURE, TokenAuthenticator } from "../receiver/senders/authenticator.ts";
import { limitsOf, parseTokensFile } from "../receiver/senders/tokens_schema.ts";
import { Limiter } from "../receiver/limiter.ts";
import { JwtVerifier } from "../receiver/senders/jwt.ts";
import { MintedVerifier } from "../receiver/senders/minted.ts";
import { CertificateAuthenticator } from "../receiver/senders/certificate.ts";
import { isMissing, watchFile } from "../receiver/senders/tokens_watch.ts";
import { Usage, type UsageSnapshot } from "../receiver/senders/usage.ts";
import { keepUsage, readUsage, usageFileOf } from "../receiver/senders/usage_file.ts";
import type { Log } from "../telemetry/log.ts";

/** What the receiver asks of its senders. */
export interface Senders {
  readonly authenticator: Authenticator;
  /** The origins that tokens are bound to, now. */
  readonly tokenOrigins: () => ReadonlySet<string>;
}

/**
 * Opens it; what watches goes to the stack.
 * @throws {ConfigError} when the tokens cannot be read or used.
 */
export async function openSenders(
  { receiver }: Config,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<Senders> {
  const { auth } = receiver;
  if (auth.insecure) return { authenticator: INSECURE, tokenOrigins: () => new Set() };
  const { client_ca_file: clientCa, require_client_certificate: required } = receiver.http.tls;
  if (clientCa !== undefined && required) {
    return { authenticator: new CertificateAuthenticator(), tokenOrigins: () => new Set() };
  }
  const jwt = jwtVerifier(auth.jwt, log);
  if (jwt !== undefined) await stack.use(jwt).start();
  const minted = new MintedVerifier([]);
  const authenticator = new TokenAuthenticator([], Date.now, [minted, ...(jwt === undefined ? [] : [jwt])]);
  let tokenOrigins: ReadonlySet<string> = new Set();
  const take = (text: string, name: string): void => {
    const { tokens, signingKeys, revoked } = parseTokensFile(text, name);
    authenticator.replace(tokens, revoked);
    minted.replace(signingKeys);
    if (tokens.length + signingKeys.length === 0 && jwt === undefined && clientCa === undefined) {
      log.warn("Nobody may send: there is no token; make one with 'token new --id NAME'", { file: name });
    }
    tokenOrigins = new Set([...tokens, ...signingKeys].flatMap(({ origins }) => origins ?? []));
  };
  if (auth.tokens !== undefined) take(auth.tokens, "receiver.auth.tokens");
  else {
    const file = auth.tokens_file;
    const text = await textOf(file, jwt !== undefined);
    if (text !== undefined) take(text, file);
    stack.use(watchFile(file, text, {
      intervalMs: auth.reload_interval,
      onChange: (text) => {
        take(text, file);
        log.info("Took up changed tokens", { file });
      },
      onRefused: (reason) => log.error("Refused changed tokens; the previous ones stay in force", { cause: reason }),
    }));
  }
  return {
    authenticator: clientCa === undefined ? authenticator : new CertificateAuthenticator(Date.now, authenticator),
    tokenOrigins: () => tokenOrigins,
  };
}

/** The limits of each sender, from the configuration and its own token. */
export function openLimiter({ receiver, sending_queue }: Config, queue: Pick<SendingQueue, "shares">): Limiter {
  return new Limiter({
    defaults: limitsOf(receiver.limits),
    queueBytesMax: sending_queue.queue_size,
    shares: queue.shares,
  });
}

/** How often the use of tokens is written to its file, in ms. */
const USAGE_WRITE_MS = 10_000;

/**
 * The use of their tokens, kept beside the queue if that has a disk; the stack stops the writing. Never fails.
 */
export async function openUsage(
  { storage, path }: Pick<Config["sending_queue"], "storage" | "path">,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<Usage> {
  if (storage !== "sqlite") return new Usage();
  const file = usageFileOf(path);
  let before: UsageSnapshot | undefined;
  try {
    before = await readUsage(file);
  } catch (error) {
    log.warn("The usage of tokens is counted from zero", { cause: messageOf(error) });
  }
  const usage = new Usage(before);
  stack.use(keepUsage(usage, file, USAGE_WRITE_MS, {
    failed: (error) =>
      log.info("The usage of tokens cannot be written, so token usage does not show it", {
        file,
        cause: messageOf(error),
      }),
  }));
  return usage;
}

/** Redacts their data; undefined without redaction. */
export function openRedactor({ redaction }: Pick<Config, "redaction">, log: Log): Redactor | undefined {
  const { actions, salt, dry_run: dryRun } = redaction;
  if (actions.length === 0) return undefined;
  if (dryRun) log.warn("redaction.dry_run is true: matches of redaction.actions are counted, and nothing is changed");
  return new Redactor({ rules: actions, salt, dryRun });
}

function jwtVerifier(jwt: Config["receiver"]["auth"]["jwt"], log: Log): JwtVerifier | undefined {
  const { issuer, audience, jwks_url: jwksUrl } = jwt;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) return undefined;
  const url = shownUrl(jwksUrl);
  return new JwtVerifier({
    issuer,
    audience,
    jwksUrl,
    clockToleranceMs: jwt.clock_tolerance,
    refreshMs: jwt.refresh_interval,
    senderClaim: jwt.sender_claim,
    permissionsClaim: jwt.permissions_claim,
    onKeys: (state, cause) => {
      if (state === "recovered") log.info("The keys of receiver.auth.jwt can be fetched again", { url });
      else {
        log.warn("The keys of receiver.auth.jwt cannot be fetched; the known keys stay in force", {
          url,
          cause,
        });
      }
    },
  });
}

/** Undefined where the file is missing and may be, since there is another proof. */
async function textOf(file: string, optional: boolean): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (optional && isMissing(error)) return undefined;
    const name = `receiver.auth.tokens_file ${shownPath(file)}`;
    const remedy = "make one with 'token new --id NAME'";
    if (isMissing(error)) {
      throw new ConfigError({ what: `Cannot read ${name}`, state: "there is no such file", remedy });
    }
    // The system's own words quote the path.
    const state = codeOf(error) ?? "it is no file that can be read";
    throw new ConfigError({ what: `Cannot read ${name}`, state, remedy });
  }
}
