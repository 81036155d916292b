import { EventEmitter } from "node:events";
import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import type { Channel } from "./channel.ts";
import { Channels } from "./channels.ts";
import { AudioServiceError } from "./errors.ts";
import type { SocketClientEvents } from "./events.ts";
import { encode } from "./lines.ts";
import { type Clock, type ConnectionState, Link, type ReconnectOptions, systemClock } from "./link.ts";
import {
  type HelloEvent,
  type Line,
  type Message,
  NAMES_MOST,
  type SessionEvent,
  type UnknownEvent,
} from "./messages.ts";
import { type SessionOptions, SessionStream } from "./stream.ts";

/** How a {@link SocketClient} connects, and to what. */
export interface SocketClientOptions {
  /** Path of the daemon's Unix socket, or what opens a connection to it. */
  path: string | (() => Duplex);
  /** Who this is, as `name/1.2`; at most 200 characters. */
  clientName?: string;
  /**
   * `named` (default): hear the sessions asked for by `subscribe` and `session`. `all`: hear every session that no other
   * client has named.
   */
  subscriptions?: "named" | "all";
  /** `false`: do not come back. */
  reconnect?: ReconnectOptions | false;
  /** Ms from an attempt to the daemon's greeting; default 5,000. */
  connectTimeout?: number;
  /** Ms after a reconnect in which a track under way must go on, else it ends with `track_lost`; default 5,000. */
  resumeTimeout?: number;
  clock?: Clock;
}

/** What a client has received since it was made. */
export interface ClientStats {
  /** Packets passed on. */
  packets: number;
  /** Bytes of their payloads. */
  bytes: number;
  /** Packets that came again after a reconnect, and were dropped. */
  repeated: number;
  /** Packets that nobody here takes, dropped. */
  unclaimed: number;
  reconnects: number;
}

/** The data side of the daemon: packets and events of many sessions over one Unix socket that is always read. */
export class SocketClient extends EventEmitter<SocketClientEvents> {
  readonly stats: ClientStats = { packets: 0, bytes: 0, repeated: 0, unclaimed: 0, reconnects: 0 };
  readonly #name: string | undefined;
  readonly #hearsAll: boolean;
  readonly #resumeTimeout: number;
  readonly #clock: Clock;
  readonly #link: Link;
  readonly #channels: Channels;
  readonly #strangers = new Set<string>();
  #connections = 0;
  #resumeTimer: unknown;
  /** Whether this connection was made anew because the one before it did not resume. */
  #insisting = false;
  #shutting: Promise<void> | undefined;
  #settle: { resolve(hello: HelloEvent): void; reject(error: AudioServiceError): void; retry: boolean } | undefined;

