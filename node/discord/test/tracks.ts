/** Tracks and queues for tests. */

import type { Queue, Track } from "../dist/queue.js";

export function track(title: string, more: Partial<Track> = {}): Track {
  return { url: `demo:${title}`, title, duration: 100, requester: "1", startAt: 0, ...more };
}

/** `past current upcoming` in letters, as `ab c de`; a dot is no current track. */
export function letters({ past, current, upcoming }: Queue): string {
  const names = (tracks: readonly Track[]) => tracks.map(({ title }) => title).join("");
  return `${names(past)} ${current?.title ?? "."} ${names(upcoming)}`;
}

/** The queue that {@link letters} would show so. */
export function queueOf(text: string): Queue {
  const [past = "", current = ".", upcoming = ""] = text.split(" ");
  const tracks = (names: string) => [...names].map((name) => track(name));
  return { past: tracks(past), current: tracks(current.replace(".", ""))[0], upcoming: tracks(upcoming) };
}
