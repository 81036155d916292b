/** The real daemon for tests: `twistd` from the PATH or from $AUDIOSVC_TWISTD, in a folder of its own. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const LISTENING = /listening on IPv4Address\(.*port=(\d+)\)/;

/** A daemon that can be killed and started again at the same places. */
export class Daemon {
  readonly socket: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;
  #port = 0;

  private constructor(folder: string) {
    this.#folder = folder;
    this.socket = join(folder, "audio.sock");
  }

  static async start(): Promise<Daemon> {
    const daemon = new Daemon(await mkdtemp(join(tmpdir(), "audiosvc-gateway-")));
    await daemon.start();
    return daemon;
  }

  get api(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const api = `tcp:${this.#port}:interface=127.0.0.1`;
    const options = ["-n", "--pidfile=", "audiosvc", "--api", api, "--socket", this.socket];
    const child = spawn(process.env.AUDIOSVC_TWISTD ?? "twistd", options, {
      cwd: this.#folder,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    const said: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      said.push(line);
      const port = LISTENING.exec(line)?.[1];
      if (port !== undefined) {
        this.#port = Number(port);
        child.stdout.resume();
        return;
      }
    }
    assert.fail(`the daemon did not start:\n${said.join("\n")}`);
  }

  /** Without a chance to say goodbye. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child !== undefined && child.exitCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    await rm(this.#folder, { recursive: true });
  }
}

/** A Unix socket before the daemon's whose connections can be cut. */
export class Detour {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(path: string, to: string) {
    this.path = path;
    this.#server = createServer((near) => {
      const far = createConnection(to);
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("data", (chunk) => other.write(chunk));
        socket.on("error", () => undefined);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
    });
  }

  static async start(to: string): Promise<Detour> {
    const detour = new Detour(`${to}.detour`, to);
    detour.#server.listen(detour.path);
    await once(detour.#server, "listening");
    return detour;
  }

  cut(): void {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}
