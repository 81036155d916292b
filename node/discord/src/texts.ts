/** Everything the bot says. Titles come from strangers: they are cut, and made plain text. */

import type { Queue, Track } from "./queue.ts";
import { formatTime } from "./times.ts";

/** Characters of a title that are shown. */
const TITLE_MOST = 80;

/** Characters of a failure's message that are shown. */
const REASON_MOST = 300;

/** Tracks on one page of `/queue`. */
export const PAGE_TRACKS = 10;

/** Characters of a progress bar. */
const BAR_CELLS = 24;

export const NOT_IN_GUILD = "I play in servers' voice channels only.";
export const NOTHING_PLAYS = "Nothing is playing.";
export const JOIN_FIRST = "Join a voice channel first, then ask again.";
export const NO_STAGE = "I don't play on stages. Ask me from a voice channel.";
export const CHANNEL_FULL = "That voice channel is full.";
export const BUSY = "That is too much at once. Try again in a moment.";
export const BROKEN = "That went wrong on my side. It is in my log.";
export const INTERRUPTED_LONG = "It was paused for so long that I stopped it. `/resume` goes on where it was.";
export const ENDED_ELSEWHERE = "Somebody stopped the music from outside. `/resume` goes on where it was.";
export const TRACK_ENDS = "That track is just ending.";
export const VOICE_LOST = "I lost the voice channel and could not come back.";
export const NO_TRACK_THERE = "There is no track of that number. `/queue` shows the numbers.";
export const NOTHING_BEFORE = "There is no track before this one.";
export const NOTHING_TO_RESUME = "There is nothing to go on with. `/play` something.";
export const BAD_TIME = "I can't read that time. Write `90`, `1:30` or `1:02:03`.";
export const NOTHING_FOUND = "I found nothing for that.";

/**
 * What a failure's code means to those who listen. Codes that are missing here have the daemon's own words: it knows which host is not
 * to be reached, and what a page says of its video.
 */
const PROBLEMS: Readonly<Record<string, string>> = {
  aborted: "the bot is stopping",
  closed: "the bot is stopping",
  decoder_failed: "it could not be decoded",
  extraction_timeout: "its page took too long to read",
  extraction_unavailable: "I can play direct links to audio, but not that kind of page or search",
  files_refused: "files can't be played here",
  internal: "the audio service made a mistake",
  not_audio: "there is no audio in it",
  not_found: "it is not playing any more",
  not_seekable: "it is live, and one can't jump around in what is live",
  overloaded: "too many people are listening right now, try again in a moment",
  position_out_of_range: "it is not that long",
  shutting_down: "the audio service is restarting",
  source_ended_early: "its server broke off",
  source_not_found: "it is not there",
  source_timeout: "its server sent nothing",
  spawn_failed: "the audio service is overloaded",
  timeout: "the audio service did not answer",
  track_lost: "the audio service lost it",
  too_many_lookups: "too many people are asking for tracks, try again in a moment",
  too_many_sessions: "too many servers are listening right now",
  unauthorized: "the audio service does not let me in",
  unknown_demo: "there is no built-in piece of that name",
  unreachable: "the audio service is down",
  unsupported_url: "I can't play that kind of link",
};

/** A failure in words, to stand after a colon. */
export function reason(code: string, message: string): string {
  return PROBLEMS[code] ?? plain(clip(message, REASON_MOST));
}

/** A failure as a sentence of its own. */
export function sorry(code: string, message: string): string {
  return `That did not work: ${reason(code, message)}.`;
}

export function playing(track: Track): string {
  const from = track.startAt > 0 ? ` from ${formatTime(track.startAt)}` : "";
  return `Playing ${named(track)}${from}.`;
}

export function queued(track: Track, number: number): string {
  return `Queued ${named(track)} as number ${number}.`;
}

export function queuedMany(tracks: number): string {
  return `Queued ${tracks} ${tracks === 1 ? "track" : "tracks"}.`;
}

export function leftOut(tracks: number): string {
  return `The queue is full: ${tracks} ${tracks === 1 ? "track was" : "tracks were"} left out.`;
}

export function skipped(track: Track | undefined): string {
  return track === undefined ? "Skipped. That was the last track." : `Skipped. ${playing(track)}`;
}

