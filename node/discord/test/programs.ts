/** The real bot and the real gateway, each a process of its own. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Daemon, Program } from "@audiosvc/testing";

const BOT = fileURLToPath(new URL("../dist/bot.js", import.meta.url));
const GATEWAY = fileURLToPath(new URL("cli.js", import.meta.resolve("@audiosvc/gateway")));

/** Starts the bot; resolves when it has told Discord its commands. */
export async function startBot(env: Readonly<Record<string, string>>): Promise<Program> {
  const program = new Program(process.execPath, [BOT], env);
  await program.wrote(/logged in/);
  await program.wrote(/connected to the daemon/);
  return program;
}

/** Starts the gateway at a free port; resolves with its page's address. */
export async function startGateway({ api, socket }: Daemon): Promise<{ program: Program; url: string }> {
  const args = ["--api", api, "--socket", socket, "--listen", "127.0.0.1:0"];
  const program = new Program(process.execPath, [GATEWAY, ...args]);
  const url = (await program.wrote(/^audiosvc-gateway is at (.+)$/))[1];
  assert.ok(url);
  return { program, url };
}
