/**
 * The health service of gRPC (`grpc.health.v1`, "GRPC Health Checking Protocol"): what `/readyz` says, for each service that is taken and
 * for all of them. It asks for no token, as probes have none.
 * @module
 */
import { Refusal } from "../../errors.ts";
import type { Http2Stream, StreamEvents } from "../../http2/stream.ts";
import { GRPC_CODE } from "../../otlp/grpc.ts";
import { readFields, text, varintField } from "../../otlp/small_message.ts";
import { SIGNALS } from "../../signal.ts";
import { answerMessage, answerRefusal, answerStatus, beginMessages, sendMessage } from "./answer.ts";
import { MessageReader } from "./message.ts";

const CHECK_PATH = "/grpc.health.v1.Health/Check";
const WATCH_PATH = "/grpc.health.v1.Health/Watch";

/** `HealthCheckResponse.ServingStatus`. */
const STATUS = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;

const SERVICES: ReadonlySet<string> = new Set(["", ...SIGNALS.map(({ grpcPath }) => grpcPath.split("/")[1]!)]);

/** The largest request, in bytes; it has the name of a service. */
const REQUEST_BYTES_MAX = 1_024;
/** Watches at once. One is a stream that stays open. */
const WATCHES_MAX = 100;
/** How often those who watch are told of a change, at the latest, in ms. */
const LOOK_MS = 1_000;

/** The service of one listener. */
export class HealthService {
  readonly #isReady: () => boolean;
  readonly #watches = new Map<Http2Stream, Watch>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(isReady: () => boolean) {
    this.#isReady = isReady;
  }

  /** A call of one of its methods; undefined for any other path. */
  opened(path: string, stream: Http2Stream, end: boolean): StreamEvents | undefined {
    if (path !== CHECK_PATH && path !== WATCH_PATH) return undefined;
    const reader = new MessageReader();
    const request: Uint8Array[] = [];
    let bytes = 0;
    let refused = false;
    const attempt = (step: () => void) => {
      if (refused) return;
      try {
        step();
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        refused = true;
        answerRefusal(stream, error, undefined);
      }
    };
    const events: StreamEvents = {
      data: (piece) => {
        stream.consumed(piece.length);
        attempt(() => {
          const content = reader.take(piece);
          bytes += content.length;
          if (bytes > REQUEST_BYTES_MAX) {
            throw new Refusal("too_large", "A request for health has the name of a service");
          }
          request.push(content.slice());
        });
      },
      end: () =>
        attempt(() => {
          reader.end();
          if (reader.compressed) throw new Refusal("unsupported_encoding", "Requests for health are not compressed");
          const service = serviceOf(request);
          if (path === CHECK_PATH) this.#check(stream, service);
          else this.#watch(stream, service);
        }),
      cut: () => this.#forget(stream),
    };
    if (end) events.end();
    return events;
  }

  /** Nothing is served any more, and those who watch are told so. */
  close(): void {
    this.#closed = true;
    this.#look();
    for (const stream of [...this.#watches.keys()]) {
      answerStatus(stream, { code: GRPC_CODE.UNAVAILABLE, message: "The relay is shutting down" }, { begun: true });
      this.#forget(stream);
    }
  }

  #check(stream: Http2Stream, service: string): void {
    if (SERVICES.has(service)) return answerMessage(stream, response(this.#status()));
    answerStatus(stream, { code: GRPC_CODE.NOT_FOUND, message: "No such service" });
  }

  #watch(stream: Http2Stream, service: string): void {
    if (this.#closed || this.#watches.size >= WATCHES_MAX) {
      const message = this.#closed ? "The relay is shutting down" : `At most ${WATCHES_MAX} may watch; use Check`;
      return answerStatus(stream, { code: GRPC_CODE.UNAVAILABLE, message });
    }
    const watch = { known: SERVICES.has(service), told: 0 };
    this.#watches.set(stream, watch);
    beginMessages(stream);
    this.#tell(stream, watch);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
  }

  #look(): void {
    for (const [stream, watch] of this.#watches) this.#tell(stream, watch);
  }

  #tell(stream: Http2Stream, watch: Watch): void {
    const status = watch.known ? this.#status() : STATUS.SERVICE_UNKNOWN;
    // Who does not read is told the latest once it does.
    if (status === watch.told || stream.waitingBytes > 0) return;
    watch.told = status;
    sendMessage(stream, response(status));
  }

  #status(): number {
    return !this.#closed && this.#isReady() ? STATUS.SERVING : STATUS.NOT_SERVING;
  }

  #forget(stream: Http2Stream): void {
    this.#watches.delete(stream);
    if (this.#watches.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** Who watches. */
interface Watch {
  /** Its service is one of ours. */
  readonly known: boolean;
  /** The last status that it was told. */
  told: number;
}

function serviceOf(parts: readonly Uint8Array[]): string {
  return text(readFields(Uint8Array.from(parts.flatMap((part) => [...part]))).get(1));
}

function response(status: number): Uint8Array {
  return Uint8Array.from(varintField(1, status));
}
