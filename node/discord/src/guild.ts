/** One guild: carries out what its room decides, one thing after the other. */

import { AudioServiceError, type ControlClient, type SessionEvent, type SocketClient } from "@audiosvc/client";
import type { VoiceBasedChannel } from "discord.js";
import { Output } from "./output.ts";
import { type Effect, NEW_ROOM, type Order, type Room, type RoomEvent, step } from "./room.ts";
import * as texts from "./texts.ts";
import { Voice } from "./voice.ts";

/** Orders that may wait for their turn. */
const BACKLOG_MOST = 16;

/** Ms until the daemon is asked again for a track that it had no room to look up. Its `Retry-After` is 1 s, and its events have none. */
export const PUT_OFF_MS = 2_000;

/** What a guild needs of the bot. */
export interface GuildServices {
  readonly client: SocketClient;
  readonly control: ControlClient;
  /** Ms to stay where nobody listens, and when nothing plays. */
  readonly aloneMs: number;
  readonly idleMs: number;
  /** People in that channel, who are not bots. */
  listeners(guildId: string, channelId: string): number;
  /** Tells the guild of something that nobody asked for. */
  announce(guildId: string, text: string): void;
  log(message: string): void;
  /** The bot is out of the channel, and nothing waits. */
  gone(guildId: string): void;
}

/** What an event led to: words for who asked, and failures. */
interface Said {
  readonly replies: string[];
  readonly failures: string[];
}

/** The daemon's session has the guild's id, so no guild can reach another's. */
export class Guild {
  readonly id: string;
  readonly #services: GuildServices;
  readonly #output: Output;
  #room: Room = NEW_ROOM;
  #voice: Voice | undefined;
  #turn: Promise<void> = Promise.resolve();
  #backlog = 0;
  #due: NodeJS.Timeout | undefined;
  #leaving: { why: string; timer: NodeJS.Timeout } | undefined;

