import { EventEmitter } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { AudioServiceError } from "./errors.ts";
import { isSessionId } from "./messages.ts";
import type {
  Description,
  Done,
  Files,
  LevelSet,
  Operations,
  Play,
  Playing,
  Playlist,
  Probed,
  ProblemBody,
  Results,
  Sessions,
  SetLevel,
  Snapshot,
  Sought,
  Stats,
  Vitals,
  VolumeSet,
} from "./openapi.ts";

/** Bytes of an answer that are taken; the daemon's longest are lists of sessions and of playlists. */
const ANSWER_MOST: number = 16 * 1024 * 1024;

/** Ms after which an idle connection is closed; the daemon does so after 60 s. */
const IDLE_MS = 30_000;

/** Where a {@link ControlClient} finds the API. */
export interface ControlClientOptions {
  /** `http://127.0.0.1:8180`, or `unix:/path/of/a/socket`. */
  url: string;
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  /** Ms for a whole request; default 10,000. */
  timeout?: number;
}

/** For one request; `timeout` is in ms and goes before the client's own. */
export interface RequestOptions {
  signal?: AbortSignal;
  timeout?: number;
}

type Name = keyof Operations;
type Answer<N extends Name> = Operations[N]["answer"];
type Method = "GET" | "POST";

interface Asked {
  sessionId?: string;
  body?: unknown;
  query?: Record<string, string>;
}

/** Every endpoint; that there is no other is checked against the daemon's own document. */
const ENDPOINTS: { [N in Name]: `${Operations[N]["method"]} ${Operations[N]["path"]}` } = {
  play: "POST /session/{session_id}/play",
  stop: "POST /session/{session_id}/stop",
  pause: "POST /session/{session_id}/pause",
  resume: "POST /session/{session_id}/resume",
  seek: "POST /session/{session_id}/seek",
  volume: "POST /session/{session_id}/volume",
  log: "POST /session/{session_id}/log",
  status: "GET /session/{session_id}/status",
  stats: "GET /session/{session_id}/stats",
  sessions: "GET /sessions",
  metadata: "GET /metadata",
  playlist: "GET /playlist",
  search: "GET /search",
  files: "GET /files",
  health: "GET /health",
  live: "GET /health/live",
  ready: "GET /health/ready",
  metrics: "GET /metrics",
  openapi: "GET /openapi.json",
};

/**
 * The daemon's HTTP API, over TCP or a Unix socket.
 *
 * Every method rejects with {@link AudioServiceError}: with the daemon's `code` and `status`, or with `unreachable`,
 * `timeout`, `aborted`, `closed`, `invalid_answer`. What becomes of a play after it was accepted is told on the socket.
 */
export class ControlClient {
  readonly #to: { host: string; port: string } | { socketPath: string };
  readonly #headers: Record<string, string>;
  readonly #timeout: number;
  readonly #agent: Agent = new Agent({ keepAlive: true, timeout: IDLE_MS });
  readonly #closing: EventEmitter = new EventEmitter().setMaxListeners(0);
  #closed = false;

  constructor(options: ControlClientOptions) {
    const { url, token, timeout = 10_000 } = options;
    if (url.startsWith("unix:")) {
      this.#to = { socketPath: url.slice("unix:".length) };
      this.#headers = { host: "localhost" };
    } else {
      const { protocol, hostname, port, pathname } = new URL(url);
      if (protocol !== "http:" || pathname !== "/") {
        throw new AudioServiceError("invalid_option", `the API is at http://HOST:PORT or unix:PATH, not ${url}`);
      }
      this.#to = { host: hostname.replace(/^\[|\]$/g, ""), port: port || "80" };
      this.#headers = { host: `${hostname}:${port || "80"}` };
    }
    if (token !== undefined) this.#headers.authorization = `Bearer ${token}`;
    this.#timeout = timeout;
  }

