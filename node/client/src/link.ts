import type { Duplex } from "node:stream";
import { Decoder } from "./decoder.ts";
import { AudioServiceError } from "./errors.ts";
import { encode } from "./lines.ts";
import { type HelloEvent, type Line, type Message, PROTOCOL } from "./messages.ts";

const MIN_MS = 20;
const MAX_MS = 5_000;

/** Time and chance, for tests. */
export interface Clock {
  setTimeout(call: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** 0 up to 1. */
  random(): number;
}

/** Node's own. */
export const systemClock: Clock = {
  setTimeout: (call, ms) => setTimeout(call, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  random: Math.random,
};

/**
 * How to come back. Delays are in ms: `min`, doubled at every failure in a row up to `max`, each shortened by up to half at
 * random. A connection counts as a failure until something came on it beside the daemon's greeting, or it lasted for `max`.
 */
export interface ReconnectOptions {
  /** Default 20. */
  min?: number;
  /** Default 5,000. */
  max?: number;
  /** Failures in a row after which the client gives up; default is never. */
  attempts?: number;
}

/** Where a connection stands; `waiting` is between two attempts. */
export type ConnectionState = "idle" | "connecting" | "connected" | "waiting" | "closed";

export interface LinkOptions {
  open(): Duplex;
  reconnect: ReconnectOptions | false;
  connectTimeout: number;
  clock: Clock;
}

/** What a link tells its owner. */
export interface LinkOwner {
  /** What to say first on a new connection. */
  greeting(): Line[];
  connected(hello: HelloEvent): void;
  message(message: Message): void;
  /** All messages of one read were given. */
  idle(): void;
  /** `retryIn` is in ms; undefined is the end of the link. */
  lost(error: AudioServiceError, retryIn: number | undefined): void;
}

/** One connection to the daemon at a time, and another after it is lost. Always reads what comes. */
export class Link {
  readonly #options: LinkOptions;
  readonly #owner: LinkOwner;
  #state: ConnectionState = "idle";
  #socket: Duplex | undefined;
  #timer: unknown;
  #failures = 0;

  constructor(options: LinkOptions, owner: LinkOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Begins a connection. */
  start(): void {
    const { open, connectTimeout, clock } = this.#options;
    this.#state = "connecting";
    let socket: Duplex;
    try {
      socket = open();
    } catch (error) {
      this.#fail(new AudioServiceError("connect_failed", "no connection could be opened", { cause: error }));
      return;
    }
    this.#socket = socket;
    const decoder = new Decoder();
    socket.on("data", (bytes: Buffer) => this.#read(socket, decoder, bytes));
    socket.on("error", (error) => {
      const code = this.#state === "connecting" ? "connect_failed" : "disconnected";
      this.#end(socket, new AudioServiceError(code, error.message, { cause: error }));
    });
    const closed = () => this.#end(socket, new AudioServiceError("disconnected", "the daemon closed the connection"));
    socket.on("end", closed);
    socket.on("close", closed);
    this.#timer = clock.setTimeout(() => {
      const seconds = connectTimeout / 1000;
      this.#end(socket, new AudioServiceError("connect_timeout", `no greeting of the daemon in ${seconds} s`));
    }, connectTimeout);
    // In one piece and at once: a daemon waits 50 ms for a client to say who it is.
    socket.write(Buffer.concat(this.#owner.greeting().map(encode)));
  }

  /** Says `line`, if there is a connection; a new connection begins with the owner's greeting instead. */
  say(line: Line): void {
    this.#socket?.write(encode(line));
  }

  /** Lets the connection go and begins another. */
  restart(error: AudioServiceError): void {
    if (this.#socket !== undefined) this.#end(this.#socket, error);
  }

  /** Ends for good, without a word to the owner; resolves when the socket is closed. */
  async close(): Promise<void> {
    const socket = this.#socket;
    this.#state = "closed";
    this.#socket = undefined;
    this.#stopTimer();
    if (socket === undefined || socket.closed) return;
    await new Promise<void>((resolve) => {
      socket.once("close", () => resolve());
      socket.destroy();
    });
  }

  #read(socket: Duplex, decoder: Decoder, bytes: Buffer): void {
    for (const message of decoder.feed(bytes)) {
      if (socket !== this.#socket) return;
      this.#take(socket, message);
    }
    if (decoder.fault !== undefined) this.#end(socket, decoder.fault);
    if (socket === this.#socket) this.#owner.idle();
  }

  #take(socket: Duplex, message: Message): void {
    if (message.kind !== "event" || message.event.type !== "hello") {
      if (message.kind !== "event" || message.event.type !== "refused") this.#proven();
      this.#owner.message(message);
      return;
    }
    const hello = message.event;
    if (hello.protocol !== PROTOCOL) {
      const text = `the daemon speaks protocol ${hello.protocol}, this client ${PROTOCOL}`;
      this.#end(socket, new AudioServiceError("protocol_mismatch", text));
    } else if (this.#state === "connecting") {
      this.#stopTimer();
      this.#state = "connected";
      const { reconnect, clock } = this.#options;
      if (reconnect !== false) this.#timer = clock.setTimeout(() => this.#proven(), reconnect.max ?? MAX_MS);
      this.#owner.connected(hello);
    }
  }

  /** The connection is a good one. */
  #proven(): void {
    this.#failures = 0;
    this.#stopTimer();
  }

  #end(socket: Duplex, error: AudioServiceError): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    this.#stopTimer();
    socket.destroy();
    this.#fail(error);
  }

  #fail(error: AudioServiceError): void {
    const { reconnect, clock } = this.#options;
    this.#failures += 1;
    if (reconnect === false || this.#failures > (reconnect.attempts ?? Number.POSITIVE_INFINITY)) {
      this.#state = "closed";
      this.#owner.lost(error, undefined);
      return;
    }
    const { min = MIN_MS, max = MAX_MS } = reconnect;
    const longest = Math.min(max, min * 2 ** Math.min(this.#failures - 1, 30));
    const retryIn = Math.round(longest * (1 - clock.random() / 2));
    this.#state = "waiting";
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      this.start();
    }, retryIn);
    this.#owner.lost(error, retryIn);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
