/** A tab of the playground in a real browser, used as a person does: by its fields and buttons. */

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { type Stats, until, waitFor } from "./browser.ts";

/** A machine that does other work may stand still for longer than the window. */
export const UNDERRUNS_MOST = 2;

/** A tab of a profile of its own, its sound switched on by a click; whatever goes wrong in it fails the test. */
export async function openTab(
  t: TestContext,
  browser: Browser,
  url: URL,
  context: BrowserContextOptions = {},
): Promise<Page> {
  const profile = await browser.newContext(context);
  t.after(() => profile.close());
  const page = await profile.newPage();
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => {
    // A connection that is refused while the gateway is away is what a test may want.
    if (message.type() === "error" && !message.text().includes("WebSocket connection")) {
      wrong.push(message.text());
    }
  });
  t.after(() => assert.deepEqual(wrong, []));
  await page.goto(url.href);
  await waitFor(page, `audiosvc.link().status === "open"`);
  await page.getByRole("button", { name: "Enable sound" }).click();
  await page.getByRole("button", { name: "Enable sound" }).waitFor({ state: "detached" });
  return page;
}

/** Plays by the page's own field and button. */
export async function play(page: Page, session: string, url: string): Promise<void> {
  const card = page.locator(`[data-session="${session}"]`);
  await card.getByLabel("Address or search words").fill(url);
  await card.locator("form").getByRole("button", { name: "Play" }).click();
}

export async function playTone(page: Page, session: string, hz: number): Promise<Stats> {
  await play(page, session, `demo:tone?hz=${hz}&seconds=120`);
  return await until(page, session, `stats.mood === "playing" && stats.title === "Tone of ${hz} Hz"`);
}

/** Waits until that tone and no other is heard: within the 0.7 s that are looked at, sound may have begun, or the machine stood still. */
export async function heard(page: Page, session: string, hz: number): Promise<Stats> {
  const pure = `Math.abs(tone.hz - ${hz}) < 1 && tone.dbfs - tone.rest > 40`;
  return await until(page, session, `stats.tones.length === 2 && stats.tones.every((tone) => ${pure})`);
}

/** A window that outlasts what a machine with other work to do stands still. */
export async function widen(page: Page): Promise<void> {
  await page.getByRole("combobox").selectOption({ label: "1000 ms" });
}
