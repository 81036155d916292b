/** The bot's settings, all from the environment. */

import { join } from "node:path";

/** What the bot is to do and with whom. */
export interface Config {
  readonly token: string;
  /** Discord's own says it, if not given. */
  readonly applicationId: string | undefined;
  /** Commands are registered in this guild only, where they show at once. */
  readonly devGuildId: string | undefined;
  /** Another REST base than Discord's. */
  readonly discordApi: string | undefined;
  /** The daemon's control API: `http://HOST:PORT` or `unix:PATH`. */
  readonly api: string;
  /** Path of the daemon's Unix socket. */
  readonly socket: string;
  /** File that holds the control API's token. */
  readonly tokenFile: string | undefined;
  /** Ms to stay where nobody listens. */
  readonly aloneMs: number;
  /** Ms to stay when nothing plays. */
  readonly idleMs: number;
}

/** The settings do not make sense; the message names the variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Seconds that the bot can be told to wait: a day. */
const WAIT_MOST = 86_400;

/** Reads `env`; an empty variable is as good as none. Throws {@link ConfigError}. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const get = (name: string) => env[name]?.trim() || undefined;
  const id = (name: string) => {
    const value = get(name);
    if (value !== undefined && !/^\d{1,20}$/.test(value)) throw new ConfigError(`${name} is an id made of digits`);
    return value;
  };
  const seconds = (name: string, otherwise: number) => {
    const value = Number(get(name) ?? otherwise);
    if (!(value > 0 && value <= WAIT_MOST)) throw new ConfigError(`${name} is seconds, up to ${WAIT_MOST}`);
    return value * 1000;
  };
  const token = get("DISCORD_TOKEN");
  if (token === undefined)
    throw new ConfigError("DISCORD_TOKEN is missing: the bot's token from Discord's developer portal");
  const discordApi = get("DISCORD_API");
  if (discordApi !== undefined && !/^https?:\/\//.test(discordApi)) throw new ConfigError("DISCORD_API is a URL");
  const runtime = get("XDG_RUNTIME_DIR");
  const socket = get("AUDIOSVC_SOCKET") ?? (runtime && join(runtime, "audiosvc", "audio.sock"));
  if (socket === undefined) throw new ConfigError("AUDIOSVC_SOCKET is missing: the path of the daemon's socket");
  return {
    token,
    applicationId: id("DISCORD_APPLICATION_ID"),
    devGuildId: id("DISCORD_GUILD_ID"),
    discordApi,
    api: get("AUDIOSVC_API") ?? "http://127.0.0.1:8180",
    socket,
    tokenFile: get("AUDIOSVC_TOKEN_FILE"),
    aloneMs: seconds("DISCORD_ALONE_SECONDS", 60),
    idleMs: seconds("DISCORD_IDLE_SECONDS", 300),
  };
}
