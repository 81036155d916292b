/**
 * One guild's music as a table: `step(room, event) -> [room, effects]`. What plays, what is next and what is said of it is
 * decided here and nowhere else; nothing here does anything. `guild.ts` carries the effects out.
 */

import type { SessionEvent } from "@audiosvc/client";
import type { Queue, Track } from "./queue.ts";
import * as queues from "./queue.ts";
import * as texts from "./texts.ts";

/** Tracks that may fail one after another before the queue stands still. */
export const FAILURES_MOST = 5;

/** Codes of a play's refusal that are not the track's fault: the next one would fare no better. */
const NOT_THE_TRACKS_FAULT: ReadonlySet<string> = new Set([
  "closed",
  "internal",
  "invalid_answer",
  "overloaded",
  "shutting_down",
  "spawn_failed",
  "timeout",
  "too_many_sessions",
  "unauthorized",
  "unreachable",
]);

/** Those of them that end when the daemon is there again. */
const UNTIL_BACK: ReadonlySet<string> = new Set(["shutting_down", "unreachable"]);

/** Where a guild's music stands. */
export interface Room {
  readonly queue: Queue;
  /** The daemon's name for `queue.current`; undefined while the play is not answered. */
  readonly trackId: string | undefined;
  readonly paused: boolean;
  /** 0 to 2. */
  readonly volume: number;
  /** Tracks that failed one after another. */
  readonly failures: number;
  /** `putOff`: the daemon had no room to look `queue.current` up, and is to be asked again; `made`: it was. */
  readonly again: "putOff" | "made" | undefined;
  /** Whether the queue goes on as soon as the daemon is back. */
  readonly waiting: boolean;
}

export const NEW_ROOM: Room = {
  queue: queues.EMPTY_QUEUE,
  trackId: undefined,
  paused: false,
  volume: 1,
  failures: 0,
  again: undefined,
  waiting: false,
};

/** What somebody in the channel asks for. `tail`: the daemon is done with the track before, but its end is still heard. */
export type Order =
  | { on: "play"; tracks: readonly Track[] }
  | { on: "stop" }
  | { on: "pause"; tail: boolean }
  | { on: "resume" }
  | { on: "skip"; tail: boolean }
  | { on: "previous" }
  | { on: "seek"; position: number; tail: boolean }
  | { on: "jump"; number: number }
  | { on: "remove"; number: number }
  | { on: "volume"; volume: number | undefined };

/** What happens. */
export type RoomEvent =
  | Order
  /** The daemon took the play. */
  | { on: "accepted"; trackId: string }
  /** It did not. */
  | { on: "refused"; code: string; message: string }
  /** What it said on its socket; `reached` is the position in seconds that the sound received of that track goes up to. */
  | { on: "daemon"; event: SessionEvent; reached: number }
  /** It is time to ask again. */
  | { on: "due" }
  /** The connection to the daemon is there again. */
  | { on: "connected" }
  /** Nobody is there, nothing plays, the channel is lost, or the bot stops. */
  | { on: "leave" };

/** What is to be done. */
export type Effect =
  | { do: "play"; track: Track; volume: number }
  /** Tell in a while that it is time to ask again. */
  | { do: "putOff" }
  | { do: "stop" }
  | { do: "pause" }
  | { do: "resume" }
  | { do: "seek"; position: number }
  | { do: "volume"; volume: number }
  /** Let the track be heard that is ready. */
  | { do: "admit"; trackId: string }
  /** It is not ours. */
  | { do: "discard"; trackId: string }
  /** Let be heard no more of what was received, and end a pause. */
  | { do: "cut" }
  /** Leave the voice channel. */
  | { do: "leave" }
  /** Answer who asked. */
  | { do: "reply"; text: string }
  /** Tell the guild of a failure; who asked is told this instead of the reply. */
  | { do: "tell"; text: string };

export type Step = readonly [Room, readonly Effect[]];

