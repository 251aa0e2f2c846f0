/**
 * Which of several addresses of a Collector's name is used. The system's choice is left alone while it works: it is the same one each
 * time, and one that accepts connections and answers nothing would be chosen for ever. After a failure each address is asked by itself,
 * and where some answer and some do not, one that does is used.
 * @module
 */

import { within } from "../../within.ts";

/** Settings of {@link Addresses}. */
export interface AddressesOptions {
  /** All addresses of the name, as the system knows them now. */
  readonly resolve: () => Promise<readonly string[]>;
  /** The address that is used at first; the system's choice unless given. */
  readonly chosen?: string | undefined;
  /** Another address is to be used from now on; undefined: the system's choice. Resolves to whether it is; never rejects. */
  readonly onChange: (address: string | undefined) => Promise<boolean>;
  /** A clock in ms that is never set back. */
  readonly now?: () => number;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

/** Whether something answers at an address. Never rejects. */
export type AskAddress = (address: string) => Promise<boolean>;

/** The longest that an address is waited for when it is asked, in ms. */
export const ASK_MS_MAX = 2_000;

/** Once one has answered, the others have so long to do so as well, in ms. */
const OTHERS_MS_MAX = 500;

/** Addresses asked at most. */
const ADDRESSES_MAX = 8;
/** After a failure that another address was no way out of, they are asked again at the earliest after so long, in ms. */
const AGAIN_MS = 10_000;
/** The same where one was chosen, which has failed since. */
const CHOSEN_AGAIN_MS = 1_000;
/** How often it is looked whether all answer again, in ms. */
const REVIEW_MS = 60_000;

export class Addresses {
  readonly #options: AddressesOptions;
  readonly #now: () => number;
  readonly #random: () => number;
  #chosen: string | undefined;
  #lookedAt: number;
  #looking: Promise<void> | undefined;

  constructor(options: AddressesOptions) {
    this.#options = options;
    this.#chosen = options.chosen;
    this.#now = options.now ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
    this.#lookedAt = options.chosen === undefined ? -Infinity : this.#now();
  }

  /** The address in use; undefined: the system's choice. */
  get chosen(): string | undefined {
    return this.#chosen;
  }

  /** Resolves when it is known which address to go by; undefined where that is no question. */
  get looking(): Promise<void> | undefined {
    return this.#looking;
  }

  /** An attempt had no answer. */
  failed(ask: AskAddress): void {
    const againMs = this.#chosen === undefined ? AGAIN_MS : CHOSEN_AGAIN_MS;
    if (this.#now() - this.#lookedAt >= againMs) this.#look(ask);
  }

  /** An attempt had an answer. While the choice is not the system's, it is looked now and then whether that is still called for. */
  answered(ask: AskAddress): void {
    if (this.#chosen !== undefined && this.#now() - this.#lookedAt >= REVIEW_MS) this.#look(ask);
  }

  #look(ask: AskAddress): void {
    if (this.#looking !== undefined) return;
    this.#lookedAt = this.#now();
    this.#looking = this.#choose(ask).finally(() => this.#looking = undefined);
  }

  async #choose(ask: AskAddress): Promise<void> {
    let addresses: readonly string[];
    try {
      const resolving = this.#options.resolve();
      if (!await within(resolving, ASK_MS_MAX)) return;
      addresses = [...new Set(await resolving)].slice(0, ADDRESSES_MAX);
    } catch {
      // What is wrong with the name, the attempt itself says.
      return;
    }
    const alive = addresses.length < 2 ? [] : await answering(addresses, ask);
    // Where all answer, or none does, one is as good as another.
    if (alive.length === 0 || alive.length === addresses.length) await this.#set(undefined);
    else if (this.#chosen === undefined || !alive.includes(this.#chosen)) {
      await this.#set(alive[Math.floor(this.#random() * alive.length)]);
    }
  }

  async #set(address: string | undefined): Promise<void> {
    if (address !== this.#chosen && await this.#options.onChange(address)) this.#chosen = address;
  }
}

/** Those that answer, in their order. One that is dead is not waited for to the end where another answers. */
async function answering(addresses: readonly string[], ask: AskAddress): Promise<string[]> {
  const alive = new Set<string>();
  const first = Promise.withResolvers<void>();
  const all = Promise.all(addresses.map(async (address) => {
    if (!await ask(address)) return;
    alive.add(address);
    first.resolve();
  }));
  await Promise.race([all, first.promise]);
  await within(all, OTHERS_MS_MAX);
  return addresses.filter((address) => alive.has(address));
}
