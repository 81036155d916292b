/** The real daemon, in a folder of its own. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "./program.ts";

const TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()";

export interface DaemonOptions {
  /** More for `twistd audiosvc`. */
  args?: readonly string[];
  /** Its API listens on a Unix socket, instead of at a free port. */
  unix?: boolean;
}

/** A daemon that can be ended and started again at the same places. */
export class Daemon {
  /** Holds its sockets; what is put there can be played by `file://`. Removed by {@link stop}. */
  readonly folder: string;
  /** Path of its Unix socket. */
  readonly socket: string;
  /** Whether what plays when it is ended goes on when it is started again; counts from the next start on. */
  keeps = false;
  readonly #options: DaemonOptions;
  #program: Program | undefined;
  #port = 0;

  private constructor(folder: string, options: DaemonOptions) {
    this.folder = folder;
    this.socket = join(folder, "audio.sock");
    this.#options = options;
  }

  /** Starts a new one with the Python of `AUDIOSVC_PYTHON`, else `python3`; fails if that has none. */
  static async start(options: DaemonOptions = {}): Promise<Daemon> {
    const daemon = new Daemon(await mkdtemp(join(tmpdir(), "audiosvc-")), options);
    try {
      await daemon.start();
    } catch (cause) {
      await daemon.stop();
      throw new Error("no daemon: set AUDIOSVC_PYTHON to a Python that has audiosvc", { cause });
    }
    return daemon;
  }

  /** Of its control API: `http://127.0.0.1:PORT`, or `unix:PATH`. */
  get api(): string {
    return this.#options.unix ? `unix:${join(this.folder, "api.sock")}` : `http://127.0.0.1:${this.#port}`;
  }

  /** The process that was started last. */
  get program(): Program {
    assert.ok(this.#program);
    return this.#program;
  }

  /** Starts it again. Resolves when it listens. */
  async start(): Promise<void> {
    const { unix = false, args = [] } = this.#options;
    const api = unix ? this.api : `tcp:${this.#port}:interface=127.0.0.1`;
    // How busy the machine is decides nothing, nor what was played before.
    const plain = ["--overload=off", "--cache-size=0"];
    if (this.keeps) plain.push("--state-file", join(this.folder, "sessions"));
    const options = ["--api", api, "--socket", this.socket, "--media-root", this.folder, ...plain, ...args];
    const python = process.env.AUDIOSVC_PYTHON ?? "python3";
    this.#program = new Program(python, ["-c", TWISTD, "-n", "--pidfile=", "audiosvc", ...options]);
    await this.#program.wrote(/listening on UNIXAddress\(.*audio\.sock/);
    if (unix) await this.#program.wrote(/listening on UNIXAddress\(.*api\.sock/);
    else this.#port = Number((await this.#program.wrote(/listening on IPv4Address\(.*port=(\d+)\)/))[1]);
  }

  /** Without a chance to say goodbye. */
  async kill(): Promise<void> {
    await this.#program?.end("SIGKILL");
  }

  /** Ends it in good order, if it runs, and removes its folder. */
  async stop(): Promise<void> {
    await this.#program?.end();
    await rm(this.folder, { recursive: true, force: true });
  }
}
