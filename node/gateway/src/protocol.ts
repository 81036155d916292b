/** What a page and the gateway say to each other: `PROTOCOL.md` as types, and the strict reading of what a page sends. */

/** Bytes of one text frame of a page. */
export const FRAME_MOST = 4096;

/** Sessions that one socket may take part in; a channel is one byte, and smaller than this. */
export const SESSIONS_MOST = 8;

/** Packets (20 ms each) that a page may have asked for and not got yet, a session: 3 s. */
export const CREDIT_MOST = 150;

/** Packets that one `credit` may grant. */
export const GRANT_MOST = 100;

/** Seconds that a position may be: 30 days, as the daemon has it. */
export const SECONDS_MOST = 2_592_000;

/** Characters of a URL and of a title. With 500 tracks a queue, one `queueUpdated` stays below 2 MiB. */
export const URL_MOST = 2048;
export const TITLE_MOST = 300;

/** Characters of a search, as the daemon has it. */
export const QUERY_MOST = 500;

const NAME = /^[A-Za-z0-9_-]{1,30}$/;

/**
 * Something to play. `duration` is in seconds; `title` is the URL until a better one is known. `live`, known from its `ready` on: it
 * goes on by itself and cannot be sought in; it has no duration then.
 */
export interface Track {
  url: string;
  title: string;
  duration?: number;
  thumbnail?: string;
  uploader?: string;
  live?: true;
}

/** What a session does. `resolving`: asked for, and no packet there yet. */
export type SessionStatus = "idle" | "resolving" | "playing" | "paused";

/** What a page may ask of a session it takes part in. Positions are seconds, indices count from 0. */
export type Action =
  | { action: "play"; url: string }
  | { action: "stop" }
  | { action: "pause" }
  | { action: "resume" }
  | { action: "resumeFrom"; seconds: number }
  | { action: "seek"; seconds: number }
  | { action: "volume"; volume: number }
  | { action: "addToQueue"; url: string; title?: string }
  | { action: "playFromQueue"; index: number }
  | { action: "removeFromQueue"; index: number }
  | { action: "moveInQueue"; index: number; to: number }
  | { action: "skip" }
  | { action: "previous" }
  | { action: "clearQueue" }
  | { action: "getQueue" };

/** What a page may have looked up. `from` is the index of the first track of the list that is wanted. */
export type Lookup =
  | { action: "search"; query: string }
  | { action: "list"; url: string }
  | { action: "addList"; url: string; from: number }
  | { action: "files"; path: string };

/** What a page may ask that is not the session's business alone. */
export type Request =
  | { action: "join"; heard: boolean }
  | { action: "leave" }
  | { action: "credit"; packets: number }
  | Lookup;

/** What lies in a folder of the daemon's: `url` is what plays a file, or lists a folder. `size` is in bytes. */
export interface FileEntry {
  name: string;
  url: string;
  kind: "folder" | "file";
  size?: number;
}

/** One message of a page: what it asks, and of which session. */
export type PageMessage = (Action | Request) & { session: string };

/** Why something was refused or failed. `action` names the message that was refused. */
export interface ErrorNotice {
  type: "error";
  code: string;
  message: string;
  action?: string;
}

/** What the gateway says of a session, before the session's name is put in. */
export type Notice =
  | { type: "session"; channel: number; sessionId: string }
  | {
      type: "state";
      status: SessionStatus;
      track?: Track;
      position: number;
      volume: number;
      heard: boolean;
    }
  | { type: "nowPlaying"; track: Track }
  | { type: "ready"; track: Track; position: number }
  | { type: "metadata"; track: Track }
  | { type: "seeked"; position: number }
  | { type: "paused"; position: number }
  | { type: "resumed"; position: number }
  | { type: "recovered"; position: number }
  | { type: "stopped"; reason: string }
  | { type: "finished"; played: number }
  | { type: "queueUpdated"; queue: readonly Track[]; index: number }
  | { type: "queueFinished" }
  | { type: "searchResults"; query: string; results: Track[] }
  | { type: "listed"; url: string; count: number }
  | { type: "listAdded"; url: string; count: number; left: number }
  | { type: "files"; path: string; entries: readonly FileEntry[] }
  | ErrorNotice;

/** What the gateway says of itself: first on every socket, and when the daemon comes or goes. */
export interface Hello {
  type: "hello";
  version: string;
  daemon: "connected" | "disconnected";
}

/** One message to a page. An error about a message that names no session has none either. */
export type GatewayMessage = Hello | (Notice & { session: string }) | ErrorNotice;

/** A page's message that cannot be taken; `session` and `action` are what could be read of them. */
export class BadMessage extends Error {
  readonly code = "invalid_message";
  readonly session: string | undefined;
  readonly action: string | undefined;

