/** The packets of one session on their way from the daemon to the one socket that hears it: none goes without credit. */

import type { AudioPacket, TerminalEvent } from "@audiosvc/client";
import { CREDIT_MOST } from "./protocol.ts";

/** What a lane lies between. */
export interface LaneEnds {
  /** Whether the socket that hears takes packets now; false if none hears. */
  open(): boolean;
  /** Sends one packet to it. */
  deliver(packet: AudioPacket): void;
  /** Packets that the daemon may still send. */
  outstanding(): number;
  /** Lets the daemon send so many more. */
  ask(packets: number): void;
  /** The track's end, in its place behind its packets. */
  end(event: TerminalEvent): void;
}

/**
 * The hearing socket's credit is passed on to the daemon. Packets that come without it (on credit of a socket that is gone, or to
 * one that does not read) are held until there is some: at most as many as were granted, so {@link CREDIT_MOST}.
 */
export class Lane {
  readonly #ends: LaneEnds;
  #wanted = 0;
  #held: AudioPacket[] = [];
  #end: TerminalEvent | undefined;

  constructor(ends: LaneEnds) {
    this.#ends = ends;
  }

  /** Packets that wait here. */
  get held(): number {
    return this.#held.length;
  }

  /** Packets that are wanted and that the daemon was not asked for yet. */
  get missing(): number {
    const missing = this.#wanted - this.#held.length - this.#ends.outstanding();
    return this.#ends.open() ? Math.max(0, missing) : 0;
  }

  /** Whether a track's end waits behind its packets. */
  get ending(): boolean {
    return this.#end !== undefined;
  }

  /** The hearing socket wants `packets` more; what that makes beyond {@link CREDIT_MOST} is lost. */
  credit(packets: number): void {
    this.#wanted = Math.min(CREDIT_MOST, this.#wanted + packets);
    this.move();
  }

  /** Somebody else hears from now on, and wants nothing yet. What waits is kept. */
  turn(): void {
    this.#wanted = 0;
  }

  packet(packet: AudioPacket): void {
    if (this.#held.length === 0 && this.#wanted > 0 && this.#ends.open()) {
      this.#wanted -= 1;
      this.#ends.deliver(packet);
    } else {
      this.#held.push(packet);
    }
  }

  /** A track has ended; its packets that wait go first. */
  finish(event: TerminalEvent): void {
    if (this.#end !== undefined) {
      // Something newer has ended already: nobody waits for the older one's tail.
      this.flush();
    }
    this.#end = event;
    this.move();
  }

  /** What waits is stale: drop it, and ask for others instead. An end that waited behind it is told. */
  flush(): void {
    this.#held = [];
    this.move();
  }

  /** Sends what can go now, and lets the daemon make up for what is wanted beyond that. */
  move(): void {
    let sent = 0;
    while (sent < this.#held.length && this.#wanted > 0 && this.#ends.open()) {
      this.#wanted -= 1;
      this.#ends.deliver(this.#held[sent++] as AudioPacket);
    }
    this.#held.splice(0, sent);
    if (this.#held.length > 0) {
      return;
    }
    const end = this.#end;
    this.#end = undefined;
    if (end !== undefined) {
      this.#ends.end(end);
    }
    if (this.missing > 0) {
      this.#ends.ask(this.missing);
    }
  }
}
