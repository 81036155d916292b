import { EventEmitter } from "node:events";
import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import { AudioServiceError } from "./errors.ts";
import { Ledger } from "./ledger.ts";
import { encode, greet } from "./lines.ts";
import { type Clock, type ConnectionState, Link, type ReconnectOptions, systemClock } from "./link.ts";
import {
  type AttachedEvent,
  CREDIT_MOST,
  type DetachedEvent,
  type ErrorEvent,
  type FinishedEvent,
  type Held,
  type HelloEvent,
  isSessionId,
  type Line,
  type Message,
  type MetadataEvent,
  NAMES_MOST,
  type PausedEvent,
  type ReadyEvent,
  type RecoveredEvent,
  type RefusedEvent,
  type ResumedEvent,
  type SeekedEvent,
  type SessionEvent,
  type StoppedEvent,
  type UnknownEvent,
} from "./messages.ts";
import { type SessionOptions, SessionStream } from "./stream.ts";

/** A name that a client subscribes to and lets go of, so that it hears nothing that it has not named. */
const NOBODY = "-";

/** One packet of a session's track. `data` is a copy of its own; `number` counts the track's packets from 1. */
export interface AudioPacket {
  sessionId: string;
  trackId: string;
  number: number;
  data: Buffer;
}

/** The connection, or an attempt at one, is lost. */
export interface Disconnection {
  error: AudioServiceError;
  /** Ms until the next attempt; undefined when there will be none, and the client is closed. */
  retryIn: number | undefined;
}

/** Packets of a track that will never come: the daemon could not go back to what this client holds. */
export interface Gap {
  sessionId: string;
  trackId: string;
  packets: number;
}

/**
 * What a {@link SocketClient} emits, at once and in the order of the wire: `audio` and the events of a session are in their
 * true order. What comes again after a reconnect is not emitted again.
 */
export interface SocketClientEvents {
  /** A packet of a session that is heard. */
  audio: [AudioPacket];
  /** Every session event, right before the one that is named after its type. */
  event: [SessionEvent];
  ready: [ReadyEvent];
  paused: [PausedEvent];
  resumed: [ResumedEvent];
  seeked: [SeekedEvent];
  recovered: [RecoveredEvent];
  metadata: [MetadataEvent];
  attached: [AttachedEvent];
  detached: [DetachedEvent];
  finished: [FinishedEvent];
  stopped: [StoppedEvent];
  /**
   * A track's terminal `error`, with `code`, `sessionId`, `trackId`, `played` and perhaps `duration`. It is emitted only if
   * somebody listens, so it never throws. The connection's own failures are told by `disconnect`.
   */
  error: [AudioServiceError];
  /** The daemon has greeted: at first, and after each reconnect. */
  connect: [HelloEvent];
  disconnect: [Disconnection];
  gap: [Gap];
  refused: [RefusedEvent];
  /** A packet of a session that nobody here knows, told once a session. Without a listener it is a process warning. */
  unknownPacket: [{ sessionId: string }];
  unknownEvent: [UnknownEvent];
  /** The client is closed, by `close` or because it gave up. */
  close: [];
}

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

/** One session, as the client keeps it. */
interface Channel {
  readonly id: string;
  readonly ledger: Ledger;
  /** Asked for by `subscribe` or `session`. */
  named: boolean;
  stream: SessionStream | undefined;
  /** Credit given and not used yet; undefined while the session is paced in real time. */
  outstanding: number | undefined;
  /** Credit that repeated packets have used up, to be given back. */
  owed: number;
}

/** The data side of the daemon: packets and events of many sessions over one Unix socket that is always read. */
export class SocketClient extends EventEmitter<SocketClientEvents> {
  readonly stats: ClientStats = { packets: 0, bytes: 0, repeated: 0, unclaimed: 0, reconnects: 0 };
  readonly #name: string | undefined;
  readonly #hearsAll: boolean;
  readonly #resumeTimeout: number;
  readonly #clock: Clock;
  readonly #link: Link;
  readonly #channels = new Map<string, Channel>();
  readonly #strangers = new Set<string>();
  readonly #indebted = new Set<Channel>();
  /** All streams that are not destroyed yet, those of past tracks too. */
  readonly #streams = new Set<SessionStream>();
  #connections = 0;
  #resumeTimer: unknown;
  /** Whether this connection was made anew because the one before it did not resume. */
  #insisting = false;
  #settle: { resolve(hello: HelloEvent): void; reject(error: AudioServiceError): void; retry: boolean } | undefined;

