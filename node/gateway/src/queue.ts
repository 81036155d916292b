/** A user's queue: what is to be played, in which order, and where in it one is. Pure: every function gives a new queue. */

import type { Track } from "./protocol.ts";

/** Tracks that one queue holds. */
export const QUEUE_MOST = 500;

/**
 * `at` is the index of the track that was played last out of the queue, -1 before the first; `plays` says whether it plays now.
 * A track played past the queue leaves `at` where it is: the queue goes on behind it.
 */
export interface Queue {
  readonly tracks: readonly Track[];
  readonly at: number;
  readonly plays: boolean;
}

export const EMPTY_QUEUE: Queue = { tracks: [], at: -1, plays: false };

/** Index of what plays now, -1 for none. */
export function indexOf(queue: Queue): number {
  return queue.plays ? queue.at : -1;
}

/** With as many of `tracks` at the end as there is room for, and how many that were. */
export function add(queue: Queue, tracks: readonly Track[]): readonly [Queue, number] {
  const taken = tracks.slice(0, QUEUE_MOST - queue.tracks.length);
  return [{ ...queue, tracks: [...queue.tracks, ...taken] }, taken.length];
}

/** Without the track at `index`; what plays goes on, even if it is that one. Undefined if there is none. */
export function remove(queue: Queue, index: number): Queue | undefined {
  if (!(index in queue.tracks)) {
    return undefined;
  }
  const tracks = queue.tracks.toSpliced(index, 1);
  const at = index <= queue.at ? queue.at - 1 : queue.at;
  return { tracks, at, plays: queue.plays && index !== queue.at };
}

/** With the track at `index` moved so that it is at `to`; the place in the queue moves along. Undefined if there is no such index. */
export function move(queue: Queue, index: number, to: number): Queue | undefined {
  const track = queue.tracks[index];
  if (track === undefined || !(to in queue.tracks)) {
    return undefined;
  }
  const tracks = queue.tracks.toSpliced(index, 1).toSpliced(to, 0, track);
  let at = queue.at;
  if (at === index) {
    at = to;
  } else {
    at += Number(to <= at && at < index) - Number(index < at && at <= to);
  }
  return { ...queue, tracks, at };
}

/** The track at `index` plays now. */
export function goTo(queue: Queue, index: number): Queue {
  return { ...queue, at: index, plays: true };
}

/** Nothing out of the queue plays now; the place stays. */
export function rest(queue: Queue): Queue {
  return { ...queue, plays: false };
}

/** What is known better about the track that plays now, if it is out of the queue. */
export function amend(queue: Queue, track: Track): Queue {
  return queue.plays ? { ...queue, tracks: queue.tracks.with(queue.at, track) } : queue;
}

/** Index of the track to be played next, undefined behind the last. */
export function nextIndex(queue: Queue): number | undefined {
  return queue.at + 1 < queue.tracks.length ? queue.at + 1 : undefined;
}

/** Index of the track before what plays; past the queue, and when nothing plays, that is the one played last out of it. */
export function previousIndex(queue: Queue): number | undefined {
  const index = queue.plays ? queue.at - 1 : queue.at;
  return index >= 0 ? index : undefined;
}