  /** Plays, in place of whatever the id played. Answers at once: `ready` or `error` follows on the socket. */
  play(sessionId: string, play: Play, options?: RequestOptions): Promise<Playing> {
    return this.#ask("play", { sessionId, body: play }, options);
  }

  /** Stops; an id that plays nothing is no error. */
  stop(sessionId: string, options?: RequestOptions): Promise<Done> {
    return this.#ask("stop", { sessionId }, options);
  }

  /** Packets stop, after those that were sent already. */
  pause(sessionId: string, options?: RequestOptions): Promise<Done> {
    return this.#ask("pause", { sessionId }, options);
  }

  /** Goes on after `pause`. */
  resume(sessionId: string, options?: RequestOptions): Promise<Done> {
    return this.#ask("resume", { sessionId }, options);
  }

  /** `position` is in seconds of the source. The `seeked` event tells when the sound gets there. */
  seek(sessionId: string, position: number, options?: RequestOptions): Promise<Sought> {
    return this.#ask("seek", { sessionId, body: { position } }, options);
  }

  /** 0 to 2; 1 leaves the sound as it is. */
  volume(sessionId: string, volume: number, options?: RequestOptions): Promise<VolumeSet> {
    return this.#ask("volume", { sessionId, body: { volume } }, options);
  }

  /** From `level` on what happens to this id is logged, in each of its plays; null takes that back. */
  log(sessionId: string, level: SetLevel["level"], options?: RequestOptions): Promise<LevelSet> {
    return this.#ask("log", { sessionId, body: { level } }, options);
  }

  /** Rejects with `not_found` for an id that plays nothing. */
  status(sessionId: string, options?: RequestOptions): Promise<Snapshot> {
    return this.#ask("status", { sessionId }, options);
  }

  /** How the session is doing, for whoever looks into one that sounds wrong; rejects with `not_found` as `status` does. */
  stats(sessionId: string, options?: RequestOptions): Promise<Stats> {
    return this.#ask("stats", { sessionId }, options);
  }

  /** Every session there is. */
  sessions(options?: RequestOptions): Promise<Sessions> {
    return this.#ask("sessions", {}, options);
  }

  /** What `url` holds, without playing it. */
  metadata(url: string, options?: RequestOptions): Promise<Description> {
    return this.#ask("metadata", { query: { url } }, options);
  }

  /** The tracks behind `url`. */
  playlist(url: string, options?: RequestOptions): Promise<Playlist> {
    return this.#ask("playlist", { query: { url } }, options);
  }

  /** At most `limit` results, 1 to 50, default 10. `demo:` finds the built-in pieces. */
  search(q: string, options: RequestOptions & { limit?: number } = {}): Promise<Results> {
    const { limit, ...rest } = options;
    return this.#ask("search", { query: { q, ...(limit !== undefined && { limit: String(limit) }) } }, rest);
  }

  /** What lies in a folder below the daemon's media root, "" for the root itself; the daemon has to allow it. */
  files(path = "", options?: RequestOptions): Promise<Files> {
    return this.#ask("files", { query: { path } }, options);
  }

  /** How the daemon is. */
  health(options?: RequestOptions): Promise<Vitals> {
    return this.#ask("health", {}, options);
  }

  /** That the daemon answers at all. */
  live(options?: RequestOptions): Promise<Probed> {
    return this.#ask("live", {}, options);
  }

  /** That it takes plays; rejects with `not_ready` while it would refuse them. */
  ready(options?: RequestOptions): Promise<Probed> {
    return this.#ask("ready", {}, options);
  }

  /** Prometheus text. */
  metrics(options?: RequestOptions): Promise<string> {
    return this.#ask("metrics", {}, options);
  }

  /** The API as OpenAPI 3.1. */
  openapi(options?: RequestOptions): Promise<Record<string, unknown>> {
    return this.#ask("openapi", {}, options);
  }

