/**
 * The health service of gRPC (`grpc.health.v1`, "GRPC Health Checking Protocol"): what `/readyz` says, for each service that is taken and
 * for all of them. It asks for no token, as probes have none.
 * @module
 */
import { Buffer } from "node:buffer";
import { Refusal } from "../../errors.ts";
import type { Http2Stream, StreamEvents } from "../../http2/stream.ts";
import { GRPC_CODE } from "../../otlp/grpc.ts";
import { readFields, text, varintField } from "../../otlp/small_message.ts";
import { SIGNALS } from "../../signal.ts";
import { answerMessage, answerRefusal, answerStatus, beginMessages, sendMessage } from "./answer.ts";
import { MessageReader } from "./message.ts";

/** Asks once. */
export const HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check";
const WATCH_PATH = "/grpc.health.v1.Health/Watch";

/** `HealthCheckResponse.ServingStatus`. */
export const HEALTH_STATUS = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;

const SERVICES: ReadonlySet<string> = new Set(["", ...SIGNALS.map(({ grpcPath }) => grpcPath.split("/")[1]!)]);

/** The largest request, in bytes; it has the name of a service. */
const REQUEST_BYTES_MAX = 1_024;
/** Requests at once that have not arrived, or whose answers have not been taken. */
const ASKING_MAX = 500;
/** Watches at once. One is a stream that stays open. */
const WATCHES_MAX = 100;
const TOO_MANY_WATCHES = `At most ${WATCHES_MAX} may watch; use Check`;
/** How soon watchers hear of a change, at the latest, in ms. */
const LOOK_MS = 1_000;

/** The service of one listener. */
export class HealthService {
  readonly #isReady: () => boolean;
  readonly #requestMs: number;
  readonly #asking = new Map<Http2Stream, Asking>();
  readonly #watches = new Map<Http2Stream, Watch>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  /** @param requestMs How long a request may take to arrive, in ms. */
  constructor(isReady: () => boolean, requestMs: number) {
    this.#isReady = isReady;
    this.#requestMs = requestMs;
  }

  /**
   * A call of one of its methods; undefined for any other path.
   * @param proved Whether a sender on the same connection has proved who it is.
   */
  opened(path: string, stream: Http2Stream, end: boolean, proved: () => boolean): StreamEvents | undefined {
    if (path !== HEALTH_CHECK_PATH && path !== WATCH_PATH) return undefined;
    const reader = new MessageReader();
    let request = Buffer.alloc(0);
    const attempt = (step: () => void) => {
      if (this.#asking.get(stream)?.answered !== false) return;
      try {
        step();
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#refuse(stream, error);
      }
    };
    const events: StreamEvents = {
      data: (piece) => {
        stream.consumed(piece.length);
        attempt(() => {
          const content = reader.take(piece);
          if ((reader.length ?? 0) > REQUEST_BYTES_MAX) {
            throw new Refusal("too_large", "A request for health has the name of a service");
          }
          request = Buffer.concat([request, content]);
        });
      },
      end: () =>
        attempt(() => {
          reader.end();
          if (reader.compressed) throw new Refusal("unsupported_encoding", "Requests for health are not compressed");
          const service = text(readFields(request).get(1));
          if (path === HEALTH_CHECK_PATH) this.#check(stream, service);
          else this.#watch(stream, { known: SERVICES.has(service), told: 0, proved });
        }),
      cut: () => this.#forget(stream),
    };
    this.#ask(stream);
    if (end) events.end();
    return events;
  }

  /** Nothing is served any more, and those who watch are told so. */
  close(): void {
    this.#closed = true;
    this.#look();
    for (const stream of [...this.#watches.keys()]) this.#endWatch(stream, "The relay is shutting down");
  }

  #ask(stream: Http2Stream): void {
    if (this.#asking.size >= ASKING_MAX) {
      const [oldest, { answered }] = this.#asking.entries().next().value!;
      const what = `At most ${ASKING_MAX} may ask at once`;
      if (answered) oldest.reset();
      else this.#refuse(oldest, new Refusal("overloaded", what, { remedy: "retry" }));
    }
    this.#asking.set(stream, { at: performance.now(), answered: false });
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
  }

  #refuse(stream: Http2Stream, refusal: Refusal): void {
    answerRefusal(stream, refusal, refusal.retryAfterS);
    this.#forget(stream);
  }

  #check(stream: Http2Stream, service: string): void {
    if (SERVICES.has(service)) answerMessage(stream, response(this.#status()));
    else answerStatus(stream, { code: GRPC_CODE.NOT_FOUND, message: "No such service" });
    const asking = this.#asking.get(stream);
    if (asking !== undefined && stream.waitingBytes > 0) asking.answered = true;
    else this.#forget(stream);
  }

  #watch(stream: Http2Stream, watch: Watch): void {
    if (!this.#closed && this.#watches.size >= WATCHES_MAX) this.#endOldestUnproved();
    if (this.#closed || this.#watches.size >= WATCHES_MAX) {
      const message = this.#closed ? "The relay is shutting down" : TOO_MANY_WATCHES;
      answerStatus(stream, { code: GRPC_CODE.UNAVAILABLE, message });
      return this.#forget(stream);
    }
    this.#watches.set(stream, watch);
    this.#asking.delete(stream);
    beginMessages(stream);
    this.#tell(stream, watch);
  }

  /** As among connections: strangers make room for each other and for senders. */
  #endOldestUnproved(): void {
    for (const [stream, { proved }] of this.#watches) {
      if (!proved()) return this.#endWatch(stream, TOO_MANY_WATCHES);
    }
  }

  #endWatch(stream: Http2Stream, message: string): void {
    answerStatus(stream, { code: GRPC_CODE.UNAVAILABLE, message }, { begun: true });
    this.#forget(stream);
  }

  #look(): void {
    for (const [stream, watch] of this.#watches) this.#tell(stream, watch);
    const late = performance.now() - this.#requestMs;
    for (const [stream, { at, answered }] of this.#asking) {
      if (answered) {
        if (stream.waitingBytes === 0) this.#forget(stream);
      } else if (at <= late) {
        this.#refuse(
          stream,
          new Refusal("header_timeout", `Request did not arrive within ${this.#requestMs} ms`, { remedy: "retry" }),
        );
      }
    }
  }

  #tell(stream: Http2Stream, watch: Watch): void {
    const status = watch.known ? this.#status() : HEALTH_STATUS.SERVICE_UNKNOWN;
    // A watcher that does not read gets the latest state once it does.
    if (status === watch.told || stream.waitingBytes > 0) return;
    watch.told = status;
    sendMessage(stream, response(status));
  }

  #status(): number {
    return !this.#closed && this.#isReady() ? HEALTH_STATUS.SERVING : HEALTH_STATUS.NOT_SERVING;
  }

  #forget(stream: Http2Stream): void {
    this.#asking.delete(stream);
    this.#watches.delete(stream);
    if (this.#watches.size + this.#asking.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** A client that asks, until it has taken the answer. */
interface Asking {
  /** By `performance.now()`. */
  readonly at: number;
  answered: boolean;
}

/** A client that watches. */
interface Watch {
  readonly proved: () => boolean;
  /** Its service is one of ours. */
  readonly known: boolean;
  /** The last status that it was told. */
  told: number;
}

function response(status: number): Uint8Array {
  return Uint8Array.from(varintField(1, status));
}
