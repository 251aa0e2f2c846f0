/**
 * Whether an endpoint reads every member of a gzip body: one that reads the first alone would lose what is merged behind it, and
 * answer with a success.
 * @module
 */
import { concatenate } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";
import type { Answer, Prover } from "./client.ts";
import { dispositionOf } from "./disposition.ts";

/** What is known of an endpoint. `unknown`: it refuses what proves nothing, so that its refusal of the probe would prove nothing. */
export type Members = "all" | "first_only" | "unknown";

/** Settings of a proof. */
export interface MembersProofOptions {
  /** Sends a body of gzip members, once. */
  readonly ask: (body: Uint8Array<ArrayBuffer>) => Promise<Answer>;
  /** Changes when every connection is a new one. */
  readonly connections: () => number;
  /** The answer is another than the last one was. */
  readonly onChange: (members: Members) => void;
  /** A clock in ms that is never set back. */
  readonly now?: () => number;
}

/** A request of one resource whose length overruns the body: no decoder takes it. */
const MALFORMED = new Uint8Array([0x0a, 0x7f]);

const EMPTY = gzipMember(new Uint8Array(0));

/** Two empty requests. Who refuses them would refuse the probe, too, whatever it reads of it. */
const CONTROL = concatenate([EMPTY, EMPTY]);

/** An empty request, and behind it a malformed one. */
const PROBE = concatenate([EMPTY, gzipMember(MALFORMED)]);

/**
 * How long a proof holds, in ms. A lost connection ends it at once; but `fetch` also reconnects silently, when an idle connection
 * has been closed, and another server may stand there then.
 */
export const PROOF_MS_MAX = 60_000;

/** Asks the endpoint, and asks again when it may be another one. */
export class MembersProof implements Prover {
  readonly #options: MembersProofOptions;
  readonly #now: () => number;
  #told: Members | undefined;
  #proof: { readonly members: Members; readonly connections: number; readonly until: number } | undefined;
  #asking: Promise<Members | Answer> | undefined;

  constructor(options: MembersProofOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** The proof, or the answer that says neither. Callers share one probe. */
  async prove(): Promise<Members | Answer> {
    const proof = this.#proof;
    if (proof !== undefined && proof.until > this.#now() && proof.connections === this.#options.connections()) {
      return proof.members;
    }
    return await (this.#asking ??= this.#ask().finally(() => this.#asking = undefined));
  }

  /** The proof as it was last; undefined where there was none. */
  known(): Members | undefined {
    return this.#told;
  }

  /** A connection was lost: whoever answers next may be another. */
  lost(): void {
    this.#proof = undefined;
  }

  /**
   * The control first: two members with nothing wrong in either must be taken. Then 400 to the probe says that its second member was
   * read; 2xx that it was not, and would have been lost behind a success.
   */
  async #ask(): Promise<Members | Answer> {
    const connections = this.#options.connections();
    const control = await this.#taken(CONTROL);
    if (typeof control !== "boolean") return control;
    const probe = control ? await this.#taken(PROBE) : undefined;
    if (typeof probe === "object") return probe;
    const members = probe === undefined ? "unknown" : probe ? "first_only" : "all";
    this.#proof = { members, connections, until: this.#now() + PROOF_MS_MAX };
    if (this.#told !== members) this.#options.onChange(members);
    this.#told = members;
    return members;
  }

  /** Whether it is taken; the answer where it says neither. */
  async #taken(body: Uint8Array<ArrayBuffer>): Promise<boolean | Answer> {
    const answer = await this.#options.ask(body);
    if (answer.kind === "none") return answer;
    const disposition = dispositionOf(answer);
    return disposition === "delivered" ? true : disposition === "inspect" ? false : answer;
  }
}
