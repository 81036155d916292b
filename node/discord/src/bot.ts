#!/usr/bin/env node
/** Runs the bot until SIGTERM or SIGINT. Settings are in the environment, see README.md. */

import { readFileSync } from "node:fs";
import { ControlClient, SocketClient } from "@audiosvc/client";
import { type Config, ConfigError, readConfig } from "./config.ts";
import { Jukebox } from "./jukebox.ts";

/** Ms to say goodbye in. */
const CLOSE_MS = 4_000;

function log(message: string): void {
  console.log(message);
}

function configure(): { config: Config; token: string | undefined } {
  const config = readConfig(process.env);
  if (config.tokenFile === undefined) return { config, token: undefined };
  try {
    return { config, token: readFileSync(config.tokenFile, "utf8").trim() };
  } catch (error) {
    throw new ConfigError(`AUDIOSVC_TOKEN_FILE: ${error instanceof Error ? error.message : error}`);
  }
}

async function main(): Promise<void> {
  const { config, token } = configure();
  const client = new SocketClient({ path: config.socket, clientName: "audiosvc-discord/0.1" });
  const control = new ControlClient({ url: config.api, ...(token !== undefined && { token }) });
  const jukebox = new Jukebox(config, { client, control }, log);
  let connected = true;
  client.on("disconnect", ({ error }) => {
    if (connected) log(`no connection to the daemon: ${error.message}`);
    connected = false;
  });
  client.on("connect", ({ server }) => {
    connected = true;
    log(`connected to the daemon, ${server}`);
  });

  let closing = false;
  const close = async (signal: string) => {
    if (closing) return;
    closing = true;
    log(`${signal}: leaving`);
    setTimeout(() => process.exit(1), CLOSE_MS).unref();
    await jukebox.close();
    control.close();
    await client.close();
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void close(signal));
  process.on("SIGINT", (signal) => void close(signal));

  client.on("close", () => {
    if (closing) return;
    console.error("audiosvc-discord: the daemon cannot be used any more");
    process.exit(1);
  });
  // The daemon may come up later; Discord is told of the commands meanwhile.
  client.connect({ retry: true }).catch(() => {});
  await jukebox.start();
}

main().catch((error: unknown) => {
  const usage = error instanceof ConfigError;
  console.error(`audiosvc-discord: ${error instanceof Error ? error.message : error}`);
  process.exit(usage ? 2 : 1);
});
