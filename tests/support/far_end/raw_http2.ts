/** One side of an HTTP/2 connection, frame by frame: what a test sends is what the other side gets. */
import { Buffer } from "node:buffer";
import net, { type Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  FLAG,
  frame,
  FRAME_TYPE,
  type FrameHead,
  FrameReader,
  numbersFrame,
  PREFACE,
  settingsFrame,
} from "../../../src/http2/frame.ts";
import { encodeFields, HpackDecoder } from "../../../src/http2/hpack.ts";
import type { Field } from "../../../src/http2/hpack_tables.ts";

export interface RawFrame extends FrameHead {
  readonly body: Buffer;
  /** Of HEADERS in one frame. */
  readonly fields?: readonly Field[] | undefined;
}

export class RawHttp2 {
  readonly #socket: Socket | Duplex;
  readonly #frames: RawFrame[] = [];
  readonly #decoder = new HpackDecoder();
  #wake: () => void = () => {};
  /** All that has come. */
  readonly seen: RawFrame[] = [];
  /** Resolves when the socket has closed. */
  readonly closed: Promise<void>;
  #over = false;

  constructor(socket: Socket | Duplex) {
    this.#socket = socket;
    let parts: Buffer[] = [];
    const add = (head: FrameHead, body: Buffer) => {
      const fields = head.type === FRAME_TYPE.headers ? this.#decoder.decode(body, 1_000_000) : undefined;
      const one = { ...head, body: Buffer.from(body), fields };
      this.#frames.push(one);
      this.seen.push(one);
      this.#wake();
    };
    const reader = new FrameReader({
      frame: add,
      dataBegins: () => void (parts = []),
      dataPiece: (_, piece) => void parts.push(piece),
      dataEnds: (head) => add(head, Buffer.concat(parts)),
    });
    socket.on("data", (chunk: Buffer) => reader.read(chunk));
    this.closed = new Promise((resolve) => {
      const end = () => {
        this.#over = true;
        this.#wake();
        resolve();
      };
      socket.on("error", end);
      socket.on("end", end);
      socket.on("close", end);
    });
  }

  static async connect(port: number): Promise<RawHttp2> {
    const socket = net.connect(port, "127.0.0.1");
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new RawHttp2(socket);
  }

  write(...bytes: readonly Uint8Array[]): void {
    this.#socket.write(Buffer.concat(bytes));
  }

  /** What a client begins with. */
  begin(settings: readonly (readonly [number, number])[] = []): void {
    this.write(PREFACE, settingsFrame(settings));
  }

  headers(id: number, fields: readonly Field[], end = false): void {
    const flags = FLAG.endHeaders | (end ? FLAG.endStream : 0);
    this.write(frame(FRAME_TYPE.headers, flags, id, encodeFields(fields)));
  }

  data(id: number, text: string | Uint8Array, end = false): void {
    this.write(frame(FRAME_TYPE.data, end ? FLAG.endStream : 0, id, Buffer.from(text)));
  }

  numbers(type: number, id: number, ...numbers: readonly number[]): void {
    this.write(numbersFrame(type, id, ...numbers));
  }

  /** The next frame of a type, others being passed over; rejects when the connection ends before. */
  async next(type: number): Promise<RawFrame> {
    for (;;) {
      const one = this.#frames.shift();
      if (one?.type === type) return one;
      if (one !== undefined) continue;
      if (this.#over) throw new Error(`The connection ended without a frame of type ${type}`);
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** The code of the GOAWAY that ends the connection. */
  async goaway(): Promise<number> {
    return (await this.next(FRAME_TYPE.goaway)).body.readUInt32BE(4);
  }

  /** Closes this side. */
  end(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
