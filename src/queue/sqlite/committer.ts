/**
 * Makes the transactions: one at a time, shared by what comes meanwhile. It owns the round trip to the Worker, from what
 * {@link Commits} says goes next to the answer that each append and each outcome gets.
 * @module
 */
import type { OwnedBytes } from "../../codec/owned_bytes.ts";
import { messageOf, Refusal, type RefusalCode } from "../../errors.ts";
import type { Accepted } from "../queue.ts";
import { type Batch, Commits, type PendingAppend, type PendingSettle } from "./commits.ts";
import type { Connection } from "./connection.ts";
import { type Append, packCommit, payloadAfter } from "./packing.ts";
import type { AppendOp, Replies } from "./protocol.ts";

/** How long an outcome waits for a transaction that it can share, in ms: a crash in this time delivers again what it was of. */
const SETTLE_MS = 20;

/** Hears what became of a transaction, in this order. */
export interface CommitListener {
  /** Whether a payload would stay in memory, `besideBytes` being about to: it is asked back from the Worker then. */
  keeps(op: Omit<AppendOp, "payload" | "giveBack">, besideBytes: number): boolean;
  /** The Worker ended under it: nobody knows what was written. */
  crashed(appends: readonly PendingAppend[]): void;
  /** It was made, or refused. */
  replied(reply: Replies["commit"]): void;
  /** A record is in the file; its 200 follows. @param payload Where it is at hand: to be taken over. */
  kept(append: PendingAppend, id: number, payload: OwnedBytes | undefined): void;
  /** Outcomes are in the file. */
  settled(settles: readonly PendingSettle[], remainders: Replies["commit"]["remainders"]): void;
  /** All have their answers. @param failed Whether a part of it was not written. */
  done(batch: Batch, reply: Replies["commit"], failed: boolean): void;
}

export class Committer {
  readonly #connection: Pick<Connection, "ask" | "ended" | "trouble" | "failed" | "wellAgain">;
  readonly #listener: CommitListener;
  readonly #now: () => number;
  readonly #commits = new Commits();
  #appendBytes = 0;
  #committing: Promise<void> | undefined;
  /** Appends of the transaction under way. */
  #underWay: readonly PendingAppend[] = [];
  #flushScheduled = false;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;

  /** @param now ms since the Unix epoch: dead letters are dated by it. */
  constructor(
    connection: Pick<Connection, "ask" | "ended" | "trouble" | "failed" | "wellAgain">,
    listener: CommitListener,
    now: () => number,
  ) {
    this.#connection = connection;
    this.#listener = listener;
    this.#now = now;
  }

  /** What the records cost that were appended and are not answered, in bytes. */
  get appendBytes(): number {
    return this.#appendBytes;
  }

  /** Resolves when the record would survive a crash. The payload is the committer's. */
  append({ op, parts, payload }: Append): Promise<Accepted> {
    this.#appendBytes += op.cost;
    return new Promise((resolve, reject) => {
      this.#commits.append({ op, parts, payload, resolve, reject });
      this.#schedule();
    });
  }

  settle(settle: PendingSettle): void {
    this.#commits.settle(settle);
    this.#scheduleSettles();
  }

  /** Outcomes that wait for company go now. */
  hurry(): void {
    if (this.#commits.settles > 0) this.#schedule();
  }

  /** Makes a transaction of what waits, if none is under way. @param probe Even of nothing, to see whether storage works. */
  flush(probe = false): void {
    if (this.#committing !== undefined || this.#connection.ended) return;
    if (!probe && this.#commits.appends === 0 && this.#commits.settles === 0) return;
    this.#committing = this.#commit(this.#commits.next()).finally(() => {
      this.#committing = undefined;
      if (this.#commits.appends > 0) this.flush();
      else if (this.#commits.settles > 0 && this.#connection.trouble === undefined) this.#scheduleSettles();
    });
  }

  /**
   * Storage does not answer: every sender that waits is told so. Those of the transaction under way are told that theirs may have been
   * kept all the same.
   */
  giveUpAppends(text: string): void {
    this.#refuse(this.#commits.takeAppends(), text);
    for (const { reject } of this.#underWay) reject(new Refusal("storage_failed", text, { unknown: true }));
  }

  /** Commits what waits, unless storage fails. */
  async drain(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#settleTimer);
    do {
      this.flush();
      await this.#committing;
    } while (!this.#stopped && this.#commits.appends + this.#commits.settles > 0);
  }

  /** Refuses all that still waits: the queue is closed. */
  abandon(): void {
    this.#refuse(this.#commits.takeAppends(), "The relay is shutting down", "shutting_down");
    for (const { entry, reject } of this.#commits.takeSettles()) {
      reject(new Refusal("shutting_down", `Record ${entry.head.id} stays in the queue and will be sent again`));
    }
  }

  get #stopped(): boolean {
    return this.#connection.ended || this.#connection.trouble !== undefined;
  }

  async #commit(batch: Batch): Promise<void> {
    const { appends, settles } = batch;
    const { message, transfer } = packCommit(
      appends,
      settles.map(({ op }) => op),
      (op, besideBytes) => this.#listener.keeps(op, besideBytes),
      this.#now(),
    );
    this.#underWay = appends;
    let reply: Replies["commit"];
    try {
      reply = await this.#connection.ask("commit", message, transfer);
    } catch (error) {
      // The Worker is gone, or could not even say what failed.
      const text = messageOf(error);
      this.#underWay = [];
      this.#listener.crashed(appends);
      this.#refuse(appends, text);
      this.#commits.putBack(settles);
      this.#connection.failed(text);
      return;
    }
    this.#underWay = [];
    this.#listener.replied(reply);
    if (reply.appendFailure === undefined) {
      const returned = reply.returned.values();
      appends.forEach((append, index) => {
        this.#listener.kept(append, reply.firstId + index, payloadAfter(append, message.appends[index]!, returned));
        this.#appendBytes -= append.op.cost;
        append.resolve({});
      });
    } else {
      this.#refuse(appends, reply.appendFailure.text);
    }
    if (reply.settleFailure === undefined) this.#listener.settled(settles, reply.remainders);
    else this.#commits.putBack(settles);
    const failure = reply.appendFailure ?? reply.settleFailure;
    if (failure === undefined) this.#connection.wellAgain();
    else this.#connection.failed(failure.text);
    this.#listener.done(batch, reply, failure !== undefined);
  }

  #refuse(appends: readonly PendingAppend[], text: string, code: RefusalCode = "storage_failed"): void {
    for (const { op, payload, reject } of appends) {
      this.#appendBytes -= op.cost;
      payload[Symbol.dispose]();
      reject(new Refusal(code, text));
    }
  }

  /** What comes in this turn shares the transaction. */
  #schedule(): void {
    if (this.#flushScheduled || this.#committing !== undefined) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      this.flush();
    });
  }

  /** Outcomes wait a little for a transaction that they can share: no sender waits for them. */
  #scheduleSettles(): void {
    if (this.#commits.settlesFill || this.#closing) return this.#schedule();
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = undefined;
      this.#schedule();
    }, SETTLE_MS);
  }
}