/** What `event` makes of `room`, and what is to be done about it. */
export function step(room: Room, event: RoomEvent): Step {
  switch (event.on) {
    case "play":
      return play(room, event.tracks);
    case "stop":
      return [{ ...NEW_ROOM, volume: room.volume }, [...ENDING, reply(texts.STOPPED)]];
    case "leave":
      return [{ ...NEW_ROOM, volume: room.volume }, ENDING];
    case "pause":
      if (room.paused) return refuse(room, texts.PAUSED_ALREADY);
      if (room.queue.current === undefined && !event.tail) return refuse(room, texts.NOTHING_PLAYS);
      return [{ ...room, paused: true }, [{ do: "pause" }, reply(texts.PAUSED)]];
    case "resume":
      return resume(room);
    case "skip":
      return skip(room, event.tail);
    case "previous": {
      const queue = queues.previous(room.queue);
      return queue?.current === undefined
        ? refuse(room, texts.NOTHING_BEFORE)
        : changeTo(room, queue, queue.current, texts.playing(queue.current));
    }
    case "seek":
      if (event.tail) return refuse(room, texts.TRACK_ENDS);
      if (room.queue.current === undefined) return refuse(room, texts.NOTHING_PLAYS);
      return [room, [{ do: "seek", position: event.position }, reply(texts.sought(event.position))]];
    case "jump": {
      const queue = queues.jump(room.queue, event.number);
      return queue.current === undefined
        ? refuse(room, texts.NO_TRACK_THERE)
        : changeTo(room, queue, queue.current, texts.playing(queue.current));
    }
    case "remove": {
      const removed = queues.remove(room.queue, event.number);
      if (removed === undefined) return refuse(room, texts.NO_TRACK_THERE);
      return [{ ...room, queue: removed[0] }, [reply(texts.removed(removed[1]))]];
    }
    case "volume":
      return setVolume(room, event.volume);
    case "accepted":
      return [{ ...room, trackId: event.trackId }, []];
    case "refused":
      return refused(room, event.code, event.message);
    case "daemon":
      return heard(room, event.event, event.reached);
    case "due":
      return due(room);
    case "connected":
      return room.waiting ? start({ ...room, queue: queues.next(room.queue) }) : [room, []];
  }
}

const ENDING: readonly Effect[] = [{ do: "cut" }, { do: "leave" }, { do: "stop" }];

// --- what is asked for -----------------------------------------------------------------------------------------------

function play(room: Room, tracks: readonly Track[]): Step {
  const [queue, taken] = queues.add(room.queue, tracks);
  const missing = taken < tracks.length ? [reply(texts.leftOut(tracks.length - taken))] : [];
  const first = tracks[0];
  if (first === undefined || taken === 0) return [room, missing];
  if (room.queue.current !== undefined) {
    const said = taken === 1 ? texts.queued(first, queue.upcoming.length) : texts.queuedMany(taken);
    return [{ ...room, queue }, [reply(said), ...missing]];
  }
  const [started, effects] = goOn({ ...room, queue });
  const others = started.queue.current === first ? taken - 1 : taken;
  const queued = others > 0 ? [reply(texts.queuedMany(others))] : [];
  return [started, [...effects, ...queued, ...missing]];
}

function resume(room: Room): Step {
  const { current, upcoming } = room.queue;
  if (room.paused && (current !== undefined || upcoming.length === 0)) {
    return [{ ...room, paused: false }, [{ do: "resume" }, reply(texts.RESUMED)]];
  }
  return current === undefined ? goOn(room) : refuse(room, texts.PLAYS_ALREADY);
}

/** The next track, after a rest. */
function goOn(room: Room): Step {
  const queue = queues.next(room.queue);
  const track = queue.current;
  if (track === undefined) return refuse(room, texts.NOTHING_TO_RESUME);
  const held: Effect[] = room.paused ? [{ do: "resume" }] : [];
  const [started, effects] = ask({ ...room, queue, paused: false, failures: 0 }, track);
  return [started, [...held, ...effects, reply(texts.playing(track))]];
}

function skip(room: Room, tail: boolean): Step {
  const { current, upcoming } = room.queue;
  if (tail) return [{ ...room, paused: false }, [{ do: "cut" }, reply(texts.skipped(current))]];
  if (current === undefined && upcoming.length === 0) return refuse(room, texts.NOTHING_PLAYS);
  const queue = queues.next(room.queue);
  if (queue.current !== undefined) return changeTo(room, queue, queue.current, texts.skipped(queue.current));
  const rested = { ...atRest(room, queue), paused: false };
  return [rested, [{ do: "cut" }, { do: "stop" }, reply(texts.skipped(undefined))]];
}

/** Somebody wants to hear `track`, which is `queue.current`, at once. */
function changeTo(room: Room, queue: Queue, track: Track, said: string): Step {
  const [started, effects] = ask({ ...room, queue, paused: false, failures: 0 }, track);
  return [started, [{ do: "cut" }, ...effects, reply(said)]];
}

function setVolume(room: Room, volume: number | undefined): Step {
  if (volume === undefined) return [room, [reply(texts.volumeIs(room.volume))]];
  const effects: Effect[] = room.queue.current === undefined ? [] : [{ do: "volume", volume }];
  return [{ ...room, volume }, [...effects, reply(texts.volumeIs(volume))]];
}

