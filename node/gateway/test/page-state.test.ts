/** What the page makes of the gateway's messages, and the words it uses. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import type { GatewayMessage } from "../dist/index.js";

interface State {
  joined: boolean;
  heard: boolean;
  status: string;
  track?: { url: string; title: string; thumbnail?: string; live?: true };
  position: number;
  over: string;
  error: string;
  queue: { title: string }[];
  index: number;
  query: string;
  searching: boolean;
  results: { title: string }[];
  pieces: { title: string }[];
  list?: { url: string; count: number };
  files?: { path: string; entries: { name: string; kind: string; size?: number }[] };
  recoveries: number;
  log: { text: string; grave: boolean; times: number }[];
}

const page = (name: string): string => new URL(`../public/${name}`, import.meta.url).href;
const { initial, reduce, searching, typed } = (await import(page("state.js"))) as {
  initial(): State;
  reduce(state: State, message: GatewayMessage, now: number): State;
  searching(state: State, query: string): State;
  typed(state: State, address: string): State;
};
const { clock, hostOf, spoken, kindOf, size } = (await import(page("format.js"))) as {
  clock(seconds?: number): string;
  spoken(seconds?: number): string;
  kindOf(text: string): string;
  hostOf(url: string): string;
  size(bytes: number): string;
};
const { strongest } = (await import(page("sound.js"))) as {
  strongest(lines: Float32Array, spacing: number): { hz: number; dbfs: number; rest: number };
};

const session = "s";
const song = { url: "demo:song", title: "Song", duration: 60 };

function after(...messages: GatewayMessage[]): State {
  return messages.reduce((state, message) => reduce(state, message, 1000), initial());
}

const state = (status: "idle" | "playing" | "paused", heard = true): GatewayMessage => {
  return { type: "state", session, status, track: song, position: 3, volume: 1, heard };
};

test("a track is followed from its being asked for to its end", () => {
  const asked = after(state("idle"), { type: "nowPlaying", session, track: song });
  assert.equal(asked.status, "resolving");
  const ready = reduce(asked, { type: "ready", session, track: song, position: 0 }, 1000);
  assert.deepEqual([ready.status, ready.track?.title], ["playing", "Song"]);
  const paused = reduce(ready, { type: "paused", session, position: 2 }, 1000);
  assert.equal(paused.status, "paused");
  assert.equal(reduce(paused, { type: "resumed", session, position: 2 }, 1000).status, "playing");
  const finished = reduce(ready, { type: "finished", session, played: 60 }, 1000);
  assert.deepEqual([finished.status, finished.over], ["idle", "finished"]);
  const stopped = reduce(ready, { type: "stopped", session, reason: "stop" }, 1000);
  assert.deepEqual([stopped.status, stopped.over], ["idle", "stopped"]);
  assert.equal(reduce(stopped, state("playing"), 1000).over, "");
});

test("an error says what was refused, or what failed, until the next track", () => {
  const refused = after({ type: "error", session, code: "x", message: "there is no such thing", action: "play" });
  assert.equal(refused.error, "Playing was refused: there is no such thing.");
  assert.equal(refused.log[0]?.grave, true);
  const failed = after({ type: "error", session, code: "x", message: "Song: it broke" });
  assert.equal(failed.error, "Song: it broke.");
  assert.equal(reduce(failed, { type: "ready", session, track: song, position: 0 }, 1000).error, "");
});

test("search results go to who asked, the built-in pieces to their place", () => {
  const asked = searching(after(state("idle")), "bach");
  assert.equal(asked.searching, true);
  const pieces = reduce(asked, { type: "searchResults", session, query: "demo:", results: [song] }, 1000);
  assert.deepEqual([pieces.pieces.length, pieces.results.length, pieces.searching], [1, 0, true]);
  const found = reduce(pieces, { type: "searchResults", session, query: "bach", results: [song] }, 1000);
  assert.deepEqual([found.results.length, found.searching], [1, false]);
  const stale = reduce(found, { type: "searchResults", session, query: "brahms", results: [] }, 1000);
  assert.equal(stale.results.length, 1);
});

test("the queue is shown as it is told, and what is no track in it is left out", () => {
  const nonsense = [song, { title: "no address" }, null] as unknown as (typeof song)[];
  const told = after({ type: "queueUpdated", session, queue: nonsense, index: 0 });
  assert.deepEqual([told.queue.length, told.index], [1, 0]);
});

test("the log is bounded, and counts what repeats itself", () => {
  let told = after();
  for (let i = 0; i < 200; i += 1) {
    told = reduce(told, { type: "seeked", session, position: i }, 1000);
  }
  assert.equal(told.log.length, 50);
  told = reduce(reduce(told, { type: "queueFinished", session }, 1), { type: "queueFinished", session }, 2);
  assert.equal(told.log[0]?.times, 2);
  assert.equal(told.log.length, 50);
});

test("who no longer hears is told once", () => {
  const heard = after({ type: "session", session, channel: 0, sessionId: "user:s" }, state("playing"));
  const lost = reduce(heard, state("playing", false), 1000);
  assert.match(lost.log[0]?.text ?? "", /another tab/);
  assert.equal(reduce(lost, state("playing", false), 1000).log.length, lost.log.length);
});

test("times are written and spoken", () => {
  assert.deepEqual([0, 65.9, 3723].map(clock), ["0:00", "1:05", "1:02:03"]);
  assert.equal(clock(undefined), "–:––");
  assert.equal(spoken(3601), "1 hour 1 second");
  assert.equal(spoken(0), "0 seconds");
});

test("sizes are written, and a station is called by its host", () => {
  assert.deepEqual([0, 1500, 7_340_032].map(size), ["0 kB", "2 kB", "7.3 MB"]);
  assert.deepEqual(["https://radio.example:8000/live?key=1", "demo:song", "a/b.mp3"].map(hostOf), [
    "radio.example:8000",
    "demo:song",
    "a/b.mp3",
  ]);
});

test("a station's new title is shown, and its track plays on", () => {
  const station = { url: "https://radio.example/live", title: "Station", live: true } as const;
  const ready = after({ type: "ready", session, track: station, position: 0 });
  const next = reduce(ready, { type: "metadata", session, track: { ...station, title: "Song" } }, 1000);
  assert.deepEqual([next.status, next.track?.title, next.track?.live], ["playing", "Song", true]);
  assert.deepEqual([next.log[0]?.text, next.log[0]?.grave], ["on air: Song", false]);
});

test("a source that was opened again is counted, and is no alarm", () => {
  const ready = after({ type: "ready", session, track: song, position: 0 });
  const once = reduce(ready, { type: "recovered", session, position: 12.34 }, 1000);
  const twice = reduce(once, { type: "recovered", session, position: 20 }, 1000);
  assert.deepEqual([twice.recoveries, twice.status, twice.error], [2, "playing", ""]);
  assert.deepEqual(
    twice.log.slice(0, 2).map(({ text, grave }) => [text, grave]),
    [
      ["the source failed and was opened again at 20.0 s", false],
      ["the source failed and was opened again at 12.3 s", false],
    ],
  );
});

test("no picture is kept of a track", () => {
  const pictured = { ...song, thumbnail: "https://pictures.example/1.jpg" };
  assert.deepEqual(after({ type: "ready", session, track: pictured, position: 0 }).track, song);
});

test("a list is offered to who typed its address last, and only if it is one", () => {
  const listed = (url: string, count: number): GatewayMessage => ({ type: "listed", session, url, count });
  const asked = typed(after(state("idle")), "https://a/list");
  assert.equal(reduce(asked, listed("https://a/list", 1), 1000).list, undefined);
  assert.equal(reduce(asked, listed("https://a/older", 9), 1000).list, undefined);
  const offered = reduce(asked, listed("https://a/list", 25), 1000);
  assert.deepEqual(offered.list, { url: "https://a/list", count: 25 });
  assert.equal(typed(offered, "https://a/next").list, undefined);
  const failed = reduce(asked, { type: "error", session, code: "x", message: "y", action: "list" }, 1000);
  assert.equal(failed, asked, "its play tells why it cannot be had");
});

test("what of a list was added is told, and what was left out", () => {
  const whole = after({ type: "listAdded", session, url: "u", count: 24, left: 0 });
  assert.deepEqual([whole.error, whole.log[0]?.text], ["", "24 tracks of a list were added to the queue"]);
  const part = after({ type: "listAdded", session, url: "u", count: 20, left: 4 });
  assert.equal(part.error, "4 tracks of the list were left out: the queue is full.");
});

test("a folder is shown, where the daemon shows any", () => {
  const entries = [
    { name: "b", url: "a/b", kind: "folder" },
    { name: "c.mp3", url: "a/c.mp3", kind: "file", size: 12 },
    { name: "no address" },
    null,
  ] as unknown as [];
  const shown = after({ type: "files", session, path: "a", entries });
  assert.deepEqual(shown.files, { path: "a", entries: entries.slice(0, 2) });
  const refused: GatewayMessage = { type: "error", session, code: "files_refused", message: "no", action: "files" };
  const hidden = reduce(shown, refused, 1000);
  assert.deepEqual([hidden.files, hidden.error, hidden.log], [undefined, "", []]);
  const gone = reduce(shown, { ...refused, code: "source_not_found", message: "there is no such folder" }, 1000);
  assert.deepEqual([gone.files?.path, gone.error], ["a", "Opening the folder was refused: there is no such folder."]);
});

test("an address is told from words", () => {
  const kinds = ["", "  ", "demo:", "demo:tone?hz=440", "https://a.example/b", "Bach: Prelude", "bach prelude"].map(
    kindOf,
  );
  assert.deepEqual(kinds, ["nothing", "nothing", "words", "address", "address", "words", "words"]);
});

test("the strongest line is found between two lines, and the strongest beside it", () => {
  const lines = new Float32Array(1000).fill(-100);
  lines.set([-20, -10, -20], 299);
  lines[600] = -60;
  const { hz, dbfs, rest } = strongest(lines, 1.5);
  assert.deepEqual([hz, dbfs, rest], [450, -10, -60]);
  assert.equal(strongest(new Float32Array(10).fill(-Infinity), 1).hz, 0);
});

test("what is vendored is what the registry has", async () => {
  const { resolve } = createRequire(import.meta.url);
  for (const [vendored, original] of [
    ["htm-preact.js", "htm/preact/standalone.module.js"],
    ["opus-decoder.min.js", "opus-decoder/../dist/opus-decoder.min.js"],
  ] as const) {
    const [name = ""] = original.split("/");
    const path = resolve(name).replace(
      new RegExp(`(node_modules/${name}/).*`),
      `$1${original.replace(/^[^/]+\/(\.\.\/)?/, "")}`,
    );
    const [ours, theirs] = await Promise.all([readFile(new URL(page(`vendor/${vendored}`))), readFile(path)]);
    assert.ok(ours.equals(theirs), vendored);
  }
});
