/** The playground page in a real browser while the daemon's connection is cut under it, and while a page stands still. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, type TestContext, test } from "node:test";
import { Daemon } from "@audiosvc/testing";
import type { Browser, Page } from "playwright-core";
import { Gateway } from "../dist/index.js";
import { BUFFERED_MOST } from "../dist/page-socket.js";
import { CREDIT_MOST } from "../dist/protocol.js";
import { record, startBrowser, stats, until } from "./browser.ts";
import { Cutter, type Way } from "./cutter.ts";
import { compare, longestSilence } from "./samples.ts";
import { heard, openTab, play, playTone, UNDERRUNS_MOST, widen } from "./tab.ts";
import { findTone } from "./tone.ts";

/** Of the track under which the connection is cut. */
const SECONDS = Number(process.env.AUDIOSVC_TEST_SECONDS ?? 15);
/** That a page stands still. */
const STALL_MS = 1000 * Number(process.env.AUDIOSVC_TEST_STALL_SECONDS ?? 3);
/** Its phase is another at each packet of 100 s, so that no number of packets can be missing unseen. */
const HZ = 443.17;
const RATE = 48_000;

let daemon: Daemon;
let gateway: Gateway;
let browser: Browser;
let closeBrowser: () => Promise<void> = async () => undefined;

before(async () => {
  daemon = await Daemon.start();
  gateway = await Gateway.start({ socket: daemon.socket, api: daemon.api });
  ({ browser, close: closeBrowser } = await startBrowser());
});

after(async () => {
  await closeBrowser();
  await gateway?.close();
  await daemon?.stop();
});

async function open(t: TestContext, name: string, at = gateway.url): Promise<Page> {
  return await openTab(t, browser, new URL(`?session=${name}`, at), { bypassCSP: true });
}

/** Numbers from 0 up to 1 that are the same in each run. */
function* chances(): Generator<number, never> {
  for (let seed = 1; ; ) {
    seed = (seed * 48_271) % 0x7fffffff;
    yield seed / 0x7fffffff;
  }
}

test("the daemon's connection is cut under the page, anywhere: it goes on by itself, and no sample is lost or doubled", async (t) => {
  const cutter = await Cutter.start(daemon.socket);
  t.after(() => cutter.close());
  const beyond = await Gateway.start({ socket: cutter.path, api: daemon.api });
  t.after(() => beyond.close());
  const [calm, cut] = [await open(t, "calm"), await open(t, "cut", beyond.url)];
  await Promise.all([widen(calm), widen(cut)]);
  const [stopCalm, stopCut] = [await record(calm, "calm"), await record(cut, "cut")];
  const url = `demo:tone?hz=${HZ}&seconds=${SECONDS}`;
  await Promise.all([play(calm, "calm", url), play(cut, "cut", url)]);
  await until(cut, "cut", `stats.mood === "playing"`);

  const chance = chances();
  const cuts: string[] = [];
  for (let number = 0; number < 8; number += 1) {
    const way: Way = number % 3 === 2 ? "to the daemon" : "from the daemon";
    const bytes = 1 + Math.floor(chance.next().value * (way === "to the daemon" ? 200 : 2500));
    await cutter.cutAfter(bytes, way);
    cuts.push(`${bytes} ${way}`);
    const { packets } = await stats(cut, "cut");
    await until(cut, "cut", `stats.packets > ${packets}`);
  }
  const short = await stats(cut, "cut");

  cutter.refusing = true;
  const refused = performance.now();
  await cutter.cutAfter(777, "from the daemon");
  await cut.getByText("Connected; the daemon is not reachable").waitFor();
  await until(cut, "cut", `stats.mood === "buffering"`);
  const away = performance.now() - refused;
  cutter.refusing = false;
  await cut.getByText("Connected", { exact: true }).waitFor();
  await until(cut, "cut", `stats.mood === "playing"`);

  const late = 10_000 + 1000 * SECONDS;
  const [calmEnd, cutEnd] = [
    await until(calm, "calm", `stats.mood === "ended"`, late),
    await until(cut, "cut", `stats.mood === "ended"`, late),
  ];
  const [whole, recorded] = [await stopCalm(), await stopCut()];
  const found = compare(recorded, whole);
  t.diagnostic(`cut after ${cuts.join(", ")} bytes; ${short.underruns} underruns by then`);
  t.diagnostic(
    `then away for ${away.toFixed(0)} ms; ${cutEnd.underruns} underruns in all, ${calmEnd.underruns} without cuts`,
  );
  t.diagnostic(
    `${cutEnd.packets} packets and ${cutEnd.consumedSamples} samples, ${calmEnd.packets} and ${calmEnd.consumedSamples} without cuts`,
  );
  t.diagnostic(`${JSON.stringify(found)}, ${JSON.stringify(findTone(whole, HZ))}`);
  assert.deepEqual([cutEnd.packets, cutEnd.consumedSamples], [SECONDS * 50, SECONDS * RATE]);
  assert.deepEqual([calmEnd.packets, calmEnd.consumedSamples], [SECONDS * 50, SECONDS * RATE]);
  assert.equal(found.silences, cutEnd.underruns);
  assert.equal(found.different, 0);
  assert.ok(
    found.compared > SECONDS * RATE - 2000 - 2 * 128 * found.silences,
    `${found.compared} samples were compared`,
  );
});

