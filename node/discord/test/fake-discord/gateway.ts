/** Discord's REST API and gateway, as far as a bot of slash commands in voice channels notices. */

import { EventEmitter, once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout } from "node:timers/promises";
import {
  GatewayDispatchEvents,
  GatewayOpcodes,
  type GatewaySendPayload,
  InteractionResponseType,
  MessageFlags,
  type RESTPostAPIChatInputApplicationCommandsJSONBody,
} from "discord-api-types/v10";
import { type WebSocket, WebSocketServer } from "ws";

export const APPLICATION_ID = "900";
export const BOT_ID = "901";
const JOINED_AT = "2020-01-01T00:00:00.000000+00:00";
const ANSWER_MS = 10_000;

/** A guild with a text channel and voice channels. */
export interface FakeGuild {
  id: string;
  voiceChannels: string[];
  members: string[];
  /** Of everybody, the bot too. */
  permissions: bigint;
}

/** What the bot answered; `ephemeral`: only who asked can see it. */
export interface Reply {
  content: string;
  ephemeral: boolean;
}

type Option = { name: string; type: number; value: string | number };

/** What Discord would refuse to be asked, or the bot should not have asked for. */
type Asked = { method: string; path: string; body: unknown };

/** What an acknowledgement that is slow takes longer than others. */
const SLOW_MS = 200;

export class FakeGateway extends EventEmitter<{ reply: []; voice: [string, string | null]; ready: [] }> {
  readonly #guilds: readonly FakeGuild[];
  readonly #voiceEndpoint: string;
  readonly #server: Server;
  readonly #voiceStates = new Map<string, Map<string, string>>();
  /** What nobody has looked at yet. */
  readonly #replies: { to: string; reply: Reply }[] = [];
  readonly #ephemeral = new Set<string>();
  #socket: WebSocket | undefined;
  #sequence = 0;
  #interactions = 0;
  /** The command of which the next acknowledgement is slow to arrive. */
  slow: string | undefined;
  readonly #slow = new Set<string>();
  commands: RESTPostAPIChatInputApplicationCommandsJSONBody[] = [];
  intents = 0;

  private constructor(guilds: readonly FakeGuild[], voiceEndpoint: string) {
    super();
    this.#guilds = guilds;
    this.#voiceEndpoint = voiceEndpoint;
    for (const { id } of guilds) this.#voiceStates.set(id, new Map());
    this.#server = createServer((request, response) => void this.#rest(request, response));
    new WebSocketServer({ server: this.#server }).on("connection", (socket) => this.#greet(socket));
  }

  static async start(guilds: readonly FakeGuild[], voiceEndpoint: string): Promise<FakeGateway> {
    const gateway = new FakeGateway(guilds, voiceEndpoint);
    gateway.#server.listen(0, "127.0.0.1");
    await once(gateway.#server, "listening");
    return gateway;
  }

  /** For `DISCORD_API`. */
  get api(): string {
    return `http://127.0.0.1:${this.#port}/api`;
  }

  /** The voice channel the bot is in. */
  botChannel(guildId: string): string | undefined {
    return this.#voiceStates.get(guildId)?.get(BOT_ID);
  }

  /** A member goes to a voice channel, or out of all. */
  move(guildId: string, userId: string, channelId: string | null): void {
    const states = this.#voiceStates.get(guildId);
    if (channelId === null) states?.delete(userId);
    else states?.set(userId, channelId);
    this.#dispatch(GatewayDispatchEvents.VoiceStateUpdate, {
      ...voiceState(userId, channelId),
      guild_id: guildId,
      member: member(userId),
    });
    if (userId === BOT_ID) this.emit("voice", guildId, channelId);
  }

  /** A member uses a slash command; resolves with the bot's answer, which is the edited one if it was deferred. */
  async use(guildId: string, userId: string, name: string, ...options: Option[]): Promise<Reply> {
    this.#interactions += 1;
    const token = this.lastToken;
    const answered = this.answerTo(token);
    if (this.slow === name) {
      this.slow = undefined;
      this.#slow.add(token);
    }
    this.#dispatch(GatewayDispatchEvents.InteractionCreate, {
      id: snowflake(this.#interactions),
      application_id: APPLICATION_ID,
      type: 2,
      token,
      version: 1,
      guild_id: guildId,
      channel_id: `${guildId}0`,
      channel: { id: `${guildId}0`, type: 0 },
      member: { ...member(userId), permissions: "0" },
      data: { id: "1", name, type: 1, options },
      locale: "en-US",
      entitlements: [],
      authorizing_integration_owners: {},
      app_permissions: "0",
      context: 0,
    });
    return await answered;
  }

  /** What the latest interaction is answered under. */
  get lastToken(): string {
    return `token-${this.#interactions}`;
  }

