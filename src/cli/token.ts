/**
 * `token new`, `token key`, `token mint`, `token usage` and `token revoke`.
 * @module
 */
import process from "node:process";
import type { Command } from "commander";
import { exportJWK, generateKeyPair } from "jose";
import type { Config } from "../config/schema.ts";
import { shownName, shownPath } from "../config/shown.ts";
import { messageOf } from "../errors.ts";
import { parseDuration, parseSize } from "../config/units.ts";
import { SIGNAL_NAMES, type SignalName } from "../signal.ts";
import { parseTokensFile, type TokensFile, type WrittenLimits } from "../receiver/senders/tokens_schema.ts";
import { mint } from "../receiver/senders/minted.ts";
import { addSigningKey, addToken, newSecret, readTokensFile, removeTokens } from "../receiver/senders/tokens_file.ts";
import { readUsage, usageFileOf } from "../receiver/senders/usage_file.ts";
import { counted, FaultFound, type Io, newCommand } from "./io.ts";
import * as option from "./token_options.ts";
import { describeUsage, usageRows } from "./token_usage.ts";

/** The places that `token usage` looks into, by the configuration that `--config` names. */
export interface ConfiguredTokens {
  readonly tokens: () => Promise<TokensFile>;
  /** The file that `new`, `key` and `revoke` change; undefined where the configuration has the tokens themselves. */
  readonly file: string | undefined;
  /** Beside it usage is kept; undefined where there is no disk. */
  readonly queuePath: string | undefined;
}

/** Where a configuration has its tokens. */
export function configuredTokens({ receiver, sending_queue }: Config): ConfiguredTokens {
  const { tokens, tokens_file: file } = receiver.auth;
  return {
    tokens: async () =>
      tokens === undefined ? await readTokensFile(file) : parseTokensFile(tokens, "receiver.auth.tokens"),
    file: tokens === undefined ? file : undefined,
    queuePath: sending_queue.storage === "sqlite" ? sending_queue.path : undefined,
  };
}

const CONFIG_HELP = "the configuration file (default: config/relay.yaml, if it is there)";

/** The family `token`. */
export function tokenCommand(io: Io, configured: Configured): Command {
  const family = newCommand(io, "token").description("Make and revoke the tokens that senders prove themselves with");
  addNew(family, io, configured);
  addKey(family, io, configured);
  addMint(family, io);
  addUsage(family, io, configured);
  addRevoke(family, io, configured);
  return family;
}

type Configured = (config: string | undefined) => Promise<ConfiguredTokens>;

/** The file that the relay reads, unless another is named. */
async function fileOf({ file, config }: FileFlags, configured: Configured): Promise<string> {
  const chosen = file ?? (await configured(config)).file;
  if (chosen !== undefined) return chosen;
  throw new FaultFound(
    "Cannot change the tokens: receiver.auth.tokens has their text, and no file is read; name one with --file, and put its text there",
  );
}

function addNew(family: Command, io: Io, configured: Configured): void {
  family.command("new")
    .description("Make a token and print it, once; the file keeps its SHA-256 alone")
    .requiredOption("--id <id>", "who sends with it: letters, digits, '.', '_' and '-'", option.id)
    .option("--signals <names>", `what it may send (default: ${SIGNAL_NAMES.join(",")})`, option.signals)
    .option(
      "--origins <list>",
      "the web origins it may be used from, e.g. https://app.example (default: anywhere)",
      option.origins,
    )
    .option(
      "--resource-attributes <list>",
      "set on each resource that it sends, e.g. tenant.id=acme,tier=gold",
      option.attributes,
    )
    .option("--not-after <time>", "refused from then on, e.g. 2027-01-31T12:00:00Z (default: never)", option.moment)
    .option("--requests-per-second <number>", "above it 429", option.limit.requests_per_second)
    .option(
      "--items-per-second <number>",
      "spans, data points and log records; above it 429",
      option.limit.items_per_second,
    )
    .option(
      "--bytes-per-second <size>",
      "of bodies as received, e.g. 1MiB; above it 429",
      option.limit.bytes_per_second,
    )
    .option("--concurrent-requests <number>", "under way at once; above it 429", option.limit.concurrent_requests)
    .option("--max-request-body-size <size>", "above it 413", option.limit.max_request_body_size)
    .option("--queue-share <number>", "of the queue, above 0 up to 1; above it 503", option.limit.queue_share)
    .option("--file <path>", "the tokens file (default: receiver.auth.tokens_file)")
    .option("--config <file>", CONFIG_HELP)
    .option("--json", "print JSON")
    .action(async (flags: NewFlags) => {
      const secret = newSecret();
      const limits = limitsIn(flags);
      const file = await fileOf(flags, configured);
      await addToken(file, {
        id: flags.id,
        secret,
        ...(flags.signals === undefined ? {} : { signals: flags.signals }),
        ...(flags.origins === undefined ? {} : { origins: flags.origins }),
        ...(flags.resourceAttributes === undefined ? {} : { resource_attributes: flags.resourceAttributes }),
        ...(flags.notAfter === undefined ? {} : { not_after: flags.notAfter }),
        ...(limits === undefined ? {} : { limits }),
      });
      if (flags.json) io.out(JSON.stringify({ id: flags.id, token: secret, file }, null, 2));
      else {
        io.out(secret);
        io.err(`Token for ${flags.id}: shown this once. Senders set Authorization: Bearer TOKEN, or x-api-key`);
      }
    });
}

