/** A page for tests: a WebSocket that keeps what it is told, and takes packets by credit as a page does. */

import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import type { GatewayMessage } from "../dist/index.js";

/** Ms after which a test has waited long enough. */
const PATIENCE = 10_000;

/** Packets that a page has outstanding and unread. */
const WINDOW = 25;

type OfType<T extends GatewayMessage["type"]> = Extract<GatewayMessage, { type: T }>;

/** What came, in its order: messages, and packets as `session:hex`. */
export type Arrival = GatewayMessage | { type: "packet"; session: string; data: string };

export class Page {
  readonly socket: WebSocket;
  readonly arrivals: Arrival[] = [];
  /** Whether packets are replaced by new credit as they come. */
  greedy = true;
  readonly #channels = new Map<number, string>();
  readonly #taken = new Map<string, number>();
  readonly #waiting = new Set<() => void>();
  #seen = 0;

  constructor(url: string, options: WebSocket.ClientOptions = {}) {
    this.socket = new WebSocket(`${url.replace("http", "ws")}ws`, options);
    this.socket.on("message", (data, isBinary) => this.#arrived(data as Buffer, isBinary));
    this.socket.on("error", () => undefined);
  }

  static async open(url: string, ...sessions: string[]): Promise<Page> {
    const page = new Page(url);
    await once(page.socket, "open");
    for (const session of sessions) {
      await page.join(session);
    }
    return page;
  }

  say(action: string, session: string, fields: Record<string, unknown> = {}): void {
    this.socket.send(JSON.stringify({ action, session, ...fields }));
  }

  /** Joins, and gives the first credit. */
  async join(session: string, heard = true): Promise<void> {
    this.say("join", session, { heard });
    if (heard) {
      this.say("credit", session, { packets: WINDOW });
    }
    await this.next("queueUpdated", session);
  }

  /** The next message of that type and session that no call before this one has returned, or skipped. */
  async next<T extends GatewayMessage["type"]>(
    type: T,
    session?: string,
    fits: (message: OfType<T>) => boolean = () => true,
  ): Promise<OfType<T>> {
    for (;;) {
      while (this.#seen < this.arrivals.length) {
        const arrival = this.arrivals[this.#seen++];
        const message = arrival as OfType<T>;
        if (arrival?.type === type && (session === undefined || of(arrival) === session) && fits(message)) {
          return message;
        }
      }
      await this.#change(`${type} of ${session}`);
    }
  }

  /** Waits until `count` packets of the session are there. */
  async received(session: string, count: number): Promise<string[]> {
    for (;;) {
      const packets = this.packets(session);
      if (packets.length >= count) {
        return packets;
      }
      await this.#change(`${count} packets of ${session}, ${packets.length} are there`);
    }
  }

  packets(session: string): string[] {
    return this.arrivals.flatMap((arrival) =>
      arrival.type === "packet" && arrival.session === session ? [arrival.data] : [],
    );
  }

  /** Types of the session's messages so far, without `state` and `queueUpdated`; a row of packets is one `packets`. */
  story(session: string): string[] {
    const types = this.arrivals
      .filter((arrival) => of(arrival) === session && arrival.type !== "state" && arrival.type !== "queueUpdated")
      .map(({ type }) => (type === "packet" ? "packets" : type));
    return types.filter((type, i) => type !== "packets" || types[i - 1] !== "packets");
  }

  /** The code that the socket was closed with. */
  async closed(): Promise<number> {
    if (this.socket.readyState === WebSocket.CLOSED) {
      return this.#code;
    }
    const [code] = await once(this.socket, "close", { signal: AbortSignal.timeout(PATIENCE) });
    this.#code = code as number;
    return this.#code;
  }

  #code = 0;

  async close(): Promise<void> {
    this.socket.close();
    await this.closed();
  }

  #arrived(data: Buffer, isBinary: boolean): void {
    if (isBinary) {
      const session = this.#channels.get(data[0] ?? -1);
      assert.ok(session !== undefined, `a packet came on channel ${data[0]}`);
      this.arrivals.push({ type: "packet", session, data: data.subarray(1).toString("hex") });
      this.#credit(session);
    } else {
      const message = JSON.parse(data.toString()) as GatewayMessage;
      if (message.type === "session") {
        this.#channels.set(message.channel, message.session);
      }
      this.arrivals.push(message);
    }
    for (const wake of this.#waiting) {
      wake();
    }
  }

  #credit(session: string): void {
    const taken = (this.#taken.get(session) ?? 0) + 1;
    if (this.greedy && taken >= 5) {
      this.say("credit", session, { packets: taken });
      this.#taken.set(session, 0);
    } else {
      this.#taken.set(session, taken);
    }
  }

  async #change(what: string): Promise<void> {
    let wake = (): void => undefined;
    const changed = new Promise<boolean>((resolve) => {
      wake = () => resolve(true);
    });
    const timer = setTimeout(() => wake(), PATIENCE);
    const before = this.arrivals.length;
    this.#waiting.add(wake);
    await changed;
    clearTimeout(timer);
    this.#waiting.delete(wake);
    const last = this.arrivals.filter(({ type }) => type !== "packet").slice(-8);
    assert.ok(this.arrivals.length > before, `no ${what}; last were ${JSON.stringify(last)}`);
  }
}

function of(arrival: Arrival): string | undefined {
  return "session" in arrival ? arrival.session : undefined;
}