  /** The next answer under that token. */
  async answerTo(token: string): Promise<Reply> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    for (;;) {
      const index = this.#replies.findIndex(({ to }) => to === token);
      const [found] = index < 0 ? [] : this.#replies.splice(index, 1);
      if (found !== undefined) return found.reply;
      await once(this, "reply", { signal });
    }
  }

  async close(): Promise<void> {
    this.#socket?.terminate();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async #rest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.replace(/^\/api\/v10|\?.*$/g, "") ?? "";
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (path.endsWith("/callback") && this.#slow.delete(path.split("/").at(-2) ?? "")) await setTimeout(SLOW_MS);
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
    const answer = this.#answer({ method: request.method ?? "", path, body });
    if (answer === undefined) response.writeHead(204).end();
    else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  #answer({ method, path, body }: Asked): unknown {
    const [, head, ...rest] = path.split("/");
    if (path === "/gateway/bot") {
      const limit = { total: 1000, remaining: 1000, reset_after: 0, max_concurrency: 1 };
      return { url: `ws://127.0.0.1:${this.#port}`, shards: 1, session_start_limit: limit };
    }
    if (method === "PUT" && path === `/applications/${APPLICATION_ID}/commands`) {
      this.commands = body as RESTPostAPIChatInputApplicationCommandsJSONBody[];
      this.emit("ready");
      return [];
    }
    if (head === "interactions") {
      const token = rest[1] ?? "";
      const { type, data } = body as { type: InteractionResponseType; data?: { content?: string; flags?: number } };
      const ephemeral = ((data?.flags ?? 0) & MessageFlags.Ephemeral) !== 0;
      if (ephemeral) this.#ephemeral.add(token);
      if (type === InteractionResponseType.ChannelMessageWithSource) this.#told(token, data?.content);
      return undefined;
    }
    if (head === "webhooks") {
      const { content } = body as { content: string };
      this.#told(rest[1] ?? "", content);
      return { id: snowflake(0), channel_id: "0", content, author: user(BOT_ID), timestamp: JOINED_AT, type: 0 };
    }
    throw new Error(`the bot asked for ${method} ${path}`);
  }

  #told(token: string, content = ""): void {
    this.#replies.push({ to: token, reply: { content, ephemeral: this.#ephemeral.has(token) } });
    this.emit("reply");
  }

  #greet(socket: WebSocket): void {
    this.#socket = socket;
    this.#send(GatewayOpcodes.Hello, { heartbeat_interval: 30_000 });
    socket.on("message", (data) => {
      const message = JSON.parse(String(data)) as GatewaySendPayload;
      if (message.op === GatewayOpcodes.Heartbeat) this.#send(GatewayOpcodes.HeartbeatAck, null);
      else if (message.op === GatewayOpcodes.Identify) this.#identify(message.d.intents);
      else if (message.op === GatewayOpcodes.VoiceStateUpdate) this.#join(message.d.guild_id, message.d.channel_id);
    });
  }

  #identify(intents: number): void {
    this.intents = intents;
    this.#dispatch(GatewayDispatchEvents.Ready, {
      v: 10,
      user: user(BOT_ID),
      guilds: this.#guilds.map(({ id }) => ({ id, unavailable: true })),
      session_id: "gateway-session",
      resume_gateway_url: `ws://127.0.0.1:${this.#port}`,
      application: { id: APPLICATION_ID, flags: 0 },
      shard: [0, 1],
    });
    for (const guild of this.#guilds) {
      const states = [...(this.#voiceStates.get(guild.id) ?? [])];
      this.#dispatch(GatewayDispatchEvents.GuildCreate, {
        id: guild.id,
        name: `Guild ${guild.id}`,
        owner_id: "1",
        roles: [{ id: guild.id, name: "@everyone", permissions: String(guild.permissions), position: 0 }],
        channels: [
          { id: `${guild.id}0`, type: 0, name: "general", position: 0 },
          ...guild.voiceChannels.map((id) => ({ id, type: 2, name: id, position: 1, bitrate: 64_000, user_limit: 0 })),
        ],
        members: [BOT_ID, ...guild.members].map(member),
        voice_states: states.map(([userId, channelId]) => voiceState(userId, channelId)),
        emojis: [],
        stickers: [],
        features: [],
        member_count: guild.members.length + 1,
        preferred_locale: "en-US",
      });
    }
  }

  #join(guildId: string, channelId: string | null): void {
    this.move(guildId, BOT_ID, channelId);
    if (channelId === null) return;
    const server = { token: "voice-token", guild_id: guildId, endpoint: this.#voiceEndpoint };
    this.#dispatch(GatewayDispatchEvents.VoiceServerUpdate, server);
  }

  #dispatch(t: GatewayDispatchEvents, d: unknown): void {
    this.#sequence += 1;
    this.#socket?.send(JSON.stringify({ op: GatewayOpcodes.Dispatch, t, s: this.#sequence, d }));
  }

  #send(op: GatewayOpcodes, d: unknown): void {
    this.#socket?.send(JSON.stringify({ op, d }));
  }
}

/** An id made now, which the bot can tell the age of. */
function snowflake(number: number): string {
  return String((BigInt(Date.now() - 1_420_070_400_000) << 22n) | BigInt(number));
}

function user(id: string): Record<string, unknown> {
  return { id, username: `user${id}`, discriminator: "0", avatar: null, global_name: null, bot: id === BOT_ID };
}

function member(id: string): Record<string, unknown> {
  return { user: user(id), roles: [], joined_at: JOINED_AT, deaf: false, mute: false, flags: 0 };
}

function voiceState(userId: string, channelId: string | null): Record<string, unknown> {
  const plain = { deaf: false, mute: false, self_deaf: false, self_mute: false, self_video: false, suppress: false };
  return {
    user_id: userId,
    channel_id: channelId,
    session_id: `voice-of-${userId}`,
    request_to_speak_timestamp: null,
    ...plain,
  };
}
