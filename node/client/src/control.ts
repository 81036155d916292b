import type {
  Description,
  Done,
  Play,
  Playing,
  Playlist,
  Results,
  Sessions,
  Snapshot,
  Sought,
  Vitals,
  VolumeSet,
} from "./openapi.ts";

export interface ControlClientOptions {
  /** `http://127.0.0.1:8180`, or `unix:/path/to/socket`. */
  url: string;
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  /** Ms for a whole request; default 10,000. */
  timeout?: number;
}

/** For one request: `timeout` in ms instead of the client's. */
export interface RequestOptions {
  signal?: AbortSignal;
  timeout?: number;
}

/** The daemon's HTTP API. Every method rejects with {@link AudioServiceError}. */
export class ControlClient {
  constructor(options: ControlClientOptions) {
    void options;
  }
  play(sessionId: string, play: Play, options?: RequestOptions): Promise<Playing> {
    void sessionId;
    void play;
    void options;
    throw new Error("not yet");
  }
  stop(sessionId: string, options?: RequestOptions): Promise<Done> {
    void sessionId;
    void options;
    throw new Error("not yet");
  }
  pause(sessionId: string, options?: RequestOptions): Promise<Done> {
    void sessionId;
    void options;
    throw new Error("not yet");
  }
  resume(sessionId: string, options?: RequestOptions): Promise<Done> {
    void sessionId;
    void options;
    throw new Error("not yet");
  }
  seek(sessionId: string, position: number, options?: RequestOptions): Promise<Sought> {
    void sessionId;
    void position;
    void options;
    throw new Error("not yet");
  }
  volume(sessionId: string, volume: number, options?: RequestOptions): Promise<VolumeSet> {
    void sessionId;
    void volume;
    void options;
    throw new Error("not yet");
  }
  status(sessionId: string, options?: RequestOptions): Promise<Snapshot> {
    void sessionId;
    void options;
    throw new Error("not yet");
  }
  sessions(options?: RequestOptions): Promise<Sessions> {
    void options;
    throw new Error("not yet");
  }
  metadata(url: string, options?: RequestOptions): Promise<Description> {
    void url;
    void options;
    throw new Error("not yet");
  }
  playlist(url: string, options?: RequestOptions): Promise<Playlist> {
    void url;
    void options;
    throw new Error("not yet");
  }
  search(query: string, options?: RequestOptions & { limit?: number }): Promise<Results> {
    void query;
    void options;
    throw new Error("not yet");
  }
  health(options?: RequestOptions): Promise<Vitals> {
    void options;
    throw new Error("not yet");
  }
  metrics(options?: RequestOptions): Promise<string> {
    void options;
    throw new Error("not yet");
  }
  openapi(options?: RequestOptions): Promise<Record<string, unknown>> {
    void options;
    throw new Error("not yet");
  }
  /** Closes idle connections. */
  close(): Promise<void> {
    throw new Error("not yet");
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
