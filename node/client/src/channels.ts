import { Channel } from "./channel.ts";
import { AudioServiceError } from "./errors.ts";
import { greet } from "./lines.ts";
import { type Held, isSessionId, type Line, NAMES_MOST } from "./messages.ts";

/** What a client that has not named anything yet subscribes to and lets go of, so as not to hear all. */
const NOBODY = "-";

/** The sessions that a client keeps, and what it says of them all. */
export class Channels {
  readonly #hearsAll: boolean;
  readonly #channels = new Map<string, Channel>();
  readonly #indebted = new Set<Channel>();

  /** `hearsAll`: sessions are heard whether they are named or not. */
  constructor(hearsAll: boolean) {
    this.#hearsAll = hearsAll;
  }

  [Symbol.iterator](): Iterator<Channel> {
    return this.#channels.values();
  }

  get(sessionId: string): Channel | undefined {
    return this.#channels.get(sessionId);
  }

  hears(channel: Channel): boolean {
    return channel.named || this.#hearsAll;
  }

  /**
   * The session's channel, a new one if need be. Where there are too many, that takes the place of one that nobody asked
   * for and that plays nothing; undefined if there is none. Throws `invalid_session_id`.
   */
  admit(sessionId: string): Channel | undefined {
    const known = this.#channels.get(sessionId);
    if (known !== undefined) return known;
    if (!isSessionId(sessionId)) {
      throw new AudioServiceError("invalid_session_id", `not a session id: ${JSON.stringify(sessionId)}`);
    }
    if (this.#channels.size >= NAMES_MOST) {
      const idle = [...this].find(({ named, ledger }) => !named && ledger.trackId === undefined);
      if (idle === undefined) return undefined;
      this.#channels.delete(idle.id);
    }
    const channel = new Channel(sessionId);
    this.#channels.set(sessionId, channel);
    return channel;
  }

  /** As `admit`, but throws `too_many_names` where there is no place. */
  claim(sessionId: string): Channel {
    const channel = this.admit(sessionId);
    if (channel === undefined) throw new AudioServiceError("too_many_names", `a client hears ${NAMES_MOST} sessions`);
    return channel;
  }

  clear(): void {
    this.#channels.clear();
  }

  /**
   * What a client called `name` says first on a connection; `again`: another one was there before it. Sessions that are
   * not heard any more are forgotten.
   */
  greeting(name: string | undefined, again: boolean): Line[] {
    const held = new Map<string, Held>();
    const lines: Line[] = [];
    for (const channel of this) {
      const { id, ledger, outstanding } = channel;
      if (!this.hears(channel)) {
        this.#channels.delete(id);
        continue;
      }
      const holds = again ? ledger.reconnect() : undefined;
      if (holds !== undefined) held.set(id, holds);
      if (!this.#hearsAll) lines.push({ type: "subscribe", session_id: id });
      if (outstanding !== undefined) lines.push({ type: "credit", session_id: id, packets: outstanding });
    }
    if (!this.#hearsAll && lines.length === 0) {
      lines.push({ type: "subscribe", session_id: NOBODY }, { type: "unsubscribe", session_id: NOBODY });
    }
    return [...greet(name, held), ...lines];
  }

  /** A packet of the session came again: its credit, if there was any, is to be given back. */
  reclaim(channel: Channel): void {
    if (channel.reclaim()) this.#indebted.add(channel);
  }

  /** Gives back what repeated packets have used up: the lines to say on the connection that they came on. */
  settle(): Line[] {
    const lines: Line[] = [];
    for (const channel of this.#indebted) {
      const packets = channel.settle();
      // Heard no more since: even a credit of 0 would end its pacing in real time.
      if (packets > 0) lines.push({ type: "credit", session_id: channel.id, packets });
    }
    this.#indebted.clear();
    return lines;
  }
}
