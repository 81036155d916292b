/** The playground page in a real browser, with a real gateway and a real daemon. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Daemon } from "@audiosvc/testing";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { Gateway, type GatewayOptions } from "../dist/index.js";
import { record, startBrowser, stats, until } from "./browser.ts";
import { heard, openTab, play, playTone, UNDERRUNS_MOST, widen } from "./tab.ts";
import { findTone, levelOf, seconds } from "./tone.ts";

/** A name of this machine that a browser does not take for this machine. */
const STRANGE = "music.lan";
/** That two tabs are listened to. */
const LISTEN_MS = 1000 * Number(process.env.AUDIOSVC_TEST_SECONDS ?? 15);

let daemon: Daemon;
let gateway: Gateway;
let browser: Browser;
let closeBrowser: () => Promise<void> = async () => undefined;

function options(): GatewayOptions {
  return { socket: daemon.socket, api: daemon.api, origins: [`http://${STRANGE}`] };
}

before(async () => {
  daemon = await Daemon.start();
  gateway = await Gateway.start(options());
  ({ browser, close: closeBrowser } = await startBrowser([STRANGE]));
});

after(async () => {
  await closeBrowser();
  await gateway?.close();
  await daemon?.stop();
});

/** A tab at this gateway, its sound switched on by a click. */
async function open(t: TestContext, search: string, context: BrowserContextOptions = {}): Promise<Page> {
  return await openTab(t, browser, new URL(search, gateway.url), context);
}

test("two tabs play at once, each its own, and what one does the other does not hear", async (t) => {
  const recordable = { bypassCSP: true };
  const [a, b] = [await open(t, "?session=a", recordable), await open(t, "?session=b", recordable)];
  await Promise.all([widen(a), widen(b)]);
  await Promise.all([playTone(a, "a", 440), playTone(b, "b", 1000)]);
  await pause(500);
  const [stopA, stopB] = [await record(a, "a"), await record(b, "b")];
  await pause(LISTEN_MS);
  await heard(a, "a", 440);
  await heard(b, "b", 1000);
  const samplesA = await stopA();
  const atA = await stats(a, "a");

  for (const hz of [2000, 3000]) {
    await a.locator('[data-session="a"]').getByRole("button", { name: "Stop" }).click();
    await until(a, "a", `stats.status === "idle"`);
    await pause(1000);
    await playTone(a, "a", hz);
    await pause(1000);
    await heard(a, "a", hz);
  }
  await heard(b, "b", 1000);
  const samplesB = await stopB();
  const atB = await stats(b, "b");

  for (const [name, samples, underruns, own, others] of [
    ["a", samplesA, atA.underruns, 440, [1000]],
    ["b", samplesB, atB.underruns, 1000, [440, 2000, 3000]],
  ] as const) {
    const tone = findTone(samples, own);
    const foreign = others.map((hz) => `${hz} Hz ${levelOf(samples, hz).toFixed(0)} dBFS`).join(", ");
    t.diagnostic(`${name}, ${seconds(samples)} s: ${JSON.stringify(tone)}, ${foreign}, ${underruns} underruns`);
    assert.ok(underruns <= UNDERRUNS_MOST);
    assert.ok(tone.breaks <= underruns, `a sample of ${name} is missing or there twice`);
    // The tone is made at −15 dBFS RMS, so with peaks of −12.
    assert.ok(Math.abs(tone.dbfs - -12) < 1, `${name} has ${tone.dbfs} dBFS`);
    assert.ok(tone.purity > 25);
    for (const hz of others) {
      assert.ok(levelOf(samples, hz) < -80, `${name} has ${levelOf(samples, hz)} dBFS of ${hz} Hz`);
    }
  }
});

