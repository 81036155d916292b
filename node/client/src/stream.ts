import { Readable } from "node:stream";
import { AudioServiceError } from "./errors.ts";
import { CREDIT_MOST, isTerminal, type SessionEvent, type TerminalEvent } from "./messages.ts";

const WINDOW = 50;
const WINDOW_LEAST = 2;

/** Packets held at which something is wrong with the other end: twice what credit can have let it send. */
const HELD_MOST: number = 2 * CREDIT_MOST;

/** How {@link SocketClient.session} opens a stream. */
export interface SessionOptions {
  /** Packets on their way and held here together, 2 to 500; default 50, which is 1 s. */
  window?: number;
  /**
   * `true` (default): one stream for all tracks of the session, until it is destroyed.
   * `false`: for one track, the one under way or else the next. It ends after that track's last packet; if the track was
   * stopped, at once.
   */
  follow?: boolean;
}

/** Events of a {@link SessionStream}, beside those of a Readable. */
export interface SessionStreamEvents {
  /** A session event as it arrives, which is ahead of the packets still held here. */
  event: [SessionEvent];
  /** What was held here became stale and was dropped: `dropped` packets. What was read and is not played yet is stale too. */
  flush: [{ reason: "seeked" | "stopped"; dropped: number }];
}

/** What a stream needs of the client that feeds it. */
export interface StreamSource {
  /** Gives credit for `packets` more; returns nothing. */
  credit(packets: number): void;
  /** Credit given and not used yet. */
  outstanding(): number;
  /** The stream is destroyed. */
  gone(): void;
}

/**
 * A session's packets, one Buffer each, in object mode. Reading gives the credit, so a stream that is not read stands
 * still, and it alone.
 *
 * All packets are held in a queue of its own and handed to Node's buffer one at a time, so that they can be dropped when
 * they become stale.
 */
export class SessionStream extends Readable {
  readonly sessionId: string;
  readonly window: number;
  readonly follow: boolean;
  readonly #source: StreamSource;
  #queue: Buffer[] = [];
  #wanted = false;
  #ending = false;
  #trackId: string | undefined;
  #terminal: TerminalEvent | undefined;

  /** Made by {@link SocketClient.session}; `trackId` is the track under way. */
  constructor(sessionId: string, source: StreamSource, options: SessionOptions = {}, trackId?: string) {
    super({ objectMode: true, highWaterMark: 0 });
    const { window = WINDOW, follow = true } = options;
    if (!Number.isInteger(window) || window < WINDOW_LEAST || window > CREDIT_MOST) {
      throw new AudioServiceError(
        "invalid_option",
        `a window is ${WINDOW_LEAST} to ${CREDIT_MOST} packets, not ${window}`,
      );
    }
    this.sessionId = sessionId;
    this.window = window;
    this.follow = follow;
    this.#source = source;
    this.#trackId = trackId;
  }

  /** The track whose packets arrive; undefined before the first. */
  get trackId(): string | undefined {
    return this.#trackId;
  }

  /** How the track ended, once its end has arrived (and before the last packets are read); of the last track if it follows. */
  get terminal(): TerminalEvent | undefined {
    return this.#terminal;
  }

  /** Packets held here and not read yet. */
  get held(): number {
    return this.#queue.length + this.readableLength;
  }

  /** Whether nothing more will arrive. */
  get ending(): boolean {
    return this.#ending;
  }

  /** Gives the credit that the window allows, in grants of at least half of it. */
  grant(): void {
    if (this.#ending || this.destroyed) return;
    const packets = this.window - this.#source.outstanding() - this.held;
    if (packets >= this.window / 2) this.#source.credit(packets);
  }

  /** A packet arrives. */
  deliver(packet: Buffer): void {
    if (this.#ending || this.destroyed) return;
    if (this.#queue.length >= HELD_MOST) {
      this.destroy(new AudioServiceError("overrun", "the daemon sends more than there is credit for", this.#about()));
      return;
    }
    this.#queue.push(packet);
    this.#pump();
  }

  /** An event arrives. */
  notify(event: SessionEvent): void {
    if (this.#ending || this.destroyed) return;
    if (event.type !== "detached") this.#trackId = event.track_id;
    if (event.type === "seeked" || event.type === "stopped") this.#flush(event.type);
    if (isTerminal(event)) {
      this.#terminal = event;
      if (!this.follow) this.finish();
    }
    this.emit("event", event);
  }

  /** Nothing more will arrive: the stream ends after what it holds. */
  finish(): void {
    this.#ending = true;
    this.#pump();
  }

  override read(size?: number): Buffer | null {
    const packet: Buffer | null = super.read(size);
    if (packet !== null) this.grant();
    return packet;
  }

  override _read(): void {
    this.#wanted = true;
    this.#pump();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#queue = [];
    this.#source.gone();
    callback(error);
  }

  #pump(): void {
    while (this.#wanted) {
      const packet = this.#queue.shift();
      if (packet === undefined) break;
      this.#wanted = false;
      this.push(packet);
    }
    if (this.#ending && this.#queue.length === 0 && !this.readableEnded) this.push(null);
    this.grant();
  }

  #flush(reason: "seeked" | "stopped"): void {
    let dropped = this.#queue.length;
    this.#queue = [];
    // Node holds at most one, which a reader by `data` is about to be given.
    while (this.readableLength > 0 && this.listenerCount("data") === 0 && super.read() !== null) dropped += 1;
    this.emit("flush", { reason, dropped });
    this.grant();
  }

  #about(): { sessionId: string; trackId: string | undefined } {
    return { sessionId: this.sessionId, trackId: this.#trackId };
  }
}
