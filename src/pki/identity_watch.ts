/**
 * The files of an identity, looked at while the program runs: a change is handed over when it is valid as a whole.
 * @module
 */
import { CertificateError, messageOf } from "../errors.ts";
import { type Watch, watchSource } from "../files/watch.ts";
import { digestOf, type Identity, type IdentityConfig, readSettled, validate } from "./identity.ts";
import { isPemText } from "./pem.ts";

/** Options of {@link watchIdentity}. */
export interface WatchOptions {
  /** Milliseconds between two looks; 0 means that only `checkNow` looks. Events of the file system lead to a look besides. */
  readonly reloadIntervalMs: number;
  /**
   * Takes a new, validated identity. When it throws, the change counts as refused: the old identity goes on. What it throws as
   * `refused_by_peer` is offered again at each look: the peer may come to take it.
   * @param abort The watch has ended: nothing may be taken any more.
   */
  readonly onChange: (identity: Identity, abort: AbortSignal) => void | Promise<void>;
  /**
   * Hears once of each change that cannot be used, and why; the old identity goes on. A change in progress is none: what is found
   * by event or interval is told when a later look finds it again.
   */
  readonly onRefused: (reason: CertificateError) => void;
  /** Hears once that a change which it has heard the refusal of is undone: the files are those in use again. */
  readonly onRestored?: () => void;
  /** The clock, for tests. */
  readonly now?: () => Date;
}

/** Reasons that may pass without the files being changed. */
const PASSING: ReadonlySet<string> = new Set(["not_yet_valid", "refused_by_peer"]);

/**
 * Watches the files of an identity and hands over each change that is valid as a whole.
 *
 * A half-done change (the certificate replaced, the key not yet) is refused, and taken once it is whole. What is refused
 * because it is not yet valid is taken when it is.
 * @param config The sources, as given to {@link loadIdentity}.
 * @param current The identity in use.
 */
export function watchIdentity(config: IdentityConfig, current: Identity, options: WatchOptions): Watch {
  return watchSource(
    {
      async read(digest) {
        const documents = await readSettled(config, digest);
        return { content: documents, digest: digestOf(documents) };
      },
      take: (documents, ended) => options.onChange(validate(config, documents, options.now?.() ?? new Date()), ended),
      faultOf: (error) =>
        error instanceof CertificateError
          ? error
          : new CertificateError("unsupported", { what: "Cannot use the new certificates", state: messageOf(error) }, {
            cause: error,
          }),
      nameOf: ({ code }) => code,
      passes: ({ code }) => PASSING.has(code),
      onRefused: options.onRefused,
      ...(options.onRestored === undefined ? {} : { onRestored: options.onRestored }),
    },
    current.digest,
    {
      intervalMs: options.reloadIntervalMs,
      paths: [config.ca ?? [], config.cert, config.key].flat().filter((value) => !isPemText(value)),
      confirms: true,
    },
  );
}
