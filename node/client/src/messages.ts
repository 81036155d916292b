/** What is said on the Unix socket, as `docs/wire-protocol.rst` lays it out. Times are seconds. */

/** The version of the wire protocol that this package reads. */
export const PROTOCOL = 1;

/** Packets of credit one session may have outstanding on one connection: 10 s. */
export const CREDIT_MOST = 500;

/** Bytes of one line of JSON in either direction, its newline included. */
export const LINE_MOST: number = 64 * 1024;

/** The largest `length` of a packet: the session id's field and the payload. */
export const PACKET_MOST: number = 1024 * 1024;

/** Bytes of the session id's field. */
export const SESSION_ID_BYTES = 36;

/** Session ids that one connection may name. */
export const NAMES_MOST = 4096;

/** Seconds of sound in one packet. */
export const PACKET_SECONDS = 0.02;

const SESSION_ID = /^[A-Za-z0-9_.:-]{1,36}$/;

/** Whether `text` is a legal session id: 1 to 36 characters out of `A-Z a-z 0-9 _ . : -`. */
export function isSessionId(text: string): boolean {
  return SESSION_ID.test(text);
}

/** What a session does. */
export type Status = "idle" | "extracting" | "streaming" | "paused" | "stopped" | "error";
/** Why a track was stopped: asked for, another play on the same id, paused or idle too long, no client, the daemon's end. */
export type StopReason = "stop" | "replaced" | "idle_timeout" | "consumer_timeout" | "shutdown";

/** First event of every connection. */
export interface HelloEvent {
  type: "hello";
  protocol: number;
  features: string[];
  server: string;
}

/** The answer to a line that the daemon could not take. */
export interface RefusedEvent {
  type: "refused";
  code: string;
  message: string;
}

interface OfTrack {
  session_id: string;
  /** Made by each accepted play, and answered by it. */
  track_id: string;
}

/** The track's first packet follows. `position` is where in the source it starts. */
export interface ReadyEvent extends OfTrack {
  type: "ready";
  url: string;
  format: string;
  position: number;
  title?: string;
  duration?: number;
  thumbnail?: string;
  uploader?: string;
  /** It goes on by itself, listened to or not, and cannot be sought in. */
  live?: boolean;
}

/** No packet follows before `resumed` or the end. */
export interface PausedEvent extends OfTrack {
  type: "paused";
  position: number;
}

/** Packets go on. */
export interface ResumedEvent extends OfTrack {
  type: "resumed";
  position: number;
}

/** Between the last packet of the old position (`previous`) and the first of the new: what is not played yet is stale. */
export interface SeekedEvent extends OfTrack {
  type: "seeked";
  position: number;
  previous: number;
}

/** The source failed and was opened again; the sound goes on at `position`. */
export interface RecoveredEvent extends OfTrack {
  type: "recovered";
  position: number;
}

/** The title changed while playing (web radio). */
export interface MetadataEvent extends OfTrack {
  type: "metadata";
  title: string;
}

/** This connection gets a session in the middle of a track: the next packet is number `packets` + 1, at `position`. */
export interface AttachedEvent extends OfTrack {
  type: "attached";
  status: Status;
  position: number;
  packets: number;
}

/** This connection no longer gets the session. */
export interface DetachedEvent extends OfTrack {
  type: "detached";
}

/** Terminal: the track ended by itself after `played` seconds of sound sent. */
export interface FinishedEvent extends OfTrack {
  type: "finished";
  played: number;
}

/** Terminal: somebody or something ended the track. */
export interface StoppedEvent extends OfTrack {
  type: "stopped";
  reason: StopReason;
  played: number;
}

/** Terminal: the track could not be played, or not to its end. */
export interface ErrorEvent extends OfTrack {
  type: "error";
  code: string;
  message: string;
  played: number;
  duration?: number;
}

/** The one event that ends a track. */
export type TerminalEvent = FinishedEvent | StoppedEvent | ErrorEvent;

/** An event of one session's track. */
export type SessionEvent =
  | ReadyEvent
  | PausedEvent
  | ResumedEvent
  | SeekedEvent
  | RecoveredEvent
  | MetadataEvent
  | AttachedEvent
  | DetachedEvent
  | TerminalEvent;

/** Every event of protocol 1. */
export type WireEvent = HelloEvent | RefusedEvent | SessionEvent;

/** An event of a type that protocol 1 does not have, from a newer daemon; `fields` are the rest of it. */
export interface UnknownEvent {
  type: string;
  fields: Record<string, unknown>;
}

/** What the {@link Decoder} makes of the daemon's bytes. */
export type Message =
  | { kind: "packet"; session_id: string; payload: Buffer }
  | { kind: "event"; event: WireEvent }
  | { kind: "unknown"; event: UnknownEvent };

/** What a returning client holds: the first `packets` packets of `track_id`, or of the current track. */
export type Held = number | { track_id: string; packets: number };

/** A line of the client. */
export type Line =
  | { type: "hello"; client?: string; resume?: Record<string, Held> }
  | { type: "subscribe"; session_id: string }
  | { type: "unsubscribe"; session_id: string }
  | { type: "credit"; session_id: string; packets: number };

/** Whether `event` ends its track. */
export function isTerminal(event: { type: string }): event is TerminalEvent {
  return event.type === "finished" || event.type === "stopped" || event.type === "error";
}