/** Lets the page's main thread do nothing for so long: it waits for an answer. */
async function freezePage(t: TestContext, page: Page): Promise<void> {
  const server = createServer((_, response) => {
    const timer = setTimeout(() => response.writeHead(200, { "Access-Control-Allow-Origin": "*" }).end(), STALL_MS);
    response.on("close", () => clearTimeout(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  await page.evaluate(`(() => {
    const request = new XMLHttpRequest();
    request.open("GET", "http://127.0.0.1:${port}/", false);
    request.send();
  })()`);
}

/** Lets the page's worker do nothing for so long. What memory a worker may wait on comes from WebAssembly, where a page is not isolated. */
async function freezeWorker(page: Page): Promise<void> {
  const [worker] = page.workers();
  assert.ok(worker !== undefined);
  await worker.evaluate(`(() => {
    const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    Atomics.wait(new Int32Array(buffer), 0, 0, ${STALL_MS});
  })()`);
}

/** The most that the gateway held and had unread of pages while `work` went on. */
async function watched(work: Promise<void>): Promise<{ held: number; buffered: number }> {
  const most = { held: 0, buffered: 0 };
  const look = (): void => {
    const { held, buffered } = gateway.vitals();
    most.held = Math.max(most.held, held);
    most.buffered = Math.max(most.buffered, buffered);
  };
  const timer = setInterval(look, 20);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
  return most;
}

test("a page whose worker stands still is held within bounds, deepens its window and loses nothing; the other tab hears on", async (t) => {
  const [stuck, lively] = [await open(t, "stuck"), await open(t, "lively")];
  await widen(lively);
  await playTone(lively, "lively", 1000);
  // No ear hears anything of it while the worker stands still, so it need not be as long as that.
  const whole = 6;
  await play(stuck, "stuck", `demo:tone?hz=440&seconds=${whole}`);
  await until(stuck, "stuck", `stats.mood === "playing"`);
  const before = await stats(lively, "lively");
  const stop = await record(lively, "lively");
  const most = await watched(freezeWorker(stuck));

  await until(stuck, "stuck", `stats.mood === "playing" && stats.windowMs > 300`);
  const grown = await stats(stuck, "stuck");
  await stuck.getByText(`of ${grown.windowMs}`, { exact: false }).first().waitFor();
  await stuck.locator("summary").click();
  await stuck.getByText(`ran dry: the window is ${grown.windowMs} ms now`).waitFor();
  const end = await until(stuck, "stuck", `stats.mood === "ended"`);
  const after = await heard(lively, "lively", 1000);
  const samples = await stop();
  const tone = findTone(samples, 1000);
  const underruns = after.underruns - before.underruns;
  t.diagnostic(`${STALL_MS} ms: at most ${most.held} packets held and ${most.buffered} bytes unread at the gateway`);
  t.diagnostic(
    `stuck: ${end.underruns} underruns, window ${grown.windowMs} ms, ${end.packets} packets, ${end.consumedSamples} samples`,
  );
  t.diagnostic(
    `lively: ${underruns} underruns, longest silence ${longestSilence(samples)} samples, ${JSON.stringify(tone)}`,
  );
  assert.ok(most.held <= CREDIT_MOST && most.buffered <= BUFFERED_MOST);
  assert.ok(end.underruns >= 1);
  assert.deepEqual([end.packets, end.consumedSamples], [whole * 50, whole * RATE]);
  assert.ok(underruns <= UNDERRUNS_MOST && tone.breaks <= underruns);
});

test("a page whose main thread stands still is heard on", async (t) => {
  const page = await open(t, "busy");
  await widen(page);
  await playTone(page, "busy", 440);
  const before = await stats(page, "busy");
  const stop = await record(page, "busy");
  await freezePage(t, page);
  const after = await heard(page, "busy", 440);
  const samples = await stop();
  const tone = findTone(samples, 440);
  const underruns = after.underruns - before.underruns;
  t.diagnostic(
    `${STALL_MS} ms: ${underruns} underruns, longest silence ${longestSilence(samples)} samples, ${JSON.stringify(tone)}`,
  );
  assert.ok(samples.length > (STALL_MS / 1000) * RATE);
  assert.ok(underruns <= UNDERRUNS_MOST && tone.breaks <= underruns);
});
