/** Radio, lists, files and a decoder that dies: a real daemon and a web site on this machine, heard by a page and seen in a browser. */

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { Daemon } from "@audiosvc/testing";
import type { Browser } from "playwright-core";
import { Gateway } from "../dist/index.js";
import { startBrowser, stats, until, waitFor } from "./browser.ts";
import { Page } from "./page.ts";
import { Site, wav } from "./site.ts";
import { openTab, play } from "./tab.ts";

let site: Site;
let daemon: Daemon;
let gateway: Gateway;
let browser: Browser;
let closeBrowser: () => Promise<void> = async () => undefined;

before(async () => {
  site = await Site.start();
  daemon = await Daemon.start({ args: ["--allow-host", "127.0.0.1", "--list-files"] });
  await mkdir(join(daemon.folder, "albums", "one"), { recursive: true });
  for (const name of ["albums/a.wav", "albums/b.wav", "albums/one/c.wav"]) {
    await writeFile(join(daemon.folder, name), wav(30));
  }
  gateway = await Gateway.start({ socket: daemon.socket, api: daemon.api });
  ({ browser, close: closeBrowser } = await startBrowser());
});

after(async () => {
  await closeBrowser();
  await gateway?.close();
  await daemon?.stop();
  site?.close();
});

/** Kills the child of process `pid` that reads the file `name`. */
async function killDecoder(pid: number, name: string): Promise<void> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ");
  const lines = await Promise.all(children.map((child) => readFile(`/proc/${child}/cmdline`, "utf8")));
  const at = lines.findIndex((line) => line.includes(name));
  assert.ok(at >= 0, `no decoder among ${JSON.stringify(lines)}`);
  process.kill(Number(children[at]), "SIGKILL");
}

async function open(t: TestContext, session: string): Promise<Page> {
  const page = await Page.open(gateway.url, session);
  t.after(() => page.socket.terminate());
  return page;
}

test("a station is live and named, its new titles are told, and seeking in it is refused in words", async (t) => {
  const page = await open(t, "radio");
  site.song = "First song";
  page.say("play", "radio", { url: `${site.url}/radio` });
  const { track } = await page.next("ready", "radio");
  assert.deepEqual([track.live, track.duration, track.uploader], [true, undefined, "Test FM"]);
  site.song = "Second song";
  const titled = await page.next("metadata", "radio", (message) => message.track.title === "Second song");
  assert.deepEqual(titled.track, { ...track, title: "Second song" });
  const state = await page.next("state", "radio");
  assert.deepEqual([state.status, state.track?.title], ["playing", "Second song"]);
  page.say("seek", "radio", { seconds: 3 });
  const { code, message } = await page.next("error", "radio");
  assert.deepEqual([code, message], ["not_seekable", "it is live, and there is no jumping around in what is live"]);
});

test("what is of unknown length is not live, and can be sought in", async (t) => {
  const page = await open(t, "unmeasured");
  page.greedy = false;
  page.say("play", "unmeasured", { url: `${site.url}/unmeasured.au` });
  const { track } = await page.next("ready", "unmeasured");
  assert.deepEqual([track.live, track.duration], [undefined, undefined]);
  page.say("seek", "unmeasured", { seconds: 50 });
  assert.equal((await page.next("seeked", "unmeasured")).position, 50);
  page.greedy = true;
  page.say("credit", "unmeasured", { packets: 100 });
  await page.received("unmeasured", 100);
  assert.deepEqual(page.story("unmeasured").slice(-2), ["seeked", "packets"]);
});

test("a decoder that dies is told of and replaced, and no packet is missing", async (t) => {
  const page = await open(t, "killed");
  page.greedy = false;
  page.say("play", "killed", { url: "albums/a.wav" });
  await page.next("ready", "killed");
  await killDecoder(daemon.program.pid, "a.wav");
  page.say("credit", "killed", { packets: 100 });
  page.greedy = true;
  const { position } = await page.next("recovered", "killed");
  assert.ok(position < 5, `it went on at ${position}`);
  assert.equal((await page.next("finished", "killed")).played, 30);
  assert.equal(page.packets("killed").length, 1500);
  assert.ok(!page.story("killed").includes("error"));
});