  constructor(options: SocketClientOptions) {
    super();
    const { path, clientName, clock = systemClock } = options;
    this.#name = clientName;
    encode({ type: "hello", ...(clientName !== undefined && { client: clientName }) });
    this.#hearsAll = options.subscriptions === "all";
    this.#channels = new Channels(this.#hearsAll);
    this.#resumeTimeout = options.resumeTimeout ?? 5_000;
    this.#clock = clock;
    this.#link = new Link(
      {
        open: typeof path === "string" ? () => createConnection({ path }) : path,
        reconnect: options.reconnect ?? {},
        connectTimeout: options.connectTimeout ?? 5_000,
        clock,
      },
      {
        greeting: () => this.#channels.greeting(this.#name, this.#connections > 0),
        connected: (hello) => this.#connected(hello),
        message: (message) => this.#message(message),
        idle: () => this.#payBack(),
        lost: (error, retryIn) => this.#lost(error, retryIn),
      },
    );
  }

  /** Where the connection stands. */
  get state(): ConnectionState {
    return this.#link.state;
  }

  /**
   * Connects, once in the client's life; resolves with the daemon's greeting. The first failure closes the client, unless
   * `retry`: then it tries as long as `reconnect` says. Aborting `signal` before the greeting closes the client.
   */
  async connect(options: { signal?: AbortSignal; retry?: boolean } = {}): Promise<HelloEvent> {
    const { signal, retry = false } = options;
    if (this.state !== "idle") throw new AudioServiceError("already_open", "a client connects once");
    const greeted = new Promise<HelloEvent>((resolve, reject) => {
      this.#settle = { resolve, reject, retry };
    });
    const abort = () => {
      void this.#shut(new AudioServiceError("aborted", "connecting was aborted", { cause: signal?.reason }));
    };
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    else this.#link.start();
    try {
      return await greeted;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Closes for good. Streams end after what they hold. */
  async close(): Promise<void> {
    await this.#shut(new AudioServiceError("closed", "the client was closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Hears `sessionId`, which need not play yet, now and after every reconnect. With `subscriptions: "all"` it only makes the
   * session known. Throws `invalid_session_id`, and `too_many_names` beyond 4,096 sessions.
   */
  subscribe(sessionId: string): void {
    const channel = this.#channels.claim(sessionId);
    if (channel.named) return;
    channel.named = true;
    if (!this.#hearsAll) this.#link.say({ type: "subscribe", session_id: sessionId });
  }

  /**
   * Hears `sessionId` no more and forgets its credit; its stream ends after what it holds. The session itself goes on: to
   * end it is up to `ControlClient.stop`. With `subscriptions: "all"` the session goes on being heard.
   */
  unsubscribe(sessionId: string): void {
    const channel = this.#channels.get(sessionId);
    if (channel === undefined || !channel.named) return;
    channel.named = false;
    channel.stream?.finish();
    channel.stream = undefined;
    if (this.#hearsAll) return;
    channel.forgetCredit();
    this.#link.say({ type: "unsubscribe", session_id: sessionId });
  }

  /**
   * Lets the daemon send up to `packets` more packets of the session, 0 to 500. From the first call on, even with 0, the
   * session is not paced in real time. Credit adds up to at most 500, outlives tracks, and what is not used is given
   * again after a reconnect. Returns the credit outstanding; a session that is not heard gets none, which is 0. Not for a
   * session with a stream, which gives its own.
   */
  credit(sessionId: string, packets: number): number {
    const line: Line = { type: "credit", session_id: sessionId, packets };
    encode(line);
    const channel = this.#hearsAll ? this.#channels.claim(sessionId) : this.#channels.get(sessionId);
    if (channel === undefined || !this.#channels.hears(channel)) return 0;
    const outstanding = channel.grant(packets);
    this.#link.say(line);
    return outstanding;
  }

  /** Credit given for the session and not used yet; undefined while it is paced in real time. */
  outstanding(sessionId: string): number | undefined {
    return this.#channels.get(sessionId)?.outstanding;
  }

  /** Packets of the session's current or last track that were received so far, and the track while it is under way. */
  progress(sessionId: string): { trackId: string | undefined; packets: number } | undefined {
    const ledger = this.#channels.get(sessionId)?.ledger;
    return ledger && { trackId: ledger.trackId, packets: ledger.packets };
  }

  /**
   * The session's packets as a stream whose reading gives the credit. Subscribes, for as long as nobody calls `unsubscribe`.
   *
   * There is one stream a session at a time (`already_open`); one that waits only to be read to its end does not count.
   * A stream for one track (`follow: false`) has to be opened before the play, or in the track's `ready` event: packets
   * that come when there is none are dropped.
   */
  session(sessionId: string, options: SessionOptions = {}): SessionStream {
    if (this.state === "closed") throw new AudioServiceError("closed", "the client is closed");
    const channel = this.#channels.claim(sessionId);
    if (channel.stream !== undefined) {
      throw new AudioServiceError("already_open", "the session has a stream", { sessionId });
    }
    const stream = new SessionStream(
      sessionId,
      {
        credit: (packets) => this.credit(sessionId, packets),
        outstanding: () => channel.outstanding ?? 0,
        gone: () => {
          if (channel.stream === stream) channel.stream = undefined;
        },
      },
      options,
      channel.ledger.trackId,
    );
    channel.stream = stream;
    this.subscribe(sessionId);
    stream.grant();
    return stream;
  }

  // --- the connection -----------------------------------------------------------------------------------------------

  #connected(hello: HelloEvent): void {
    this.#connections += 1;
    if (this.#connections > 1) {
      this.stats.reconnects += 1;
      this.#resumeTimer = this.#clock.setTimeout(() => this.#giveUpLost(), this.#resumeTimeout);
    }
    this.#settle?.resolve(hello);
    this.#settle = undefined;
    this.#tell("connect", hello);
  }

  #lost(error: AudioServiceError, retryIn: number | undefined): void {
    this.#stopResumeTimer();
    // What was to be given back is outstanding, and said again with the rest on the next connection.
    this.#channels.settle();
    const over = retryIn === undefined || this.#settle?.retry === false;
    this.#tell("disconnect", { error, retryIn: over ? undefined : retryIn });
    if (over) void this.#shut(error);
  }

  async #shut(error: AudioServiceError): Promise<void> {
    if (this.#shutting === undefined) {
      this.#stopResumeTimer();
      this.#shutting = this.#link.close();
      this.#settle?.reject(error);
      this.#settle = undefined;
      for (const { stream } of this.#channels) {
        if (error.code === "closed") stream?.finish();
        else stream?.destroy(error);
      }
      this.#channels.clear();
      this.#tell("close");
    }
    await this.#shutting;
  }

  #stopResumeTimer(): void {
    if (this.#resumeTimer !== undefined) this.#clock.clearTimeout(this.#resumeTimer);
    this.#resumeTimer = undefined;
  }

  /** Ends the tracks that were under way when the connection was lost, and of which the daemon says nothing any more. */
  #giveUpLost(): void {
    for (const channel of [...this.#channels]) {
      const lost = channel.ledger.unconfirmed ? channel.ledger.lose() : undefined;
      if (lost !== undefined) this.#pass(channel, lost);
    }
  }

  // --- messages -----------------------------------------------------------------------------------------------------

  #message(message: Message): void {
    if (message.kind === "packet") {
      this.#packet(message.session_id, message.payload);
    } else if (message.kind === "unknown") {
      this.#unknown(message.event);
    } else if (message.event.type === "refused") {
      this.#tell("refused", message.event);
    } else if (message.event.type !== "hello") {
      this.#event(message.event);
    }
  }

  #packet(sessionId: string, data: Buffer): void {
    const channel = this.#channels.get(sessionId);
    if (channel === undefined) {
      this.stats.unclaimed += 1;
      this.#warn(sessionId);
      return;
    }
    channel.spend();
    const verdict = channel.ledger.packet();
    if (verdict === "repeated") {
      this.stats.repeated += 1;
      this.#channels.reclaim(channel);
    } else if (verdict === "stray" || !this.#deliver(channel, verdict, data)) {
      this.stats.unclaimed += 1;
      if (this.#hearsAll && !channel.named) this.#warn(sessionId);
    } else {
      this.stats.packets += 1;
      this.stats.bytes += data.length;
    }
  }

  /** Whether somebody took the packet. */
  #deliver(channel: Channel, number: number, data: Buffer): boolean {
    if (!this.#channels.hears(channel)) return false;
    const { id: sessionId, stream, ledger } = channel;
    if (stream !== undefined) guard(() => stream.deliver(data));
    if (this.listenerCount("audio") === 0) return stream !== undefined;
    this.#tell("audio", { sessionId, trackId: ledger.trackId ?? "", number, data });
    return true;
  }

  #event(event: SessionEvent): void {
    const id = event.session_id;
    const channel = this.#hearsAll ? this.#channels.admit(id) : this.#channels.get(id);
    if (channel === undefined) return;
    if (event.type === "attached") {
      const skips = channel.ledger.skips(event.track_id, event.packets);
      if (skips && this.#connections > 1 && !this.#insisting) {
        // What is held was said too late to be heeded; on another connection the daemon can still go back to it.
        this.#insisting = true;
        this.#link.restart(new AudioServiceError("not_resumed", `the daemon left something of ${id} out`));
        return;
      }
      this.#insisting = false;
    }
    const { repeated, lost, gap } = channel.ledger.event(event);
    if (!this.#channels.hears(channel)) return;
    if (lost !== undefined) this.#pass(channel, lost);
    if (gap !== undefined) this.#tell("gap", { sessionId: id, trackId: event.track_id, packets: gap });
    if (!repeated) this.#pass(channel, event);
  }

  /** Events of a newer daemon. Those of a track come again after a reconnect like any other. */
  #unknown(event: UnknownEvent): void {
    const { session_id, track_id } = event.fields;
    const channel = typeof session_id === "string" ? this.#channels.get(session_id) : undefined;
    if (channel !== undefined && typeof track_id === "string" && track_id === channel.ledger.trackId) {
      if (channel.ledger.event({ ...event.fields, type: event.type, track_id }).repeated) return;
    }
    this.#tell("unknownEvent", event);
  }

  #pass(channel: Channel, event: SessionEvent): void {
    const { stream } = channel;
    if (stream !== undefined) {
      guard(() => stream.notify(event));
      if (stream.ending && channel.stream === stream) channel.stream = undefined;
    }
    this.#tell("event", event);
    if (event.type !== "error") {
      guard(() => (this.emit as (name: string, event: SessionEvent) => boolean).call(this, event.type, event));
    } else if (this.listenerCount("error") > 0) {
      const { code, message, session_id: sessionId, track_id: trackId, played, duration } = event;
      this.#tell("error", new AudioServiceError(code, message, { sessionId, trackId, played, duration }));
    }
  }

  // --- the rest -----------------------------------------------------------------------------------------------------

  #payBack(): void {
    for (const line of this.#channels.settle()) this.#link.say(line);
  }

  #warn(sessionId: string): void {
    if (this.#strangers.has(sessionId) || this.#strangers.size >= NAMES_MOST) return;
    this.#strangers.add(sessionId);
    if (this.listenerCount("unknownPacket") > 0) {
      this.#tell("unknownPacket", { sessionId });
    } else {
      const message = `packets of the session ${sessionId}, which nobody here knows, are dropped`;
      process.emitWarning(message, { code: "AUDIOSVC_UNKNOWN_PACKET" });
    }
  }

  #tell<K extends keyof SocketClientEvents>(name: K, ...args: SocketClientEvents[K]): void {
    guard(() => (this.emit as (name: string, ...args: unknown[]) => boolean).call(this, name, ...args));
  }
}

/** A listener that throws is the process's to deal with; the other sessions' messages are not to suffer. */
function guard(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
