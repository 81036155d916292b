/** A guild's sound: from the session's streams, one a track, into the one audio player. */

import { PACKET_SECONDS, type SessionEvent, type SessionStream, type SocketClient } from "@audiosvc/client";
import {
  type AudioPlayer,
  AudioPlayerStatus,
  createAudioPlayer,
  createAudioResource,
  NoSubscriberBehavior,
  StreamType,
} from "@discordjs/voice";

/** Packets on their way and held: 1 s, which outlasts the hiccups of a busy machine. */
const WINDOW = 50;

/** Packets held before a track begins to sound: 200 ms, so that it does not stumble at once. */
const PREBUFFER = 10;

/** One track's packets, and where in the source they are. */
interface Sound {
  readonly trackId: string;
  readonly stream: SessionStream;
  admitted: boolean;
  /** Position in seconds at which `received` was 0. */
  base: number;
  received: number;
}

/** What an output tells its owner. */
export interface OutputOwner {
  /** Nothing sounds any more, and nothing is about to. */
  silent(): void;
  failed(message: string): void;
}

/**
 * A track begins to sound when it is admitted, has some packets, and the one before it is over to its last packet. The player
 * reads a packet every 20 ms, and that gives the daemon its credit. Where there is none in time the player sends silence,
 * however long it takes: a track ends by its terminal event alone.
 */
export class Output {
  readonly player: AudioPlayer = createAudioPlayer({
    debug: false,
    behaviors: { maxMissedFrames: Number.POSITIVE_INFINITY, noSubscriber: NoSubscriberBehavior.Pause },
  });
  readonly #client: SocketClient;
  readonly #sessionId: string;
  readonly #owner: OutputOwner;
  #sounding: Sound | undefined;
  #waiting: Sound | undefined;
  #held = false;

  constructor(client: SocketClient, sessionId: string, owner: OutputOwner) {
    this.#client = client;
    this.#sessionId = sessionId;
    this.#owner = owner;
    this.player.on("error", (error) => owner.failed(error.message));
    // It cannot be paused before it plays.
    this.player.on(AudioPlayerStatus.Playing, () => {
      if (this.#held) this.player.pause();
    });
    this.player.on(AudioPlayerStatus.Idle, () => {
      this.#sounding = undefined;
      // Not from within the players' common beat, which would then be taken up twice.
      if (this.#waiting !== undefined) setImmediate(() => this.#advance());
      else owner.silent();
    });
  }

  get idle(): boolean {
    return this.#sounding === undefined && this.#waiting === undefined;
  }

  /** Whether the daemon is done with what sounds, but the listeners are not. */
  get tail(): boolean {
    const stream = this.#sounding?.stream;
    return stream?.ending === true && stream.held > 0;
  }

  /** Seconds of the source that are heard now. */
  get position(): number {
    const sound = this.#sounding ?? this.#waiting;
    return sound === undefined ? 0 : Math.max(0, end(sound) - sound.stream.held * PACKET_SECONDS);
  }

  /** Seconds of the source that the packets received of `trackId` go up to, without those that are stale. */
  reached(trackId: string): number {
    const sound = this.#find(trackId);
    return sound === undefined ? 0 : Math.max(0, end(sound));
  }

  /** The session's event, right as it comes: a track's packets follow its `ready`. */
  notify(event: SessionEvent): void {
    if (event.type === "ready") {
      this.#open(event.track_id, event.position);
      return;
    }
    const sound = this.#find(event.track_id);
    if (sound === undefined) return;
    if (event.type === "seeked" || event.type === "recovered" || event.type === "attached") {
      sound.base = event.position;
      sound.received = 0;
    }
    this.#advance();
  }

  /** A packet came. */
  arrived(trackId: string): void {
    const sound = this.#find(trackId);
    if (sound === undefined) return;
    sound.received += 1;
    if (sound === this.#waiting) this.#advance();
  }

  /** Lets the track be heard. */
  admit(trackId: string): void {
    const waiting = this.#waiting;
    if (waiting?.trackId !== trackId) return;
    waiting.admitted = true;
    this.#advance();
  }

  /** Lets the track go unheard. */
  discard(trackId: string): void {
    if (this.#waiting?.trackId !== trackId) return;
    this.#waiting.stream.destroy();
    this.#waiting = undefined;
  }

  pause(): void {
    this.#held = true;
    this.player.pause();
  }

  resume(): void {
    this.#held = false;
    this.player.unpause();
  }

  /** Lets be heard no more of what there is. */
  cut(): void {
    this.#held = false;
    this.#waiting?.stream.destroy();
    this.#waiting = undefined;
    this.player.stop(true);
  }

  #open(trackId: string, position: number): void {
    if (this.#waiting !== undefined) this.discard(this.#waiting.trackId);
    const stream = this.#client.session(this.#sessionId, { follow: false, window: WINDOW });
    const sound: Sound = { trackId, stream, admitted: false, base: position, received: 0 };
    stream.on("flush", ({ dropped }) => {
      sound.received -= dropped;
    });
    stream.on("error", (error) => {
      if (sound !== this.#waiting) return;
      this.#waiting = undefined;
      this.#owner.failed(error.message);
    });
    this.#waiting = sound;
  }

  #find(trackId: string): Sound | undefined {
    return [this.#waiting, this.#sounding].find((sound) => sound?.trackId === trackId);
  }

  #advance(): void {
    const sound = this.#waiting;
    if (sound === undefined || !sound.admitted || this.#sounding !== undefined) return;
    const { stream } = sound;
    if (stream.held < PREBUFFER && !stream.ending) return;
    this.#waiting = undefined;
    if (stream.held === 0) {
      stream.destroy();
      return;
    }
    this.#sounding = sound;
    this.player.play(createAudioResource(stream, { inputType: StreamType.Opus }));
  }
}

function end(sound: Sound): number {
  return sound.base + sound.received * PACKET_SECONDS;
}
