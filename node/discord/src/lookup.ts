/** What somebody means by a link or by words. */

import { AudioServiceError, type ControlClient, type Description } from "@audiosvc/client";
import { type Track, UPCOMING_MOST } from "./queue.ts";

/** What begins like a URL is one; all else is searched for. */
const URL_LIKE = /^[a-z][a-z0-9+.-]*:\S+$/i;

/** Characters of a search, as the daemon has it. */
const WORDS_MOST = 500;

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
    const { results } = await control.search(query.slice(0, WORDS_MOST), { limit: 1, timeout: LOOKUP_MS });
    return results.map(track);
  }
  const described = await describe(control, query);
  if (described?.is_playlist === false) return [track(described)];
  const { entries } = await control.playlist(query, { timeout: LOOKUP_MS });
  return entries.slice(0, UPCOMING_MOST).map(track);
}

/** What is known of it; undefined where it may be a folder, which is nothing by itself but a list of files. */
async function describe(control: ControlClient, url: string): Promise<Description | undefined> {
  try {
    return await control.metadata(url, { timeout: LOOKUP_MS });
  } catch (error) {
    if (error instanceof AudioServiceError && error.code === "files_refused") return undefined;
    throw error;
  }
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
