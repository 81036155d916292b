/** A page that stops reading, beside one that hears at the pace of an ear: the gateway in a process of its own, so that its memory shows. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Daemon } from "@audiosvc/testing";
import type { HandlerVitals } from "../dist/index.js";
import { BUFFERED_MOST, UNREAD_MOST } from "../dist/page-socket.js";
import { CREDIT_MOST, URL_MOST } from "../dist/protocol.js";
import { QUEUE_MOST } from "../dist/queue.js";
import { Page } from "./page.ts";

const STALL = Number(process.env.AUDIOSVC_TEST_STALL_SECONDS ?? 3);
const A = "demo:tone?hz=440&seconds=4";
const B = `demo:tone?hz=1000&seconds=${STALL}`;
/** A full queue: of each entry its URL, which is its title too, and what JSON puts around them. */
const MESSAGE_MOST = QUEUE_MOST * (2 * URL_MOST + 100);
/** What Node may put off collecting. */
const RSS_MOST = 32 * 1024 * 1024;
const PACKET_MS = 20;
/** Packets between two grants, as a page gives them. */
const STEP = 5;

let daemon: Daemon;
let gateway: ChildProcess;
let url = "";

before(async () => {
  daemon = await Daemon.start();
  const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
  const options = ["--socket", daemon.socket, "--api", daemon.api, "--listen", "127.0.0.1:0"];
  gateway = spawn(process.execPath, [cli, ...options], { stdio: ["ignore", "pipe", "ignore"] });
  assert.ok(gateway.stdout !== null);
  const [line] = (await once(createInterface(gateway.stdout), "line")) as [string];
  url = /http:\S+/.exec(line)?.[0] ?? assert.fail(line);
});

after(async () => {
  if (gateway?.exitCode === null) {
    gateway.kill("SIGTERM");
    await once(gateway, "exit");
  }
  await daemon?.stop();
});

async function open(t: TestContext, session: string): Promise<Page> {
  const page = await Page.open(url, session);
  t.after(() => page.socket.terminate());
  return page;
}

async function vitals(): Promise<HandlerVitals> {
  return (await (await fetch(new URL("healthz", url))).json()) as HandlerVitals;
}

