/** The bot: Discord on one side, the daemon on the other, and a guild for every voice channel it is in. */

import { AudioServiceError, type ControlClient, type SocketClient } from "@audiosvc/client";
import {
  ChannelType,
  type ChatInputCommandInteraction,
  Client,
  type Guild as DiscordGuild,
  Events,
  GatewayIntentBits,
  type GuildMember,
  type Interaction,
  MessageFlags,
  Options,
  PermissionFlagsBits,
  Routes,
  type VoiceBasedChannel,
} from "discord.js";
import { refusal } from "./access.ts";
import { accessOf, type Command, DEFINITIONS, read } from "./commands.ts";
import type { Config } from "./config.ts";
import { Guild } from "./guild.ts";
import { lookUp } from "./lookup.ts";
import * as texts from "./texts.ts";

type Asking = ChatInputCommandInteraction<"cached">;

/** What the bot needs in a voice channel, and the only permissions it asks for. */
const PERMISSIONS = {
  "View Channel": PermissionFlagsBits.ViewChannel,
  Connect: PermissionFlagsBits.Connect,
  Speak: PermissionFlagsBits.Speak,
} as const;

/** Ms for which Discord lets the bot add to its answer: 15 minutes, less a margin. */
const FOLLOW_UP_MS = 14 * 60_000;

/** Announcements kept for the next answer, when there is no other way to tell them. */
const UNSAID_MOST = 3;

/** Characters of one message. */
const MESSAGE_MOST = 2_000;

/** What somebody asked last in a guild, and what could not be told there. */
interface Conversation {
  last: Asking | undefined;
  unsaid: string[];
  /** Settled once Discord has taken the acknowledgement of every command that has come. */
  acknowledged: Promise<unknown>;
}

/** How a {@link Jukebox} reaches the daemon, and where it writes its log. */
export interface Daemon {
  readonly client: SocketClient;
  readonly control: ControlClient;
}

export class Jukebox {
  readonly #config: Config;
  readonly #daemon: Daemon;
  readonly #log: (message: string) => void;
  readonly #guilds = new Map<string, Guild>();
  readonly #conversations = new Map<string, Conversation>();
  readonly #discord: Client;
  #closing = false;

