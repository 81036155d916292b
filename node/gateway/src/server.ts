/** The gateway as a whole: an HTTP server with the page's files, the WebSocket at `/ws`, and one connection to the daemon. */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { type AudioServiceError, ControlClient, type Disconnection, SocketClient } from "@audiosvc/client";
import { WebSocketServer } from "ws";
import { Guard, type Refusal } from "./guard.ts";
import { FRAME_MOST } from "./protocol.ts";
import { readStaticFiles, type StaticFile } from "./static-files.ts";
import { type HandlerVitals, WebSocketHandler } from "./websocket-handler.ts";

/** Pages' sockets, and connections of all kinds. */
export const SOCKETS_MOST = 256;
export const CONNECTIONS_MOST = 512;

/** Ms that a page has to answer the goodbye. */
const GOODBYE_MS = 1000;

/** Ms after a reconnect in which a track must go on, else the daemon is taken to have forgotten it. */
const RESUME_MS = 2000;

const WORDS: Readonly<Record<Refusal, readonly [code: string, message: string]>> = {
  400: ["bad_request", "exactly one well-formed Host header is needed"],
  403: ["forbidden_origin", "this page is not served by the gateway, and its origin is not allowed"],
  421: ["host_not_allowed", "this host name is not served here"],
};

/** How a {@link Gateway} runs. */
export interface GatewayOptions {
  /** Path of the daemon's Unix socket. */
  socket: string;
  /** The daemon's control API, as `http://127.0.0.1:8180` or `unix:/path`. */
  api: string;
  /** The control API's token. */
  token?: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any that is free. */
  port?: number;
  /** Origins of pages that may connect beside the gateway's own, as `https://music.example`. */
  origins?: readonly string[];
  /** Ms that a session plays on when its last page is gone; default 30,000. */
  grace?: number;
  /** Told what an operator should know; default is nobody. */
  log?: (message: string) => void;
}

/** A running gateway. */
export class Gateway {
  /** Where the page is, as `http://127.0.0.1:8080/`. */
  readonly url: string;
  readonly #server: Server;
  readonly #handler: WebSocketHandler;
  readonly #client: SocketClient;
  readonly #control: ControlClient;
  #closing: Promise<void> | undefined;

  private constructor(server: Server, handler: WebSocketHandler, client: SocketClient, control: ControlClient) {
    const { address, family, port } = server.address() as AddressInfo;
    this.url = `http://${family === "IPv6" ? `[${address}]` : address}:${port}/`;
    this.#server = server;
    this.#handler = handler;
    this.#client = client;
    this.#control = control;
  }

