/**
 * Whether an endpoint reads a form of body that not every one does. One that reads the first member of a gzip body alone would lose what is
 * merged behind it, and answer with a success; so would one that takes what it cannot inflate for nothing.
 * @module
 */
import { concatenate } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";
import type { Answer, Prover } from "./client/client.ts";
import { dispositionOf } from "./client/disposition.ts";
import { type Coding, encode } from "./recode/recode.ts";
import { SEAL } from "./seal.ts";

/** The forms: several members in a gzip body; one zstd frame. */
export type ProvedForm = "gzip_members" | "zstd";

/**
 * What is known of an endpoint. `first_only`: it takes what nobody who reads all could take. `unknown`: it refuses what proves nothing, so
 * that its refusal of the probe would prove nothing; or the seal of what is merged, so that it would refuse every merged body.
 */
export type Members = "all" | "first_only" | "unknown";

/** Settings of a proof. */
export interface MembersProofOptions {
  /** What is proved; gzip members unless given. */
  readonly form?: ProvedForm;
  /** Sends a body of that form, once. */
  readonly ask: (body: Uint8Array<ArrayBuffer>, encoding: Coding) => Promise<Answer>;
  /** Changes when every connection is a new one. */
  readonly connections: () => number;
  /** The answer is another than the last one was. */
  readonly onChange: (members: Members) => void;
  /** A clock in ms that is never set back. */
  readonly now?: () => number;
}

/** A request of one resource whose length overruns the body: no decoder takes it. */
const MALFORMED = new Uint8Array([0x0a, 0x7f]);

interface Form {
  readonly encoding: Coding;
  /**
   * What each merged body begins with. An endpoint that refuses it would refuse each merged body; one that reads the first member alone
   * refuses it, too.
   */
  readonly sealed?: Uint8Array<ArrayBuffer>;
  /** Empty requests. An endpoint that refuses them would refuse the probe, too, whatever it reads of it. */
  readonly control: Uint8Array<ArrayBuffer>;
  /** The same, with a malformed one at its end. */
  readonly probe: Uint8Array<ArrayBuffer>;
}

const NOTHING = new Uint8Array(0);
const EMPTY = gzipMember(NOTHING);

const FORMS: Readonly<Record<ProvedForm, Form>> = {
  gzip_members: {
    encoding: "gzip",
    sealed: SEAL,
    control: concatenate([EMPTY, EMPTY]),
    probe: concatenate([EMPTY, gzipMember(MALFORMED)]),
  },
  zstd: { encoding: "zstd", control: encode(NOTHING, "zstd"), probe: encode(MALFORMED, "zstd") },
};

/** RFC 9110, 15.5.16: the content coding, among other things, is not supported. As the answer to a control it says only that. */
const UNSUPPORTED = 415;

/**
 * How long a proof holds, in ms. A lost connection ends it at once, and so does a refusal of what is merged; but `fetch` also reconnects
 * silently, when an idle connection has been closed, and another server may stand there then. The seal of each merged body keeps that
 * from losing anything (`seal.ts`).
 */
export const PROOF_MS_MAX = 60_000;

/** How long it holds that nothing can be learned, in ms: an endpoint may refuse everything for a moment. */
export const UNKNOWN_MS_MAX = 5_000;

/** How often refusals of what is merged end a proof, in ms. */
export const DOUBTED_MS = 5_000;

/** So many attempts that were broken off after something had been answered, and nothing is to be learned for now. */
const BROKEN_OFF_MAX = 3;

type Question = "seal" | "control" | "probe";

/** An attempt that was broken off: what was answered on these connections is not asked again. */
interface Begun {
  readonly connections: number;
  readonly until: number;
  readonly taken: Map<Question, boolean>;
}

