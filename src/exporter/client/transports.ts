/**
 * The transports of one client: one for all names, and one of its own for a name whose address is chosen (see `addresses.ts`).
 * @module
 */
import { isIP } from "node:net";
import { bareHost } from "../../config/units.ts";
import { whenAborted } from "../../within.ts";
import { Addresses, ASK_MS_MAX } from "./addresses.ts";
import type { Carried, Place, Transport } from "./transport.ts";
import { Tunnel } from "./tunnel.ts";

/** All addresses of a name. */
export type ResolveName = (host: string) => Promise<readonly string[]>;

/** Settings of {@link Transports}. */
export interface TransportsOptions {
  /** @param at Where it goes to; absent: where the system says. */
  readonly create: (at?: Place) => Transport;
  /** Absent: the system's choice is never changed. */
  readonly resolve?: ResolveName | undefined;
  /** Whether TLS needs a tunnel to go to an address that is chosen. */
  readonly tunnels: boolean;
  /** All connections to a name are new ones from now on. */
  readonly onRenewed: () => void;
}

/** What an address is asked by: an empty request. */
export type Question = Pick<Carried, "signal" | "url" | "headers">;

/** `silent`: there is no answer in time, which costs whoever tries it a timeout. `refuses`: there is no connection, which is told at once. */
export type AddressState = "answers" | "silent" | "refuses";

/** One name and port whose attempts have failed. */
interface Endpoint {
  readonly addresses: Addresses;
  readonly port: number;
  readonly secure: boolean;
  /** To the address that is chosen, where one is. */
  chosen: Chosen | undefined;
}

interface Chosen {
  readonly place: Place;
  readonly transport: Transport;
  /** Absent where none is needed, or it is another's. */
  readonly tunnel?: Tunnel | undefined;
}

const EMPTY = new Uint8Array(0);

export class Transports {
  readonly #options: TransportsOptions;
  /** By origin; empty until an attempt has failed. */
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #closed = new AbortController();
  #common: Transport;

  /** @param like Whose choices of addresses are taken over. */
  constructor(options: TransportsOptions, like?: Transports) {
    this.#options = options;
    this.#common = options.create();
    for (const [origin, { chosen }] of like === undefined ? [] : like.#endpoints) {
      if (chosen !== undefined) this.#open(new URL(origin), chosen.place);
    }
  }

  /** By which a request to this URL goes now; to be asked for each anew. */
  for(url: string): Transport {
    if (this.#endpoints.size === 0) return this.#common;
    return this.#endpoints.get(new URL(url).origin)?.chosen?.transport ?? this.#common;
  }

  /** Resolves when it is known which address to use; undefined where that is no question. */
  looking(url: string): Promise<void> | undefined {
    return this.#endpoints.size === 0 ? undefined : this.#endpoints.get(new URL(url).origin)?.addresses.looking;
  }

  /** New connections for all from now on; requests under way end on the old ones. */
  renew(): void {
    const old = [this.#common];
    this.#common = this.#options.create();
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.chosen === undefined) continue;
      old.push(endpoint.chosen.transport);
      endpoint.chosen = { ...endpoint.chosen, transport: this.#options.create(endpoint.chosen.place) };
    }
    this.#options.onRenewed();
    for (const transport of old) transport.close();
  }

  /** An attempt had no answer: where the name has several addresses, another may have one. */
  failed(question: Question): void {
    if (this.#options.resolve === undefined || this.#closed.signal.aborted) return;
    const url = new URL(question.url);
    const endpoint = this.#endpoints.get(url.origin) ?? this.#open(url);
    endpoint?.addresses.failed((address) => this.#ask(question, endpoint, address));
  }

  /** What comes of an empty request to an address of a URL's name. Never rejects. */
  askAt(question: Question, address: string): Promise<AddressState> {
    const url = new URL(question.url);
    const endpoint = this.#endpoints.get(url.origin) ?? this.#open(url);
    return endpoint === undefined ? Promise.resolve("refuses") : this.#askAt(question, endpoint, address);
  }

  /** An attempt had an answer. */
  answered(question: Question): void {
    if (this.#endpoints.size === 0) return;
    const endpoint = this.#endpoints.get(new URL(question.url).origin);
    endpoint?.addresses.answered((address) => this.#ask(question, endpoint, address));
  }

  close(): void {
    this.#closed.abort();
    this.#common.close();
    for (const { chosen } of this.#endpoints.values()) closeChosen(chosen);
  }

  #open(url: URL, place?: Place): Endpoint | undefined {
    const host = bareHost(url.hostname);
    const { resolve, create } = this.#options;
    if (resolve === undefined || isIP(host) !== 0) return undefined;
    const secure = url.protocol === "https:";
    const endpoint: Endpoint = {
      port: Number(url.port || (secure ? 443 : 80)),
      secure,
      chosen: place === undefined ? undefined : { place, transport: create(place) },
      addresses: new Addresses({
        chosen: place?.address,
        resolve: () => resolve(host),
        onChange: (address) => this.#change(endpoint, address),
      }),
    };
    this.#endpoints.set(url.origin, endpoint);
    return endpoint;
  }

  async #change(endpoint: Endpoint, address: string | undefined): Promise<boolean> {
    let chosen: Chosen | undefined;
    try {
      chosen = address === undefined ? undefined : await this.#to(endpoint, address);
    } catch {
      // Nothing may listen on loopback, or nothing may go to an address.
      return false;
    }
    if (this.#closed.signal.aborted) {
      closeChosen(chosen);
      return false;
    }
    const old = endpoint.chosen;
    endpoint.chosen = chosen;
    this.#options.onRenewed();
    closeChosen(old);
    return true;
  }

  async #to({ secure, port }: Endpoint, address: string): Promise<Chosen> {
    const tunnel = secure && this.#options.tunnels ? await Tunnel.open({ address, port }) : undefined;
    const place = { address, port, tunnel: tunnel?.access };
    try {
      return { place, tunnel, transport: this.#options.create(place) };
    } catch (error) {
      tunnel?.close();
      throw error;
    }
  }

  async #ask(question: Question, endpoint: Endpoint, address: string): Promise<boolean> {
    return await this.#askAt(question, endpoint, address) === "answers";
  }

  /** Any answer will do: what it says of the request is another matter. */
  async #askAt(question: Question, endpoint: Endpoint, address: string): Promise<AddressState> {
    const abort = new AbortController();
    const giveUp = () => abort.abort();
    const timer = setTimeout(giveUp, ASK_MS_MAX);
    const goOn = whenAborted(this.#closed.signal, giveUp);
    let asked: Chosen | undefined;
    try {
      asked = await this.#to(endpoint, address);
      const carried = { ...question, body: EMPTY, encoding: "identity", timeoutMs: ASK_MS_MAX } as const;
      await asked.transport.post({ ...carried, abort: abort.signal });
      return "answers";
    } catch {
      return abort.signal.aborted ? "silent" : "refuses";
    } finally {
      clearTimeout(timer);
      goOn();
      closeChosen(asked);
    }
  }
}

function closeChosen(chosen: Chosen | undefined): void {
  chosen?.transport.close();
  chosen?.tunnel?.close();
}