export function removed(track: Track): string {
  return `Removed ${named(track)}.`;
}

export const STOPPED = "Stopped, and the queue is empty. Bye.";
export const PAUSED = "Paused. `/resume` goes on.";
export const PAUSED_ALREADY = "It is paused already. `/resume` goes on.";
export const RESUMED = "On it goes.";
export const PLAYS_ALREADY = "It is playing already.";

export function sought(position: number): string {
  return `Going to ${formatTime(position)}.`;
}

/** `volume` is 0 to 2. */
export function volumeIs(volume: number): string {
  return `The volume is ${percent(volume)}.`;
}

/** Why a track did not play, or not to its end: `played` is seconds of it. */
export function failed(track: Track, code: string, message: string, played: number): string {
  const verb = played > 0 ? `broke off after ${formatTime(played)}` : "could not be played";
  return `${named(track)} ${verb}: ${reason(code, message)}.`;
}

export function gaveUp(failures: number, upcoming: number): string {
  const rest = upcoming > 0 ? " `/resume` goes on with the rest of the queue." : "";
  return `${failures} tracks in a row failed, so I stopped.${rest}`;
}

export function playsElsewhere(channelId: string): string {
  return `I am playing in <#${channelId}>. Join it, then ask again.`;
}

export function notWithMe(channelId: string): string {
  return `Only those who listen in <#${channelId}> can do that. Join it, then ask again.`;
}

export function lacksPermissions(channelId: string, names: readonly string[]): string {
  return `In <#${channelId}> I lack the permission to: ${names.join(", ")}.`;
}

/** What plays now; `position` in seconds is what is heard. */
export function nowPlaying(track: Track, at: { position: number; paused: boolean; volume: number }): string {
  const { position, paused, volume } = at;
  const state = paused ? "Paused" : "Playing";
  return [
    `${state}: ${named(track, false)}`,
    progress(track, position),
    `Asked for by <@${track.requester}>. Volume ${percent(volume)}.`,
  ].join("\n");
}

/** The queue, `page` counted from 1; the last page instead of one behind it. */
export function queueText(queue: Queue, page: number): string {
  const { current, upcoming } = queue;
  const head = current === undefined ? NOTHING_PLAYS : `Now: ${named(current)}`;
  if (upcoming.length === 0) return `${head}\nThe queue is empty.`;
  const pages = Math.ceil(upcoming.length / PAGE_TRACKS);
  const shown = Math.min(page, pages);
  const first = (shown - 1) * PAGE_TRACKS;
  const lines = upcoming
    .slice(first, first + PAGE_TRACKS)
    .map((track, index) => `\`${first + index + 1}.\` ${named(track)}`);
  const tracks = `${upcoming.length} ${upcoming.length === 1 ? "track" : "tracks"}`;
  const foot = pages > 1 ? `Page ${shown} of ${pages}, ${tracks}.` : `${tracks}.`;
  return [head, ...lines, foot].join("\n");
}

export function help(commands: readonly { name: string; description: string }[]): string {
  return commands.map(({ name, description }) => `\`/${name}\` ${description}`).join("\n");
}

/** A title, and a duration if it is known. */
function named(track: Track, withTime = true): string {
  const time =
    withTime && track.live !== true && track.duration !== undefined ? ` (${formatTime(track.duration)})` : "";
  return `**${plain(clip(track.title, TITLE_MOST))}**${time}`;
}

function progress({ duration, live }: Track, position: number): string {
  if (live === true) return `Live, for ${formatTime(position)} now`;
  return duration === undefined ? formatTime(position) : bar(position, duration);
}

function bar(position: number, duration: number): string {
  const cells = Math.round(Math.min(1, duration > 0 ? position / duration : 1) * BAR_CELLS);
  return `\`${"=".repeat(cells)}${"-".repeat(BAR_CELLS - cells)}\` ${formatTime(position)} / ${formatTime(duration)}`;
}

function percent(volume: number): string {
  return `${Math.round(volume * 100)} %`;
}

function clip(text: string, most: number): string {
  const characters = [...text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim()];
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most - 1).join("")}…`;
}

/** Without meaning to Discord: no formatting, no mention, no link. */
function plain(text: string): string {
  return text.replace(/[\\*_~`|>#[\]()<@:-]/g, "\\$&");
}