test("of a page that lists tracks the first plays, and the others are added on request", async (t) => {
  const page = await open(t, "list");
  const url = `${site.url}/feed.xml`;
  page.say("play", "list", { url });
  page.say("list", "list", { url });
  assert.equal((await page.next("listed", "list")).count, 3);
  page.say("addList", "list", { url, from: 1 });
  const { count, left } = await page.next("listAdded", "list");
  assert.deepEqual([count, left], [2, 0]);
  const { queue } = await page.next("queueUpdated", "list", (message) => message.queue.length > 0);
  assert.deepEqual(queue, [
    { url: `${site.url}/part2.wav`, title: "Part 2" },
    { url: `${site.url}/part3.wav`, title: "Part 3" },
  ]);
});

test("in the browser a station is live, shows its titles and has no place to go to", async (t) => {
  const page = await openTab(t, browser, new URL("?session=live", gateway.url));
  site.song = "First song";
  await play(page, "live", `${site.url}/radio`);
  const first = await until(page, "live", `stats.mood === "playing" && stats.live`);
  assert.equal(first.title, "First song");
  const card = page.locator('[data-session="live"]');
  assert.equal(await card.locator(".time.live").textContent(), "live");
  assert.ok(await card.getByLabel("Position in live").isDisabled());
  site.song = "Second song";
  await until(page, "live", `stats.title === "Second song"`);
  assert.equal(await card.locator(".title").textContent(), "Second song");
  await page.keyboard.press("ArrowRight");
  const last = await stats(page, "live");
  assert.deepEqual([last.error, last.live], ["", true]);
  assert.equal(await card.locator(".uploader").textContent(), "Test FM · live");
});

test("in the browser what is of unknown length shows its position and no end, and is sought in", async (t) => {
  const page = await openTab(t, browser, new URL("?session=open", gateway.url));
  await play(page, "open", `${site.url}/unmeasured.au`);
  const { live } = await until(page, "open", `stats.mood === "playing" && stats.position > 0.5`);
  assert.equal(live, false);
  const card = page.locator('[data-session="open"]');
  assert.equal(await card.locator(".progress .time").last().textContent(), "–:––");
  const slider = card.getByLabel("Position in open");
  await slider.focus();
  await page.keyboard.press("End");
  await page.keyboard.press("PageUp");
  await until(page, "open", `stats.mood === "playing" && stats.position > 30 && stats.position < 40`);
  assert.match((await slider.getAttribute("aria-valuetext")) ?? "", /^3\d seconds$/);
  assert.equal(await slider.getAttribute("max"), "600");
  await page.keyboard.press("Home");
  await until(page, "open", `stats.mood === "playing" && stats.position < 10`);
});

test("in the browser a list is offered, and its other tracks are added", async (t) => {
  const page = await openTab(t, browser, new URL("?session=offer", gateway.url));
  await play(page, "offer", `${site.url}/feed.xml`);
  const card = page.locator('[data-session="offer"]');
  await card.getByText("That is a list of 3 tracks").waitFor();
  await card.getByRole("button", { name: "Add the other 2" }).click();
  const { queue } = await until(page, "offer", "stats.queue.length === 2");
  assert.deepEqual(queue, [`${site.url}/part2.wav`, `${site.url}/part3.wav`]);
  assert.equal(await card.getByText("That is a list").count(), 0);
});

test("in the browser the daemon's files are opened, played and queued", async (t) => {
  const page = await openTab(t, browser, new URL("?session=files", gateway.url));
  const card = page.locator('[data-session="files"]');
  await card.getByText("Files", { exact: true }).click();
  await card.getByRole("button", { name: "albums" }).click();
  await card.getByRole("button", { name: "a.wav", exact: false }).first().click();
  await until(page, "files", `stats.mood === "playing" && stats.title === "a"`);
  await card.getByRole("button", { name: "Queue all 2" }).click();
  assert.deepEqual((await until(page, "files", "stats.queue.length === 2")).queue.length, 2);
  await card.getByRole("button", { name: "one", exact: true }).click();
  await card.getByRole("button", { name: "Add c.wav to the queue" }).click();
  await until(page, "files", `stats.queue.at(-1) === "albums/one/c.wav"`);
  await card.getByRole("button", { name: "Up", exact: true }).click();
  await card.getByRole("button", { name: "Up", exact: true }).click();
  await waitFor(page, `document.querySelector(".files [role=status]").textContent === "The media folder"`);
});