test("two cards on one page play at once, and a pause holds one of them", async (t) => {
  const page = await open(t, "");
  await widen(page);
  await playTone(page, "left", 500);
  await playTone(page, "right", 800);
  await heard(page, "left", 500);
  await heard(page, "right", 800);

  await page.locator('[data-session="left"]').getByRole("button", { name: "Pause" }).click();
  await until(page, "left", `stats.mood === "paused"`);
  await pause(300);
  const [held, goes] = [await stats(page, "left"), await stats(page, "right")];
  await pause(1500);
  const [heldLater, goesLater] = [await stats(page, "left"), await stats(page, "right")];
  assert.equal(heldLater.packets, held.packets, "a paused session takes packets");
  assert.equal(heldLater.consumedSamples, held.consumedSamples);
  assert.equal(heldLater.credit, held.credit);
  assert.equal(heldLater.windowMs, 1000);
  assert.ok(heldLater.bufferedMs > 300, "what is buffered waits");
  assert.ok(goesLater.packets - goes.packets > 50, "the other plays on");

  await page.locator('[data-session="left"]').getByRole("button", { name: "Play", exact: true }).click();
  const back = await until(page, "left", `stats.mood === "playing" && stats.consumedSamples > ${held.consumedSamples}`);
  assert.ok(back.position - held.position < 1, `it went on at ${back.position} in place of ${held.position}`);
  for (const session of ["left", "right"]) {
    assert.ok((await stats(page, session)).underruns <= UNDERRUNS_MOST);
  }
});

test("the position is moved by keys and by hand, and what was buffered of the old one is dropped", async (t) => {
  const page = await open(t, "?session=seek");
  await play(page, "seek", "demo:prelude");
  await until(page, "seek", `stats.mood === "playing" && stats.position > 0.5`);
  const slider = page.getByRole("slider", { name: "Position in seek" });
  await slider.focus();
  await page.keyboard.press("PageUp");
  await page.keyboard.press("ArrowRight");
  await until(page, "seek", `stats.mood === "playing" && stats.position > 35 && stats.position < 40`);
  assert.match((await slider.getAttribute("aria-valuetext")) ?? "", /^3\d seconds of 1 minute 33 seconds$/);

  await page.keyboard.press("Home");
  await until(page, "seek", `stats.mood === "playing" && stats.position < 5`);

  const box = await slider.boundingBox();
  assert.ok(box !== null);
  await page.mouse.move(box.x + box.width * 0.4, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.75, box.y + box.height / 2, { steps: 5 });
  await page.mouse.up();
  const moved = await until(page, "seek", `stats.mood === "playing" && stats.position > 65 && stats.position < 75`);
  const after = await until(page, "seek", `stats.position > ${moved.position + 1}`);
  assert.ok(after.underruns <= UNDERRUNS_MOST);

  // A click leaves no button behind that would take the space key.
  await page.getByRole("button", { name: "Mute" }).click();
  await page.getByRole("button", { name: "Mute" }).click();
  await page.keyboard.press("ArrowLeft");
  await until(page, "seek", `stats.position < ${after.position - 2}`);
  await page.keyboard.press(" ");
  await until(page, "seek", `stats.mood === "paused"`);
  await page.keyboard.press("m");
  assert.equal(await page.getByRole("button", { name: "Mute" }).getAttribute("aria-pressed"), "true");
});

test("a page whose gateway was restarted says so meanwhile, comes back by itself and plays on", async (t) => {
  const page = await open(t, "?session=back");
  await playTone(page, "back", 440);
  const { port } = new URL(gateway.url);
  await gateway.close();
  await page.getByText("Connection lost, reconnecting").waitFor();
  await until(page, "back", `stats.mood === "offline"`);
  const gone = await stats(page, "back");
  gateway = await Gateway.start({ ...options(), port: Number(port) });
  const back = await until(page, "back", `stats.mood === "playing" && stats.packets > ${gone.packets + 100}`);
  await page.getByText("Connected", { exact: true }).waitFor();
  await pause(1000);
  await heard(page, "back", 440);
  t.diagnostic(`${gone.position.toFixed(2)} s when it was lost, ${back.position.toFixed(2)} s 100 packets after`);
  assert.ok(back.position > gone.position && back.position < gone.position + 10);
});

