/**
 * What a connection writes: the frames of one turn leave in one write, so that answers that become ready together cost one call of the
 * system. A socket that takes no more holds DATA back, and in the end the reading too.
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { FLAG, FRAME_TYPE, type FrameHead, HEAD_BYTES, writeHead } from "./frame.ts";

/** Up to this size frames are copied into one buffer, in bytes; larger ones go side by side. */
const JOINED_BYTES_MAX = 16 * 1024;
/** From this size on what is there is written at once, in bytes. */
const TURN_BYTES_MAX = 64 * 1024;
/** What may be written to a socket that is full, in bytes: answers to SETTINGS, PING and the like. Then it is not read on. */
const REPLIES_BYTES_MAX = 64 * 1024;

/** The writing side of a connection. */
export class FrameWriter {
  readonly #socket: Socket;
  /** Whole frames, and heads with their bodies behind them. */
  #parts: (Uint8Array | FrameHead)[] = [];
  #bytes = 0;
  #scheduled = false;
  #ended = false;
  #overBytes = 0;
  #paused = false;
  /** Of all frames so far, in bytes. */
  #position = 0;

  /** @param onRoom Called when the socket takes data again. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    socket.on("drain", () => {
      this.#overBytes = 0;
      if (this.#paused) socket.resume();
      this.#paused = false;
      onRoom();
    });
  }

  /** Whether DATA has to wait. */
  get full(): boolean {
    return this.#ended || this.#socket.writableNeedDrain;
  }

  /** Where the next frame begins among the bytes of all frames. */
  get position(): number {
    return this.#position;
  }

  /** Whether the system has taken all before a position, so that the socket holds nothing of it any more. */
  hasSent(position: number): boolean {
    return position <= this.#position - this.#bytes - this.#socket.writableLength;
  }

  /** Writes a whole frame. */
  write(frame: Uint8Array): void {
    if (this.#ended) return;
    this.#parts.push(frame);
    this.#added(frame.length);
  }

  /** Writes a frame; `body` is not copied where it is large. */
  writeFrame(type: number, flags: number, id: number, body: Uint8Array): void {
    if (this.#ended) return;
    // The head gets no memory of its own: that would cost more than all else here.
    this.#parts.push({ type, flags, id, length: body.length }, body);
    this.#added(HEAD_BYTES + body.length);
  }

  /** Writes a frame of DATA; `bytes` is not copied where it is large: it is the socket's until `hasSent` says otherwise. */
  writeData(id: number, bytes: Uint8Array, end: boolean): void {
    this.writeFrame(FRAME_TYPE.data, end ? FLAG.endStream : 0, id, bytes);
  }

  /** Writes what is there and closes our side of the socket. */
  end(): void {
    if (this.#ended) return;
    this.#flush();
    this.#ended = true;
    this.#socket.end();
    // What still comes is read and forgotten: unread, it would take what we wrote from the peer.
    if (this.#paused) this.#socket.resume();
  }

  #added(bytes: number): void {
    this.#bytes += bytes;
    this.#position += bytes;
    if (this.#socket.writableNeedDrain) {
      this.#overBytes += bytes;
      if (this.#overBytes > REPLIES_BYTES_MAX && !this.#paused) {
        this.#paused = true;
        this.#socket.pause();
      }
    }
    if (this.#bytes >= TURN_BYTES_MAX) return this.#flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const parts = this.#parts;
    const bytes = this.#bytes;
    if (bytes === 0 || this.#ended) return;
    this.#parts = [];
    this.#bytes = 0;
    if (this.#socket.destroyed) return;
    if (bytes <= JOINED_BYTES_MAX) return void this.#socket.write(joined(parts, bytes));
    this.#socket.cork();
    for (const part of parts) {
      if (part instanceof Uint8Array) {
        if (part.length > 0) this.#socket.write(part);
      } else this.#socket.write(joined([part], HEAD_BYTES));
    }
    this.#socket.uncork();
  }
}

function joined(parts: readonly (Uint8Array | FrameHead)[], length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const part of parts) {
    if (part instanceof Uint8Array) {
      bytes.set(part, at);
      at += part.length;
    } else {
      writeHead(bytes, at, part);
      at += HEAD_BYTES;
    }
  }
  return bytes;
}
