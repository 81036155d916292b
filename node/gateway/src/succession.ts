/** How one track follows another: what is asked of the daemon, its answer, and what comes when a track is over. */

import type { Track } from "./protocol.ts";
import * as queues from "./queue.ts";
import {
  type Asked,
  type Current,
  type Effect,
  refuse,
  type Step,
  tellError,
  type UserSession,
} from "./user-session.ts";

/** Tracks that may fail one after another before the queue stands still. */
export const FAILURES_MOST = 5;

/** Track ids remembered as over, so that what comes late of them is known for what it is. */
const PAST_MOST = 16;

/** What a page that names no place of the queue is told. */
export const NO_SUCH_INDEX: Effect = refuse("no_such_index", "there is no such place in the queue");

/** What who asks for a play says of it, as {@link Asked} has it. */
interface How {
  byPage: boolean;
  onward?: boolean;
  again?: boolean;
  index?: number | undefined;
  startAt?: number;
}

/** Asks the daemon for `track`. */
export function ask(state: UserSession, track: Track, how: How): Step {
  const asks = state.asks + 1;
  const { byPage, onward = false, again = false, index, startAt = 0 } = how;
  const asked: Asked = { ask: asks, track, index, byPage, onward, startAt };
  const failures = byPage ? 0 : state.failures;
  const next: UserSession = { ...state, asks, asked, failures, again, stopping: undefined };
  return [next, [again ? { do: "putOff", ask: asks } : playOf(next, asked)]];
}

/** The play that `asked` stands for. */
export function playOf({ volume }: UserSession, { ask, track: { url }, startAt }: Asked): Effect {
  return { do: "play", ask, url, startAt, volume };
}

/** Asks once more, in a while, for the track that the daemon had no room to look up. */
export function askAgain(state: UserSession, { track, startAt }: Current): Step {
  const index = state.queue.plays ? state.queue.at : undefined;
  const [asked, effects] = ask(over(state), track, { byPage: false, onward: true, again: true, index, startAt });
  return [{ ...asked, status: "resolving" }, effects];
}

/** Asks the daemon for the track at `index` of the queue. */
export function askFromQueue(state: UserSession, index: number, how: How): Step {
  const track = state.queue.tracks[index];
  return track === undefined ? [state, [NO_SUCH_INDEX]] : ask(state, track, { ...how, index });
}

/** Where in the queue it is, if it still is there: the queue may have changed since. */
function placeOf(queue: queues.Queue, { index, track }: Asked): number | undefined {
  return index !== undefined && queue.tracks[index]?.url === track.url ? index : undefined;
}

/** The daemon took what was asked for, as track `trackId`. */
export function accept(state: UserSession, asked: Asked, trackId: string): Step {
  const place = placeOf(state.queue, asked);
  return [
    {
      ...over(state),
      status: "resolving",
      current: { trackId, track: asked.track, startAt: asked.startAt },
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

/** The daemon did not take what was asked for; `ofTrack`: because of what it is. */
export function refused(
  state: UserSession,
  asked: Asked,
  why: { ofTrack: boolean; code: string; message: string },
): Step {
  const next: UserSession = { ...state, asked: undefined };
  const told = tellError(why.code, `${asked.track.title}: ${why.message}`);
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
export function over(state: UserSession): UserSession {
  const past = state.current === undefined ? state.past : [...state.past, state.current.trackId].slice(-PAST_MOST);
  return { ...state, status: "idle", current: undefined, asked: undefined, past };
}

/** What was asked for comes in the place of what played. */
export function awaiting(state: UserSession, asked: Asked): UserSession {
  return { ...over(state), asked, status: "resolving" };
}

/** A page wants no more sound; `end`: because it skipped the last track. */
export function stop(state: UserSession, stopping: "stop" | "end"): Step {
  const next: UserSession = { ...state, asked: undefined, stopping };
  if (state.current !== undefined || state.asked === undefined) {
    return [next, [{ do: "stop" }]];
  }
  // A play that the daemon has not taken yet is not at the daemon, and has no end that it could tell of.
  return stopped(next, "stop");
}

/** The track was stopped, and nothing comes in its place. */
export function stopped(state: UserSession, reason: string): Step {
  return halt(state, [{ do: "tell", notice: { type: "stopped", reason } }]);
}

const STANDS_STILL: Effect = tellError(
  "too_many_failures",
  `${FAILURES_MOST} tracks failed one after another, so the queue stands still; skip goes on`,
);

/** The track ended by itself or failed: the queue goes on. */
export function ended(state: UserSession, told: Effect[]): Step {
  if (state.asked !== undefined) {
    return [awaiting(state, state.asked), told];
  }
  if (state.stopping !== undefined) {
    return halt(state, told);
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

/** A page wanted it to end; was the last track skipped, the queue is over. */
function halt(state: UserSession, told: Effect[]): Step {
  return state.stopping === "end" ? endOfQueue(state, told) : atRest(state, told);
}

function endOfQueue(state: UserSession, told: Effect[]): Step {
  return atRest(state, [...told, { do: "tell", notice: { type: "queueFinished" } }]);
}

/** Nothing plays, and nothing follows. */
export function atRest(state: UserSession, told: Effect[]): Step {
  return [
    { ...over(state), queue: queues.rest(state.queue), stopping: undefined },
    [...told, { do: "tellQueue" }, { do: "tellState" }],
  ];
}
