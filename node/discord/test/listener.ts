/** A playground user without a browser: speaks the gateway's PROTOCOL.md, and reads a packet every 20 ms as a page does. */

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import type { GatewayMessage } from "@audiosvc/gateway";
import WebSocket from "ws";

const PACKET_MS = 20;
/** Packets asked for ahead. */
const WINDOW = 25;
/** Packets held before a song begins to sound. */
const PREBUFFER = 5;
const WAIT_MS = 15_000;

type OfType<T extends GatewayMessage["type"]> = Extract<GatewayMessage, { type: T }>;

/** One user in one session. */
export class Listener extends EventEmitter<{ arrival: [] }> {
  /** When each packet since the last `ready` came, ms. */
  times: number[] = [];
  /** These packets, in hex. */
  packets: string[] = [];
  /** Times that a packet of a song was due and not there. */
  underruns = 0;
  readonly #session: string;
  readonly #socket: WebSocket;
  readonly #messages: GatewayMessage[] = [];
  #channel: number | undefined;
  #clock: NodeJS.Timeout | undefined;
  /** When the song began to sound, and how many of its packets were due since. */
  #began: number | undefined;
  #read = 0;

  private constructor(url: string, session: string) {
    super();
    this.#session = session;
    this.#socket = new WebSocket(new URL("ws", url.replace(/^http/, "ws")));
    this.#socket.on("message", (data, binary) => {
      if (binary) this.#hear(data as Buffer);
      else this.#told(JSON.parse(String(data)) as GatewayMessage);
      this.emit("arrival");
    });
  }

  /** `url` is the gateway's. */
  static async join(url: string, session: string): Promise<Listener> {
    const listener = new Listener(url, session);
    await once(listener.#socket, "open");
    listener.say("join");
    await listener.next("session");
    listener.say("credit", { packets: WINDOW });
    listener.#clock = setInterval(() => listener.#beat(), PACKET_MS);
    return listener;
  }

  say(action: string, fields: Record<string, unknown> = {}): void {
    this.#socket.send(JSON.stringify({ action, session: this.#session, ...fields }));
  }

  /** The first message of that type that no call before this one has returned. */
  async next<T extends GatewayMessage["type"]>(type: T): Promise<OfType<T>> {
    const index = () => this.#messages.findIndex((message) => message.type === type);
    await this.#until(() => index() >= 0);
    const [message] = this.#messages.splice(index(), 1);
    return message as OfType<T>;
  }

  /** Waits for so many packets more than now. */
  async hears(more: number): Promise<void> {
    const wanted = this.packets.length + more;
    await this.#until(() => this.packets.length >= wanted);
  }

  async close(): Promise<void> {
    clearInterval(this.#clock);
    const closed = once(this.#socket, "close");
    this.#socket.close();
    await closed;
  }

  #told(message: GatewayMessage): void {
    this.#messages.push(message);
    if (message.type === "session") this.#channel = message.channel;
    if (message.type === "stopped" || message.type === "finished") this.#began = undefined;
    if (message.type !== "ready") return;
    // What is left of the song before counts as read.
    this.#grant(this.packets.length - this.#read);
    [this.times, this.packets, this.#read, this.#began] = [[], [], 0, undefined];
  }

  #hear(frame: Buffer): void {
    assert.equal(frame[0], this.#channel);
    this.times.push(Date.now());
    this.packets.push(frame.subarray(1).toString("hex"));
    if (this.packets.length === PREBUFFER) this.#began = Date.now();
  }

  /** Reads what is due, and gives its credit back. */
  #beat(): void {
    if (this.#began === undefined) return;
    const due = Math.floor((Date.now() - this.#began) / PACKET_MS);
    const read = Math.min(due, this.packets.length);
    if (read < due) {
      this.underruns += 1;
      // The clock has stood still for as long as nothing was there.
      this.#began += (due - read) * PACKET_MS;
    }
    this.#grant(read - this.#read);
    this.#read = read;
  }

  #grant(packets: number): void {
    if (packets > 0) this.say("credit", { packets });
  }

  async #until(reached: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_MS);
    while (!reached()) {
      try {
        await once(this, "arrival", { signal });
      } catch (cause) {
        const last = JSON.stringify(this.#messages.slice(-8));
        throw new Error(`${this.#session} has ${this.packets.length} packets; last were ${last}`, { cause });
      }
    }
  }
}
