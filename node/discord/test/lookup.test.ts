import assert from "node:assert/strict";
import { test } from "node:test";
import { AudioServiceError, type ControlClient, type Description, type Entry } from "@audiosvc/client";
import { lookUp } from "../dist/lookup.js";

const entry = (url: string, title: string | null = null): Entry => ({ url, title, duration: null, thumbnail: null });

/** A daemon that describes everything alike, and lists and finds `entries`. */
function daemon(described: Partial<Description>, entries: Entry[] = []): ControlClient {
  const base = { title: null, duration: null, thumbnail: null, is_playlist: false };
  return {
    metadata: async (url: string) => ({ url, ...base, ...described }),
    playlist: async (url: string) => ({ url, count: entries.length, entries }),
    search: async (query: string, { limit }: { limit: number }) => ({ query, results: entries.slice(0, limit) }),
  } as unknown as ControlClient;
}

test("a link is asked for what it holds", async () => {
  const [track] = await lookUp(daemon({ title: "T", duration: 5 }), "demo:x", "7");
  assert.deepEqual(track, { url: "demo:x", title: "T", duration: 5, requester: "7", startAt: 0 });
});

test("a track without a title is called by its path, never by its query", async () => {
  const title = async (url: string) => (await lookUp(daemon({}), url, "7"))[0]?.title;
  assert.equal(await title("https://h.example/a/b%20c.mp3?token=secret"), "b c.mp3");
  assert.equal(await title("https://h.example/?token=secret"), "h.example");
  assert.equal(await title("https://h.example/%ff"), "%ff");
  assert.equal(await title("http://[x"), "a track");
});

test("a playlist is its tracks, as many as a queue holds", async () => {
  const entries = Array.from({ length: 600 }, (_, index) => entry(`https://h.example/${index}`));
  const tracks = await lookUp(daemon({ is_playlist: true }, entries), "https://h.example/list", "7");
  assert.equal(tracks.length, 500);
  assert.equal(tracks[3]?.title, "3");
});

test("a folder is its files; what may not be played, and what fails otherwise, is refused", async () => {
  const fails = (code: string) => async () => {
    throw new AudioServiceError(code, "no");
  };
  const files = daemon({}, [entry("a.mp3"), entry("b.mp3")]);
  const folder = { ...files, metadata: fails("files_refused") } as unknown as ControlClient;
  assert.equal((await lookUp(folder, "file:///music", "7")).length, 2);
  const outside = { ...folder, playlist: fails("files_refused") } as unknown as ControlClient;
  await assert.rejects(lookUp(outside, "file:///etc", "7"), { code: "files_refused" });
  const slow = { ...files, metadata: fails("extraction_timeout") } as unknown as ControlClient;
  await assert.rejects(lookUp(slow, "https://h.example/", "7"), { code: "extraction_timeout" });
});

test("words that are too long for a search are cut", async () => {
  const asked: string[] = [];
  const control = { search: async (query: string) => asked.push(query) && { results: [] } };
  await lookUp(control as unknown as ControlClient, "a ".repeat(800), "7");
  assert.deepEqual(
    asked.map(({ length }) => length),
    [500],
  );
});

test("words are searched for, and the first result is meant", async () => {
  const found = daemon({}, [entry("demo:a", "A"), entry("demo:b", "B")]);
  assert.deepEqual(
    (await lookUp(found, "some words", "7")).map(({ url }) => url),
    ["demo:a"],
  );
  assert.deepEqual(await lookUp(daemon({}), "c: drive", "7"), []);
});
