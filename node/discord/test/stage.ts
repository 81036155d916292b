/** The real bot between the real daemon and a Discord on this machine, and what is heard in its guilds. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ControlClient, SocketClient } from "@audiosvc/client";
import { Daemon, type Program } from "@audiosvc/testing";
import { PermissionFlagsBits } from "discord-api-types/v10";
import type { VoiceEncryptionMode } from "discord-api-types/voice/v8";
import { makeCertificate } from "./fake-discord/certificate.ts";
import { FakeGateway, type FakeGuild, type Reply } from "./fake-discord/gateway.ts";
import { FakeVoice, type Rtp } from "./fake-discord/voice.ts";
import { startBot } from "./programs.ts";

/** Of everybody, the bot too. */
const PERMISSIONS = PermissionFlagsBits.ViewChannel | PermissionFlagsBits.Connect | PermissionFlagsBits.Speak;

/** Samples of a packet, by which RTP counts time. */
const FRAME = 960;

/** A guild, and who is in which of its voice channels. */
export interface Hall {
  id: string;
  /** Voice channel by user. */
  members: Readonly<Record<string, string>>;
  /** Else AES. */
  mode?: VoiceEncryptionMode;
}

export class Stage {
  readonly daemon: Daemon;
  readonly control: ControlClient;
  readonly voice: FakeVoice;
  readonly discord: FakeGateway;
  readonly bot: Program;
  readonly #references = new Map<string, string[]>();

  private constructor(parts: Pick<Stage, "daemon" | "control" | "voice" | "discord" | "bot">) {
    this.daemon = parts.daemon;
    this.control = parts.control;
    this.voice = parts.voice;
    this.discord = parts.discord;
    this.bot = parts.bot;
  }

  /** `env` is more of the bot's. What is begun is ended if the rest fails. */
  static async start(halls: readonly Hall[], env: Readonly<Record<string, string>> = {}): Promise<Stage> {
    const closing: (() => unknown)[] = [];
    try {
      const daemon = await Daemon.start({ unix: true });
      closing.push(() => daemon.stop());
      const control = new ControlClient({ url: daemon.api });
      closing.push(() => control.close());
      const certificate = makeCertificate();
      const authority = join(daemon.folder, "authority.pem");
      writeFileSync(authority, certificate.cert);
      const voice = await FakeVoice.start(certificate);
      closing.push(() => voice.close());
      const discord = await FakeGateway.start(halls.map(guildOf), voice.endpoint);
      closing.push(() => discord.close());
      for (const { id, members, mode } of halls) {
        if (mode !== undefined) voice.modes.set(id, mode);
        for (const [userId, channelId] of Object.entries(members)) discord.move(id, userId, channelId);
      }
      const bot = await startBot({
        DISCORD_TOKEN: "token",
        DISCORD_API: discord.api,
        AUDIOSVC_API: daemon.api,
        AUDIOSVC_SOCKET: daemon.socket,
        NODE_EXTRA_CA_CERTS: authority,
        ...env,
      });
      return new Stage({ daemon, control, voice, discord, bot });
    } catch (error) {
      for (const close of closing.reverse()) await close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.bot.end();
    await this.discord.close();
    await this.voice.close();
    this.control.close();
    await this.daemon.stop();
  }

  /** A member asks for a piece by `/play`. */
  play(guildId: string, userId: string, what: string): Promise<Reply> {
    return this.discord.use(guildId, userId, "play", { name: "what", type: 3, value: what });
  }

  /** All packets of a piece, as the daemon makes them for nobody else. */
  async reference(url: string): Promise<string[]> {
    const known = this.#references.get(url);
    if (known !== undefined) return known;
    const client = new SocketClient({ path: this.daemon.socket });
    await client.connect();
    const stream = client.session("reference", { follow: false, window: 500 });
    await this.control.play("reference", { url });
    const packets: string[] = [];
    for await (const packet of stream) packets.push((packet as Buffer).toString("hex"));
    await client.close();
    this.#references.set(url, packets);
    return packets;
  }

  /** Every packet since the guild was joined last, silence too. */
  packets(guildId: string): Rtp[] {
    return this.voice.line(guildId)?.packets ?? [];
  }

  /** What was heard since the guild was joined last, silence apart. */
  heard(guildId: string): string[] {
    return this.voice.line(guildId)?.sounds ?? [];
  }

  /** Waits until the guild has heard so many packets more than now, or since the bot comes in again; silence apart. */
  async hears(guildId: string, more: number): Promise<void> {
    const now = this.voice.line(guildId);
    const start = this.heard(guildId).length;
    try {
      await this.voice.until(guildId, (line) => line.sounds.length >= more + (line === now ? start : 0));
    } catch (cause) {
      const said = [this.bot, this.daemon.program].map(({ lines }) => lines.slice(-30).join("\n")).join("\n\n");
      const heard = this.heard(guildId).length - start;
      throw new Error(`guild ${guildId} heard ${heard} packets, not ${more}\n${said}`, { cause });
    }
  }

  /** All that the guild has heard since it was joined is the beginning of that piece, in order and whole. */
  async assertHeardOnly(guildId: string, url: string): Promise<void> {
    const all = this.heard(guildId);
    assert.deepEqual(all, (await this.reference(url)).slice(0, all.length));
  }

  /** RTP has counted on by one packet, and its samples, from each packet to the next. */
  assertMarching(guildId: string): void {
    const packets = this.packets(guildId);
    for (const [index, { sequence, timestamp }] of packets.slice(1).entries()) {
      const before = packets[index];
      assert.equal(sequence, ((before?.sequence ?? 0) + 1) % 2 ** 16);
      assert.equal(timestamp, ((before?.timestamp ?? 0) + FRAME) % 2 ** 32);
    }
  }
}

function guildOf({ id, members }: Hall): FakeGuild {
  const voiceChannels = [...new Set(Object.values(members))];
  return { id, voiceChannels, members: Object.keys(members), permissions: PERMISSIONS };
}

/** The gaps between these times (ms), in words. */
export function gaps(times: readonly number[]): string {
  const sorted = times
    .slice(1)
    .map((at, index) => at - (times[index] ?? at))
    .sort((a, b) => a - b);
  return `gap p50 ${sorted.at(sorted.length * 0.5)} p99 ${sorted.at(sorted.length * 0.99)} max ${sorted.at(-1)} ms`;
}
