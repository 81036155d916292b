/** What somebody means by a link or by words. */

import type { ControlClient } from "@audiosvc/client";
import { type Track, UPCOMING_MOST } from "./queue.ts";

/** What begins like a URL is one; all else is searched for. */
const URL_LIKE = /^[a-z][a-z0-9+.-]*:\S+$/i;

/** Ms that the daemon may take to find out; pages and searches of web sites take their time. */
const LOOKUP_MS = 30_000;

interface Found {
  readonly url: string;
  readonly title: string | null;
  readonly duration: number | null;
}

/** The tracks meant by `query`, none if nothing was found. Rejects with `AudioServiceError`. */
export async function lookUp(control: ControlClient, query: string, requester: string): Promise<Track[]> {
  const track = ({ url, title, duration }: Found): Track => ({
    url,
    title: title ?? nameOf(url),
    duration: duration ?? undefined,
    requester,
    startAt: 0,
  });
  if (!URL_LIKE.test(query)) {
    const { results } = await control.search(query, { limit: 1, timeout: LOOKUP_MS });
    return results.map(track);
  }
  const described = await control.metadata(query, { timeout: LOOKUP_MS });
  if (!described.is_playlist) return [track(described)];
  const { entries } = await control.playlist(query, { timeout: LOOKUP_MS });
  return entries.slice(0, UPCOMING_MOST).map(track);
}

/** Something to call it by: the last part of its path, else its host. Never a query, which may hold a secret. */
function nameOf(url: string): string {
  if (!URL.canParse(url)) return "a track";
  const { pathname, host } = new URL(url);
  const last = pathname.split("/").filter(Boolean).at(-1);
  try {
    return decodeURIComponent(last ?? host) || "a track";
  } catch {
    return last ?? "a track";
  }
}