  constructor(message: string, session?: string, action?: string) {
    super(message);
    this.name = "BadMessage";
    this.session = session;
    this.action = action;
  }
}

/** Whether `text` is a session's name: 1 to 30 characters out of `A-Z a-z 0-9 _ -`. */
export function isSessionName(text: string): boolean {
  return NAME.test(text);
}

/** The daemon's id of the session that pages call `name`; at most 35 of its 36 characters. */
export function sessionIdOf(name: string): string {
  return `user:${name}`;
}

/** Reads one text frame of a page. Fields that the action does not have are ignored. Throws {@link BadMessage}. */
export function parseMessage(text: string): PageMessage {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadMessage("a message is one JSON object");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BadMessage("a message is one JSON object");
  }
  const fields = value as Record<string, unknown>;
  const session = typeof fields.session === "string" && isSessionName(fields.session) ? fields.session : undefined;
  const action = typeof fields.action === "string" ? fields.action : undefined;
  // An action's name goes back in the error: only one of a sane length does.
  const named = action !== undefined && action.length <= 40 ? action : undefined;
  if (session === undefined) {
    throw new BadMessage("session must be 1 to 30 characters out of A-Z a-z 0-9 _ -", undefined, named);
  }
  if (action === undefined) {
    throw new BadMessage("action must be a text", session);
  }
  return { session, ...read(action, new Fields(fields, session, action)) };
}

function read(action: string, fields: Fields): Action | Request {
  switch (action) {
    case "join":
      return { action, heard: fields.flag("heard", true) };
    case "credit":
      return { action, packets: fields.whole("packets", 1, GRANT_MOST) };
    case "play":
      return { action, url: fields.text("url", URL_MOST) };
    case "resumeFrom":
    case "seek":
      return { action, seconds: fields.number("seconds", SECONDS_MOST) };
    case "volume":
      return { action, volume: fields.number("volume", 2) };
    case "addToQueue": {
      const url = fields.text("url", URL_MOST);
      return fields.has("title") ? { action, url, title: fields.text("title", TITLE_MOST) } : { action, url };
    }
    case "playFromQueue":
    case "removeFromQueue":
      return { action, index: fields.index("index") };
    case "moveInQueue":
      return { action, index: fields.index("index"), to: fields.index("to") };
    case "search":
      return { action, query: fields.text("query", QUERY_MOST) };
    case "list":
      return { action, url: fields.text("url", URL_MOST) };
    case "addList":
      return {
        action,
        url: fields.text("url", URL_MOST),
        from: fields.has("from") ? fields.index("from") : 0,
      };
    case "files":
      return { action, path: fields.has("path") ? fields.text("path", URL_MOST) : "" };
    case "leave":
    case "stop":
    case "pause":
    case "resume":
    case "skip":
    case "previous":
    case "clearQueue":
    case "getQueue":
      return { action };
    default:
      return fields.fail("there is no such action");
  }
}

/** The fields of one message, read by kind and bound. */
class Fields {
  readonly #fields: Record<string, unknown>;
  readonly #session: string;
  readonly #action: string;

  constructor(fields: Record<string, unknown>, session: string, action: string) {
    this.#fields = fields;
    this.#session = session;
    this.#action = action;
  }

  has(name: string): boolean {
    const value = this.#fields[name];
    return value !== undefined && value !== null;
  }

  flag(name: string, otherwise: boolean): boolean {
    if (!this.has(name)) {
      return otherwise;
    }
    const value = this.#fields[name];
    return typeof value === "boolean" ? value : this.fail(`${name} must be true or false`);
  }

  text(name: string, most: number): string {
    const value = this.#fields[name];
    const fits = typeof value === "string" && value.trim() !== "" && value.length <= most;
    return fits ? value : this.fail(`${name} must be a text of 1 to ${most} characters`);
  }

  /** 0 to `most`. */
  number(name: string, most: number): number {
    const value = this.#fields[name];
    const fits = typeof value === "number" && value >= 0 && value <= most;
    return fits ? value : this.fail(`${name} must be a number from 0 to ${most}`);
  }

  whole(name: string, least: number, most: number): number {
    const value = this.#fields[name];
    const fits = typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
    return fits ? value : this.fail(`${name} must be a whole number from ${least} to ${most}`);
  }

  /** Whether there is something at that index is for the queue to say. */
  index(name: string): number {
    return this.whole(name, 0, Number.MAX_SAFE_INTEGER);
  }

  fail(message: string): never {
    throw new BadMessage(message, this.#session, this.#action.length <= 40 ? this.#action : undefined);
  }
}
