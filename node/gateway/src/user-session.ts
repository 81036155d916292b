/**
 * One user's session as a table: `step(state, event) -> [state, effects]`. What plays, what is to be played next, and what pages
 * are told of it is decided here and nowhere else; nothing here does anything. `room.ts` carries the effects out.
 */

import type { SessionEvent, Snapshot } from "@audiosvc/client";
import type { Action, Notice, SessionStatus, Track } from "./protocol.ts";
import * as queues from "./queue.ts";

/** Tracks that may fail one after another before the queue stands still. */
export const FAILURES_MOST = 5;

/** Track ids remembered as over, so that what comes late of them is known for what it is. */
const PAST_MOST = 16;

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
  asks: 0,
  past: [],
};

/** What happened. */
export type UserEvent =
  | { on: "action"; action: Action }
  /** The daemon took play number `ask`. */
  | { on: "accepted"; ask: number; trackId: string }
  /** It did not; `ofTrack`: because of what is to be played. */
  | { on: "refused"; ask: number; ofTrack: boolean; code: string; message: string }
  /** What it said on its socket. */
  | { on: "daemon"; event: SessionEvent }
  /** What it plays in this session, in answer to `look`. */
  | { on: "found"; snapshot: Snapshot }
  /** It does not know track `trackId` any more. */
  | { on: "lost"; trackId: string };

/** What is to be done. */
export type Effect =
  | { do: "play"; ask: number; url: string; startAt: number; volume: number }
  | { do: "stop" }
  | { do: "pause" }
  | { do: "resume" }
  | { do: "seek"; position: number }
  | { do: "volume"; volume: number }
  /** Ask the daemon what it plays in this session. */
  | { do: "look" }
  /** The daemon's next packet is at `position` seconds of the source. */
  | { do: "anchor"; position: number }
  /** Tell everybody who takes part. */
  | { do: "tell"; notice: Notice }
  /** Tell everybody the state, or the queue. */
  | { do: "tellState" }
  | { do: "tellQueue" }
  /** Tell the queue to who asked. */
  | { do: "answerQueue" }
  /** Tell who asked why not. */
  | { do: "refuse"; code: string; message: string };

export type Step = readonly [UserSession, readonly Effect[]];

/** What pages are shown as the session's track: what plays, else what is about to. */
export function trackOf(state: UserSession): Track | undefined {
  return (state.current ?? state.asked)?.track;
}

/** Whether there is something to stop. */
export function plays(state: UserSession): boolean {
  return state.current !== undefined || state.asked !== undefined;
}

/** What `event` makes of `state`, and what is to be done about it. */
export function step(state: UserSession, event: UserEvent): Step {
  switch (event.on) {
    case "action":
      return act(state, event.action);
    case "accepted":
      return state.asked?.ask === event.ask ? accept(state, state.asked, event.trackId) : [state, []];
    case "refused":
      return state.asked?.ask === event.ask ? refused(state, state.asked, event) : [state, []];
    case "daemon":
      return heard(state, event.event);
    case "found":
      return found(state, event.snapshot);
    case "lost":
      return lost(state, event.trackId);
  }
}

// --- what pages ask ------------------------------------------------------------------------------------------------

function act(state: UserSession, action: Action): Step {
  switch (action.action) {
    case "play":
      return ask(state, { url: action.url, title: action.url }, { byPage: true });
    case "stop":
      return stop(state, "stop");
    case "pause":
      return whilePlaying(state, [{ do: "pause" }]);
    case "resume":
      return whilePlaying(state, [{ do: "resume" }]);
    case "seek":
      return whilePlaying(state, [{ do: "seek", position: action.seconds }]);
    case "resumeFrom":
      return resumeFrom(state, action.seconds);
    case "volume": {
      const effects: Effect[] = plays(state) ? [{ do: "volume", volume: action.volume }] : [];
      return [{ ...state, volume: action.volume }, [...effects, { do: "tellState" }]];
    }
    case "addToQueue":
      return addToQueue(state, { url: action.url, title: action.title ?? action.url });
    case "playFromQueue":
      return action.index in state.queue.tracks
        ? askFromQueue(state, action.index, { byPage: true })
        : [state, [NO_SUCH_INDEX]];
    case "removeFromQueue":
      return withQueue(state, queues.remove(state.queue, action.index), NO_SUCH_INDEX);
    case "moveInQueue":
      return withQueue(state, queues.move(state.queue, action.index, action.to), NO_SUCH_INDEX);
    case "clearQueue":
      return withQueue(state, queues.EMPTY_QUEUE, NO_SUCH_INDEX);
    case "getQueue":
      return [state, [{ do: "answerQueue" }]];
    case "skip": {
      const next = queues.nextIndex(state.queue);
      if (next !== undefined) {
        return askFromQueue(state, next, { byPage: true, onward: true });
      }
      return plays(state) ? stop(state, "end") : [state, [refuse("queue_end", "there is no track behind this one")]];
    }
    case "previous": {
      const previous = queues.previousIndex(state.queue);
      return previous === undefined
        ? [state, [refuse("queue_start", "there is no track before this one")]]
        : askFromQueue(state, previous, { byPage: true });
    }
  }
}

