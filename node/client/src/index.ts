/** Client for the audiosvc daemon: packets and events from its Unix socket, and its HTTP control API. */

export type { ClientStats, SocketClientOptions } from "./client.ts";
export { SocketClient } from "./client.ts";
export type { ControlClientOptions, RequestOptions } from "./control.ts";
export { ControlClient } from "./control.ts";
export { Decoder } from "./decoder.ts";
export type { ErrorDetails } from "./errors.ts";
export { AudioServiceError } from "./errors.ts";
export type { AudioPacket, Disconnection, Gap, SocketClientEvents } from "./events.ts";
export { encode } from "./lines.ts";
export type { Clock, ConnectionState, ReconnectOptions } from "./link.ts";
export type {
  AttachedEvent,
  DetachedEvent,
  ErrorEvent,
  FinishedEvent,
  Held,
  HelloEvent,
  Line,
  Message,
  MetadataEvent,
  PausedEvent,
  ReadyEvent,
  RecoveredEvent,
  RefusedEvent,
  ResumedEvent,
  SeekedEvent,
  SessionEvent,
  Status,
  StoppedEvent,
  StopReason,
  TerminalEvent,
  UnknownEvent,
  WireEvent,
} from "./messages.ts";
export { CREDIT_MOST, isSessionId, isTerminal, PACKET_SECONDS, PROTOCOL } from "./messages.ts";
export type {
  Description,
  Done,
  Entry,
  Files,
  LevelSet,
  Listed,
  Play,
  Playing,
  Playlist,
  Probed,
  ProblemBody,
  ProblemCode,
  Reason,
  Result,
  Results,
  Sessions,
  SetLevel,
  Snapshot,
  Sought,
  Stats,
  Vitals,
  VolumeSet,
} from "./openapi.ts";
export type { SessionOptions, SessionStreamEvents } from "./stream.ts";
export { SessionStream } from "./stream.ts";
