/** The shell round one user's session: carries out what `step.ts` decides, between those that take part and the daemon. */

import {
  type AudioPacket,
  AudioServiceError,
  PACKET_SECONDS,
  type SessionEvent,
  type SocketClient,
} from "@audiosvc/client";
import { Audience } from "./audience.ts";
import { type Control, carryOut, isCall } from "./calls.ts";
import { Jobs } from "./jobs.ts";
import { Lane } from "./lane.ts";
import type { List } from "./lookups.ts";
import { type Action, type Notice, sessionIdOf } from "./protocol.ts";
import { indexOf } from "./queue.ts";
import { step } from "./step.ts";
import {
  type Call,
  type Effect,
  NEW_SESSION,
  plays,
  trackOf,
  type UserEvent,
  type UserSession,
} from "./user-session.ts";
import { wordsOf } from "./words.ts";

/** Actions of pages that may wait for the daemon's answers to those before them, a session. */
export const ACTIONS_MOST = 32;

/** Ms until a play that was put off is due. The daemon's `Retry-After` is 1 s, and its events have none. */
export const PUT_OFF_MS = 2000;

/** Statuses of the control API that say that a track cannot be played, and nothing about others. */
const OF_TRACK: readonly number[] = [400, 404, 409, 422];

/** One who takes part: a page's socket. */
export interface Member {
  /** Whether it has so much unread that it takes no packet now. */
  readonly full: boolean;
  notify(session: string, notice: Notice): void;
  packet(channel: number, packet: Buffer): void;
}

/** What the rooms of one gateway share. Times are ms. */
export interface House {
  readonly client: Pick<SocketClient, "credit" | "outstanding" | "progress" | "subscribe" | "unsubscribe">;
  readonly control: Control;
  /** How long a session plays on when nobody takes part any more. */
  readonly grace: number;
  /** How long after a reconnect a track that the daemon took and never told of is believed to be under way. */
  readonly patience: number;
  log(message: string): void;
}

interface Asker {
  member: Member;
  action: string;
}

/** One session, from the first `join` until nobody takes part in it and it is stopped. */
export class Room {
  readonly name: string;
  readonly sessionId: string;
  readonly #house: House;
  readonly #over: (room: Room) => void;
  readonly #lane: Lane;
  readonly #audience = new Audience<Member>();
  readonly #jobs: Jobs;
  #state: UserSession = NEW_SESSION;
  #position = 0;
  #heardOf = false;
  #grace: NodeJS.Timeout | undefined;
  #check: NodeJS.Timeout | undefined;
  #due: NodeJS.Timeout | undefined;

