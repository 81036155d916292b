#!/usr/bin/env node
/** The command line: starts a gateway, prints its page's address, and ends it on SIGINT or SIGTERM. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Gateway, type GatewayOptions } from "./server.ts";

const USAGE = `usage: audiosvc-gateway [--socket PATH] [--api URL] [--listen HOST:PORT] [--origin ORIGIN]... [--token-file FILE] [--grace SECONDS]

Serves the playground page, and takes its audio from an audiosvc daemon.

  --socket PATH      the daemon's Unix socket; default $AUDIOSVC_SOCKET, else audiosvc/audio.sock in $XDG_RUNTIME_DIR
  --api URL          the daemon's control API, http://HOST:PORT or unix:PATH; default $AUDIOSVC_API, else http://127.0.0.1:8180
  --listen HOST:PORT where to serve the page; port 0 is any that is free; default 127.0.0.1:3000
  --origin ORIGIN    another origin whose pages may connect, as https://music.example; may be given again
  --token-file FILE  holds the control API's token; default $AUDIOSVC_TOKEN_FILE, else there is none
  --grace SECONDS    how long a session plays on when its last page is gone; default 30
`;

/** Exits with status 2 and a message for what cannot be meant. */
function misused(message: string): never {
  process.stderr.write(`audiosvc-gateway: ${message}\n\n${USAGE}`);
  process.exit(2);
}

function readOptions(): GatewayOptions {
  const { env } = process;
  const { values } = (() => {
    try {
      return parseArgs({
        options: {
          socket: { type: "string" },
          api: { type: "string" },
          listen: { type: "string", default: "127.0.0.1:3000" },
          origin: { type: "string", multiple: true, default: [] },
          "token-file": { type: "string" },
          grace: { type: "string", default: "30" },
          help: { type: "boolean", default: false },
        },
      });
    } catch (error) {
      return misused(error instanceof Error ? error.message : String(error));
    }
  })();
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const runtime = env.XDG_RUNTIME_DIR;
  const socket =
    values.socket ?? env.AUDIOSVC_SOCKET ?? (runtime ? join(runtime, "audiosvc", "audio.sock") : undefined);
  if (socket === undefined) {
    misused("where is the daemon's socket? Give --socket PATH");
  }
  const listen = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:]+)):(?<port>\d{1,5})$/.exec(values.listen)?.groups;
  const host = listen?.v6 ?? listen?.name;
  const port = Number(listen?.port);
  if (host === undefined || port > 65_535) {
    misused(`--listen takes HOST:PORT, not ${values.listen}`);
  }
  for (const origin of values.origin) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      misused(`--origin takes an origin such as https://music.example, not ${origin}`);
    }
  }
  const grace = Number(values.grace);
  if (!(grace >= 0 && grace <= 86_400)) {
    misused(`--grace takes seconds, not ${values.grace}`);
  }
  const token = readToken(values["token-file"] ?? env.AUDIOSVC_TOKEN_FILE);
  return {
    socket,
    api: values.api ?? env.AUDIOSVC_API ?? "http://127.0.0.1:8180",
    host,
    port,
    origins: values.origin,
    grace: grace * 1000,
    ...(token !== undefined && { token }),
  };
}

function readToken(path: string | undefined): string | undefined {
  if (!path) {
    return undefined;
  }
  try {
    const token = readFileSync(path, "utf8").trim();
    return token === "" ? misused(`${path} is empty`) : token;
  } catch (error) {
    return misused(`--token-file: ${error instanceof Error ? error.message : error}`);
  }
}

function log(message: string): void {
  process.stderr.write(`${new Date().toISOString()} ${message}\n`);
}

try {
  const gateway = await Gateway.start({ ...readOptions(), log });
  process.stdout.write(`audiosvc-gateway is at ${gateway.url}\n`);
  const end = (): void => {
    void gateway.close().then(() => process.exit(0));
  };
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
} catch (error) {
  process.stderr.write(`audiosvc-gateway: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
