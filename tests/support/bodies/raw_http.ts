/** HTTP by hand, over a socket: what no client library would send. */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";

/** How long an answer or a close is waited for, in ms: more than any bound that is tested. */
const DEADLINE_MS = 20_000;

export interface RawAnswer {
  /** 0 where the connection was closed without one. */
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

/** A connection whose bytes are written and read one by one. */
export interface RawConnection extends Disposable {
  readonly socket: Socket;
  /** Sends text (as latin1) or bytes. Nothing happens where the other side has closed. */
  write(data: string | Uint8Array): void;
  /** The next answer; status 0 when the connection ends before one. */
  answer(): Promise<RawAnswer>;
  /** Resolves when the other side has closed, one way or another. */
  readonly closed: Promise<void>;
  /** Ends our half; the other half stays open. */
  end(): void;
}

/** Opens a connection to the host and port of `url`. */
export async function openRaw(url: string, options: { readonly halfOpen?: boolean } = {}): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: options.halfOpen ?? false });
  const closed = Promise.withResolvers<void>();
  let received = Buffer.alloc(0);
  let ended = false;
  let wake = () => {};
  const end = () => {
    ended = true;
    closed.resolve();
    wake();
  };
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    wake();
  });
  socket.on("end", end);
  socket.on("close", end);
  // A reset is one way to close.
  socket.on("error", end);
  const opened = Promise.withResolvers<void>();
  socket.once("connect", opened.resolve);
  void closed.promise.then(() => opened.resolve());
  await opened.promise;

  async function answer(): Promise<RawAnswer> {
    const timer = setTimeout(() => socket.destroy(new Error("late")), DEADLINE_MS);
    try {
      for (;;) {
        const parsed = parse(received);
        if (parsed !== undefined) {
          received = received.subarray(parsed.length);
          return parsed.answer;
        }
        if (ended) return { status: 0, headers: new Headers(), body: received };
        await new Promise<void>((resolve) => wake = resolve);
      }
    } finally {
      clearTimeout(timer);
    }
  }
  return {
    socket,
    write: (data) => void socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data),
    answer,
    closed: closed.promise,
    end: () => void socket.end(),
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** One exchange on a connection of its own. */
export async function sendRaw(url: string, data: string | Uint8Array): Promise<RawAnswer> {
  using connection = await openRaw(url);
  connection.write(data);
  return await connection.answer();
}

/** An answer of a stated length at the start of `bytes`, or undefined while it is not whole. Interim answers are skipped. */
function parse(bytes: Buffer): { answer: RawAnswer; length: number } | undefined {
  const head = bytes.indexOf("\r\n\r\n");
  if (head < 0) return undefined;
  const [statusLine = "", ...lines] = bytes.subarray(0, head).toString("latin1").split("\r\n");
  const status = Number(statusLine.split(" ")[1]);
  if (status === 100) {
    const rest = parse(bytes.subarray(head + 4));
    return rest === undefined ? undefined : { ...rest, length: rest.length + head + 4 };
  }
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  const length = head + 4 + Number(headers.get("content-length") ?? 0);
  if (bytes.length < length) return undefined;
  return { answer: { status, headers, body: Buffer.from(bytes.subarray(head + 4, length)) }, length };
}
