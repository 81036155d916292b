/** A guild's voice connection, which comes back by itself as long as there is hope. */

import {
  type AudioPlayer,
  joinVoiceChannel,
  type VoiceConnection,
  VoiceConnectionDisconnectReason,
  type VoiceConnectionState,
  VoiceConnectionStatus,
  VoiceUDPSocket,
} from "@discordjs/voice";
import type { VoiceBasedChannel } from "discord.js";

/** Ms for one attempt to connect. */
const CONNECT_MS = 15_000;

/** Ms in which Discord says where to connect to, if the bot was moved and not thrown out. */
const MOVED_MS = 5_000;

/** Ms before a new attempt, times the attempts so far. */
const REJOIN_MS = 1_000;

/** Attempts in a row. */
const REJOINS_MOST = 5;

/** Close code: the bot was disconnected or moved, or the channel is gone. */
const DISCONNECTED = 4014;

// The library sends a keep-alive one turn after it opened a UDP socket, even if that is closed by then, and what this throws
// would end the process. To leave, or to be sent to another voice server, right while connecting is enough for it.
const { send } = VoiceUDPSocket.prototype;
VoiceUDPSocket.prototype.send = function (buffer: Buffer): void {
  try {
    send.call(this, buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SOCKET_DGRAM_NOT_RUNNING") throw error;
  }
};

/** What a voice tells its owner. */
export interface VoiceOwner {
  /** It is over, for good. */
  lost(): void;
  log(message: string): void;
}

export class Voice {
  readonly #connection: VoiceConnection;
  readonly #owner: VoiceOwner;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  /** Joins, deafened: the bot needs to hear nobody. */
  constructor(channel: VoiceBasedChannel, player: AudioPlayer, owner: VoiceOwner) {
    this.#owner = owner;
    this.#connection = joinVoiceChannel({
      guildId: channel.guild.id,
      channelId: channel.id,
      adapterCreator: channel.guild.voiceAdapterCreator,
      selfDeaf: true,
    });
    this.#connection.on("error", (error) => owner.log(`voice: ${error.message}`));
    this.#connection.on("stateChange", (before, now) => {
      if (before.status !== now.status) owner.log(`voice is ${now.status}`);
      this.#watch(now);
    });
    this.#connection.subscribe(player);
    this.#watch(this.#connection.state);
  }

  /** The channel it is in, or on its way to. */
  get channelId(): string | undefined {
    return this.#connection.joinConfig.channelId ?? undefined;
  }

  move(channel: VoiceBasedChannel): void {
    this.#connection.rejoin({ ...this.#connection.joinConfig, channelId: channel.id });
  }

  leave(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#connection.state.status !== VoiceConnectionStatus.Destroyed) this.#connection.destroy();
  }

  #watch(state: VoiceConnectionState): void {
    if (this.#over) return;
    clearTimeout(this.#timer);
    const hopeless = this.#connection.rejoinAttempts > REJOINS_MOST;
    if (state.status === VoiceConnectionStatus.Ready) return;
    // Not at once: the connection is in the midst of changing its state.
    if (state.status === VoiceConnectionStatus.Destroyed || hopeless) this.#later(0, () => this.#lose());
    else if (state.status !== VoiceConnectionStatus.Disconnected) this.#later(CONNECT_MS, () => this.#rejoin());
    else if (state.reason === VoiceConnectionDisconnectReason.WebSocketClose && state.closeCode === DISCONNECTED)
      this.#later(MOVED_MS, () => this.#lose());
    else this.#later(REJOIN_MS * (this.#connection.rejoinAttempts + 1), () => this.#rejoin());
  }

  #rejoin(): void {
    this.#connection.rejoin();
  }

  #lose(): void {
    this.leave();
    this.#owner.lost();
  }

  #later(ms: number, call: () => void): void {
    this.#timer = setTimeout(call, ms);
  }
}
