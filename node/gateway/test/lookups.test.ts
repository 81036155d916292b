import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AudioServiceError } from "@audiosvc/client";
import { type Library, type List, LOOKUPS_MOST, Lookups } from "../dist/lookups.js";
import { type Lookup, type Notice, TITLE_MOST, URL_MOST } from "../dist/protocol.js";

type Answer = (Notice & { session: string }) | List;

/** What is answered to one lookup by a daemon of which `library` is known. */
async function lookUp(library: object, lookup: Lookup): Promise<Answer | undefined> {
  const answers: Answer[] = [];
  const lookups = new Lookups(library as Library, {
    notify: (session, notice) => answers.push({ ...notice, session }),
    add: (_, list) => answers.push(list),
  });
  lookups.begin({ ...lookup, session: "anna" });
  await setImmediate();
  assert.ok(answers.length <= 1);
  return answers[0];
}

const entry = (url: string, title: string | null = null, duration: number | null = null) => ({
  url,
  title,
  duration,
  thumbnail: "https://pictures.example/1.jpg",
});

test("what a search finds has its title, length and channel", async () => {
  const found = { id: "x", url: "https://a/x", title: "X", duration: 61, thumbnail: null, channel: "Somebody" };
  const search = async (query: string) => ({
    query,
    count: 2,
    results: [found, { ...found, title: null, channel: null }],
  });
  assert.deepEqual(await lookUp({ search }, { action: "search", query: "x" }), {
    type: "searchResults",
    session: "anna",
    query: "x",
    results: [
      { url: "https://a/x", title: "X", duration: 61, uploader: "Somebody" },
      { url: "https://a/x", title: "https://a/x", duration: 61 },
    ],
  });
});

test("of a list its length is told", async () => {
  const playlist = async (url: string) => ({ url, count: 25, entries: [] });
  const listed = await lookUp({ playlist }, { action: "list", url: "https://a/list" });
  assert.deepEqual(listed, { type: "listed", session: "anna", url: "https://a/list", count: 25 });
});

test("a list is taken from where it is wanted, its titles cut and its pictures left out", async () => {
  const entries = [
    entry("https://a/1", "One"),
    entry("https://a/2", "t".repeat(1000), 7),
    entry("u".repeat(URL_MOST + 1)),
  ];
  const playlist = async (url: string) => ({ url, count: 3, entries });
  assert.deepEqual(await lookUp({ playlist }, { action: "addList", url: "https://a/list", from: 1 }), {
    url: "https://a/list",
    tracks: [{ url: "https://a/2", title: "t".repeat(TITLE_MOST), duration: 7 }],
    left: 1,
  });
});

test("a folder is told without what could not be asked for", async () => {
  const entries = [
    { name: "b", url: "a/b", kind: "folder", size: null },
    { name: "c.mp3", url: "a/c.mp3", kind: "file", size: 12 },
    { name: "d.mp3", url: "d".repeat(URL_MOST + 1), kind: "file", size: 12 },
  ];
  const files = async (path: string) => ({ path, count: 3, entries });
  assert.deepEqual(await lookUp({ files }, { action: "files", path: "a" }), {
    type: "files",
    session: "anna",
    path: "a",
    entries: [
      { name: "b", url: "a/b", kind: "folder" },
      { name: "c.mp3", url: "a/c.mp3", kind: "file", size: 12 },
    ],
  });
});

test("what fails is told in words, to who asked", async () => {
  const fails = async (): Promise<never> => {
    throw new AudioServiceError("extraction_timeout", "late");
  };
  for (const lookup of [
    { action: "list", url: "u" },
    { action: "addList", url: "u", from: 0 },
  ] as const) {
    assert.deepEqual(await lookUp({ playlist: fails }, lookup), {
      type: "error",
      session: "anna",
      code: "extraction_timeout",
      message: "the page was not read in time",
      action: lookup.action,
    });
  }
});

test("there are so many under way and no more, and none when the page is gone", async () => {
  const signals: AbortSignal[] = [];
  const codes: string[] = [];
  let answer = (_: unknown): void => undefined;
  const search = (_: string, { signal }: { signal: AbortSignal }) =>
    new Promise((resolve) => {
      signals.push(signal);
      answer = resolve;
    });
  const lookups = new Lookups({ search } as unknown as Library, {
    notify: (_, notice) => codes.push(notice.type === "error" ? notice.code : notice.type),
    add: () => assert.fail("nothing was to be added"),
  });
  const begin = (): void => lookups.begin({ action: "search", query: "q", session: "anna" });
  for (let i = 0; i <= LOOKUPS_MOST; i++) {
    begin();
  }
  assert.deepEqual([signals.length, codes], [LOOKUPS_MOST, ["busy"]]);
  answer({ results: [] });
  await setImmediate();
  begin();
  assert.deepEqual([signals.length, codes], [LOOKUPS_MOST + 1, ["busy", "searchResults"]]);
  lookups.close();
  assert.ok(signals.every(({ aborted }) => aborted));
});