function refuse(room: Room, text: string): Step {
  return [room, [reply(text)]];
}

function reply(text: string): Effect {
  return { do: "reply", text };
}

// --- what the daemon says --------------------------------------------------------------------------------------------

function heard(room: Room, event: SessionEvent, reached: number): Step {
  const { current } = room.queue;
  if (current === undefined || event.track_id !== room.trackId) {
    return [room, event.type === "ready" ? [{ do: "discard", trackId: event.track_id }] : []];
  }
  switch (event.type) {
    case "ready": {
      const { title = current.title, duration = current.duration } = event;
      const queue = queues.amend(room.queue, { title, duration, live: event.live === true });
      return [{ ...room, queue }, [{ do: "admit", trackId: event.track_id }]];
    }
    case "metadata":
      return [{ ...room, queue: queues.amend(room.queue, { title: event.title }) }, []];
    case "finished":
      return start({ ...room, queue: queues.next(room.queue), failures: 0 });
    case "error":
      if (event.code === "track_lost") return interrupted(room, current, reached);
      if (event.code === "too_many_lookups" && event.played === 0 && room.again === undefined) {
        return [{ ...room, trackId: undefined, again: "putOff" }, [{ do: "putOff" }]];
      }
      return failure(room, current, event.code, event.message, event.played);
    case "stopped":
      if (event.reason === "consumer_timeout") return interrupted(room, current, reached);
      return stopped(room, event.reason, resumable(current, reached));
    default:
      return [room, []];
  }
}

/** Goes on with what was cut off through nobody's wish; a track that is cut off again and again counts as failed. */
function interrupted(room: Room, track: Track, reached: number): Step {
  const failures = room.failures + 1;
  if (failures >= FAILURES_MOST) return failure(room, track, "track_lost", "", reached);
  const queue = queues.next(queues.putBack(room.queue, resumable(track, reached)));
  return start({ ...room, queue, failures });
}

function stopped(room: Room, why: string, startAt: number): Step {
  const rested = atRest(room, queues.putBack(room.queue, startAt));
  if (why === "shutdown") return [{ ...rested, waiting: true }, []];
  const text = why === "idle_timeout" ? texts.INTERRUPTED_LONG : texts.ENDED_ELSEWHERE;
  return [{ ...rested, paused: false }, [{ do: "cut" }, { do: "tell", text }]];
}

function due(room: Room): Step {
  const { current } = room.queue;
  if (current === undefined || room.again !== "putOff") return [room, []];
  const [asked, effects] = ask(room, current);
  return [{ ...asked, again: "made" }, effects];
}

function refused(room: Room, code: string, message: string): Step {
  const { current } = room.queue;
  if (current === undefined) return [room, []];
  if (!NOT_THE_TRACKS_FAULT.has(code)) return failure(room, current, code, message, 0);
  const rested = atRest(room, queues.putBack(room.queue, current.startAt));
  const text = texts.failed(current, code, message, 0);
  return [{ ...rested, waiting: UNTIL_BACK.has(code) }, [{ do: "tell", text }]];
}

/** Tells of it and goes on with the next track, unless too many failed. */
function failure(room: Room, track: Track, code: string, message: string, played: number): Step {
  const told: Effect = { do: "tell", text: texts.failed(track, code, message, played) };
  const queue = queues.next(room.queue);
  const failures = room.failures + 1;
  if (failures < FAILURES_MOST) {
    const [started, effects] = start({ ...room, queue, failures });
    return [started, [told, ...effects]];
  }
  const rested = atRest(room, queues.putBack(queue, queue.current?.startAt ?? 0));
  return [rested, [told, { do: "tell", text: texts.gaveUp(failures, rested.queue.upcoming.length) }]];
}

/** Goes on with `queue.current`, if there is one. */
function start(room: Room): Step {
  const track = room.queue.current;
  return track === undefined ? [atRest(room, room.queue), []] : ask(room, track);
}

/** Asks the daemon for `track`, which is `queue.current`. */
function ask(room: Room, track: Track): Step {
  return [
    { ...room, trackId: undefined, again: undefined, waiting: false },
    [{ do: "play", track, volume: room.volume }],
  ];
}

function atRest(room: Room, queue: Queue): Room {
  return { ...room, queue, trackId: undefined, failures: 0, again: undefined, waiting: false };
}

/** Where to go on: what is live, such as web radio, begins anew. */
function resumable({ duration, live }: Track, reached: number): number {
  return live !== true && (duration === undefined || reached < duration) ? reached : 0;
}
