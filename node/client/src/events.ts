import type { AudioServiceError } from "./errors.ts";
import type {
  AttachedEvent,
  DetachedEvent,
  FinishedEvent,
  HelloEvent,
  MetadataEvent,
  PausedEvent,
  ReadyEvent,
  RecoveredEvent,
  RefusedEvent,
  ResumedEvent,
  SeekedEvent,
  SessionEvent,
  StoppedEvent,
  UnknownEvent,
} from "./messages.ts";

/** One packet of a session's track. `data` is a copy of its own; `number` counts the track's packets from 1. */
export interface AudioPacket {
  sessionId: string;
  trackId: string;
  number: number;
  data: Buffer;
}

/** The connection, or an attempt at one, is lost. */
export interface Disconnection {
  error: AudioServiceError;
  /** Ms until the next attempt; undefined when there will be none, and the client is closed. */
  retryIn: number | undefined;
}

/** Packets of a track that will never come: the daemon could not go back to what this client holds. */
export interface Gap {
  sessionId: string;
  trackId: string;
  packets: number;
}

/**
 * What a {@link SocketClient} emits, at once and in the order of the wire: `audio` and the events of a session are in their
 * true order. What comes again after a reconnect is not emitted again.
 */
export interface SocketClientEvents {
  /** A packet of a session that is heard. */
  audio: [AudioPacket];
  /** Every session event, right before the one that is named after its type. */
  event: [SessionEvent];
  ready: [ReadyEvent];
  paused: [PausedEvent];
  resumed: [ResumedEvent];
  seeked: [SeekedEvent];
  recovered: [RecoveredEvent];
  metadata: [MetadataEvent];
  attached: [AttachedEvent];
  detached: [DetachedEvent];
  finished: [FinishedEvent];
  stopped: [StoppedEvent];
  /**
   * A track's terminal `error`, with `code`, `sessionId`, `trackId`, `played` and perhaps `duration`. It is emitted only if
   * somebody listens, so it never throws. The connection's own failures are told by `disconnect`.
   */
  error: [AudioServiceError];
  /** The daemon has greeted: at first, and after each reconnect. */
  connect: [HelloEvent];
  disconnect: [Disconnection];
  gap: [Gap];
  refused: [RefusedEvent];
  /** A packet of a session that nobody here knows, told once a session. Without a listener it is a process warning. */
  unknownPacket: [{ sessionId: string }];
  unknownEvent: [UnknownEvent];
  /** The client is closed, by `close` or because it gave up. */
  close: [];
}