/** Asks the endpoint, and asks again when it may be another one. */
export class MembersProof implements Prover {
  readonly #options: MembersProofOptions;
  readonly #now: () => number;
  #told: Members | undefined;
  #proof: { readonly members: Members; readonly connections: number; readonly until: number } | undefined;
  #doubtedAt = -Infinity;
  /** What an attempt has learnt that was broken off. */
  #begun: Begun | undefined;
  /** Attempts in a row that were broken off after something had been answered. */
  #brokenOff = 0;
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

  /** A connection was lost: the next answer may come from another server. */
  lost(): void {
    this.#proof = undefined;
    this.#begun = undefined;
  }

  /**
   * What is merged was refused: it may have been another server. While the guilty part is looked for that comes about again and again: it is
   * not asked anew for each.
   */
  doubted(): void {
    if (this.#now() - this.#doubtedAt < DOUBTED_MS) return;
    this.#doubtedAt = this.#now();
    this.#proof = undefined;
  }

  /**
   * The control first, in which nothing is wrong, must be taken. Then 400 to the probe says that what is malformed in it was read; 2xx that
   * it was not, and would have been lost behind a success. The seal is a control by itself; where it is refused, a plain one tells whether it
   * is the seal that is.
   */
  async #ask(): Promise<Members | Answer> {
    const connections = this.#options.connections();
    const { encoding, sealed, control: empty, probe: malformed } = FORMS[this.#options.form ?? "gzip_members"];
    const known = this.#begun;
    const goesOn = known?.connections === connections && known.until > this.#now();
    const begun = this.#begun = goesOn ? known : { connections, until: this.#now() + PROOF_MS_MAX, taken: new Map() };
    const ask = async (question: Question, body: Uint8Array<ArrayBuffer>): Promise<boolean | Answer> => {
      const taken = begun.taken.get(question) ?? await this.#taken(body, encoding);
      if (typeof taken === "boolean") begun.taken.set(question, taken);
      return taken;
    };
    const seal = sealed === undefined ? undefined : await ask("seal", sealed);
    if (typeof seal === "object") return this.#breakOff(seal, begun);
    const control = seal === true || await ask("control", empty);
    if (typeof control === "object") return this.#breakOff(control, begun);
    const probe = control ? await ask("probe", malformed) : undefined;
    if (typeof probe === "object") return this.#breakOff(probe, begun);
    const members = probe === true ? "first_only" : probe === undefined || seal === false ? "unknown" : "all";
    return this.#conclude(members, connections);
  }

  /**
   * An answer says neither, or there was none. Behind an address of which one of two servers fails, or where each answer is followed by one
   * that asks to wait, that may be so for ever: after a few attempts nothing is to be learned for now.
   */
  #breakOff(answer: Answer, { taken, connections }: Begun): Members | Answer {
    // Who asks to wait is the same one after it, as far as is known.
    if (answer.kind === "none" || dispositionOf(answer) !== "retry") this.#begun = undefined;
    if (answer.kind === "none" && answer.aborted || taken.size === 0) return answer;
    return ++this.#brokenOff < BROKEN_OFF_MAX ? answer : this.#conclude("unknown", connections);
  }

  #conclude(members: Members, connections: number): Members {
    this.#begun = undefined;
    this.#brokenOff = 0;
    const holdsMs = members === "unknown" ? UNKNOWN_MS_MAX : PROOF_MS_MAX;
    this.#proof = { members, connections, until: this.#now() + holdsMs };
    if (this.#told !== members) this.#options.onChange(members);
    this.#told = members;
    return members;
  }

  /** Whether it is taken; the answer where it says neither. */
  async #taken(body: Uint8Array<ArrayBuffer>, encoding: Coding): Promise<boolean | Answer> {
    // The kept body is never handed on: the sender of a body may give its memory back.
    const answer = await this.#options.ask(body.slice(), encoding);
    if (answer.kind === "none") return answer;
    if (answer.status === UNSUPPORTED && encoding !== "gzip") return false;
    const disposition = dispositionOf(answer);
    return disposition === "delivered" ? true : disposition === "inspect" ? false : answer;
  }
}
