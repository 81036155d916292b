import { type Held, isTerminal, PACKET_SECONDS, type TerminalEvent } from "./messages.ts";

/** Events between two packets that are remembered: what the daemon's own ring can repeat. */
const TAIL_MOST = 600;

/** What to make of a packet: its number in the track, or why it is not to be passed on. */
export type PacketVerdict = number | "repeated" | "stray";

/** A session event, of a newer daemon perhaps. */
interface TrackEvent {
  type: string;
  track_id: string;
  packets?: number;
}

/** What to make of an event. */
export interface EventVerdict {
  /** It came before the connection was lost, or tells only of what has been. */
  repeated: boolean;
  /** The end of the track before, which the daemon never told. */
  lost?: TerminalEvent;
  /** Packets of the track that will never come. */
  gap?: number;
}

/**
 * What is held of one session: its current or last track, how many of its packets, and the events since the last of them.
 *
 * It is what `resume` says after a lost connection, and what tells the messages that come again from those that are new.
 */
export class Ledger {
  readonly sessionId: string;
  #track: string | undefined;
  #ended = false;
  /** Whether the session is this connection's: no `detached` since it was last heard. */
  #ours = true;
  #packets = 0;
  /** Number of the packet that came last on this connection; behind `#packets` while packets come again. */
  #at = 0;
  /** Events behind the last packet, as JSON. */
  #tail: string[] = [];
  /** Where in the tail the daemon's repetition stands; undefined once what comes is new. */
  #again: number | undefined;
  #unconfirmed = false;

  constructor(sessionId: string) {
    this.sessionId = sessionId;
  }

  /** The track that is under way. */
  get trackId(): string | undefined {
    return this.#ended ? undefined : this.#track;
  }

  /** Packets of the track so far. */
  get packets(): number {
    return this.#packets;
  }

  /** Whether the daemon has yet to show that it goes on with the track after a reconnect. */
  get unconfirmed(): boolean {
    return this.#unconfirmed;
  }

  /**
   * A new connection begins, on which the session will be asked for again. Returns what to put into `resume`: nothing
   * while somebody else has the session, and a bare 0 (the current track, from its beginning) before the first message.
   */
  reconnect(): Held | undefined {
    this.#again = 0;
    this.#at = this.#packets;
    this.#unconfirmed = this.trackId !== undefined;
    if (!this.#ours) return undefined;
    return this.#track === undefined ? 0 : { track_id: this.#track, packets: this.#packets };
  }

  packet(): PacketVerdict {
    this.#unconfirmed = false;
    if (this.#at < this.#packets) {
      this.#at += 1;
      return "repeated";
    }
    if (this.trackId === undefined) return "stray";
    this.#again = undefined;
    if (this.#tail.length > 0) this.#tail = [];
    this.#packets += 1;
    this.#at = this.#packets;
    return this.#packets;
  }

  event(event: TrackEvent): EventVerdict {
    this.#unconfirmed = false;
    if (event.type === "attached") return this.#attached(event.track_id, event.packets ?? 0);
    if (event.type === "detached") {
      this.#ours = false;
      return { repeated: false };
    }
    this.#ours = true;
    const lost = event.track_id === this.#track ? undefined : this.#begin(event.track_id);
    if (this.#at < this.#packets || this.#ended || this.#repeats(event)) return { repeated: true };
    this.#tail.push(JSON.stringify(event));
    if (this.#tail.length > TAIL_MOST) this.#tail.shift();
    this.#ended = isTerminal(event);
    return { repeated: false, ...(lost && { lost }) };
  }

  /** Whether an `attached` of `trackId` at `packets` leaves out what comes behind the messages held. */
  skips(trackId: string, packets: number): boolean {
    if (!this.#ours || this.#track === undefined) return false;
    return trackId !== this.#track || (!this.#ended && packets > this.#packets);
  }

  /** Gives the track up: the terminal event that the daemon did not send. */
  lose(): TerminalEvent | undefined {
    const track_id = this.trackId;
    if (track_id === undefined) return undefined;
    this.#ended = true;
    this.#unconfirmed = false;
    return {
      type: "error",
      session_id: this.sessionId,
      track_id,
      code: "track_lost",
      message: "the daemon did not go on with the track after the connection was lost",
      played: Math.round(this.#packets * PACKET_SECONDS * 1000) / 1000,
    };
  }

  #attached(trackId: string, packets: number): EventVerdict {
    const mine = this.#ours && trackId === this.trackId;
    const gap = mine ? Math.max(0, packets - this.#packets) : 0;
    const lost = trackId === this.#track ? undefined : this.#begin(trackId);
    this.#ours = true;
    if (this.#ended) {
      // The end of the track is told again, and perhaps packets before it.
      this.#at = Math.min(packets, this.#packets);
      return { repeated: true };
    }
    if (packets > this.#packets) {
      this.#packets = packets;
      this.#tail = [];
    }
    this.#at = packets;
    return { repeated: false, ...(lost && { lost }), ...(gap > 0 && { gap }) };
  }

  #begin(trackId: string): TerminalEvent | undefined {
    const lost = this.lose();
    this.#track = trackId;
    this.#ended = false;
    this.#packets = 0;
    this.#at = 0;
    this.#tail = [];
    this.#again = undefined;
    return lost;
  }

  /** The daemon repeats the events behind the last packet from the first on, or from the first it still has. */
  #repeats(event: TrackEvent): boolean {
    if (this.#again === undefined) return false;
    const found = this.#tail.indexOf(JSON.stringify(event), this.#again);
    this.#again = found < 0 ? undefined : found + 1;
    return found >= 0;
  }
}
