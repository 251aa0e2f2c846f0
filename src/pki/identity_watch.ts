/**
 * The files of an identity, looked at while the program runs: a change is handed over when it is valid as a whole.
 * @module
 */
import { CertificateError, messageOf } from "../errors.ts";
import { watchFolders } from "../files/events.ts";
import { digestOf, type Identity, type IdentityConfig, readSettled, validate } from "./identity.ts";
import { isPemText } from "./pem.ts";

/** What a look at the sources found. */
export type CheckResult = "unchanged" | "changed" | "refused";

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

/** A watch over the sources of an identity. Disposing of it stops it; no callback is called after that. */
export interface IdentityWatch extends AsyncDisposable {
  /** Looks at once, after a look that is under way. Never rejects. */
  checkNow(): Promise<CheckResult>;
}

/** What a look came from: `asked` tells of a refusal at once, `event` leaves that to a later look. */
type Occasion = "asked" | "interval" | "event";

/** Reasons that may pass without the files being changed. */
const PASSING: ReadonlySet<string> = new Set(["not_yet_valid", "refused_by_peer"]);
/** What an event has led to, and could not be used, is looked at again after this time, in ms, and told of if it is still so. */
const CONFIRM_MS = 1_000;

/**
 * Watches the files of an identity and hands over each change that is valid as a whole. It compares contents, so that
 * rewriting, renaming over and switching a symbolic link are all noticed, and touching a file is not.
 *
 * A half-done change (the certificate replaced, the key not yet) is refused, and taken once it is whole. What is refused
 * because it is not yet valid is taken when it is.
 * @param config The sources, as given to {@link loadIdentity}.
 * @param current The identity in use.
 */
export function watchIdentity(config: IdentityConfig, current: Identity, options: WatchOptions): IdentityWatch {
  let currentDigest = current.digest;
  let refused:
    | { readonly digest: string | undefined; readonly reason: CertificateError; readonly told: boolean }
    | undefined;
  const ended = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let confirmation: { readonly of: string | undefined; readonly timer: ReturnType<typeof setTimeout> } | undefined;
  let last: Promise<unknown> = Promise.resolve();

  async function look(occasion: Occasion): Promise<CheckResult> {
    if (ended.signal.aborted) return "unchanged";
    let digest: string | undefined;
    try {
      const documents = await readSettled(config, currentDigest);
      digest = digestOf(documents);
      if (ended.signal.aborted) return "unchanged";
      if (digest === currentDigest) {
        if (refused?.told === true) options.onRestored?.();
        refused = undefined;
        return "unchanged";
      }
      // Decrypting a key takes long on purpose: done again only where time alone can change the outcome.
      if (refused?.told === true && digest === refused.digest && !PASSING.has(refused.reason.code)) return "refused";
      await options.onChange(validate(config, documents, options.now?.() ?? new Date()), ended.signal);
      currentDigest = digest;
      refused = undefined;
      return "changed";
    } catch (error) {
      if (ended.signal.aborted) return "unchanged";
      const reason = error instanceof CertificateError
        ? error
        : new CertificateError("unsupported", { what: "Cannot use the new certificates", state: messageOf(error) }, {
          cause: error,
        });
      const same = refused !== undefined && refused.digest === digest && refused.reason.code === reason.code;
      const told = same && refused?.told === true;
      const tells = !told && (occasion === "asked" || (occasion === "interval" && same));
      refused = { digest, reason, told: told || tells };
      if (tells) options.onRefused(reason);
      return "refused";
    }
  }

  function after(occasion: Occasion): Promise<CheckResult> {
    const result = last.then(() => look(occasion));
    last = result;
    return result;
  }

  function schedule(): void {
    if (ended.signal.aborted || options.reloadIntervalMs === 0) return;
    timer = setTimeout(() => void after("interval").then(schedule), options.reloadIntervalMs);
  }

  async function onEvent(): Promise<void> {
    if (await after("event") !== "refused" || ended.signal.aborted || refused === undefined || refused.told) return;
    const { digest } = refused;
    // Events come of everything in the folder: only another change puts it off.
    if (confirmation !== undefined && confirmation.of === digest) return;
    clearTimeout(confirmation?.timer);
    // A change in progress is whole by then.
    const timer = setTimeout(() => {
      confirmation = undefined;
      void after("interval");
    }, CONFIRM_MS);
    confirmation = { of: digest, timer };
  }

  const events = options.reloadIntervalMs === 0
    ? undefined
    : watchFolders([config.ca ?? [], config.cert, config.key].flat().filter((value) => !isPemText(value)), onEvent);
  schedule();
  return {
    checkNow: () => after("asked"),
    async [Symbol.asyncDispose]() {
      ended.abort();
      clearTimeout(timer);
      clearTimeout(confirmation?.timer);
      events?.close();
      await last;
    },
  };
}
