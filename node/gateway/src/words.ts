/** What failures mean to those who listen. */

import { AudioServiceError } from "@audiosvc/client";

/** Codes that are missing here have the daemon's own words: it knows which host was blocked, and what a page says of its video. */
const WORDS: Readonly<Record<string, string>> = {
  decoder_failed: "it could not be decoded",
  extraction_timeout: "the page was not read in time",
  extraction_unavailable: "web pages and searches are not to be had here; direct links to audio are",
  files_refused: "files outside the media folder are not played",
  internal: "the daemon made a mistake; its log says which",
  not_audio: "there is no audio in it that can be played",
  not_seekable: "it is live, and there is no jumping around in what is live",
  overloaded: "the daemon has no power left for one more; try again in a moment",
  shutting_down: "the daemon is restarting",
  source_ended_early: "its server broke off before the end",
  source_timeout: "its server sent nothing in time",
  spawn_failed: "the daemon is overloaded",
  timeout: "the daemon did not answer in time",
  too_many_lookups: "too much is being looked up right now; try again in a moment",
  too_many_sessions: "the daemon plays in as many sessions as it may",
  unauthorized: "the daemon does not let the gateway in",
  unreachable: "the daemon is not there",
};

/** A failure in words, to stand after a colon. `message` is the daemon's. */
export function reason(code: string, message: string): string {
  return WORDS[code] ?? message;
}

/** What a page is told of an error. */
export function wordsOf(error: unknown): { code: string; message: string } {
  if (error instanceof AudioServiceError) {
    return { code: error.code, message: reason(error.code, error.message) };
  }
  return { code: "internal", message: "the gateway failed" };
}