  /** `over` is called once, when the room is to be forgotten. */
  constructor(name: string, house: House, over: (room: Room) => void) {
    this.name = name;
    this.sessionId = sessionIdOf(name);
    this.#house = house;
    this.#over = over;
    this.#jobs = new Jobs((error) => {
      house.log(`${this.sessionId}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    });
    this.#lane = new Lane({
      open: () => this.#audience.hearing?.member.full === false,
      deliver: (packet) => this.#deliver(packet),
      outstanding: () => house.client.outstanding(this.sessionId) ?? 0,
      ask: (packets) => house.client.credit(this.sessionId, packets),
      end: (event) => this.#tell({ on: "daemon", event }),
    });
    // A session that an earlier gateway left playing is known before its packets come.
    this.#do({ do: "look" });
    this.#jobs.add(async () => {
      house.client.subscribe(this.sessionId);
      // Packets come by credit only, even before there is any.
      house.client.credit(this.sessionId, this.#lane.missing);
    });
  }

  /** Packets that wait for credit. */
  get held(): number {
    return this.#lane.held;
  }

  /** `member` takes part, on `channel`; joining again is like leaving and coming back. */
  join(member: Member, channel: number, heard: boolean): void {
    clearTimeout(this.#grace);
    const before = this.#audience.hearing?.member;
    this.#audience.join(member, channel, heard);
    member.notify(this.name, { type: "session", channel, sessionId: this.sessionId });
    this.#turn(before, member);
    member.notify(this.name, this.#stateFor(member));
    member.notify(this.name, this.#queue());
  }

  leave(member: Member): void {
    const before = this.#audience.hearing?.member;
    this.#audience.leave(member);
    this.#turn(before, undefined);
    if (this.#audience.size === 0) {
      const worthless = !plays(this.#state) && this.#state.queue.tracks.length === 0;
      this.#grace = setTimeout(() => this.#jobs.add(() => this.#end()), worthless ? 0 : this.#house.grace);
    }
  }

  /** `member` can take so many more packets; what one says that does not hear does not count. */
  credit(member: Member, packets: number): void {
    if (member === this.#audience.hearing?.member) {
      this.#lane.credit(packets);
    }
  }

  /** `member` takes packets again. */
  drained(member: Member): void {
    if (member === this.#audience.hearing?.member) {
      this.#lane.move();
    }
  }

  /** Does what `member` asks, after what was asked before. */
  act(member: Member, action: Action): void {
    this.#take({ member, action: action.action }, { on: "action", action });
  }

  /** Has the queue take the list that `member` asked for, after what was asked before. */
  add(member: Member, list: List): void {
    this.#take({ member, action: "addList" }, { on: "list", list });
  }

  #take(asker: Asker, event: UserEvent): void {
    if (this.#jobs.waiting >= ACTIONS_MOST) {
      this.#refuse(asker, "busy", "too many actions wait for the daemon");
      return;
    }
    this.#jobs.add(async () => {
      for (const effect of this.#step(event)) {
        if (!isCall(effect)) {
          this.#show(effect, asker);
        } else if (!(await this.#call(effect, asker))) {
          break;
        }
      }
    });
  }

  packet(packet: AudioPacket): void {
    this.#heardOf = true;
    this.#lane.packet(packet);
  }

  event(event: SessionEvent): void {
    this.#heardOf = true;
    switch (event.type) {
      case "finished":
      case "error":
        this.#lane.finish(event);
        return;
      case "ready":
      case "seeked":
      case "stopped":
        this.#lane.flush();
    }
    this.#tell({ on: "daemon", event });
  }

  /** The connection to the daemon is back: see whether it still knows a track that the client has not heard of yet. */
  reconnected(): void {
    clearTimeout(this.#check);
    const trackId = this.#state.current?.trackId;
    if (trackId === undefined || this.#house.client.progress(this.sessionId)?.trackId === trackId) {
      return;
    }
    this.#heardOf = false;
    this.#check = setTimeout(() => {
      if (!this.#heardOf) {
        this.#jobs.add(() => this.#verify(trackId));
      }
    }, this.#house.patience);
  }

  /** Forgets everything without a word to anybody; the session goes on at the daemon. */
  close(): void {
    clearTimeout(this.#grace);
    clearTimeout(this.#check);
    clearTimeout(this.#due);
    this.#jobs.close();
    this.#audience.clear();
  }

  // --- who hears --------------------------------------------------------------------------------------------------

  /** Who heard `before` may do so no more, and another one does. `joined` has its state told by who called. */
  #turn(before: Member | undefined, joined: Member | undefined): void {
    const now = this.#audience.hearing?.member;
    if (now === before && now !== joined) {
      return;
    }
    this.#lane.turn();
    for (const member of new Set([before, now])) {
      if (member !== undefined && member !== joined && this.#audience.has(member)) {
        member.notify(this.name, this.#stateFor(member));
      }
    }
  }

  #deliver(packet: AudioPacket): void {
    if (packet.trackId === this.#state.current?.trackId) {
      this.#position += PACKET_SECONDS;
    }
    const { hearing } = this.#audience;
    hearing?.member.packet(hearing.channel, packet.data);
  }

  async #end(): Promise<void> {
    if (this.#audience.size > 0) {
      return;
    }
    if (plays(this.#state)) {
      await this.#call({ do: "stop" }, undefined);
    }
    if (this.#audience.size === 0) {
      this.close();
      this.#house.client.unsubscribe(this.sessionId);
      this.#over(this);
    }
  }

  // --- effects ----------------------------------------------------------------------------------------------------

  #step(event: UserEvent): readonly Effect[] {
    const [state, effects] = step(this.#state, event);
    this.#state = state;
    return effects;
  }

  /** Something happened that no page waits for. */
  #tell(event: UserEvent, asker?: Asker): void {
    for (const effect of this.#step(event)) {
      if (isCall(effect)) {
        this.#do(effect);
      } else {
        this.#show(effect, asker);
      }
    }
  }

  #do(call: Call): void {
    this.#jobs.add(async () => {
      await this.#call(call, undefined);
    });
  }

  #show(effect: Exclude<Effect, Call>, asker: Asker | undefined): void {
    switch (effect.do) {
      case "putOff":
        clearTimeout(this.#due);
        this.#due = setTimeout(() => this.#tell({ on: "due", ask: effect.ask }), PUT_OFF_MS);
        break;
      case "anchor":
        this.#position = Math.max(0, effect.position - this.#lane.held * PACKET_SECONDS);
        break;
      case "tell":
        this.#notifyAll(() => effect.notice);
        break;
      case "tellState":
        this.#notifyAll((member) => this.#stateFor(member));
        break;
      case "tellQueue":
        this.#notifyAll(() => this.#queue());
        break;
      case "answerQueue":
        this.#answer(asker, this.#queue());
        break;
      case "answer":
        this.#answer(asker, effect.notice);
        break;
      case "refuse":
        this.#refuse(asker, effect.code, effect.message);
    }
  }

  /** Whether the daemon did it. */
  async #call(call: Call, asker: Asker | undefined): Promise<boolean> {
    const { control, log } = this.#house;
    const options = { signal: this.#jobs.signal };
    try {
      if (call.do === "play") {
        await this.#play(call, asker);
      } else if (call.do === "look") {
        this.#tell({ on: "found", snapshot: await control.status(this.sessionId, options) });
      } else {
        await carryOut(control, this.sessionId, call, options);
        if (call.do === "stop" && this.#lane.ending) {
          // The daemon has told all it had to tell of this track.
          this.#lane.flush();
        }
      }
      return true;
    } catch (error) {
      if (this.#jobs.signal.aborted) {
        return false;
      }
      const { code, message } = wordsOf(error);
      if (asker !== undefined) {
        this.#refuse(asker, code, message);
      } else if (code !== "not_found") {
        log(`${this.sessionId}: ${call.do} failed: ${error instanceof Error ? error.message : error}`);
      }
      return false;
    }
  }

  async #play(call: Extract<Call, { do: "play" }>, asker: Asker | undefined): Promise<void> {
    const { ask, url, startAt, volume } = call;
    if (this.#state.asked?.ask !== ask) {
      return;
    }
    try {
      const options = { signal: this.#jobs.signal };
      const play = { url, format: "opus", start_at: startAt, volume } as const;
      const { track_id } = await this.#house.control.play(this.sessionId, play, options);
      this.#tell({ on: "accepted", ask, trackId: track_id });
    } catch (error) {
      if (!this.#jobs.signal.aborted) {
        const ofTrack = error instanceof AudioServiceError && OF_TRACK.includes(error.status ?? 0);
        this.#tell({ on: "refused", ask, ofTrack, ...wordsOf(error) }, asker);
      }
    }
  }

  async #verify(trackId: string): Promise<void> {
    try {
      const snapshot = await this.#house.control.status(this.sessionId, { signal: this.#jobs.signal });
      if (snapshot.track_id === trackId) {
        return;
      }
    } catch (error) {
      if (wordsOf(error).code !== "not_found") {
        return;
      }
    }
    if (!this.#heardOf) {
      this.#tell({ on: "lost", trackId });
    }
  }

  // --- words ------------------------------------------------------------------------------------------------------

  #stateFor(member: Member): Notice {
    const track = trackOf(this.#state);
    return {
      type: "state",
      status: this.#state.status,
      ...(track === undefined ? {} : { track }),
      position: Math.round(this.#position * 1000) / 1000,
      volume: this.#state.volume,
      heard: member === this.#audience.hearing?.member,
    };
  }

  #queue(): Notice {
    const { queue } = this.#state;
    return { type: "queueUpdated", queue: queue.tracks, index: indexOf(queue) };
  }

  #notifyAll(notice: (member: Member) => Notice): void {
    for (const member of this.#audience) {
      member.notify(this.name, notice(member));
    }
  }

  /** Tells who asked, if it still takes part. */
  #answer(asker: Asker | undefined, notice: Notice): void {
    if (asker !== undefined && this.#audience.has(asker.member)) {
      asker.member.notify(this.name, notice);
    }
  }

  #refuse(asker: Asker | undefined, code: string, message: string): void {
    if (asker !== undefined) {
      this.#answer(asker, { type: "error", code, message, action: asker.action });
    }
  }
}
