/** A Unix socket before the daemon's that lets so many bytes through and then cuts the connection, wherever in a message that is. */

import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";

/** Which way the bytes go that are counted. */
export type Way = "from the daemon" | "to the daemon";

interface Cut {
  way: Way;
  left: number;
  done(): void;
}

export class Cutter {
  readonly path: string;
  /** While set, connections are closed as they come. */
  refusing = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut: Cut | undefined;

  private constructor(path: string, to: string) {
    this.path = path;
    this.#server = createServer((near) => {
      if (this.refusing) {
        near.destroy();
        return;
      }
      const far = createConnection(to);
      this.#carry(far, near, "from the daemon");
      this.#carry(near, far, "to the daemon");
    });
  }

  static async start(to: string): Promise<Cutter> {
    const cutter = new Cutter(`${to}.cutter`, to);
    cutter.#server.listen(cutter.path);
    await once(cutter.#server, "listening");
    return cutter;
  }

  /** Resolves when `bytes` more have gone that way, the last of them to be read before the connection's end. */
  cutAfter(bytes: number, way: Way): Promise<void> {
    return new Promise((resolve) => {
      this.#cut = { way, left: bytes, done: resolve };
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  #carry(source: Socket, target: Socket, way: Way): void {
    this.#sockets.add(source);
    source.on("error", () => undefined);
    source.on("close", () => {
      this.#sockets.delete(source);
      // What was written is still read.
      target.end();
    });
    source.on("data", (chunk: Buffer) => {
      const cut = this.#cut;
      if (cut?.way !== way || chunk.length < cut.left) {
        if (cut?.way === way) {
          cut.left -= chunk.length;
        }
        target.write(chunk);
        return;
      }
      this.#cut = undefined;
      target.end(chunk.subarray(0, cut.left));
      target.pause();
      target.removeAllListeners("data");
      source.destroy();
      cut.done();
    });
  }
}
