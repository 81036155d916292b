/** Joins pages' sockets and the daemon's sessions: what a page asks goes to its room, what the daemon sends to the room of its id. */

import type { AudioPacket, ControlClient, SessionEvent, SocketClient } from "@audiosvc/client";
import type { RawData, WebSocket } from "ws";
import { Allowance, CREDIT_COST } from "./allowance.ts";
import { isLookup, Lookups } from "./lookups.ts";
import { PageSocket } from "./page-socket.ts";
import {
  BadMessage,
  type ErrorNotice,
  type Hello,
  type PageMessage,
  parseMessage,
  SESSIONS_MOST,
  sessionIdOf,
} from "./protocol.ts";
import { type House, Room } from "./room.ts";

/** Ms between pings; a socket that has not answered one when the next is due is gone. */
export const HEARTBEAT_MS = 30_000;

/** Sessions of all users together; the daemon lets one connection name 4,096. */
export const ROOMS_MOST = 1000;

/** Close codes of RFC 6455 that are used here. */
const GOING_AWAY = 1001;
const UNSUPPORTED_DATA = 1003;
const POLICY_VIOLATION = 1008;

/** What a handler works with. */
export interface HandlerOptions extends House {
  readonly client: SocketClient;
  readonly control: ControlClient;
  /** Of the gateway, for `hello`. */
  readonly version: string;
}

/** What goes on now, and the bytes that pages have not read yet. */
export interface HandlerVitals {
  daemon: Hello["daemon"];
  sockets: number;
  sessions: number;
  /** Packets that wait for credit. */
  held: number;
  buffered: number;
}