  constructor(config: Config, daemon: Daemon, log: (message: string) => void) {
    this.#config = config;
    this.#daemon = daemon;
    this.#log = log;
    this.#discord = new Client({
      intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildVoiceStates],
      shards: "auto",
      allowedMentions: { parse: [] },
      makeCache: Options.cacheWithLimits({ ...Options.DefaultMakeCacheSettings, MessageManager: 0 }),
      ...(config.discordApi !== undefined && { rest: { api: config.discordApi } }),
    });
    this.#listen();
  }

  /** Logs in, and tells Discord the commands. */
  async start(): Promise<void> {
    const ready = new Promise<Client<true>>((resolve) => this.#discord.once(Events.ClientReady, resolve));
    await this.#discord.login(this.#config.token);
    const client = await ready;
    const id = this.#config.applicationId ?? client.application.id;
    const { devGuildId } = this.#config;
    const route =
      devGuildId === undefined ? Routes.applicationCommands(id) : Routes.applicationGuildCommands(id, devGuildId);
    await client.rest.put(route, { body: DEFINITIONS });
    this.#log(`logged in as ${client.user.tag}, in ${client.guilds.cache.size} guilds; invite: ${invite(id)}`);
  }

  /** Stops every session, leaves every channel and logs out. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled([...this.#guilds.values()].map((guild) => guild.leave()));
    await this.#discord.destroy();
  }

  #listen(): void {
    const { client } = this.#daemon;
    client.on("audio", ({ sessionId, trackId }) => this.#guilds.get(sessionId)?.arrived(trackId));
    client.on("event", (event) => this.#guilds.get(event.session_id)?.heard(event));
    client.on("connect", () => {
      for (const guild of this.#guilds.values()) guild.connected();
    });
    const discord = this.#discord;
    discord.on(Events.Error, (error) => this.#log(`discord: ${error.message}`));
    discord.on(Events.Warn, (message) => this.#log(`discord: ${message}`));
    discord.on(Events.InteractionCreate, (interaction) => void this.#interaction(interaction));
    discord.on(Events.VoiceStateUpdate, (_, { guild }) => this.#guilds.get(guild.id)?.peopleMoved());
    discord.on(Events.GuildDelete, ({ id }) => {
      this.#conversations.delete(id);
      void this.#guilds.get(id)?.leave();
    });
  }

  // --- what people ask -------------------------------------------------------------------------------------------------

  async #interaction(interaction: Interaction): Promise<void> {
    if (!interaction.isChatInputCommand() || this.#closing) return;
    try {
      await this.#command(interaction);
    } catch (error) {
      this.#log(`/${interaction.commandName} failed: ${error instanceof Error ? error.stack : error}`);
      await apologize(interaction).catch((cause: unknown) => this.#log(`could not even say so: ${cause}`));
    }
  }

  async #command(interaction: ChatInputCommandInteraction): Promise<void> {
    if (!interaction.inCachedGuild()) {
      await whisper(interaction, texts.NOT_IN_GUILD);
      return;
    }
    const command = read(
      interaction.commandName,
      new Map(interaction.options.data.map(({ name, value }) => [name, value])),
    );
    const refused = typeof command === "string" ? command : this.#refusal(command, interaction);
    if (typeof command === "string" || refused !== undefined) {
      await whisper(interaction, refused ?? texts.BROKEN);
    } else if (command.name === "help") {
      await whisper(interaction, texts.help(DEFINITIONS));
    } else {
      const conversation = this.#conversation(interaction.guildId);
      // Those of two commands at once may overtake each other on their way; what is asked is done in the order it came in.
      const before = conversation.acknowledged;
      const acknowledged = interaction.deferReply();
      conversation.acknowledged = Promise.allSettled([before, acknowledged]);
      await before;
      await acknowledged;
      conversation.last = interaction;
      const answer = await this.#answer(command, interaction);
      const unsaid = conversation.unsaid.splice(0);
      await interaction.editReply([...unsaid, answer].join("\n").slice(0, MESSAGE_MOST));
    }
  }

  #refusal(command: Command, interaction: Asking): string | undefined {
    const { guildId, guild, member } = interaction;
    const channel = voiceChannel(member);
    const botChannel = this.#guilds.get(guildId)?.channelId;
    const refused = refusal(accessOf(command.name), {
      callerChannel: channel?.id,
      botChannel,
      listeners: listeners(guild, botChannel),
    });
    if (refused !== undefined || command.name !== "play" || channel === undefined) return refused;
    return channel.id === botChannel ? undefined : unusable(channel);
  }

  async #answer(command: Exclude<Command, { name: "help" }>, interaction: Asking): Promise<string> {
    if (command.name === "play") return await this.#play(command.query, interaction);
    const guild = this.#guilds.get(interaction.guildId);
    if (guild === undefined) return texts.NOTHING_PLAYS;
    const { tail, position, room } = guild;
    switch (command.name) {
      case "queue":
        return texts.queueText(room.queue, command.page);
      case "nowplaying":
        return room.queue.current === undefined
          ? texts.NOTHING_PLAYS
          : texts.nowPlaying(room.queue.current, { position, paused: room.paused, volume: room.volume });
      case "seek":
        return await guild.order({ on: "seek", position: command.position, tail });
      case "jump":
      case "remove":
        return await guild.order({ on: command.name, number: command.number });
      case "volume":
        return await guild.order({ on: "volume", volume: command.volume });
      case "pause":
      case "skip":
        return await guild.order({ on: command.name, tail });
      default:
        return await guild.order({ on: command.name });
    }
  }

  async #play(query: string, interaction: Asking): Promise<string> {
    try {
      const tracks = await lookUp(this.#daemon.control, query, interaction.user.id);
      if (tracks.length === 0) return texts.NOTHING_FOUND;
      // Much may have changed meanwhile.
      const refused = this.#refusal({ name: "play", query }, interaction);
      const channel = voiceChannel(interaction.member);
      if (refused !== undefined || channel === undefined || this.#closing) return refused ?? texts.JOIN_FIRST;
      const guild = this.#guild(interaction.guildId);
      return await guild.orderIn(channel, { on: "play", tracks });
    } catch (error) {
      if (error instanceof AudioServiceError) return texts.sorry(error.code, error.message);
      throw error;
    }
  }

  // --- guilds ------------------------------------------------------------------------------------------------------------

  #guild(id: string): Guild {
    const known = this.#guilds.get(id);
    if (known !== undefined) return known;
    const guild = new Guild(id, {
      ...this.#daemon,
      aloneMs: this.#config.aloneMs,
      idleMs: this.#config.idleMs,
      listeners: (guildId, channelId) => {
        const guild = this.#discord.guilds.cache.get(guildId);
        return guild === undefined ? 0 : listeners(guild, channelId);
      },
      announce: (guildId, text) => void this.#announce(guildId, text),
      log: this.#log,
      gone: (guildId) => this.#guilds.delete(guildId),
    });
    this.#guilds.set(id, guild);
    return guild;
  }

  #conversation(guildId: string): Conversation {
    const known = this.#conversations.get(guildId);
    if (known !== undefined) return known;
    const conversation: Conversation = { last: undefined, unsaid: [], acknowledged: Promise.resolve() };
    this.#conversations.set(guildId, conversation);
    return conversation;
  }

  /** Without the right to write into channels, the bot can only add to an answer, or wait for the next. */
  async #announce(guildId: string, text: string): Promise<void> {
    const conversation = this.#conversations.get(guildId);
    if (conversation === undefined) return;
    const { last } = conversation;
    try {
      if (last === undefined || Date.now() - last.createdTimestamp > FOLLOW_UP_MS) throw new Error("too late");
      await last.followUp(text.slice(0, MESSAGE_MOST));
    } catch {
      conversation.unsaid = [...conversation.unsaid, text].slice(-UNSAID_MOST);
    }
  }
}

