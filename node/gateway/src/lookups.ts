/** What one page wants to know of the daemon: searches, lists and folders. They go on beside its sessions' actions. */

import type { ControlClient, Entry, Listed } from "@audiosvc/client";
import {
  type FileEntry,
  type Lookup,
  type Notice,
  type PageMessage,
  SESSIONS_MOST,
  TITLE_MOST,
  type Track,
  URL_MOST,
} from "./protocol.ts";
import { better } from "./user-session.ts";
import { wordsOf } from "./words.ts";

/** Lookups of one socket that may be under way: a page asks for two things in each of its sessions as it opens. */
export const LOOKUPS_MOST: number = 3 * SESSIONS_MOST;

/** Ms that the daemon may take: it reads pages of web sites for it. */
export const LOOKUP_MS = 30_000;

/** The part of the control API that is asked. */
export type Library = Pick<ControlClient, "files" | "playlist" | "search">;

/** Tracks out of the list behind `url`; `left` others are not in it, for their URLs are too long. */
export interface List {
  readonly url: string;
  readonly tracks: readonly Track[];
  readonly left: number;
}

/** Whom the answers go to. */
export interface Asking {
  notify(session: string, notice: Notice): void;
  /** Takes what `addList` asked for. */
  add(session: string, list: List): void;
}

/** Whether `message` is to be looked up. */
export function isLookup(message: PageMessage): message is Lookup & { session: string } {
  switch (message.action) {
    case "search":
    case "list":
    case "addList":
    case "files":
      return true;
    default:
      return false;
  }
}

/** One socket's lookups. */
export class Lookups {
  readonly #library: Library;
  readonly #asking: Asking;
  readonly #gone = new AbortController();
  #underWay = 0;

  constructor(library: Library, asking: Asking) {
    this.#library = library;
    this.#asking = asking;
  }

  /** Begins it, or refuses it. */
  begin(lookup: Lookup & { session: string }): void {
    if (this.#underWay >= LOOKUPS_MOST) {
      const message = `${LOOKUPS_MOST} lookups are under way`;
      this.#asking.notify(lookup.session, { type: "error", code: "busy", message, action: lookup.action });
      return;
    }
    this.#underWay += 1;
    void this.#answer(lookup).finally(() => {
      this.#underWay -= 1;
    });
  }

  /** Gives up what is under way. */
  close(): void {
    this.#gone.abort();
  }

  async #answer(lookup: Lookup & { session: string }): Promise<void> {
    const { session, action } = lookup;
    try {
      if (action === "addList") {
        this.#asking.add(session, await this.#list(lookup.url, lookup.from));
      } else {
        this.#asking.notify(session, await this.#find(lookup));
      }
    } catch (error) {
      this.#asking.notify(session, { type: "error", ...wordsOf(error), action });
    }
  }

  async #find(lookup: Exclude<Lookup, { action: "addList" }>): Promise<Notice> {
    const options = { signal: this.#gone.signal, timeout: LOOKUP_MS };
    switch (lookup.action) {
      case "search": {
        const { query } = lookup;
        const { results } = await this.#library.search(query, options);
        const tracks = results.map(({ url, title, duration, thumbnail, channel }) =>
          better({ url, title: url }, { title, duration, thumbnail, uploader: channel }),
        );
        return { type: "searchResults", query, results: tracks };
      }
      case "list": {
        const { url } = lookup;
        return { type: "listed", url, count: (await this.#library.playlist(url, options)).count };
      }
      case "files": {
        const { path } = lookup;
        const { entries } = await this.#library.files(path, options);
        return { type: "files", path, entries: entries.filter(({ url }) => url.length <= URL_MOST).map(entryOf) };
      }
    }
  }

  async #list(url: string, from: number): Promise<List> {
    const { entries } = await this.#library.playlist(url, { signal: this.#gone.signal, timeout: LOOKUP_MS });
    const wanted = entries.slice(from);
    const tracks = wanted.filter((entry) => entry.url.length <= URL_MOST).map(trackOf);
    return { url, tracks, left: wanted.length - tracks.length };
  }
}

/** Without its picture: a queue of 500 is told often. */
function trackOf({ url, title, duration }: Entry): Track {
  return better({ url, title: url }, { title: title?.slice(0, TITLE_MOST), duration });
}

function entryOf({ name, url, kind, size }: Listed): FileEntry {
  return { name, url, kind, ...(typeof size === "number" && { size }) };
}