function refuse(code: string, message: string): Effect {
  return { do: "refuse", code, message };
}

const NO_SUCH_INDEX: Effect = refuse("no_such_index", "there is no such place in the queue");

function whilePlaying(state: UserSession, effects: Effect[]): Step {
  return [state, plays(state) ? effects : [refuse("nothing_playing", "nothing plays in this session")]];
}

function stop(state: UserSession, stopping: "stop" | "end"): Step {
  const next: UserSession = { ...state, asked: undefined, stopping };
  if (state.current !== undefined || state.asked === undefined) {
    return [next, [{ do: "stop" }]];
  }
  // A play that the daemon has not taken yet has no end that it could tell of.
  const [rested, effects] = stopped(next, "stop");
  return [rested, [{ do: "stop" }, ...effects]];
}

function resumeFrom(state: UserSession, seconds: number): Step {
  if (plays(state)) {
    const seek: Effect = { do: "seek", position: seconds };
    return [state, state.status === "paused" ? [seek, { do: "resume" }] : [seek]];
  }
  if (state.last === undefined) {
    return [state, [refuse("nothing_playing", "nothing has been played in this session yet")]];
  }
  const { at, tracks } = state.queue;
  const index = tracks[at]?.url === state.last.url ? at : undefined;
  return ask(state, state.last, { byPage: true, index, startAt: seconds });
}

function addToQueue(state: UserSession, track: Track): Step {
  const queue = queues.add(state.queue, track);
  if (queue === undefined) {
    return [state, [refuse("queue_full", `a queue holds ${queues.QUEUE_MOST} tracks`)]];
  }
  const next: UserSession = { ...state, queue };
  if (plays(state)) {
    return [next, [{ do: "tellQueue" }]];
  }
  const [asked, effects] = askFromQueue(next, queue.tracks.length - 1, { byPage: true });
  return [asked, [{ do: "tellQueue" }, ...effects]];
}

function withQueue(state: UserSession, queue: queues.Queue | undefined, otherwise: Effect): Step {
  return queue === undefined ? [state, [otherwise]] : [{ ...state, queue }, [{ do: "tellQueue" }]];
}

// --- plays, and the daemon's answer to them --------------------------------------------------------------------------

interface How {
  byPage: boolean;
  onward?: boolean;
  index?: number | undefined;
  startAt?: number;
}

function ask(state: UserSession, track: Track, how: How): Step {
  const asks = state.asks + 1;
  const startAt = how.startAt ?? 0;
  const { byPage, onward = false, index } = how;
  const asked: Asked = { ask: asks, track, index, byPage, onward, startAt };
  const failures = byPage ? 0 : state.failures;
  return [
    { ...state, asks, asked, failures, stopping: undefined },
    [{ do: "play", ask: asks, url: track.url, startAt, volume: state.volume }],
  ];
}

function askFromQueue(state: UserSession, index: number, how: How): Step {
  const track = state.queue.tracks[index];
  return track === undefined ? [state, []] : ask(state, track, { ...how, index });
}

/** Where in the queue it is, if it still is there: the queue may have changed since. */
function placeOf(queue: queues.Queue, { index, track }: Asked): number | undefined {
  return index !== undefined && queue.tracks[index]?.url === track.url ? index : undefined;
}

function accept(state: UserSession, asked: Asked, trackId: string): Step {
  const place = placeOf(state.queue, asked);
  return [
    {
      ...over(state),
      status: "resolving",
      current: { trackId, track: asked.track },
      last: asked.track,
      queue: place === undefined ? queues.rest(state.queue) : queues.goTo(state.queue, place),
      stopping: undefined,
    },
    [
      { do: "tell", notice: { type: "nowPlaying", track: asked.track } },
      { do: "tellQueue" },
      { do: "anchor", position: asked.startAt },
      { do: "tellState" },
    ],
  ];
}