/** Every page's socket and every session's room. */
export class WebSocketHandler {
  readonly #options: HandlerOptions;
  readonly #sockets = new Map<PageSocket, WebSocket>();
  /** By the daemon's session id. */
  readonly #rooms = new Map<string, Room>();
  readonly #heartbeat: NodeJS.Timeout;
  readonly #listeners = {
    audio: (packet: AudioPacket): void => this.#rooms.get(packet.sessionId)?.packet(packet),
    event: (event: SessionEvent): void => this.#rooms.get(event.session_id)?.event(event),
    connect: (): void => this.#daemon(true),
    disconnect: (): void => this.#daemon(false),
  };
  #connected: boolean;

  constructor(options: HandlerOptions) {
    this.#options = options;
    const { client } = options;
    this.#connected = client.state === "connected";
    client.on("audio", this.#listeners.audio);
    client.on("event", this.#listeners.event);
    client.on("connect", this.#listeners.connect);
    client.on("disconnect", this.#listeners.disconnect);
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  /** Open sockets. */
  get sockets(): number {
    return this.#sockets.size;
  }

  vitals(): HandlerVitals {
    return {
      daemon: this.#hello().daemon,
      sockets: this.#sockets.size,
      sessions: this.#rooms.size,
      held: [...this.#rooms.values()].reduce((sum, room) => sum + room.held, 0),
      buffered: [...this.#sockets.keys()].reduce((sum, page) => sum + page.buffered, 0),
    };
  }

  /** Takes over an open socket until it closes. */
  accept(socket: WebSocket): void {
    const page = new PageSocket(socket, () => {
      for (const room of page.rooms.values()) {
        room.drained(page);
      }
    });
    this.#sockets.set(page, socket);
    const allowance = new Allowance(performance.now());
    const lookups = new Lookups(this.#options.control, {
      notify: (session, notice) => page.notify(session, notice),
      add: (session, list) => page.rooms.get(session)?.add(page, list),
    });

    socket.on("message", (data: RawData, isBinary: boolean) => {
      if (socket.readyState !== socket.OPEN) {
        return;
      }
      if (isBinary) {
        socket.close(UNSUPPORTED_DATA, "messages are text");
        return;
      }
      const message = read(page, data);
      const cost = message?.action === "credit" ? CREDIT_COST : 1;
      if (!allowance.take(performance.now(), cost)) {
        socket.close(POLICY_VIOLATION, "too many messages");
        return;
      }
      if (message !== undefined) {
        this.#take(page, message, lookups);
      }
    });
    socket.on("pong", () => {
      page.alive = true;
    });
    // What is wrong with a socket is told by its close; ws wants somebody to listen.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      lookups.close();
      this.#sockets.delete(page);
      for (const room of page.rooms.values()) {
        room.leave(page);
      }
      page.rooms.clear();
    });
    page.send(this.#hello());
  }

  /** Says goodbye to every page. Sessions play on at the daemon, for a gateway that comes back soon. */
  close(): void {
    clearInterval(this.#heartbeat);
    const { client } = this.#options;
    client.off("audio", this.#listeners.audio);
    client.off("event", this.#listeners.event);
    client.off("connect", this.#listeners.connect);
    client.off("disconnect", this.#listeners.disconnect);
    for (const room of this.#rooms.values()) {
      room.close();
    }
    this.#rooms.clear();
    for (const [page, socket] of this.#sockets) {
      page.rooms.clear();
      socket.close(GOING_AWAY, "the gateway is shutting down");
    }
  }

  /** Cuts off the sockets that are still there. */
  terminate(): void {
    for (const socket of this.#sockets.values()) {
      socket.terminate();
    }
  }

  // --- messages of a page -----------------------------------------------------------------------------------------

  #take(page: PageSocket, message: PageMessage, lookups: Lookups): void {
    if (message.action === "join") {
      this.#join(page, message);
      return;
    }
    const room = page.rooms.get(message.session);
    if (room === undefined) {
      refuse(page, message, "not_joined", "this socket takes no part in the session: join it first");
      return;
    }
    if (isLookup(message)) {
      lookups.begin(message);
      return;
    }
    switch (message.action) {
      case "leave":
        page.rooms.delete(message.session);
        page.release(message.session);
        room.leave(page);
        break;
      case "credit":
        room.credit(page, message.packets);
        break;
      default:
        room.act(page, message);
    }
  }

  #join(page: PageSocket, message: PageMessage & { action: "join" }): void {
    const { session, heard } = message;
    if (!page.rooms.has(session) && page.rooms.size >= SESSIONS_MOST) {
      refuse(page, message, "too_many_sessions", `a socket takes part in ${SESSIONS_MOST} sessions at most`);
      return;
    }
    const id = sessionIdOf(session);
    let room = this.#rooms.get(id);
    if (room === undefined) {
      if (this.#rooms.size >= ROOMS_MOST) {
        refuse(page, message, "too_many_sessions", `${ROOMS_MOST} sessions are there already`);
        return;
      }
      room = new Room(session, this.#options, () => this.#rooms.delete(id));
      this.#rooms.set(id, room);
    }
    page.rooms.set(session, room);
    room.join(page, page.channel(session), heard);
  }

  // --- the daemon -------------------------------------------------------------------------------------------------

  #hello(): Hello {
    return { type: "hello", version: this.#options.version, daemon: this.#connected ? "connected" : "disconnected" };
  }

  #daemon(connected: boolean): void {
    if (connected === this.#connected) {
      return;
    }
    this.#connected = connected;
    this.#options.log(connected ? "connected to the daemon" : "the daemon is gone");
    for (const page of this.#sockets.keys()) {
      page.send(this.#hello());
    }
    if (connected) {
      for (const room of this.#rooms.values()) {
        room.reconnected();
      }
    }
  }

  #beat(): void {
    for (const [page, socket] of this.#sockets) {
      if (page.alive) {
        page.alive = false;
        socket.ping();
      } else {
        socket.terminate();
      }
    }
  }
}

function read(page: PageSocket, data: RawData): PageMessage | undefined {
  try {
    return parseMessage(data.toString());
  } catch (error) {
    if (!(error instanceof BadMessage)) {
      throw error;
    }
    const { code, message, session, action } = error;
    const notice: ErrorNotice = { type: "error", code, message, ...(action !== undefined && { action }) };
    page.send(session === undefined ? notice : { ...notice, session });
    return undefined;
  }
}

function refuse(page: PageSocket, { session, action }: PageMessage, code: string, message: string): void {
  page.notify(session, { type: "error", code, message, action });
}
