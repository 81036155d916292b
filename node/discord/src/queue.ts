/**
 * A guild's queue. Pure: every function gives a new queue.
 *
 * A bot stays for days, so what has been played is remembered only for a while, and numbers are those that people see:
 * 1 is the next track.
 */

/** Tracks that may wait. */
export const UPCOMING_MOST = 500;

/** Tracks remembered for `/previous`. */
export const PAST_MOST = 50;

/** One thing to be played. */
export interface Track {
  readonly url: string;
  readonly title: string;
  /** Seconds; undefined where nobody knows, as for web radio. */
  readonly duration: number | undefined;
  /** Whether it goes on by itself and cannot be sought in; undefined until it is ready. */
  readonly live?: boolean;
  /** Id of the user who asked for it. */
  readonly requester: string;
  /** Seconds of it that were played before it was interrupted. */
  readonly startAt: number;
}

/** `current` is what the daemon was asked to play; the last of `past` is the latest. */
export interface Queue {
  readonly past: readonly Track[];
  readonly current: Track | undefined;
  readonly upcoming: readonly Track[];
}

export const EMPTY_QUEUE: Queue = { past: [], current: undefined, upcoming: [] };

/** With as many of `tracks` at the end as there is room for, and how many that were. */
export function add(queue: Queue, tracks: readonly Track[]): readonly [Queue, number] {
  const taken = tracks.slice(0, UPCOMING_MOST - queue.upcoming.length);
  return [{ ...queue, upcoming: [...queue.upcoming, ...taken] }, taken.length];
}

/** The next track is current; none is, behind the last. */
export function next(queue: Queue): Queue {
  return jump(queue, 1);
}

/** The upcoming track `number` is current, and what it leaves behind is past. */
export function jump(queue: Queue, number: number): Queue {
  const left = [...listed(queue.current), ...queue.upcoming.slice(0, number - 1)];
  return {
    past: remember([...queue.past, ...left]),
    current: queue.upcoming[number - 1],
    upcoming: queue.upcoming.slice(number),
  };
}

/** The track before is current again, and what was current is next. Undefined if there is none before. */
export function previous(queue: Queue): Queue | undefined {
  const current = queue.past.at(-1);
  if (current === undefined) return undefined;
  const upcoming = [...listed(queue.current), ...queue.upcoming].slice(0, UPCOMING_MOST);
  return { past: queue.past.slice(0, -1), current, upcoming };
}

/** Without the upcoming track `number`, and that track. Undefined if there is none. */
export function remove(queue: Queue, number: number): readonly [Queue, Track] | undefined {
  const track = queue.upcoming[number - 1];
  return track && [{ ...queue, upcoming: queue.upcoming.toSpliced(number - 1, 1) }, track];
}

/** Nothing is current; what was is next, and is to go on at `startAt` seconds. */
export function putBack(queue: Queue, startAt: number): Queue {
  const upcoming = [...listed(queue.current).map((track) => ({ ...track, startAt })), ...queue.upcoming];
  return { ...queue, current: undefined, upcoming: upcoming.slice(0, UPCOMING_MOST) };
}

/** With what is known better about the current track. */
export function amend(queue: Queue, better: Partial<Pick<Track, "title" | "duration" | "live">>): Queue {
  return queue.current === undefined ? queue : { ...queue, current: { ...queue.current, ...better } };
}

function listed(track: Track | undefined): Track[] {
  return track === undefined ? [] : [track];
}

function remember(tracks: readonly Track[]): Track[] {
  return tracks.slice(-PAST_MOST).map((track) => ({ ...track, startAt: 0 }));
}
