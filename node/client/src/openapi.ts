/** The types of the control API, generated from the daemon's `/openapi.json` by `test/openapi.ts`. Do not edit. */

/** A request to play. `start_at` and `duration` are seconds of the source; `bitrate` None is the daemon's own. */
export interface Play {
  url: string;
  format?: "ogg" | "opus" | "pcm" | "web";
  start_at?: number;
  duration?: number | null;
  volume?: number;
  bitrate?: number | null;
}

/** A session as `GET /session/:id/status` shows it. Times are seconds; None means not known. */
export interface Snapshot {
  session_id: string;
  track_id: string;
  status: "error" | "extracting" | "idle" | "paused" | "stopped" | "streaming";
  url: string;
  format: "ogg" | "opus" | "pcm" | "web";
  position: number;
  duration: number | null;
  title: string | null;
  uploader: string | null;
  thumbnail: string | null;
  live: boolean;
  volume: number;
  bitrate: number;
  bytes_sent: number;
  packets_sent: number;
  buffered: number;
  underruns: number;
  recoveries: number;
  dropped: number;
  passthrough: boolean;
  cached: boolean;
  held: boolean;
}

/** Counts are since the play was accepted, seeks included. None is not known, or there is no such thing. */
export interface Stats {
  session_id: string;
  track_id: string;
  status: "error" | "extracting" | "idle" | "paused" | "stopped" | "streaming";
  mode: "cached" | "passthrough" | "shared" | "transcode" | null;
  first_packet: FirstPacketStats;
  seeks: number;
  seek_ms: number | null;
  bytes_sent: number;
  packets_sent: number;
  late_packets: number;
  deficit_packets: number | null;
  largest_gap_ms: number;
  underruns: number;
  recoveries: number;
  dropped_packets: DroppedStats;
  queue: QueueStats;
  credit_packets: number | null;
  held: boolean;
  child: ChildStats | null;
  encoder_share: number;
  source_bytes: number | null;
  listeners: number;
}

/** Milliseconds from the play's being accepted. None where it has not come to that, or needed none of it. */
export interface FirstPacketStats {
  resolved_ms: number | null;
  opened_ms: number | null;
  sound_ms: number | null;
  ready_ms: number | null;
  sent_ms: number | null;
}

/** Packets thrown away unheard, by reason. */
export interface DroppedStats {
  late_listener: number;
}

/** What is on its way, from the source to the client. */
export interface QueueStats {
  ready_packets: number;
  waiting_packets: number;
  unsent_bytes: number | null;
}

/** The FFmpeg process of now. */
export interface ChildStats {
  cpu_seconds: number;
  rss_bytes: number;
}

export interface Vitals {
  status: "degraded" | "ok" | "stopping";
  reasons: Reason[];
  version: string;
  uptime: number;
  sessions: Record<string, number>;
  plays: number;
  ends: Record<string, number>;
  children: number;
  spawns: number;
  ffmpeg: ChildrenVitals;
  spawn_failures: number;
  log: LogVitals;
  process: ProcessVitals;
  encoder: EncoderVitals;
  overload: OverloadVitals;
  pacer: PacerVitals;
  delivery: DeliveryVitals;
  queues: QueueVitals;
  timings: TimingVitals;
  sources: SourceVitals;
  door: DoorVitals;
  isolation: IsolationVitals;
  extractors: ExtractorVitals | null;
  cache: CacheVitals | null;
  restart: RestartVitals | null;
}

/** Why the daemon is not all that it should be. */
export interface Reason {
  code: string;
  message: string;
  refuses: boolean;
}

export interface ChildrenVitals {
  cpu_seconds: number;
  rss_bytes: number;
  largest_rss_bytes: number;
}

export interface LogVitals {
  format: string;
  level: string;
  sessions: Record<string, string>;
  written: number;
  dropped: number;
}

export interface ProcessVitals {
  delayed_calls: number;
  memory_blocks: number;
}

export interface EncoderVitals {
  threads: number;
  load: number;
  waiting: number;
  frames: number;
}

export interface OverloadVitals {
  mode: string;
  cores: number;
  load: number;
  complexity: number;
  reduced: boolean;
  refusing: boolean;
  refused: number;
}

export interface PacerVitals {
  ticks: number;
  largest_gap_ms: number;
  skipped_ticks: number;
  lateness: HistogramVitals;
}

export interface HistogramVitals {
  count: number;
  seconds: number;
  buckets: Record<string, number>;
}

