/** The real daemon in a folder of its own, and a Unix socket before its socket that a test can cut. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
const TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()";

/** Ms that a daemon may take to listen. */
const START_MS = 30_000;

export interface Daemon {
  /** `http://127.0.0.1:PORT` */
  api: string;
  /** Path of its Unix socket. */
  socket: string;
  /** Kills it, without a chance to say goodbye. */
  kill(): Promise<void>;
  /** Stops it and removes its folder. */
  stop(): Promise<void>;
}

/** Starts a daemon with the Python of `AUDIOSVC_PYTHON`, else `python3`; fails if that has none. */
export async function startDaemon(options: { folder?: string; args?: string[] } = {}): Promise<Daemon> {
  const python = process.env.AUDIOSVC_PYTHON ?? "python3";
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), "audiosvc-"));
  const socket = join(folder, "audio.sock");
  const args = ["-n", "--pidfile=", "audiosvc", "--api", "tcp:0:interface=127.0.0.1", "--socket", socket];
  const child = spawn(python, ["-c", TWISTD, ...args, ...(options.args ?? [])], {
    cwd: REPOSITORY,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const port = await listening(child);
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  };
  return {
    api: `http://127.0.0.1:${port}`,
    socket,
    kill: () => end("SIGKILL"),
    stop: async () => {
      await end("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function listening(child: ChildProcess): Promise<string> {
  const log: string[] = [];
  let port: string | undefined;
  let bound = false;
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout });
  return await new Promise<string>((resolve, reject) => {
    const fail = () => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      reject(new Error(`no daemon: set AUDIOSVC_PYTHON to a Python that has audiosvc\n${log.join("\n")}`));
    };
    const timer = setTimeout(fail, START_MS);
    child.once("error", fail);
    child.once("exit", fail);
    lines.on("line", (line) => {
      log.push(line);
      if (log.length > 100) log.shift();
      port ??= /listening on IPv4Address\(.*port=(\d+)\)/.exec(line)?.[1];
      bound ||= line.includes("listening on UNIXAddress");
      if (port === undefined || !bound) return;
      clearTimeout(timer);
      child.off("exit", fail);
      resolve(port);
    });
  });
}

export interface Proxy {
  /** Path to connect to. */
  path: string;
  /** Cuts every connection, with what is in it. */
  cut(): void;
  /** Passes on only so many more bytes of the daemon's, then cuts. */
  cutAfter(bytes: number): void;
  /** Holds up for so many ms what the next connection says to the daemon. */
  holdUp(ms: number): void;
  close(): Promise<void>;
}

/** Passes a Unix socket's connections on to `target`. */
export async function startProxy(target: string): Promise<Proxy> {
  const folder = mkdtempSync(join(tmpdir(), "audiosvc-"));
  const path = join(folder, "proxy.sock");
  const pairs = new Set<[Socket, Socket]>();
  let lag = 0;
  let left = Number.POSITIVE_INFINITY;
  const cut = () => {
    left = Number.POSITIVE_INFINITY;
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    pairs.clear();
  };
  const server = createServer((near) => {
    const far = createConnection({ path: target });
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    setTimeout(() => near.pipe(far), lag);
    lag = 0;
    far.on("data", (bytes) => {
      const part = bytes.subarray(0, Math.min(left, bytes.length));
      left -= part.length;
      if (left > 0) near.write(part);
      else near.write(part, cut);
    });
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.on("close", () => {
        for (const other of pair) other.destroy();
        pairs.delete(pair);
      });
    }
  });
  server.listen(path);
  await once(server, "listening");
  return {
    path,
    cut,
    cutAfter: (bytes) => {
      left = bytes;
    },
    holdUp: (ms) => {
      lag = ms;
    },
    close: async () => {
      cut();
      server.close();
      await once(server, "close");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