  constructor(id: string, services: GuildServices) {
    this.id = id;
    this.#services = services;
    this.#output = new Output(services.client, id, {
      silent: () => this.#consider(),
      failed: (message) => this.#log(`the player failed: ${message}`),
    });
  }

  get room(): Room {
    return this.#room;
  }

  /** The voice channel it is in, or on its way to. */
  get channelId(): string | undefined {
    return this.#voice?.channelId;
  }

  /** Seconds of the track that are heard now. */
  get position(): number {
    return this.#output.position;
  }

  /** Whether what sounds is over for the daemon. */
  get tail(): boolean {
    return this.#output.tail;
  }

  /** Does what is asked for, after what was asked for before; resolves with the answer. */
  async order(order: Order): Promise<string> {
    return await this.#answer(async () => await this.#step(order));
  }

  /** Goes to `channel`, if it is not there, and does what is asked for. */
  async orderIn(channel: VoiceBasedChannel, order: Order): Promise<string> {
    return await this.#answer(async () => {
      this.#enter(channel);
      return await this.#step(order);
    });
  }

  /** The session's event, as it comes. */
  heard(event: SessionEvent): void {
    this.#output.notify(event);
    const reached = this.#output.reached(event.track_id);
    if (event.type === "detached") this.#log("another client of the daemon took the session");
    if (event.type === "recovered") this.#log(`the source failed and was opened again at ${event.position} s`);
    if (event.type === "error") this.#log(`the daemon says ${event.code}: ${event.message}`);
    void this.#happened({ on: "daemon", event, reached });
  }

  /** A packet of the session came. */
  arrived(trackId: string): void {
    this.#output.arrived(trackId);
  }

  /** The connection to the daemon is there again. */
  connected(): void {
    void this.#happened({ on: "connected" });
  }

  /** Somebody came, went or moved. */
  peopleMoved(): void {
    this.#consider();
  }

  /** Stops and leaves the channel; resolves when the daemon knows. */
  async leave(): Promise<void> {
    await this.#happened({ on: "leave" });
  }

  // --- one thing after the other ---------------------------------------------------------------------------------------

  async #answer(work: () => Promise<Said>): Promise<string> {
    if (this.#backlog >= BACKLOG_MOST) return texts.BUSY;
    let said: Said = { replies: [], failures: [] };
    await this.#enqueue(async () => {
      said = await work();
    });
    return (said.failures.length > 0 ? said.failures : said.replies).join("\n");
  }

  async #happened(event: RoomEvent): Promise<void> {
    try {
      await this.#enqueue(async () => {
        const { failures } = await this.#step(event);
        if (failures.length > 0) this.#services.announce(this.id, failures.join("\n"));
      });
    } catch (error) {
      this.#log(`failed at ${event.on}: ${error instanceof Error ? error.stack : error}`);
    }
  }

  async #enqueue(work: () => Promise<void>): Promise<void> {
    this.#backlog += 1;
    const turn = this.#turn.then(work).finally(() => {
      this.#backlog -= 1;
      this.#consider();
      if (this.#voice === undefined && this.#backlog === 0) this.#services.gone(this.id);
    });
    this.#turn = turn.catch(() => {});
    await turn;
  }

  async #step(event: RoomEvent, said: Said = { replies: [], failures: [] }): Promise<Said> {
    const [room, effects] = step(this.#room, event);
    this.#room = room;
    for (const effect of effects) await this.#perform(effect, said);
    return said;
  }

  async #perform(effect: Effect, said: Said): Promise<void> {
    const { control, client } = this.#services;
    switch (effect.do) {
      case "play":
        await this.#step(await this.#play(effect), said);
        break;
      case "putOff":
        clearTimeout(this.#due);
        this.#due = setTimeout(() => void this.#happened({ on: "due" }), PUT_OFF_MS);
        break;
      case "stop":
        await this.#ask(said, () => control.stop(this.id));
        break;
      case "pause":
        this.#output.pause();
        await this.#ask(said, () => control.pause(this.id));
        break;
      case "resume":
        await this.#ask(said, () => control.resume(this.id));
        this.#output.resume();
        break;
      case "seek":
        await this.#ask(said, () => control.seek(this.id, effect.position), true);
        break;
      case "volume":
        await this.#ask(said, () => control.volume(this.id, effect.volume));
        break;
      case "admit":
        this.#output.admit(effect.trackId);
        break;
      case "discard":
        this.#output.discard(effect.trackId);
        break;
      case "cut":
        this.#output.cut();
        break;
      case "leave":
        clearTimeout(this.#due);
        this.#voice?.leave();
        this.#voice = undefined;
        client.unsubscribe(this.id);
        break;
      case "reply":
        said.replies.push(effect.text);
        break;
      case "tell":
        this.#log(effect.text);
        said.failures.push(effect.text);
        break;
    }
  }

  async #play({ track, volume }: Extract<Effect, { do: "play" }>): Promise<RoomEvent> {
    const { url, startAt } = track;
    try {
      const request = { url, format: "opus", volume, ...(startAt > 0 && { start_at: startAt }) } as const;
      const { track_id } = await this.#services.control.play(this.id, request);
      this.#log(`plays ${track_id}`);
      return { on: "accepted", trackId: track_id };
    } catch (error) {
      if (!(error instanceof AudioServiceError)) throw error;
      return { on: "refused", code: error.code, message: error.message };
    }
  }

  /** Asks the daemon; that the track has just ended matters only where `strict`. */
  async #ask(said: Said, request: () => Promise<unknown>, strict = false): Promise<void> {
    try {
      await request();
    } catch (error) {
      if (!(error instanceof AudioServiceError)) throw error;
      if (error.code === "not_found" && !strict) return;
      this.#log(`the daemon says ${error.code}: ${error.message}`);
      said.failures.push(texts.sorry(error.code, error.message));
    }
  }

  // --- the channel -------------------------------------------------------------------------------------------------------

  #enter(channel: VoiceBasedChannel): void {
    if (this.#voice !== undefined) {
      if (this.#voice.channelId !== channel.id) this.#voice.move(channel);
      return;
    }
    this.#log(`joins channel ${channel.id}`);
    this.#services.client.subscribe(this.id);
    const voice = new Voice(channel, this.#output.player, {
      lost: () => {
        if (this.#voice !== voice) return;
        this.#services.announce(this.id, texts.VOICE_LOST);
        void this.leave().then(() => this.#log("is out, for it lost the channel"));
      },
      log: (message) => this.#log(message),
    });
    this.#voice = voice;
  }

  /** Has the bot leave after a while, if there is a reason to, or not, if there is none any more. */
  #consider(): void {
    const { aloneMs, idleMs } = this.#services;
    const why = this.#reasonToLeave();
    if (why === this.#leaving?.why) return;
    clearTimeout(this.#leaving?.timer);
    this.#leaving = undefined;
    if (why === undefined) return;
    const timer = setTimeout(
      () => {
        this.#log(`leaves, being ${why}`);
        void this.#happened({ on: "leave" });
      },
      why === "alone" ? aloneMs : idleMs,
    );
    this.#leaving = { why, timer };
  }

  #reasonToLeave(): "alone" | "idle" | undefined {
    const channelId = this.channelId;
    if (channelId === undefined) return undefined;
    if (this.#services.listeners(this.id, channelId) === 0) return "alone";
    return this.#room.queue.current === undefined && this.#output.idle ? "idle" : undefined;
  }

  #log(message: string): void {
    this.#services.log(`guild ${this.id}: ${message}`);
  }
}
