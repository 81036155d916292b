/** The gateway between the real daemon and pages. */

import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ControlClient } from "@audiosvc/client";
import { Daemon, Detour } from "@audiosvc/testing";
import { Gateway, type GatewayOptions } from "../dist/index.js";
import { BUFFERED_MOST } from "../dist/page-socket.js";
import { CREDIT_MOST } from "../dist/protocol.js";
import { Page } from "./page.ts";

const A = "demo:tone?hz=440&seconds=4";
const B = "demo:tone?hz=1000&seconds=4";
const LONG = "demo:tone?hz=330&seconds=600";
/** Packets of A and of B. */
const LENGTH = 200;

let daemon: Daemon;
let gateway: Gateway;
let control: ControlClient;
/** What A and B are, packet by packet, when they play alone. */
const alone: Record<string, string[]> = {};

async function start(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  return Gateway.start({ socket: daemon.socket, api: daemon.api, ...options });
}

/** A page that is closed at the end of the test. */
async function open(t: TestContext, ...sessions: string[]): Promise<Page> {
  const page = await Page.open(gateway.url, ...sessions);
  t.after(() => page.socket.terminate());
  return page;
}

before(async () => {
  daemon = await Daemon.start();
  control = new ControlClient({ url: daemon.api });
  gateway = await start({ grace: 100 });
  const page = await Page.open(gateway.url, "alone");
  for (const url of [A, B]) {
    const from = page.packets("alone").length;
    page.say("play", "alone", { url });
    await page.next("finished", "alone");
    alone[url] = page.packets("alone").slice(from);
    assert.equal(alone[url].length, LENGTH);
  }
  assert.notDeepEqual(alone[A], alone[B]);
  await page.close();
});

after(async () => {
  await gateway?.close();
  control?.close();
  await daemon?.stop();
});

describe("sessions", () => {
  test("two users at once: each socket gets its own packets and no others", async (t) => {
    const [anna, ben] = await Promise.all([open(t, "anna"), open(t, "ben")]);
    anna.say("play", "anna", { url: A });
    ben.say("play", "ben", { url: B });
    await Promise.all([anna.next("finished", "anna"), ben.next("finished", "ben")]);
    assert.deepEqual(anna.packets("anna"), alone[A]);
    assert.deepEqual(ben.packets("ben"), alone[B]);
    assert.deepEqual(anna.story("anna"), ["session", "nowPlaying", "ready", "packets", "finished"]);
  });

  test("two sessions on one socket come on channels of their own; stopping one leaves the other as it is", async (t) => {
    const page = await open(t, "left", "right");
    page.say("play", "left", { url: LONG });
    page.say("play", "right", { url: B });
    await page.received("left", 50);
    page.say("stop", "left");
    assert.equal((await page.next("stopped", "left")).reason, "stop");
    await page.received("right", LENGTH);
    assert.deepEqual(page.packets("right"), alone[B]);
  });

  test("a search is answered, and what it found can be played", async (t) => {
    const page = await open(t, "finder");
    page.say("search", "finder", { query: "demo:" });
    const { query, results } = await page.next("searchResults", "finder");
    assert.equal(query, "demo:");
    const piece = results.find(({ url }) => url === "demo:prelude");
    assert.ok(piece !== undefined && (piece.duration ?? 0) > 60);
    assert.match(piece.title, /Prelude/);
    page.say("play", "finder", { url: "demo:prelude" });
    const { track } = await page.next("ready", "finder");
    assert.equal(track.title, piece.title);
    await page.received("finder", 20);
  });

  test("two tabs on one session: both steer and see it, the one that came last hears it", async (t) => {
    const one = await open(t, "shared");
    one.say("play", "shared", { url: LONG });
    await one.received("shared", 50);
    const two = await open(t, "shared");
    await one.next("state", "shared", ({ heard }) => !heard);
    await two.received("shared", 50);
    const had = one.packets("shared").length;
    one.say("pause", "shared");
    await Promise.all([one.next("paused", "shared"), two.next("paused", "shared")]);
    two.say("resume", "shared");
    await one.next("resumed", "shared");
    await two.received("shared", 100);
    assert.equal(one.packets("shared").length, had);
    await two.close();
    await one.next("state", "shared", ({ heard }) => heard);
    one.say("credit", "shared", { packets: 25 });
    await one.received("shared", had + 25);
  });

  test("when the last page has left, the session is stopped after the grace, and can be joined anew", async (t) => {
    const page = await open(t, "gone");
    page.say("play", "gone", { url: LONG });
    await page.received("gone", 40);
    await page.close();
    assert.equal((await control.status("user:gone")).status, "streaming");
    while ((await control.sessions()).sessions.some(({ session_id }) => session_id === "user:gone")) {
      await sleep(20);
    }
    const back = await open(t, "gone");
    back.say("play", "gone", { url: A });
    await back.received("gone", LENGTH);
    assert.deepEqual(back.packets("gone"), alone[A]);
  });

  test("a page that does not give credit is sent nothing, and loses nothing", async (t) => {
    const page = await open(t, "patient");
    page.greedy = false;
    page.say("play", "patient", { url: A });
    await page.received("patient", 25);
    const other = await open(t, "other");
    other.say("play", "other", { url: B });
    await other.received("other", LENGTH);
    assert.equal(page.packets("patient").length, 25);
    page.greedy = true;
    page.say("credit", "patient", { packets: 20 });
    await page.next("finished", "patient");
    assert.deepEqual(page.packets("patient"), alone[A]);
  });
});

