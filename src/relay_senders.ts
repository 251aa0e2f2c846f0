/**
 * Who may send, as configured: the authenticator with its watch over the tokens file, and the limits.
 * @module
 */
import { readFile } from "node:fs/promises";
import type { Config } from "./config/schema.ts";
import { ConfigError, messageOf } from "./errors.ts";
import type { SendingQueue } from "./queue/queue.ts";
import { type Authenticator, INSECURE, limitsOf, parseTokens, TokenAuthenticator } from "./receiver/authenticate.ts";
import { Limiter } from "./receiver/limiter.ts";
import { watchFile } from "./receiver/tokens_watch.ts";
import type { Log } from "./telemetry/log.ts";

/** What the receiver asks of its senders. */
export interface Senders {
  readonly authenticator: Authenticator;
  readonly limiter: Limiter;
  /** The origins that tokens are bound to, now. */
  readonly tokenOrigins: () => ReadonlySet<string>;
}

/**
 * Opens it; what watches goes to the stack.
 * @throws {ConfigError} when the tokens cannot be read or used.
 */
export async function openSenders(
  { receiver, sending_queue }: Config,
  queue: Pick<SendingQueue, "shares">,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<Senders> {
  const limiter = new Limiter({
    defaults: limitsOf(receiver.limits),
    queueBytesMax: sending_queue.queue_size,
    shares: queue.shares,
  });
  const { auth } = receiver;
  if (auth.insecure) return { authenticator: INSECURE, limiter, tokenOrigins: () => new Set() };
  if (auth.tokens !== undefined) {
    const authenticator = new TokenAuthenticator(parseTokens(auth.tokens, "receiver.auth.tokens"));
    return { authenticator, limiter, tokenOrigins: () => authenticator.origins };
  }
  const file = auth.tokens_file;
  const text = await textOf(file);
  const authenticator = new TokenAuthenticator(parseTokens(text, file));
  stack.use(watchFile(file, text, {
    intervalMs: auth.reload_interval,
    onChange: (text) => {
      const tokens = parseTokens(text, file);
      authenticator.replace(tokens);
      log.info("Took up changed tokens", { file, tokens: tokens.length });
    },
    onRefused: (reason) => log.error("Refused changed tokens; the old ones go on", { cause: reason }),
  }));
  return { authenticator, limiter, tokenOrigins: () => authenticator.origins };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new ConfigError(
      `Cannot read receiver.auth.tokens_file ${file}: ${messageOf(error)}; make one with 'token new --id NAME'`,
      { cause: error },
    );
  }
}
