/** A way to a Unix socket that a test can cut. */

import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";

/** A Unix socket before another, to which it passes its connections on. */
export class Detour {
  static #made = 0;
  /** Path to connect to. */
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #lag = 0;
  #left = Number.POSITIVE_INFINITY;

  private constructor(to: string) {
    Detour.#made += 1;
    this.path = `${to}.${Detour.#made}`;
    this.#server = createServer((near) => this.#connect(near, createConnection(to)));
  }

  /** `to` is the path of the socket beyond. */
  static async start(to: string): Promise<Detour> {
    const detour = new Detour(to);
    detour.#server.listen(detour.path);
    await once(detour.#server, "listening");
    return detour;
  }

  /** Cuts every connection, with what is in it. */
  cut(): void {
    this.#left = Number.POSITIVE_INFINITY;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Passes on only so many more bytes from beyond, then cuts. */
  cutAfter(bytes: number): void {
    this.#left = bytes;
  }

  /** Holds up for so many ms what the next connection says to the other side. */
  holdUp(ms: number): void {
    this.#lag = ms;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }

  #connect(near: Socket, far: Socket): void {
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    if (this.#lag > 0) setTimeout(() => near.pipe(far), this.#lag);
    else near.pipe(far);
    this.#lag = 0;
    far.on("data", (bytes: Buffer) => {
      const part = bytes.subarray(0, Math.min(this.#left, bytes.length));
      this.#left -= part.length;
      if (this.#left > 0) near.write(part);
      else near.write(part, () => this.cut());
    });
  }
}