  /** Listens; resolves when the page can be opened. The daemon may come later. Rejects if it cannot listen. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const { host = "127.0.0.1", port = 0, token, log = () => undefined } = options;
    const files = await readStaticFiles(fileURLToPath(new URL("../public/", import.meta.url)));
    const version = await readVersion();
    const guard = new Guard(host, options.origins ?? []);
    const client = new SocketClient({
      path: options.socket,
      clientName: `audiosvc-gateway/${version}`,
      resumeTimeout: RESUME_MS,
    });
    const control = new ControlClient({ url: options.api, ...(token !== undefined && { token }) });
    const handler = new WebSocketHandler({
      client,
      control,
      grace: options.grace ?? 30_000,
      patience: RESUME_MS,
      log,
      version,
    });
    client.on("gap", ({ sessionId, packets }) => log(`${sessionId}: ${packets} packets are lost`));
    client.on("refused", ({ code, message }) => log(`the daemon refused a line: ${code}: ${message}`));
    const server = createServer((request, response) => serve(request, response, guard, files, handler));
    server.maxConnections = CONNECTIONS_MOST;
    server.headersTimeout = 10_000;
    server.requestTimeout = 10_000;
    const sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: FRAME_MOST,
      perMessageDeflate: false,
    });
    server.on("upgrade", (request, socket, head) => {
      const refused = refusalOfUpgrade(request, guard, handler);
      if (refused !== undefined) {
        refuseUpgrade(socket, ...refused);
        return;
      }
      request.socket.setNoDelay(true);
      sockets.handleUpgrade(request, socket, head, (page) => handler.accept(page));
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host, port }, resolve);
      });
    } catch (error) {
      handler.close();
      control.close();
      throw error;
    }
    const waiting = ({ error }: Disconnection): void => log(`waiting for the daemon: ${error.message}`);
    client.once("disconnect", waiting);
    client.once("connect", () => client.off("disconnect", waiting));
    client.connect({ retry: true }).catch(({ code, message }: AudioServiceError) => {
      // It goes on trying until it is closed, or meets a daemon of another protocol.
      if (code !== "closed") {
        log(`gave the daemon up: ${message}`);
      }
    });
    return new Gateway(server, handler, client, control);
  }

  vitals(): HandlerVitals {
    return this.#handler.vitals();
  }

  /** Says goodbye to pages and lets go of everything. What plays at the daemon plays on. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    this.#handler.close();
    const late = setTimeout(() => {
      this.#handler.terminate();
      this.#server.closeAllConnections();
    }, GOODBYE_MS);
    this.#control.close();
    await Promise.all([closed, this.#client.close()]);
    clearTimeout(late);
  }
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function refusalOf(request: IncomingMessage, guard: Guard): Refusal | undefined {
  const { host = [], origin = [] } = request.headersDistinct;
  return guard.refusal(host, origin);
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "").split("?", 1)[0] ?? "";
}

function serve(
  request: IncomingMessage,
  response: ServerResponse,
  guard: Guard,
  files: ReadonlyMap<string, StaticFile>,
  handler: WebSocketHandler,
): void {
  const host = request.headers.host ?? "";
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("Referrer-Policy", "no-referrer");
  response.setHeader("Cross-Origin-Resource-Policy", "same-origin");
  const refusal = refusalOf(request, guard);
  if (refusal !== undefined) {
    answer(response, refusal, problem(...WORDS[refusal]));
    return;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    answer(response, 405, problem("method_not_allowed", "there is only GET and HEAD"));
    return;
  }
  const path = pathOf(request);
  const file = files.get(path);
  if (file !== undefined) {
    response.setHeader("Content-Security-Policy", policy(host));
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cache-Control", "no-cache");
    response.setHeader("ETag", file.etag);
    if (request.headers["if-none-match"] === file.etag) {
      response.writeHead(304).end();
    } else {
      response.writeHead(200, { "Content-Type": file.type, "Content-Length": file.body.length }).end(file.body);
    }
  } else if (path === "/healthz") {
    answer(response, 200, { status: "ok", ...handler.vitals() });
  } else if (path === "/ws") {
    response.setHeader("Upgrade", "websocket");
    answer(response, 426, problem("upgrade_required", "a WebSocket is served here"));
  } else {
    answer(response, 404, problem("not_found", "there is no such page"));
  }
}

function problem(code: string, message: string): object {
  return { status: "error", code, message };
}

function answer(response: ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
  });
  response.end(body);
}

/**
 * What the page may load. `ws:` is spelled out for browsers whose `'self'` does not cover it. No pictures from elsewhere: their
 * servers would learn who listens to what.
 */
function policy(host: string): string {
  return [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    `connect-src 'self' ws://${host} wss://${host}`,
    "worker-src 'self'",
    "img-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

function refusalOfUpgrade(
  request: IncomingMessage,
  guard: Guard,
  handler: WebSocketHandler,
): readonly [status: number, code: string, message: string] | undefined {
  const refusal = refusalOf(request, guard);
  if (refusal !== undefined) {
    return [refusal, ...WORDS[refusal]];
  }
  if (pathOf(request) !== "/ws") {
    return [404, "not_found", "the WebSocket is at /ws"];
  }
  return handler.sockets >= SOCKETS_MOST ? [503, "too_many_sockets", "too many pages are open"] : undefined;
}

function refuseUpgrade(socket: Duplex, status: number, code: string, message: string): void {
  const body = JSON.stringify(problem(code, message));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  // A client that is gone already is no reason to fail.
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => socket.destroy());
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