function refused(state: UserSession, asked: Asked, why: { ofTrack: boolean; code: string; message: string }): Step {
  const next: UserSession = { ...state, asked: undefined };
  const told = notice(why.code, `${asked.track.title}: ${why.message}`);
  if (why.ofTrack && asked.onward) {
    return passOver(next, asked, told);
  }
  const answer = asked.byPage ? refuse(why.code, why.message) : told;
  // Where the daemon takes no play at all, the next track would fare no better.
  return state.current === undefined ? atRest(next, [answer]) : [next, [answer]];
}

/** The track that was asked for cannot be played: the one behind it is next. */
function passOver(state: UserSession, asked: Asked, told: Effect): Step {
  const failed: UserSession = { ...state, failures: state.failures + 1 };
  const place = placeOf(state.queue, asked);
  if (state.current === undefined) {
    return ended(place === undefined ? failed : { ...failed, queue: queues.goTo(failed.queue, place) }, [told]);
  }
  // The track that was to be skipped still plays.
  if (failed.failures >= FAILURES_MOST) {
    return [failed, [told, STANDS_STILL, { do: "tellState" }]];
  }
  const next = (place ?? state.queue.at) + 1;
  const [stepped, effects] =
    next in state.queue.tracks ? askFromQueue(failed, next, { byPage: false, onward: true }) : stop(failed, "end");
  return [stepped, [told, ...effects, { do: "tellState" }]];
}

/** Nothing plays; the track that did is remembered as over. */
function over(state: UserSession): UserSession {
  const past = state.current === undefined ? state.past : [...state.past, state.current.trackId].slice(-PAST_MOST);
  return { ...state, status: "idle", current: undefined, asked: undefined, past };
}

// --- what the daemon says -----------------------------------------------------------------------------------------

function heard(state: UserSession, event: SessionEvent): Step {
  const id = event.track_id;
  if (state.past.includes(id)) {
    return [state, []];
  }
  if (state.current?.trackId === id) {
    return ofCurrent(state, state.current, event);
  }
  if (state.asked !== undefined && event.type !== "attached" && event.type !== "detached") {
    // The socket was faster than the answer to the play.
    const [accepted, effects] = accept(state, state.asked, id);
    const [next, more] = heard(accepted, event);
    return [next, [...effects, ...more]];
  }
  if (event.type === "ready") {
    // Another program plays something in this session.
    const track = { url: event.url, title: event.title ?? event.url };
    const current: Current = { trackId: id, track };
    const next: UserSession = { ...over(state), current, last: track, queue: queues.rest(state.queue) };
    const [ready, effects] = ofCurrent(next, current, event);
    return [ready, [{ do: "tell", notice: { type: "nowPlaying", track } }, ...effects, { do: "tellQueue" }]];
  }
  return [state, event.type === "attached" ? [{ do: "look" }] : []];
}

function ofCurrent(state: UserSession, current: Current, event: SessionEvent): Step {
  switch (event.type) {
    case "ready": {
      const track = better(current.track, event);
      const queue = queues.amend(state.queue, track);
      const effects: Effect[] = [
        { do: "anchor", position: event.position },
        { do: "tell", notice: { type: "ready", track, position: event.position } },
        { do: "tellState" },
      ];
      return [
        { ...state, status: "playing", current: { ...current, track }, last: track, queue, failures: 0 },
        queue === state.queue ? effects : [...effects, { do: "tellQueue" }],
      ];
    }
    case "paused":
    case "resumed":
      return [
        { ...state, status: event.type === "paused" ? "paused" : "playing" },
        [
          { do: "anchor", position: event.position },
          { do: "tell", notice: { type: event.type, position: event.position } },
          { do: "tellState" },
        ],
      ];
    case "seeked":
      return [
        state,
        [
          { do: "anchor", position: event.position },
          { do: "tell", notice: { type: "seeked", position: event.position } },
          { do: "tellState" },
        ],
      ];
    case "recovered":
      return [state, [{ do: "anchor", position: event.position }, { do: "tellState" }]];
    case "attached":
      return [
        { ...state, status: statusOf(event.status) },
        [{ do: "anchor", position: event.position }, { do: "tellState" }],
      ];
    case "metadata": {
      const track = { ...current.track, title: event.title };
      return [{ ...state, current: { ...current, track }, last: track }, [{ do: "tellState" }]];
    }
    case "detached":
      return [
        state,
        [notice("detached", "another program took this session over; it can be heard there"), { do: "tellState" }],
      ];
    case "finished":
      return ended(state, [{ do: "tell", notice: { type: "finished", played: event.played } }]);
    case "error": {
      if (event.code === "track_lost") {
        return lost(state, current.trackId);
      }
      const failed: UserSession = { ...state, failures: state.failures + 1 };
      return ended(failed, [notice(event.code, `${current.track.title}: ${event.message}`)]);
    }
    case "stopped": {
      // What was asked for comes in its place.
      return state.asked === undefined
        ? stopped(state, event.reason)
        : [{ ...over(state), asked: state.asked, status: "resolving" }, []];
    }
  }
}

