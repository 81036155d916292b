/** A program as a child process. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Where programs run, so that Python finds the daemon there. */
const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));

/** Ms that a program may take to write what is waited for. */
const PATIENCE_MS = 30_000;

const LINES_KEPT = 200;

/** A child process and the last of what it wrote. */
export class Program {
  /** Of both its outputs, the latest last. */
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #failed: Promise<never>;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(command, args, {
      cwd: REPOSITORY,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#exited = once(this.#child, "exit");
    this.#failed = this.#exited.then(() => Promise.reject(new Error("it ended")));
    this.#failed.catch(() => {});
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        if (this.lines.length > LINES_KEPT) this.lines.shift();
        this.#child.emit("line", line);
      });
    }
  }

  /** The first line that matches, of those that are there or still to come. */
  async wrote(pattern: RegExp): Promise<RegExpExecArray> {
    const found = () => this.lines.map((line) => pattern.exec(line)).find((match) => match !== null);
    const signal = AbortSignal.timeout(PATIENCE_MS);
    try {
      for (;;) {
        const match = found();
        if (match) return match;
        await Promise.race([once(this.#child, "line", { signal }), this.#failed]);
      }
    } catch (error) {
      throw new Error(`it did not write ${pattern}, but:\n${this.lines.join("\n")}`, { cause: error });
    }
  }

  /** Stops the process in its tracks for so long. */
  async freeze(ms: number): Promise<void> {
    this.#child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.#child.kill("SIGCONT");
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ends it; resolves with its exit status, null if a signal ended it. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal);
      await this.#exited;
    }
    return this.#child.exitCode;
  }
}