  /** Ends requests under way, with `closed`, and closes the connections. */
  close(): void {
    this.#closed = true;
    this.#closing.emit("close");
    this.#agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #ask<N extends Name>(name: N, asked: Asked, options: RequestOptions = {}): Promise<Answer<N>> {
    const [method, path] = this.#target(ENDPOINTS[name], asked);
    const body = asked.body === undefined ? undefined : Buffer.from(JSON.stringify(asked.body));
    const { sessionId } = asked;
    const running = new AbortController();
    const cancel = (code: string, message: string, cause?: unknown) =>
      running.abort(new AudioServiceError(code, message, { sessionId, cause }));
    const aborted = () => cancel("aborted", "the request was aborted", options.signal?.reason);
    const closed = () => cancel("closed", "the client is closed");
    const timer = setTimeout(() => cancel("timeout", "no answer in time"), options.timeout ?? this.#timeout);
    options.signal?.addEventListener("abort", aborted, { once: true });
    this.#closing.once("close", closed);
    try {
      if (options.signal?.aborted) aborted();
      if (this.#closed) closed();
      const { answer, text } = await this.#send(method, path, body, running.signal);
      return read(answer, text) as Answer<N>;
    } catch (error) {
      if (running.signal.aborted) throw running.signal.reason;
      if (error instanceof AudioServiceError) throw error;
      const message = `the API cannot be reached: ${error instanceof Error ? error.message : error}`;
      throw new AudioServiceError("unreachable", message, { sessionId, cause: error });
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", aborted);
      this.#closing.off("close", closed);
    }
  }

  #target(endpoint: string, { sessionId, query }: Asked): [Method, string] {
    const [method, template] = endpoint.split(" ") as [Method, string];
    if (sessionId !== undefined && !isSessionId(sessionId)) {
      const message = `not a session id: ${JSON.stringify(sessionId)}`;
      throw new AudioServiceError("invalid_session_id", message, { status: 400 });
    }
    const path = template.replace("{session_id}", encodeURIComponent(sessionId ?? ""));
    return [method, query === undefined ? path : `${path}?${new URLSearchParams(query)}`];
  }

  async #send(
    method: Method,
    path: string,
    body: Buffer | undefined,
    signal: AbortSignal,
    again = true,
  ): Promise<{ answer: IncomingMessage; text: string }> {
    const headers = {
      ...this.#headers,
      ...(body && { "content-type": "application/json", "content-length": String(body.length) }),
      ...(!body && method === "POST" && { "content-length": "0" }),
    };
    const asking = request({ ...this.#to, agent: this.#agent, method, path, headers, signal });
    try {
      return await new Promise((resolve, reject) => {
        asking.on("error", reject);
        asking.on("response", (answer) => {
          collect(answer).then((text) => resolve({ answer, text }), reject);
        });
        asking.end(body);
      });
    } catch (error) {
      // The daemon closed an idle connection at the moment it was used again: it has not seen the request.
      const reset = (error as NodeJS.ErrnoException).code === "ECONNRESET";
      if (again && reset && asking.reusedSocket) return this.#send(method, path, body, signal, false);
      throw error;
    }
  }
}

async function collect(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_MOST) throw new AudioServiceError("invalid_answer", `an answer exceeds ${ANSWER_MOST} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function read(answer: IncomingMessage, text: string): unknown {
  const status = answer.statusCode;
  if (status === 200 && answer.headers["content-type"]?.startsWith("text/plain")) return text;
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch (error) {
    throw new AudioServiceError("invalid_answer", "an answer is not JSON", { status, cause: error });
  }
  if (status === 200) return said;
  const { code, message, session_id } = (said ?? {}) as Partial<ProblemBody>;
  if (typeof code !== "string" || typeof message !== "string") {
    throw new AudioServiceError("invalid_answer", `an answer of status ${status} names no code`, { status });
  }
  const wait = Number(answer.headers["retry-after"]);
  throw new AudioServiceError(code, message, {
    status,
    ...(session_id !== undefined && { sessionId: session_id }),
    ...(wait > 0 && { retryAfter: wait }),
  });
}