describe("control", () => {
  test("pause, seek and resume come in their order among the packets", async (t) => {
    const page = await open(t, "orders");
    page.say("play", "orders", { url: LONG });
    await page.received("orders", 100);
    page.say("pause", "orders");
    await page.next("paused", "orders");
    page.say("seek", "orders", { seconds: 300 });
    assert.equal((await page.next("seeked", "orders")).position, 300);
    const had = page.packets("orders").length;
    page.say("resume", "orders");
    assert.equal((await page.next("resumed", "orders")).position, 300);
    await page.received("orders", had + 50);
    const story = page.story("orders").filter((type) => type !== "error");
    assert.deepEqual(story.slice(-5), ["packets", "paused", "seeked", "resumed", "packets"]);
    page.say("resumeFrom", "orders", { seconds: 599.5 });
    await page.next("finished", "orders");
    const { status } = await page.next("state", "orders");
    assert.equal(status, "idle");
  });

  test("what the daemon refuses comes back with its code, its words and the action", async (t) => {
    const page = await open(t, "refused");
    page.say("play", "refused", { url: A });
    await page.next("ready", "refused");
    page.say("seek", "refused", { seconds: 1000 });
    const { code, message, action } = await page.next("error", "refused");
    assert.deepEqual([code, action], ["position_out_of_range", "seek"]);
    assert.ok(message.length > 5);
  });

  test("a track that cannot be played is told of, whether the daemon knows at once or only later", async (t) => {
    const page = await open(t, "broken");
    page.say("play", "broken", { url: "demo:nothing" });
    const refusal = await page.next("error", "broken");
    assert.deepEqual([refusal.code, refusal.action], ["unknown_demo", "play"]);
    page.say("play", "broken", { url: "missing.ogg" });
    await page.next("nowPlaying", "broken");
    const failure = await page.next("error", "broken");
    assert.equal(failure.action, undefined);
    assert.match(failure.message, /^missing\.ogg: /);
    assert.equal((await page.next("state", "broken")).status, "idle");
  });

  test("volume changes what is heard, and stays for the next track", async (t) => {
    const page = await open(t, "quiet");
    page.say("volume", "quiet", { volume: 0 });
    page.say("play", "quiet", { url: A });
    await page.next("finished", "quiet");
    assert.equal(page.packets("quiet").length, LENGTH);
    assert.ok((page.packets("quiet")[100]?.length ?? 0) < (alone[A]?.[100]?.length ?? 0) / 4);
  });

  test("a queue plays on by itself, past a track that fails, to its end", async (t) => {
    const page = await open(t, "queue");
    page.say("addToQueue", "queue", { url: A, title: "first" });
    page.say("addToQueue", "queue", { url: "demo:nothing" });
    page.say("addToQueue", "queue", { url: B });
    await page.next("queueFinished", "queue");
    assert.deepEqual(page.packets("queue"), [...(alone[A] ?? []), ...(alone[B] ?? [])]);
    const row = ["nowPlaying", "ready", "packets", "finished"];
    assert.deepEqual(page.story("queue"), ["session", ...row, "error", ...row, "queueFinished"]);
    const { queue, index } = await page.next("queueUpdated", "queue");
    assert.equal(index, -1);
    assert.deepEqual(
      queue.map(({ title }) => title),
      ["Tone of 440 Hz", "demo:nothing", "Tone of 1000 Hz"],
    );
  });

  test("skip and previous go through the queue", async (t) => {
    const page = await open(t, "skipper");
    for (const hz of [300, 400, 500]) {
      page.say("addToQueue", "skipper", { url: `demo:tone?hz=${hz}&seconds=600` });
    }
    for (const [action, index] of [
      ["skip", 1],
      ["skip", 2],
      ["previous", 1],
    ] as const) {
      await page.next("ready", "skipper");
      page.say(action, "skipper");
      assert.equal((await page.next("queueUpdated", "skipper", (message) => message.index === index)).index, index);
    }
    assert.equal((await page.next("ready", "skipper")).track.title, "Tone of 400 Hz");
    page.say("stop", "skipper");
    assert.equal((await page.next("stopped", "skipper")).reason, "stop");
    page.say("previous", "skipper");
    assert.equal((await page.next("ready", "skipper")).track.title, "Tone of 400 Hz");
  });
});