  constructor(options: SocketClientOptions) {
    super();
    const { path, clientName, clock = systemClock } = options;
    this.#name = clientName;
    encode({ type: "hello", ...(clientName !== undefined && { client: clientName }) });
    this.#hearsAll = options.subscriptions === "all";
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
        greeting: () => this.#greeting(),
        connected: (hello) => this.#connected(hello),
        message: (message) => this.#message(message),
        idle: () => this.#payBack(),
        lost: (error, retryIn) => this.#lost(error, retryIn),
      },
    );
  }

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
    const aborted = () => {
      const cause: unknown = signal?.reason;
      this.#shut(new AudioServiceError("aborted", "connecting was aborted", { cause }));
    };
    if (signal?.aborted) aborted();
    signal?.addEventListener("abort", aborted, { once: true });
    try {
      return await new Promise<HelloEvent>((resolve, reject) => {
        this.#settle = { resolve, reject, retry };
        if (signal?.aborted) aborted();
        else this.#link.start();
      });
    } finally {
      signal?.removeEventListener("abort", aborted);
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
    const channel = this.#channel(sessionId);
    if (channel.named) return;
    channel.named = true;
    if (!this.#hearsAll) this.#link.say({ type: "subscribe", session_id: sessionId });
  }

  /** Hears `sessionId` no more; its stream is destroyed. The session itself goes on: to end it is up to `ControlClient.stop`. */
  unsubscribe(sessionId: string): void {
    const channel = this.#channels.get(sessionId);
    if (channel === undefined || !channel.named) return;
    channel.named = false;
    channel.stream?.destroy();
    if (!this.#hearsAll) this.#link.say({ type: "unsubscribe", session_id: sessionId });
  }

  /**
   * Lets the daemon send up to `packets` more packets of the session, 0 to 500. From the first call on, even with 0, the
   * session is not paced in real time. Credit adds up to at most 500, outlives tracks, and what is not used is given
   * again after a reconnect. Returns the credit outstanding. Not for a session with a stream, which gives its own.
   */
  credit(sessionId: string, packets: number): number {
    const channel = this.#channel(sessionId);
    const line: Line = { type: "credit", session_id: sessionId, packets };
    encode(line);
    channel.outstanding = Math.min(CREDIT_MOST, (channel.outstanding ?? 0) + packets);
    this.#link.say(line);
    return channel.outstanding;
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
    const channel = this.#channel(sessionId);
    if (channel.stream !== undefined) {
      throw new AudioServiceError("already_open", "the session has a stream", { sessionId });
    }
    const stream = new SessionStream(
      sessionId,
      {
        credit: (packets) => this.credit(sessionId, packets),
        outstanding: () => channel.outstanding ?? 0,
        gone: () => {
          this.#streams.delete(stream);
          if (channel.stream === stream) channel.stream = undefined;
        },
      },
      options,
      channel.ledger.trackId,
    );
    this.#streams.add(stream);
    channel.stream = stream;
    this.subscribe(sessionId);
    stream.grant();
    return stream;
  }

  // --- the connection -----------------------------------------------------------------------------------------------

  #greeting(): Line[] {
    const held = new Map<string, Held>();
    const lines: Line[] = [];
    if (!this.#hearsAll) lines.push({ type: "subscribe", session_id: NOBODY }, { type: "unsubscribe", session_id: NOBODY });
    for (const channel of this.#channels.values()) {
      const { id, ledger } = channel;
      if (!channel.named && !this.#hearsAll) {
        this.#channels.delete(id);
        continue;
      }
      const holds = this.#connections > 0 ? ledger.reconnect() : undefined;
      if (holds !== undefined) held.set(id, holds);
      if (!this.#hearsAll) lines.push({ type: "subscribe", session_id: id });
      if (channel.outstanding !== undefined) {
        lines.push({ type: "credit", session_id: id, packets: channel.outstanding });
      }
    }
    return [...greet(this.#name, held), ...lines];
  }

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
    this.#clock.clearTimeout(this.#resumeTimer);
    this.#resumeTimer = undefined;
    this.#indebted.clear();
    this.#tell("disconnect", { error, retryIn });
    if (retryIn === undefined || (this.#settle !== undefined && !this.#settle.retry)) void this.#shut(error);
  }

  async #shut(error: AudioServiceError): Promise<void> {
    ...
  }
}