function addKey(family: Command, io: Io, configured: Configured): void {
  family.command("key")
    .description("Make a signing key, with which an app's backend mints short-lived tokens for its pages; printed once")
    .requiredOption("--id <id>", "who sends with its tokens: letters, digits, '.', '_' and '-'", option.id)
    .requiredOption("--origins <list>", "the web origins of the pages, e.g. https://app.example", option.origins)
    .option("--signals <names>", `what they may send (default: ${SIGNAL_NAMES.join(",")})`, option.signals)
    .option("--max-request-body-size <size>", "above it 413", option.limit.max_request_body_size)
    .option(
      "--requests-per-second <number>",
      "of all its pages together; above it 429",
      option.limit.requests_per_second,
    )
    .option("--max-age <duration>", "the longest lifetime of a token", option.duration("1s", "24h"), "15m")
    .option("--eddsa", "a pair of keys, of which the file has the public one (default: a secret for HS256)")
    .option("--file <path>", "the tokens file (default: receiver.auth.tokens_file)")
    .option("--config <file>", CONFIG_HELP)
    .action(async (flags: KeyFlags) => {
      const { id, origins, signals, maxAge } = flags;
      const file = await fileOf(flags, configured);
      const limits = limitsIn(flags);
      const { secret, entry } = flags.eddsa ? await newKeyPair() : newSharedKey();
      await addSigningKey(file, {
        id,
        ...entry,
        origins,
        max_age: maxAge,
        ...(signals === undefined ? {} : { signals }),
        ...(limits === undefined ? {} : { limits }),
      });
      io.out(secret);
      io.err(`Signing key ${id}: shown this once, for the app's backend; never put it into a page`);
    });
}

function addMint(family: Command, io: Io): void {
  family.command("mint")
    .description("Mint a token with a signing key, as a backend does; the key is read from EDGEFERRY_SIGNING_KEY")
    .requiredOption("--id <id>", "the signing key's", option.id)
    .option("--origins <list>", "for pages of these origins alone (default: all of the key's)", option.origins)
    .option("--signals <names>", "for these signals alone (default: all of the key's)", option.signals)
    .option("--max-request-body-size <size>", "bodies up to this size", option.limit.max_request_body_size)
    .option("--expires <duration>", "how long it is valid", option.duration("1s", "24h"), "5m")
    .action(async (flags: MintFlags) => {
      const secret = process.env["EDGEFERRY_SIGNING_KEY"];
      if (!secret) {
        throw new FaultFound("Cannot mint a token: EDGEFERRY_SIGNING_KEY is not set; set it to what token key printed");
      }
      const ageMs = parseDuration(flags.expires) ?? 0;
      const size = flags.maxRequestBodySize === undefined ? undefined : parseSize(flags.maxRequestBodySize);
      try {
        io.out(
          await mint({
            keyId: flags.id,
            secret,
            ageMs,
            ...(flags.origins === undefined ? {} : { origins: flags.origins }),
            ...(flags.signals === undefined ? {} : { signals: flags.signals }),
            ...(size === undefined ? {} : { bodyBytesMax: size }),
          }),
        );
      } catch {
        // What went wrong may quote the key.
        throw new FaultFound(
          "Cannot mint a token: EDGEFERRY_SIGNING_KEY is not a key; set it to what token key printed",
        );
      }
    });
}