describe("bounds", () => {
  test("a page that does not read is held within bounds, the others hear on, and it loses nothing", async (t) => {
    const page = await open(t, "stalled");
    const other = await open(t, "lively");
    page.greedy = false;
    page.say("play", "stalled", { url: A });
    await page.received("stalled", 25);
    page.socket.pause();
    // What is said of a long queue fills the sockets' buffers, so that packets find no room.
    const words = { url: `demo:${"x".repeat(2000)}` };
    while (gateway.vitals().buffered < BUFFERED_MOST) {
      page.say("addToQueue", "stalled", words);
      page.say("credit", "stalled", { packets: 100 });
      await sleep(25);
    }
    const { buffered } = gateway.vitals();
    other.say("play", "lively", { url: B });
    await other.next("finished", "lively");
    assert.deepEqual(other.packets("lively"), alone[B]);
    page.say("credit", "stalled", { packets: 100 });
    await sleep(100);
    const vitals = gateway.vitals();
    assert.ok(vitals.buffered - buffered < 1024, `${vitals.buffered - buffered} bytes more`);
    assert.ok(vitals.held <= CREDIT_MOST, `${vitals.held} packets wait`);
    page.greedy = true;
    page.socket.resume();
    await page.received("stalled", 150);
    page.say("credit", "stalled", { packets: 100 });
    await page.received("stalled", LENGTH);
    assert.deepEqual(page.packets("stalled"), alone[A]);
  });

  test("a page that never reads is let go", async (t) => {
    const page = await open(t, "deaf");
    page.socket.pause();
    const { sockets } = gateway.vitals();
    const title = "t".repeat(300);
    for (let i = 0; gateway.vitals().sockets === sockets; i++) {
      page.say("addToQueue", "deaf", { url: `demo:${"x".repeat(2000)}`, title });
      await sleep(21);
      assert.ok(i < 500, "it was not let go");
    }
  });

  test("a frame of more than 4 KiB closes the socket with 1009", async (t) => {
    const page = await open(t, "large");
    page.say("play", "large", { url: "x".repeat(1024 * 1024) });
    assert.equal(await page.closed(), 1009);
  });

  test("a binary frame closes the socket with 1003", async (t) => {
    const page = await open(t, "binary");
    page.socket.send(Buffer.from("{}"));
    assert.equal(await page.closed(), 1003);
  });

  test("more messages than allowed close the socket with 1008", async (t) => {
    const page = await open(t, "flood");
    for (let i = 0; i < 200; i++) {
      page.say("getQueue", "flood");
    }
    assert.equal(await page.closed(), 1008);
  });

  test("what is no message is answered with an error, and the socket stays", async (t) => {
    const page = await open(t, "junk");
    for (const text of ["{", "[]", '{"action":"dance","session":"junk"}', '{"action":"stop","session":"user:1"}']) {
      page.socket.send(text);
      assert.equal((await page.next("error")).code, "invalid_message");
    }
    page.say("stop", "elsewhere");
    assert.equal((await page.next("error", "elsewhere")).code, "not_joined");
    page.say("leave", "junk");
    page.say("getQueue", "junk");
    assert.equal((await page.next("error", "junk")).code, "not_joined");
  });

  test("a socket takes part in eight sessions, each on its channel", async (t) => {
    const names = Array.from({ length: 8 }, (_, i) => `many${i}`);
    const page = await open(t, ...names);
    page.say("join", "many8");
    assert.equal((await page.next("error", "many8")).code, "too_many_sessions");
    page.say("leave", "many3");
    page.say("join", "many8");
    assert.equal((await page.next("session", "many8")).channel, 3);
  });
});

