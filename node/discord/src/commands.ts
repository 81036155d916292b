/** The slash commands: what Discord is told of them, who may use them, and what their options mean. */

import type { RESTPostAPIChatInputApplicationCommandsJSONBody } from "discord.js";
import * as texts from "./texts.ts";
import { parseTime } from "./times.ts";

/** Discord's numbers for the types of options. */
const STRING = 3;
const INTEGER = 4;

/** Discord's number for a server, as where a command can be used and as who can install it. */
const IN_GUILDS = 0;

/** Characters of a link or of words to search for. */
const QUERY_MOST = 2048;

/** Who may: `anyone`, who is in a voice channel that the bot can be in too (`caller`), or who is in the bot's (`listener`). */
export type Access = "anyone" | "caller" | "listener";

/** A command with its options read. */
export type Command =
  | { name: "play"; query: string }
  | { name: "stop" | "pause" | "resume" | "skip" | "previous" }
  | { name: "nowplaying" }
  | { name: "help" }
  | { name: "seek"; position: number }
  | { name: "queue"; page: number }
  | { name: "jump" | "remove"; number: number }
  /** 0 to 2; undefined only asks. */
  | { name: "volume"; volume: number | undefined };

export type CommandName = Command["name"];

type Options = ReadonlyMap<string, unknown>;

interface Entry {
  readonly description: string;
  readonly access: Access;
  readonly options?: RESTPostAPIChatInputApplicationCommandsJSONBody["options"];
  /** A text instead of a command says what is wrong. */
  read(options: Options): Command | string;
}

const NUMBER = { type: INTEGER, name: "number", description: "Its number in /queue", required: true, min_value: 1 };

const TABLE: { readonly [N in CommandName]: Entry } = {
  play: {
    description: "Play a link, or what a search finds; or queue it if something plays",
    access: "caller",
    options: [
      {
        type: STRING,
        name: "what",
        description: "A link, or words to search for",
        required: true,
        max_length: QUERY_MOST,
      },
    ],
    read: (options) => {
      const query = text(options, "what").trim();
      return query === "" ? texts.NOTHING_FOUND : { name: "play", query };
    },
  },
  stop: simple("stop", "Stop, empty the queue and leave", "listener"),
  pause: simple("pause", "Pause", "listener"),
  resume: simple("resume", "Go on after a pause or an interruption", "listener"),
  skip: simple("skip", "Go to the next track", "listener"),
  previous: simple("previous", "Go back to the track before", "listener"),
  seek: {
    description: "Go to a time of the track",
    access: "listener",
    options: [{ type: STRING, name: "to", description: "90, 1:30 or 1:02:03", required: true, max_length: 16 }],
    read: (options) => {
      const position = parseTime(text(options, "to"));
      return position === undefined ? texts.BAD_TIME : { name: "seek", position };
    },
  },
  queue: {
    description: "Show what comes next",
    access: "anyone",
    options: [{ type: INTEGER, name: "page", description: "Which page of it", min_value: 1 }],
    read: (options) => ({ name: "queue", page: number(options, "page") ?? 1 }),
  },
  jump: {
    description: "Go to a track of the queue",
    access: "listener",
    options: [NUMBER],
    read: (options) => ({ name: "jump", number: number(options, "number") ?? 0 }),
  },
  remove: {
    description: "Take a track out of the queue",
    access: "listener",
    options: [NUMBER],
    read: (options) => ({ name: "remove", number: number(options, "number") ?? 0 }),
  },
  nowplaying: simple("nowplaying", "Show what plays", "anyone"),
  volume: {
    description: "Set the volume, or show it",
    access: "listener",
    options: [
      {
        type: INTEGER,
        name: "percent",
        description: "0 to 200; 100 leaves the sound as it is",
        min_value: 0,
        max_value: 200,
      },
    ],
    read: (options) => {
      const percent = number(options, "percent");
      return { name: "volume", volume: percent === undefined ? undefined : Math.min(200, percent) / 100 };
    },
  },
  help: simple("help", "Show what I can do", "anyone"),
};

/** All commands as Discord takes them. They can be used in servers only, and the bot is installed in servers only. */
export const DEFINITIONS: readonly RESTPostAPIChatInputApplicationCommandsJSONBody[] = Object.entries(TABLE).map(
  ([name, { description, options = [] }]) => ({
    name,
    description,
    options,
    contexts: [IN_GUILDS],
    integration_types: [IN_GUILDS],
  }),
);

/** The command of that name; a text says what is wrong. */
export function read(name: string, options: Options): Command | string {
  return isCommandName(name) ? TABLE[name].read(options) : texts.BROKEN;
}

export function accessOf(name: CommandName): Access {
  return TABLE[name].access;
}

function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(TABLE, name);
}

function simple(
  name: "stop" | "pause" | "resume" | "skip" | "previous" | "nowplaying" | "help",
  description: string,
  access: Access,
): Entry {
  return { description, access, read: () => ({ name }) };
}

function text(options: Options, name: string): string {
  const value = options.get(name);
  return typeof value === "string" ? value : "";
}

function number(options: Options, name: string): number | undefined {
  const value = options.get(name);
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : undefined;
}