function addUsage(family: Command, io: Io, configured: Configured): void {
  family.command("usage")
    .description("Last use of each token, with its requests, places and refusals; unused tokens too")
    .option("--file <path>", "the tokens file (default: receiver.auth.tokens_file)")
    .option("--path <file>", "the queue's file, beside which usage is kept (default: sending_queue.path)")
    .option("--config <file>", CONFIG_HELP)
    .option("--json", "print JSON")
    .action(async (flags: UsageFlags) => {
      const from = flags.file === undefined || flags.path === undefined ? await configured(flags.config) : undefined;
      const queuePath = flags.path ?? from?.queuePath;
      if (queuePath === undefined) {
        throw new FaultFound(
          "Cannot show usage: sending_queue.storage is none or postgres, with which no file of it is kept; see the relay's metrics",
        );
      }
      const usageFile = usageFileOf(queuePath);
      const usage = await readUsage(usageFile).catch((error) => {
        throw new FaultFound(messageOf(error));
      });
      const rows = usageRows(
        await (flags.file === undefined ? from!.tokens() : readTokensFile(flags.file)),
        usage,
        Date.now(),
      );
      const [since, until] = [usage?.since, usage?.until].map((ms) => ms && new Date(ms).toISOString());
      if (flags.json) io.out(JSON.stringify({ since, until, tokens: rows }, null, 2));
      else {
        io.out(describeUsage(rows, io.width).join("\n"));
        io.err(
          usage === undefined
            ? `Nothing is counted yet: there is no ${usageFile}, which a running relay writes every 10 s`
            : `Counted since ${since}, written at ${until}`,
        );
      }
    });
}

function addRevoke(family: Command, io: Io, configured: Configured): void {
  family.command("revoke")
    .description("Remove every token and signing key of an id")
    .argument("<id>", "whose")
    .option("--file <path>", "the tokens file (default: receiver.auth.tokens_file)")
    .option("--config <file>", CONFIG_HELP)
    .action(async (id: string, flags: FileFlags) => {
      const file = await fileOf(flags, configured);
      const removed = await removeTokens(file, id);
      if (removed === 0) {
        throw new FaultFound(`No token of ${shownName(id)} is in ${shownPath(file)}; token usage lists those that are`);
      }
      io.out(`Removed ${counted(removed, "token")} of ${id} from ${shownPath(file)}`);
    });
}

/** Which tokens file. */
interface FileFlags {
  readonly file?: string;
  readonly config?: string;
}

interface NewFlags extends LimitFlags, FileFlags {
  readonly id: string;
  readonly signals?: SignalName[];
  readonly origins?: string[];
  readonly resourceAttributes?: Record<string, string>;
  readonly notAfter?: string;
  readonly json?: true;
}

interface UsageFlags extends FileFlags {
  readonly path?: string;
  readonly json?: true;
}

interface KeyFlags extends LimitFlags, FileFlags {
  readonly id: string;
  readonly origins: string[];
  readonly signals?: SignalName[];
  readonly maxAge: string;
  readonly eddsa?: true;
}

interface MintFlags {
  readonly id: string;
  readonly origins?: string[];
  readonly signals?: SignalName[];
  readonly maxRequestBodySize?: string;
  readonly expires: string;
}

function newSharedKey() {
  const secret = newSecret();
  return { secret, entry: { secret } };
}

async function newKeyPair() {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA", { extractable: true });
  return {
    secret: JSON.stringify(await exportJWK(privateKey)),
    entry: { public_key: (await exportJWK(publicKey)).x ?? "" },
  };
}

interface LimitFlags {
  readonly requestsPerSecond?: number;
  readonly itemsPerSecond?: number;
  readonly bytesPerSecond?: string;
  readonly concurrentRequests?: number;
  readonly maxRequestBodySize?: string;
  readonly queueShare?: number;
}

/** As the file writes them; undefined when none is given. */
function limitsIn(flags: LimitFlags): WrittenLimits | undefined {
  const limits: WrittenLimits = Object.fromEntries(
    Object.entries({
      requests_per_second: flags.requestsPerSecond,
      items_per_second: flags.itemsPerSecond,
      bytes_per_second: flags.bytesPerSecond,
      concurrent_requests: flags.concurrentRequests,
      max_request_body_size: flags.maxRequestBodySize,
      queue_share: flags.queueShare,
    }).filter(([, value]) => value !== undefined),
  );
  return Object.keys(limits).length === 0 ? undefined : limits;
}