export interface DeliveryVitals {
  connections: number;
  packets: number;
  bytes: number;
  underruns: number;
  late: number;
  missed: number;
  largest_gap_ms: number;
  events_dropped: number;
  lines_refused: number;
  resent: number;
}

/** Over all sessions and connections, and the most of one. Of sessions that sound well this tells little. */
export interface QueueVitals {
  ready_packets: number;
  largest_ready_packets: number;
  waiting_packets: number;
  largest_waiting_packets: number;
  unsent_bytes: number;
  largest_unsent_bytes: number;
}

/** From what was asked until its first packet went out, by `transcode`, `passthrough`, `cached`, `shared`.

    What then waited for its client, or was paused, is not counted. */
export interface TimingVitals {
  plays: Record<string, HistogramVitals>;
  seeks: Record<string, HistogramVitals>;
}

export interface SourceVitals {
  recoveries: number;
  dropped: number;
  broadcasts: number;
  listeners: number;
}

export interface DoorVitals {
  permits: number;
  connections: number;
  requests: number;
  bytes: number;
  refused: Record<string, number>;
}

export interface IsolationVitals {
  mode: string;
  active: boolean;
  hardened: boolean;
  why: string | null;
}

export interface ExtractorVitals {
  available: boolean;
  workers: number;
  busy: number;
  waiting: number;
  calls: number;
  restarts: number;
  cached: number;
}

export interface CacheVitals {
  tracks: number;
  bytes: number;
  recording: number;
  hits: number;
  misses: number;
  kept: number;
  dropped: number;
  disk: boolean;
  disk_tracks: number;
  disk_bytes: number;
  disk_errors: number;
}

export interface RestartVitals {
  taken_up: number;
  left_out: number;
}

/** Where to go on, in seconds of the source. */
export interface Seek {
  position: number;
}

/** 1 leaves the sound as it is, 0 is silence. */
export interface SetVolume {
  volume: number;
}

/** From what level on the session's events are logged; null is as those of all others. */
export interface SetLevel {
  level: "debug" | "error" | "info" | "warn" | null;
}

/** The optional body of stop, pause and resume. */
export type Nothing = Record<string, never>;

export interface UrlQuery {
  url: string;
}

/** A folder below the media root; nothing is the root itself. */
export interface FilesQuery {
  path?: string;
}

export interface SearchQuery {
  q: string;
  limit?: number;
}

/** The play was accepted; its sound and its events carry `track_id`. */
export interface Playing {
  status: "playing";
  session_id: string;
  track_id: string;
}

export interface Done {
  status: "paused" | "playing" | "stopped";
  session_id: string;
}

/** `position` is the one asked for; the `seeked` event tells when the sound gets there. */
export interface Sought {
  status: "error" | "extracting" | "idle" | "paused" | "stopped" | "streaming";
  session_id: string;
  position: number;
}

export interface VolumeSet {
  status: "error" | "extracting" | "idle" | "paused" | "stopped" | "streaming";
  session_id: string;
  volume: number;
}

export interface LevelSet {
  session_id: string;
  level: "debug" | "error" | "info" | "warn" | null;
}

export interface Probed {
  status: "live" | "ready";
}

export interface Sessions {
  count: number;
  sessions: Snapshot[];
}

/** What a URL holds; `duration` is in seconds, null is not known. */
export interface Description {
  url: string;
  title: string | null;
  duration: number | null;
  thumbnail: string | null;
  is_playlist: boolean;
}

export interface Entry {
  url: string;
  title: string | null;
  duration: number | null;
  thumbnail: string | null;
}

export interface Playlist {
  url: string;
  count: number;
  entries: Entry[];
}

export interface Files {
  path: string;
  count: number;
  entries: Listed[];
}

/** An entry of a folder below the media root. `url` is what plays or lists it; `size` is in bytes, of a file. */
export interface Listed {
  name: string;
  url: string;
  kind: "file" | "folder";
  size?: number | null;
}

export interface Result {
  id: string;
  url: string;
  title: string | null;
  duration: number | null;
  thumbnail: string | null;
  channel: string | null;
}

export interface Results {
  query: string;
  count: number;
  results: Result[];
}

/** Every failure. `status` is `not_found` only where the status of an unknown session was asked for. */
export interface ProblemBody {
  status: "error" | "not_found";
  code: string;
  message: string;
  session_id?: string;
  reasons?: Reason[];
}

