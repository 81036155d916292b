/** The real daemon and the real bot, each a process of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
const BOT = fileURLToPath(new URL("../dist/bot.js", import.meta.url));
const TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()";
const START_MS = 30_000;
const LINES_KEPT = 200;

/** A child process and the last of what it wrote. */
export class Program {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly #exited: Promise<unknown>;
  readonly #failed: Promise<never>;

  constructor(command: string, args: string[], env: Record<string, string> = {}) {
    this.child = spawn(command, args, {
      cwd: REPOSITORY,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#exited = once(this.child, "exit");
    this.#failed = this.#exited.then(() => Promise.reject(new Error("it ended")));
    this.#failed.catch(() => {});
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        if (this.lines.length > LINES_KEPT) this.lines.shift();
        this.child.emit("line", line);
      });
    }
  }

  /** The first line that matches, of those that are there or still to come. */
  async wrote(pattern: RegExp): Promise<RegExpExecArray> {
    const found = () => this.lines.map((line) => pattern.exec(line)).find((match) => match !== null);
    const signal = AbortSignal.timeout(START_MS);
    try {
      for (;;) {
        const match = found();
        if (match) return match;
        await Promise.race([once(this.child, "line", { signal }), this.#failed]);
      }
    } catch (error) {
      throw new Error(`it did not write ${pattern}, but:\n${this.lines.join("\n")}`, { cause: error });
    }
  }

  /** Stops the process in its tracks for so long. */
  async freeze(ms: number): Promise<void> {
    this.child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.child.kill("SIGCONT");
  }

  /** Ends it; resolves with its exit status. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal);
      await this.#exited;
    }
    return this.child.exitCode;
  }
}

export interface Daemon {
  program: Program;
  api: string;
  socket: string;
}

/** Starts a daemon in `folder`, whose files it plays, with the Python of `AUDIOSVC_PYTHON`, else `python3`. */
export async function startDaemon(folder: string): Promise<Daemon> {
  const socket = join(folder, "audio.sock");
  const api = `unix:${join(folder, "api.sock")}`;
  const args = ["-n", "--pidfile=", "audiosvc", "--api", api, "--socket", socket, "--media-root", folder];
  const program = new Program(process.env.AUDIOSVC_PYTHON ?? "python3", ["-c", TWISTD, ...args]);
  await program.wrote(/listening on UNIXAddress\(.*audio\.sock/);
  await program.wrote(/listening on UNIXAddress\(.*api\.sock/);
  return { program, api, socket };
}

/** Starts the bot; resolves when it has told Discord its commands. */
export async function startBot(env: Record<string, string>): Promise<Program> {
  const program = new Program(process.execPath, [BOT], env);
  await program.wrote(/logged in/);
  await program.wrote(/connected to the daemon/);
  return program;
}
