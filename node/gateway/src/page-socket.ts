/** One page's WebSocket: frames out, within bounds, and which channel is which session's. */

import type { WebSocket } from "ws";
import type { GatewayMessage, Notice } from "./protocol.ts";
import type { Member, Room } from "./room.ts";

/** Bytes that may wait to be read by a page before it gets no more packets: 20 s of 100 kbit/s. */
export const BUFFERED_MOST: number = 256 * 1024;

/** Bytes at which a page that reads nothing is let go: its messages cannot be held back as packets can. */
export const UNREAD_MOST: number = 4 * 1024 * 1024;

/** A page's socket, as rooms see it. `drained` is called when it takes packets again after it was full. */
export class PageSocket implements Member {
  /** The rooms it takes part in, by the session's name. */
  readonly rooms: Map<string, Room> = new Map();
  /** Whether it has answered the last ping. */
  alive = true;
  readonly #socket: WebSocket;
  readonly #sent: (error?: Error | null) => void;
  readonly #channels = new Map<string, number>();
  #stuck = false;

  constructor(socket: WebSocket, drained: (socket: PageSocket) => void) {
    this.#socket = socket;
    this.#sent = () => {
      if (this.#stuck && socket.bufferedAmount < BUFFERED_MOST / 2) {
        this.#stuck = false;
        drained(this);
      }
    };
  }

  get full(): boolean {
    if (!this.#stuck && this.#socket.bufferedAmount >= BUFFERED_MOST) {
      this.#stuck = true;
    }
    return this.#stuck;
  }

  /** Bytes that were sent and not read yet. */
  get buffered(): number {
    return this.#socket.bufferedAmount;
  }

  /** The session's channel on this socket: the one it has, else the lowest that is free. */
  channel(session: string): number {
    let channel = this.#channels.get(session);
    if (channel === undefined) {
      const taken = new Set(this.#channels.values());
      channel = 0;
      while (taken.has(channel)) {
        channel += 1;
      }
      this.#channels.set(session, channel);
    }
    return channel;
  }

  /** The session's channel is free again. */
  release(session: string): void {
    this.#channels.delete(session);
  }

  notify(session: string, notice: Notice): void {
    this.send({ ...notice, session });
  }

  send(message: GatewayMessage): void {
    if (this.#socket.readyState !== this.#socket.OPEN) {
      return;
    }
    if (this.#socket.bufferedAmount >= UNREAD_MOST) {
      this.#socket.terminate();
      return;
    }
    this.#socket.send(JSON.stringify(message), this.#sent);
  }

  packet(channel: number, packet: Buffer): void {
    const frame = Buffer.allocUnsafe(packet.length + 1);
    frame[0] = channel;
    packet.copy(frame, 1);
    this.#socket.send(frame, this.#sent);
  }
}
