/**
 * Where one user's session stands, what can happen to it, and what can come of that. What does come of it is decided in
 * `step.ts`; `room.ts` carries it out.
 */

import type { SessionEvent, Snapshot } from "@audiosvc/client";
import type { List } from "./lookups.ts";
import type { Action, Notice, SessionStatus, Track } from "./protocol.ts";
import * as queues from "./queue.ts";

/** A play that the daemon has not answered yet. */
export interface Asked {
  /** Counts the plays of this session. */
  readonly ask: number;
  readonly track: Track;
  /** Its index in the queue, undefined for one past it. */
  readonly index: number | undefined;
  /** Whether a page asked for it, and not the queue. */
  readonly byPage: boolean;
  /** Whether the track behind it will do as well, if it cannot be played. */
  readonly onward: boolean;
  /** Seconds of the source to leave out. */
  readonly startAt: number;
}

/** The track that the daemon plays. */
export interface Current {
  readonly trackId: string;
  readonly track: Track;
  /** Seconds of the source that were left out. */
  readonly startAt: number;
}

/** Where a session stands. `volume` is the stream's, 0 to 2. */
export interface UserSession {
  readonly status: SessionStatus;
  readonly current: Current | undefined;
  readonly asked: Asked | undefined;
  /** What was played last, for `resumeFrom`. */
  readonly last: Track | undefined;
  readonly volume: number;
  readonly queue: queues.Queue;
  /** A page wants no more sound; `end`: because it skipped the last track. */
  readonly stopping: "stop" | "end" | undefined;
  /** Tracks that failed one after another. */
  readonly failures: number;
  /** What is asked for or plays was asked for before, and the daemon had no room to look it up. */
  readonly again: boolean;
  readonly asks: number;
  readonly past: readonly string[];
}

export const NEW_SESSION: UserSession = {
  status: "idle",
  current: undefined,
  asked: undefined,
  last: undefined,
  volume: 1,
  queue: queues.EMPTY_QUEUE,
  stopping: undefined,
  failures: 0,
  again: false,
  asks: 0,
  past: [],
};

/** What happened. */
export type UserEvent =
  | { on: "action"; action: Action }
  /** What it asked to have looked up for the queue is there. */
  | { on: "list"; list: List }
  /** The daemon took play number `ask`. */
  | { on: "accepted"; ask: number; trackId: string }
  /** It did not; `ofTrack`: because of what is to be played. */
  | { on: "refused"; ask: number; ofTrack: boolean; code: string; message: string }
  /** It is time for play number `ask`, which was put off. */
  | { on: "due"; ask: number }
  /** What it said on its socket. */
  | { on: "daemon"; event: SessionEvent }
  /** What it plays in this session, in answer to `look`. */
  | { on: "found"; snapshot: Snapshot }
  /** It does not know track `trackId` any more. */
  | { on: "lost"; trackId: string };

/** What the daemon is to be asked for. */
export type Call =
  | { do: "play"; ask: number; url: string; startAt: number; volume: number }
  | { do: "stop" }
  | { do: "pause" }
  | { do: "resume" }
  | { do: "seek"; position: number }
  | { do: "volume"; volume: number }
  /** What it plays in this session. */
  | { do: "look" };

/** What is to be done. */
export type Effect =
  | Call
  /** Tell in a while that play number `ask` is due. */
  | { do: "putOff"; ask: number }
  /** The daemon's next packet is at `position` seconds of the source. */
  | { do: "anchor"; position: number }
  /** Tell everybody who takes part. */
  | { do: "tell"; notice: Notice }
  /** Tell everybody the state, or the queue. */
  | { do: "tellState" }
  | { do: "tellQueue" }
  /** Tell the queue to who asked. */
  | { do: "answerQueue" }
  /** Tell who asked. */
  | { do: "answer"; notice: Notice }
  /** Tell who asked why not. */
  | { do: "refuse"; code: string; message: string };

/** What comes of an event: where the session stands now, and what is to be done about it, in this order. */
export type Step = readonly [UserSession, readonly Effect[]];

/** What pages are shown as the session's track: what plays, else what is about to. */
export function trackOf(state: UserSession): Track | undefined {
  return (state.current ?? state.asked)?.track;
}

/** Whether there is something to stop. */
export function plays(state: UserSession): boolean {
  return state.current !== undefined || state.asked !== undefined;
}

/** Tells who asked why not. */
export function refuse(code: string, message: string): Effect {
  return { do: "refuse", code, message };
}

/** Tells everybody what went wrong. */
export function tellError(code: string, message: string): Effect {
  return { do: "tell", notice: { type: "error", code, message } };
}

interface Known {
  title?: string | null | undefined;
  duration?: number | null | undefined;
  thumbnail?: string | null | undefined;
  uploader?: string | null | undefined;
  live?: boolean | undefined;
}

/** `track` with what else is known of it. */
export function better(track: Track, known: Known): Track {
  const { live: before, duration: length, ...rest } = track;
  const { title, thumbnail, uploader, live = before } = known;
  const duration = known.duration ?? length;
  return {
    ...rest,
    ...(title ? { title } : {}),
    ...(duration !== undefined && !live ? { duration } : {}),
    ...(thumbnail ? { thumbnail } : {}),
    ...(uploader ? { uploader } : {}),
    ...(live ? { live: true } : {}),
  };
}