function notice(code: string, message: string): Effect {
  return { do: "tell", notice: { type: "error", code, message } };
}

function stopped(state: UserSession, reason: string): Step {
  const told: Effect[] = [{ do: "tell", notice: { type: "stopped", reason } }];
  return state.stopping === "end" ? endOfQueue(state, told) : atRest(state, told);
}

const STANDS_STILL: Effect = notice(
  "too_many_failures",
  `${FAILURES_MOST} tracks failed one after another, so the queue stands still; skip goes on`,
);

/** The track ended by itself or failed: the queue goes on. */
function ended(state: UserSession, told: Effect[]): Step {
  if (state.asked !== undefined) {
    return [{ ...over(state), asked: state.asked, status: "resolving" }, told];
  }
  if (state.stopping !== undefined) {
    return state.stopping === "end" ? endOfQueue(state, told) : atRest(state, told);
  }
  const next = queues.nextIndex(state.queue);
  if (next === undefined) {
    return state.queue.plays ? endOfQueue(state, told) : atRest(state, told);
  }
  if (state.failures >= FAILURES_MOST) {
    return atRest(state, [...told, STANDS_STILL]);
  }
  const [asked, effects] = askFromQueue(over(state), next, { byPage: false, onward: true });
  return [{ ...asked, status: "resolving" }, [...told, ...effects]];
}

function endOfQueue(state: UserSession, told: Effect[]): Step {
  return atRest(state, [...told, { do: "tell", notice: { type: "queueFinished" } }]);
}

function atRest(state: UserSession, told: Effect[]): Step {
  return [
    { ...over(state), queue: queues.rest(state.queue), stopping: undefined },
    [...told, { do: "tellQueue" }, { do: "tellState" }],
  ];
}

function found(state: UserSession, snapshot: Snapshot): Step {
  const known = state.past.includes(snapshot.track_id) || state.current?.trackId === snapshot.track_id;
  if (known || state.asked !== undefined) {
    return [state, []];
  }
  const { url, title, duration, thumbnail, uploader } = snapshot;
  const track = better({ url, title: url }, { title, duration, thumbnail, uploader });
  return [
    {
      ...over(state),
      status: statusOf(snapshot.status),
      current: { trackId: snapshot.track_id, track },
      last: track,
      volume: snapshot.volume,
    },
    [{ do: "anchor", position: snapshot.position }, { do: "tellState" }],
  ];
}

function lost(state: UserSession, trackId: string): Step {
  if (state.current?.trackId !== trackId) {
    return [state, []];
  }
  if (state.asked !== undefined) {
    return [{ ...over(state), asked: state.asked, status: "resolving" }, []];
  }
  const words = `${state.current.track.title}: the daemon was restarted and no longer knows this track`;
  return atRest(state, [notice("track_lost", words)]);
}

function statusOf(status: Snapshot["status"]): SessionStatus {
  switch (status) {
    case "paused":
      return "paused";
    case "extracting":
      return "resolving";
    default:
      // A track that is over is told of by its terminal event, behind the packets that are still to come.
      return "playing";
  }
}

interface Known {
  title?: string | null | undefined;
  duration?: number | null | undefined;
  thumbnail?: string | null | undefined;
  uploader?: string | null | undefined;
}

/** `track` with what else is known of it. */
export function better(track: Track, known: Known): Track {
  const { title, duration, thumbnail, uploader } = known;
  return {
    ...track,
    ...(title ? { title } : {}),
    ...(typeof duration === "number" ? { duration } : {}),
    ...(thumbnail ? { thumbnail } : {}),
    ...(uploader ? { uploader } : {}),
  };
}
