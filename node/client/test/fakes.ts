/** A daemon in memory that does what the test says, and a clock that stands still. */

import { type Duplex, duplexPair } from "node:stream";
import type { TestContext } from "node:test";
import {
  type Clock,
  type Line,
  PROTOCOL,
  type SessionEvent,
  SocketClient,
  type SocketClientOptions,
  type WireEvent,
} from "../dist/index.js";

/** Lets everything that is under way in memory come to rest. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class FakeClock implements Clock {
  now = 0;
  /** What `random` answers. */
  chance = 0;
  #timers = new Map<object, { at: number; call: () => void }>();

  setTimeout(call: () => void, ms: number): unknown {
    const timer = {};
    this.#timers.set(timer, { at: this.now + ms, call });
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as object);
  }

  random(): number {
    return this.chance;
  }

  get pending(): number {
    return this.#timers.size;
  }

  async advance(ms: number): Promise<void> {
    const until = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      const [timer, { at, call }] = due;
      this.#timers.delete(timer);
      this.now = at;
      call();
      await settle();
    }
    this.now = until;
    await settle();
  }
}

export function packetBytes(sessionId: string, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(40, " ");
  head.writeUInt32BE(36 + payload.length, 0);
  head.write(sessionId, 4, "latin1");
  return Buffer.concat([head, payload]);
}

/** One connection, from the daemon's side. */
export class FakeConnection {
  readonly lines: Line[] = [];
  readonly socket: Duplex;
  closed = false;

  constructor(socket: Duplex) {
    this.socket = socket;
    let rest = "";
    socket.on("data", (bytes: Buffer) => {
      const parts = (rest + bytes.toString()).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) this.lines.push(JSON.parse(part));
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
  }

  greet(protocol: number = PROTOCOL): void {
    this.say({ type: "hello", protocol, features: ["subscribe", "credit", "resume"], server: "fake/1" });
  }

  say(...events: (WireEvent | Record<string, unknown>)[]): void {
    for (const event of events) this.socket.write(`${JSON.stringify(event)}\n`);
  }

  /** Sends packets whose payloads are the texts. */
  send(sessionId: string, ...texts: string[]): void {
    for (const text of texts) this.socket.write(packetBytes(sessionId, Buffer.from(text)));
  }

  /** Credit lines of a session, added up. */
  credit(sessionId: string): number {
    const grants = this.lines.map((line) =>
      line.type === "credit" && line.session_id === sessionId ? line.packets : 0,
    );
    return grants.reduce((sum, packets) => sum + packets, 0);
  }

  drop(): void {
    this.socket.end();
  }
}

/** Opens connections for a client; `greets` says whether it does so by itself. */
export class FakeDaemon {
  readonly connections: FakeConnection[] = [];
  greets = true;
  /** Connections to refuse before the next is taken. */
  refuses = 0;

  readonly open = (): Duplex => {
    if (this.refuses > 0) {
      this.refuses -= 1;
      throw new Error("refused");
    }
    const [near, far] = duplexPair();
    const connection = new FakeConnection(far);
    this.connections.push(connection);
    if (this.greets) connection.greet();
    return near;
  };

  /** The connection of now. */
  get connection(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error("nobody has connected");
    return last;
  }
}

const of = (session_id: string, track_id: string) => ({ session_id, track_id });

/** Events with what matters for a test. */
export const events = {
  ready: (s: string, t: string): SessionEvent => ({
    type: "ready",
    ...of(s, t),
    url: "u",
    format: "opus",
    position: 0,
  }),
  paused: (s: string, t: string): SessionEvent => ({ type: "paused", ...of(s, t), position: 0 }),
  resumed: (s: string, t: string): SessionEvent => ({ type: "resumed", ...of(s, t), position: 0 }),
  recovered: (s: string, t: string): SessionEvent => ({ type: "recovered", ...of(s, t), position: 0 }),
  metadata: (s: string, t: string): SessionEvent => ({ type: "metadata", ...of(s, t), title: "x" }),
  seeked: (s: string, t: string): SessionEvent => ({ type: "seeked", ...of(s, t), position: 9, previous: 1 }),
  detached: (s: string, t: string): SessionEvent => ({ type: "detached", ...of(s, t) }),
  finished: (s: string, t: string): SessionEvent => ({ type: "finished", ...of(s, t), played: 1 }),
  stopped: (s: string, t: string): SessionEvent => ({ type: "stopped", ...of(s, t), reason: "stop", played: 1 }),
  error: (s: string, t: string): SessionEvent => ({
    type: "error",
    ...of(s, t),
    code: "not_audio",
    message: "m",
    played: 0,
  }),
  attached: (s: string, t: string, packets: number): SessionEvent => ({
    type: "attached",
    ...of(s, t),
    status: "streaming",
    position: 0,
    packets,
  }),
};

interface Opened {
  daemon: FakeDaemon;
  clock: FakeClock;
  client: SocketClient;
  heard: string[];
}

/** A client of a fake daemon, and what it emits of packets and session events. */
export function open(t: TestContext, options: Partial<SocketClientOptions> = {}): Opened {
  const daemon = new FakeDaemon();
  const clock = new FakeClock();
  const client = new SocketClient({ path: daemon.open, clock, ...options });
  t.after(() => client.close());
  const heard: string[] = [];
  client.on("audio", ({ sessionId, number, data }) => heard.push(`${sessionId} ${number} ${data}`));
  client.on("event", (event) => heard.push(`${event.session_id} ${event.type}`));
  return { daemon, clock, client, heard };
}