/** Where to open to have the bot of this application in a guild, with what it needs and no more. */
export function invite(applicationId: string): string {
  const permissions = Object.values(PERMISSIONS).reduce((all, one) => all | one, 0n);
  const query = new URLSearchParams({
    client_id: applicationId,
    scope: "bot applications.commands",
    permissions: String(permissions),
  });
  return `https://discord.com/oauth2/authorize?${query}`;
}

/** Answers so that only who asked can read it. */
async function whisper(interaction: ChatInputCommandInteraction, content: string): Promise<void> {
  await interaction.reply({ content, flags: MessageFlags.Ephemeral });
}

async function apologize(interaction: ChatInputCommandInteraction): Promise<void> {
  if (interaction.deferred) await interaction.editReply(texts.BROKEN);
  else if (!interaction.replied) await whisper(interaction, texts.BROKEN);
}

function voiceChannel(member: GuildMember): VoiceBasedChannel | undefined {
  return member.voice.channel ?? undefined;
}

/** People in the channel; bots do not listen. */
function listeners(guild: DiscordGuild, channelId: string | undefined): number {
  if (channelId === undefined) return 0;
  const here = guild.voiceStates.cache.filter(
    (state) => state.channelId === channelId && state.id !== guild.client.user.id,
  );
  return here.filter(({ member }) => member?.user.bot !== true).size;
}

/** Why the bot cannot play in that channel; undefined if it can. */
function unusable(channel: VoiceBasedChannel): string | undefined {
  if (channel.type === ChannelType.GuildStageVoice) return texts.NO_STAGE;
  const me = channel.guild.members.me;
  const granted = me === null ? undefined : channel.permissionsFor(me);
  const missing = Object.entries(PERMISSIONS).filter(([, permission]) => granted?.has(permission) === false);
  if (missing.length > 0)
    return texts.lacksPermissions(
      channel.id,
      missing.map(([name]) => name),
    );
  return channel.full && me?.voice.channelId !== channel.id ? texts.CHANNEL_FULL : undefined;
}