test("the queue plays one track after the other without a gap, and can be changed", async (t) => {
  const page = await open(t, "?session=queue");
  const card = page.locator('[data-session="queue"]');
  for (const hz of [440, 660, 880]) {
    await card.getByLabel("Address or search words").fill(`demo:tone?hz=${hz}&seconds=2`);
    await card.getByRole("button", { name: "Queue", exact: true }).click();
  }
  await until(page, "queue", "stats.queue.length === 3");
  await card.getByRole("button", { name: "Move demo:tone?hz=880&seconds=2 up" }).click();
  await until(page, "queue", `stats.queue[1].includes("880")`);
  await until(page, "queue", `stats.title === "Tone of 880 Hz" && stats.mood === "playing" && stats.position > 0.2`);
  await card.getByRole("button", { name: "Remove Tone of 440 Hz" }).click();
  await until(page, "queue", "stats.queue.length === 2");
  await until(page, "queue", `stats.title === "Tone of 660 Hz" && stats.mood === "ended"`);
  const { underruns, consumedSamples } = await stats(page, "queue");
  assert.ok(underruns <= UNDERRUNS_MOST);
  assert.ok(Math.abs(consumedSamples / 48_000 - 6) < 0.1, `${consumedSamples / 48_000} of 6 s were heard`);
  await card.getByRole("button", { name: "Clear" }).click();
  await until(page, "queue", "stats.queue.length === 0");
});

test("of two tabs with one session the last one is heard, until the other wants it back", async (t) => {
  const first = await open(t, "?session=one");
  await playTone(first, "one", 440);
  const second = await open(t, "?session=one");
  await until(second, "one", `stats.mood === "playing"`);
  await until(first, "one", `stats.mood === "elsewhere"`);
  await first.getByRole("button", { name: "Hear it here" }).click();
  await until(first, "one", `stats.mood === "playing"`);
  await until(second, "one", `stats.mood === "elsewhere"`);
});

test("what cannot be played is told in words", async (t) => {
  const page = await open(t, "?session=wrong");
  await play(page, "wrong", "demo:nonsense");
  await page.getByRole("alert").getByText("there is no built-in piece of that name").waitFor();
  assert.equal((await stats(page, "wrong")).mood, "error");
});

test("a browser without WebCodecs plays with the WebAssembly decoder", async (t) => {
  const page = await open(t, "?session=wasm&decoder=WebAssembly");
  await playTone(page, "wasm", 1000);
  await pause(2000);
  const { decoder, underruns } = await heard(page, "wasm", 1000);
  assert.equal(decoder, "WebAssembly");
  assert.ok(underruns <= UNDERRUNS_MOST);
});

test("over plain http from another machine the page says why it is silent, and still controls", async (t) => {
  const profile = await browser.newContext();
  t.after(() => profile.close());
  const page = await profile.newPage();
  await page.goto(`http://${STRANGE}:${new URL(gateway.url).port}/?session=lan`);
  await page.getByRole("alert").getByText("This page has no sound here").waitFor();
  await play(page, "lan", "demo:tone");
  await until(page, "lan", `stats.status === "playing"`);
});

test("a narrow screen shows all of it without scrolling sideways", async (t) => {
  const page = await open(t, "?session=up&session=down", {
    viewport: { width: 360, height: 740 },
    isMobile: true,
    hasTouch: true,
  });
  await play(page, "up", "demo:prelude");
  await until(page, "up", `stats.mood === "playing"`);
  await page.getByRole("button", { name: "Help and keyboard shortcuts" }).click();
  assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 360);
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`nothing serious stands between the ${colorScheme} page and anybody, as axe sees it`, async (t) => {
    const page = await open(t, `?session=well-${colorScheme}&session=wrong-${colorScheme}`, { colorScheme });
    const [well, wrong] = [`well-${colorScheme}`, `wrong-${colorScheme}`];
    await page.locator(`[data-session="${well}"]`).getByRole("button", { name: /^Add / }).first().click();
    await play(page, wrong, "demo:nonsense");
    await until(page, well, `stats.mood === "playing"`);
    await until(page, wrong, `stats.mood === "error"`);
    await page.locator(`[data-session="${wrong}"] summary`).click();
    await page.evaluate(await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
    const found = await page.evaluate<{ id: string; impact: string; nodes: string[] }[]>(
      `axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) =>
        ({ id, impact, nodes: nodes.map(({ html }) => html) })))`,
    );
    t.diagnostic(`${found.length} findings: ${JSON.stringify(found)}`);
    assert.deepEqual(
      found.filter(({ impact }) => impact === "serious" || impact === "critical"),
      [],
    );
  });
}