describe("the daemon", () => {
  /** A page at a gateway of its own, both of which end with the test. */
  async function alongside(t: TestContext, name: string, options: Partial<GatewayOptions> = {}) {
    const own = await start(options);
    t.after(() => own.close());
    const page = new Page(own.url);
    await page.next("hello", undefined, (hello) => hello.daemon === "connected");
    await page.join(name);
    return { own, page };
  }

  test("a connection that is cut in the middle of a track costs no packet", async (t) => {
    const detour = await Detour.start(daemon.socket);
    t.after(() => detour.close());
    const { page } = await alongside(t, "cut", { socket: detour.path });
    page.greedy = false;
    page.say("play", "cut", { url: A });
    for (const count of [25, 75, 125]) {
      await page.received("cut", count);
      page.say("credit", "cut", { packets: 50 });
      detour.cut();
      await page.next("hello", undefined, (hello) => hello.daemon === "disconnected");
      await page.next("hello", undefined, (hello) => hello.daemon === "connected");
    }
    page.say("credit", "cut", { packets: 50 });
    await page.next("finished", "cut");
    assert.deepEqual(page.packets("cut"), alone[A]);
  });

  test("a gateway that is started again finds what the one before it left playing", async (t) => {
    const { own, page } = await alongside(t, "heir");
    page.say("play", "heir", { url: LONG });
    await page.received("heir", 100);
    await own.close();
    assert.equal(await page.closed(), 1001);
    const next = await alongside(t, "heir");
    const state = await next.page.next("state", "heir", ({ status }) => status === "playing");
    assert.equal(state.track?.title, "Tone of 330 Hz");
    assert.ok(state.position >= 2, `it is at ${state.position} s`);
    await next.page.received("heir", 50);
    next.page.say("stop", "heir");
    assert.equal((await next.page.next("stopped", "heir")).reason, "stop");
  });

  test("that is killed and started again has forgotten what played, and plays again", async (t) => {
    const { page } = await alongside(t, "phoenix");
    page.say("play", "phoenix", { url: LONG });
    page.say("addToQueue", "phoenix", { url: A });
    await page.received("phoenix", 100);
    await daemon.kill();
    await page.next("hello", undefined, (hello) => hello.daemon === "disconnected");
    page.say("pause", "phoenix");
    assert.equal((await page.next("error", "phoenix")).code, "unreachable");
    await daemon.start();
    await page.next("hello", undefined, (hello) => hello.daemon === "connected");
    const error = await page.next("error", "phoenix");
    assert.equal(error.code, "track_lost");
    assert.match(error.message, /^Tone of 330 Hz: the daemon was restarted/);
    assert.equal((await page.next("state", "phoenix")).status, "idle");
    const had = page.packets("phoenix").length;
    page.say("skip", "phoenix");
    await page.next("finished", "phoenix");
    assert.deepEqual(page.packets("phoenix").slice(had), alone[A]);
  });

  test("that keeps what plays and is started again goes on with it, and with the queue behind it", async (t) => {
    await daemon.program.end();
    daemon.keeps = true;
    await daemon.start();
    const { page } = await alongside(t, "carried");
    page.say("play", "carried", { url: A });
    page.say("addToQueue", "carried", { url: B });
    await page.received("carried", 30);
    const had = page.packets("carried").length;
    assert.equal(await daemon.program.end(), 0);
    await page.next("hello", undefined, (hello) => hello.daemon === "disconnected");
    await daemon.start();
    await page.next("hello", undefined, (hello) => hello.daemon === "connected");
    const { status, track } = await page.next("state", "carried", ({ position }) => position > 0);
    assert.deepEqual([status, track?.title], ["playing", "Tone of 440 Hz"]);
    await page.next("finished", "carried");
    await page.next("finished", "carried");
    assert.equal(page.packets("carried").length, 2 * LENGTH);
    assert.deepEqual(page.packets("carried").slice(0, had), alone[A]?.slice(0, had));
    assert.deepEqual(page.packets("carried").slice(LENGTH), alone[B]);
  });
});