/** Bytes of memory that the gateway has. */
async function rss(): Promise<number> {
  const status = await readFile(`/proc/${gateway.pid}/status`, "utf8");
  return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

/** The packets of a track that nothing holds up. */
async function packetsOf(t: TestContext, track: string): Promise<string[]> {
  const page = await open(t, "alone");
  page.say("play", "alone", { url: track });
  await page.next("finished", "alone");
  await page.close();
  return page.packets("alone");
}

interface Hearing {
  packets: string[];
  /** Ms between two arrivals. */
  largestGap: number;
  /** Packets that were not there when it was their turn. */
  late: number;
}

/** Plays a track at the pace of an ear: one packet each 20 ms, its place given to another in fives. */
async function hear(page: Page, session: string, track: string): Promise<Hearing> {
  page.greedy = false;
  let [largestGap, late, heard, granted] = [0, 0, 0, 0];
  let last: number | undefined;
  page.socket.on("message", (_, isBinary) => {
    const now = performance.now();
    if (isBinary) {
      largestGap = Math.max(largestGap, now - (last ?? now));
      last = now;
    }
  });
  page.say("play", session, { url: track });
  await page.received(session, 1);
  const ended = page.next("finished", session);
  const start = performance.now();
  let before = 0;
  const timer = setInterval(() => {
    const turns = Math.floor((performance.now() - start) / PACKET_MS);
    const there = page.packets(session).length;
    const now = Math.min(there, heard + turns - before);
    late += Math.max(0, heard + turns - before - now);
    [heard, before] = [now, turns];
    if (heard - granted >= STEP) {
      page.say("credit", session, { packets: heard - granted });
      granted = heard;
    }
  }, PACKET_MS);
  try {
    await ended;
  } finally {
    clearInterval(timer);
  }
  return { packets: page.packets(session), largestGap, late };
}

/** Stops reading, with so much unread that the gateway gives it no more packets: words fill what the system buffers. */
async function stall(page: Page, session: string): Promise<void> {
  page.socket.pause();
  while ((await vitals()).buffered < BUFFERED_MOST) {
    page.say("addToQueue", session, { url: `demo:${"x".repeat(2000)}` });
    page.say("credit", session, { packets: 100 });
    await pause(25);
  }
}

test("a page that gives credit and reads nothing is held within bounds, and the other hears what it hears alone", async (t) => {
  const [aloneA, aloneB] = [await packetsOf(t, A), await packetsOf(t, B)];
  const calm = await hear(await open(t, "calm"), "calm", B);

  const stalled = await open(t, "stalled");
  stalled.greedy = false;
  stalled.say("play", "stalled", { url: A });
  await stalled.received("stalled", 25);
  await stall(stalled, "stalled");
  const [before, memory] = [await vitals(), await rss()];
  const most = { held: before.held, buffered: before.buffered, rss: memory };
  const watch = setInterval(async () => {
    stalled.say("credit", "stalled", { packets: 100 });
    const now = await vitals();
    most.held = Math.max(most.held, now.held);
    most.buffered = Math.max(most.buffered, now.buffered);
    most.rss = Math.max(most.rss, await rss());
  }, 100);
  const lively = await hear(await open(t, "lively"), "lively", B).finally(() => clearInterval(watch));

  t.diagnostic(
    `${STALL} s unread: ${before.buffered} bytes at first, at most ${most.buffered}, ${most.held} packets held`,
  );
  t.diagnostic(`the gateway's memory: ${megabytes(memory)} at first, at most ${megabytes(most.rss)}`);
  for (const [name, { packets, largestGap, late }] of Object.entries({ calm, lively })) {
    t.diagnostic(`${name}: ${packets.length} packets, largest gap ${largestGap.toFixed(1)} ms, ${late} late`);
  }
  assert.deepEqual(lively.packets, aloneB);
  assert.deepEqual(calm.packets, aloneB);
  // What the other page has unread for a moment counts too.
  assert.ok(most.buffered - before.buffered < 8 * 1024, `${most.buffered - before.buffered} bytes more`);
  assert.ok(most.held <= CREDIT_MOST);
  assert.ok(most.rss - memory < RSS_MOST);

  stalled.greedy = true;
  stalled.socket.resume();
  await stalled.received("stalled", 150);
  stalled.say("credit", "stalled", { packets: 100 });
  await stalled.received("stalled", aloneA.length);
  assert.deepEqual(stalled.packets("stalled"), aloneA);
});

test("a page that asks on and reads nothing is let go, and the other hears what it hears alone", async (t) => {
  const aloneB = await packetsOf(t, B);
  const deaf = await open(t, "deaf");
  await stall(deaf, "deaf");
  const memory = await rss();
  const most = { buffered: 0, rss: memory };
  let gone = 0;
  const start = performance.now();
  const other = await open(t, "other");
  const { sockets } = await vitals();
  const watch = setInterval(async () => {
    deaf.say("getQueue", "deaf");
    const now = await vitals();
    most.buffered = Math.max(most.buffered, now.buffered);
    most.rss = Math.max(most.rss, await rss());
    if (gone === 0 && now.sockets < sockets) {
      gone = performance.now() - start;
    }
  }, 50);
  const { packets, largestGap, late } = await hear(other, "other", B).finally(() => clearInterval(watch));
  t.diagnostic(`let go after ${gone.toFixed(0)} ms, at most ${most.buffered} bytes unread`);
  t.diagnostic(`the gateway's memory: ${megabytes(memory)} at first, at most ${megabytes(most.rss)}`);
  t.diagnostic(`other: ${packets.length} packets, largest gap ${largestGap.toFixed(1)} ms, ${late} late`);
  assert.deepEqual(packets, aloneB);
  assert.ok(most.buffered < UNREAD_MOST + MESSAGE_MOST);
  assert.ok(most.rss - memory < RSS_MOST + UNREAD_MOST + MESSAGE_MOST);
  assert.ok(gone > 0, "it was not let go");
  assert.equal((await vitals()).buffered, 0);
});

function megabytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