/** Every endpoint, by its operation id. */
export interface Operations {
  /** POST /session/{session_id}/play: Play, in place of what the id played */
  play: {
    method: "POST";
    path: "/session/{session_id}/play";
    query: undefined;
    body: Play;
    answer: Playing;
  };
  /** POST /session/{session_id}/stop: Stop, if it plays */
  stop: {
    method: "POST";
    path: "/session/{session_id}/stop";
    query: undefined;
    body: Nothing;
    answer: Done;
  };
  /** POST /session/{session_id}/pause: Pause */
  pause: {
    method: "POST";
    path: "/session/{session_id}/pause";
    query: undefined;
    body: Nothing;
    answer: Done;
  };
  /** POST /session/{session_id}/resume: Go on */
  resume: {
    method: "POST";
    path: "/session/{session_id}/resume";
    query: undefined;
    body: Nothing;
    answer: Done;
  };
  /** POST /session/{session_id}/seek: Go on elsewhere */
  seek: {
    method: "POST";
    path: "/session/{session_id}/seek";
    query: undefined;
    body: Seek;
    answer: Sought;
  };
  /** POST /session/{session_id}/volume: Change the volume */
  volume: {
    method: "POST";
    path: "/session/{session_id}/volume";
    query: undefined;
    body: SetVolume;
    answer: VolumeSet;
  };
  /** POST /session/{session_id}/log: What of it is logged */
  log: {
    method: "POST";
    path: "/session/{session_id}/log";
    query: undefined;
    body: SetLevel;
    answer: LevelSet;
  };
  /** GET /session/{session_id}/status: One session */
  status: {
    method: "GET";
    path: "/session/{session_id}/status";
    query: undefined;
    body: undefined;
    answer: Snapshot;
  };
  /** GET /session/{session_id}/stats: How one session is doing */
  stats: {
    method: "GET";
    path: "/session/{session_id}/stats";
    query: undefined;
    body: undefined;
    answer: Stats;
  };
  /** GET /sessions: All sessions */
  sessions: {
    method: "GET";
    path: "/sessions";
    query: undefined;
    body: undefined;
    answer: Sessions;
  };
  /** GET /metadata: What a URL holds */
  metadata: {
    method: "GET";
    path: "/metadata";
    query: { url: string };
    body: undefined;
    answer: Description;
  };
  /** GET /playlist: The tracks behind a URL */
  playlist: {
    method: "GET";
    path: "/playlist";
    query: { url: string };
    body: undefined;
    answer: Playlist;
  };
  /** GET /search: Tracks that fit a text */
  search: {
    method: "GET";
    path: "/search";
    query: { q: string; limit?: number };
    body: undefined;
    answer: Results;
  };
  /** GET /files: What lies in a folder of the media root */
  files: {
    method: "GET";
    path: "/files";
    query: { path?: string };
    body: undefined;
    answer: Files;
  };
  /** GET /health: The daemon's vitals */
  health: {
    method: "GET";
    path: "/health";
    query: undefined;
    body: undefined;
    answer: Vitals;
  };
  /** GET /health/live: Whether it answers */
  live: {
    method: "GET";
    path: "/health/live";
    query: undefined;
    body: undefined;
    answer: Probed;
  };
  /** GET /health/ready: Whether it takes plays */
  ready: {
    method: "GET";
    path: "/health/ready";
    query: undefined;
    body: undefined;
    answer: Probed;
  };
  /** GET /metrics: The same for Prometheus */
  metrics: {
    method: "GET";
    path: "/metrics";
    query: undefined;
    body: undefined;
    answer: string;
  };
  /** GET /openapi.json: This document */
  openapi: {
    method: "GET";
    path: "/openapi.json";
    query: undefined;
    body: undefined;
    answer: Record<string, unknown>;
  };
}

/** `code` of every failure that the daemon knows to answer with. */
export type ProblemCode =
  | "bad_request"
  | "blocked_address"
  | "body_too_large"
  | "decoder_failed"
  | "extraction_failed"
  | "extraction_timeout"
  | "extraction_unavailable"
  | "files_refused"
  | "forbidden_origin"
  | "host_not_allowed"
  | "invalid_body"
  | "invalid_json"
  | "invalid_query"
  | "invalid_session_id"
  | "no_fds"
  | "not_audio"
  | "not_found"
  | "not_ready"
  | "not_seekable"
  | "overloaded"
  | "position_out_of_range"
  | "shutting_down"
  | "source_ended_early"
  | "source_not_found"
  | "source_refused"
  | "source_timeout"
  | "source_unreachable"
  | "spawn_failed"
  | "too_many_failures"
  | "too_many_levels"
  | "too_many_lookups"
  | "too_many_sessions"
  | "unauthorized"
  | "unknown_demo"
  | "unsupported_media_type"
  | "unsupported_url";
