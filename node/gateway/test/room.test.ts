import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AudioServiceError, type SessionEvent } from "@audiosvc/client";
import type { Action, Notice } from "../dist/protocol.js";
import { ACTIONS_MOST, type House, type Member, PUT_OFF_MS, Room } from "../dist/room.js";

const ID = "user:anna";
const GRACE = 30_000;
const PATIENCE = 2_000;

/** A daemon of which both sides, the socket and the API, do what the test says. */
class FakeDaemon {
  outstanding: number | undefined;
  subscribed = false;
  /** Calls of the API, in short. */
  calls: string[] = [];
  /** What the API refuses, by the call's name. */
  refuses: Record<string, string> = { status: "not_found" };
  /** While set, no call is answered. */
  stuck: Promise<void> | undefined;
  status = { track_id: "t1" };
  logged: string[] = [];
  #plays = 0;

  readonly house: House = {
    client: {
      subscribe: () => {
        this.subscribed = true;
      },
      unsubscribe: () => {
        this.subscribed = false;
        this.outstanding = undefined;
      },
      credit: (_, packets) => {
        this.outstanding = (this.outstanding ?? 0) + packets;
        return this.outstanding;
      },
      outstanding: () => this.outstanding,
      progress: () => ({ trackId: undefined, packets: 0 }),
    },
    control: {
      play: async (_, { url }) => {
        await this.#call("play", url);
        this.#plays += 1;
        return { status: "playing", session_id: ID, track_id: `t${this.#plays}` };
      },
      stop: () => this.#call("stop"),
      pause: () => this.#call("pause"),
      resume: () => this.#call("resume"),
      seek: (_, position) => this.#call("seek", position),
      volume: (_, volume) => this.#call("volume", volume),
      status: async () => {
        await this.#call("status");
        return this.status as never;
      },
    },
    grace: GRACE,
    patience: PATIENCE,
    log: (message) => this.logged.push(message),
  };

  async #call(name: string, value?: string | number): Promise<never> {
    this.calls.push(value === undefined ? name : `${name} ${value}`);
    await this.stuck;
    const code = this.refuses[name];
    if (code !== undefined) {
      throw new AudioServiceError(code, `${name} is refused`);
    }
    return undefined as never;
  }
}

class FakePage implements Member {
  full = false;
  notices: Notice[] = [];
  packets: string[] = [];

  notify(_: string, notice: Notice): void {
    this.notices.push(notice);
  }

  packet(channel: number, packet: Buffer): void {
    this.packets.push(`${channel}:${packet}`);
  }

  /** Types of what was said since the last time. */
  types(): string[] {
    return this.notices.splice(0).map((notice) => (notice.type === "error" ? `error ${notice.code}` : notice.type));
  }

  get last(): Extract<Notice, { type: "state" }> | undefined {
    return this.notices.findLast((notice) => notice.type === "state");
  }
}

class Bed {
  readonly daemon = new FakeDaemon();
  over = 0;
  readonly room = new Room("anna", this.daemon.house, () => {
    this.over += 1;
  });
  #sent = 0;

  send(count: number, trackId = "t1"): void {
    for (let i = 0; i < count; i++) {
      this.#sent += 1;
      this.daemon.outstanding = Math.max(0, (this.daemon.outstanding ?? 0) - 1);
      this.room.packet({ sessionId: ID, trackId, number: this.#sent, data: Buffer.from(String(this.#sent)) });
    }
  }

  say(type: SessionEvent["type"], fields: Record<string, unknown> = {}): void {
    const event = { type, session_id: ID, track_id: "t1", position: 0, played: 1, ...fields };
    this.room.event(event as unknown as SessionEvent);
  }

  async act(page: FakePage, ...actions: Action[]): Promise<void> {
    for (const action of actions) {
      this.room.act(page, action);
    }
    await setImmediate();
  }

  /** `page` hears the session, and track t1 plays in it. */
  async play(page: FakePage): Promise<void> {
    this.room.join(page, 0, true);
    await this.act(page, { action: "play", url: "demo:a" });
    this.say("ready", { url: "demo:a" });
    page.notices = [];
  }
}

function open(t: TestContext): Bed {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const bed = new Bed();
  t.after(() => bed.room.close());
  return bed;
}

test("a room looks for what already plays, and subscribes without asking for packets", async (t) => {
  const { daemon } = open(t);
  await setImmediate();
  assert.deepEqual(daemon.calls, ["status"]);
  assert.ok(daemon.subscribed);
  assert.equal(daemon.outstanding, 0);
  assert.deepEqual(daemon.logged, []);
});

test("who joins is told channel, state and queue", (t) => {
  const { room } = open(t);
  const page = new FakePage();
  room.join(page, 3, true);
  assert.deepEqual(page.notices, [
    { type: "session", channel: 3, sessionId: ID },
    { type: "state", status: "idle", position: 0, volume: 1, heard: true },
    { type: "queueUpdated", queue: [], index: -1 },
  ]);
});

test("credit given before the room has subscribed counts", async (t) => {
  const { room, daemon } = open(t);
  const page = new FakePage();
  room.join(page, 0, true);
  daemon.house.client.credit = (_, packets) => {
    // Like the client's: what is not heard gets no credit.
    daemon.outstanding = daemon.subscribed ? (daemon.outstanding ?? 0) + packets : undefined;
    return daemon.outstanding ?? 0;
  };
  room.credit(page, 15);
  await setImmediate();
  assert.equal(daemon.outstanding, 15);
});

test("packets go out on the page's channel, and the position counts them", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.credit(page, 100);
  bed.send(50);
  assert.equal(page.packets.length, 50);
  assert.equal(page.packets[49], "0:50");
  await bed.act(page, { action: "volume", volume: 0.5 });
  assert.equal(page.last?.position, 1);
});

test("the one that joined last hears, and the one before is told", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.credit(one, 20);
  bed.send(5);
  bed.room.join(two, 1, true);
  assert.deepEqual(one.types(), ["state"]);
  assert.equal(two.last?.heard, true);
  assert.equal(two.last?.position, 0.1);
  bed.send(5);
  bed.room.credit(one, 20);
  assert.deepEqual(two.packets, []);
  bed.room.credit(two, 7);
  assert.deepEqual(two.packets, ["1:6", "1:7", "1:8", "1:9", "1:10"]);
  assert.equal(one.packets.length, 5);
});

test("when the one that hears leaves, the one before it hears again, from the next packet not sent", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.join(two, 0, true);
  bed.room.credit(two, 10);
  bed.send(4);
  one.notices = [];
  bed.room.leave(two);
  assert.equal(one.last?.heard, true);
  bed.send(6);
  assert.deepEqual(one.packets, []);
  bed.room.credit(one, 2);
  assert.deepEqual(one.packets, ["0:5", "0:6"]);
});

test("one that takes part without hearing takes nothing from the one that hears", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.join(two, 0, false);
  assert.deepEqual(one.types(), []);
  assert.equal(two.last?.heard, false);
  bed.room.credit(two, 10);
  assert.equal(bed.daemon.outstanding, 0);
  await bed.act(two, { action: "pause" });
  assert.ok(bed.daemon.calls.includes("pause"));
  bed.say("paused");
  assert.deepEqual(one.types(), ["paused", "state"]);
});

test("one that joins again can stop hearing, and starts without credit when it hears again", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.credit(page, 10);
  bed.room.join(page, 0, false);
  assert.equal(page.last?.heard, false);
  bed.send(10);
  bed.room.join(page, 0, true);
  assert.deepEqual(page.packets, []);
  bed.room.credit(page, 4);
  assert.equal(page.packets.length, 4);
});

test("a page that is full is sent no packet until it reads, and the others hear on", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.credit(page, 50);
  page.full = true;
  bed.send(50);
  bed.room.credit(page, 100);
  assert.equal(bed.daemon.outstanding, 0);
  assert.deepEqual(page.packets, []);
  page.full = false;
  bed.room.drained(page);
  assert.equal(page.packets.length, 50);
  assert.equal(bed.daemon.outstanding, 100);
});

test("packets on their way when a seek comes are dropped, and made up for", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.credit(one, 10);
  bed.room.join(two, 0, true);
  bed.send(10);
  bed.say("seeked", { position: 30 });
  bed.room.credit(two, 5);
  assert.equal(bed.daemon.outstanding, 5);
  bed.send(5);
  assert.deepEqual(two.packets, ["0:11", "0:12", "0:13", "0:14", "0:15"]);
  await bed.act(two, { action: "volume", volume: 1 });
  assert.equal(two.last?.position, 30.1);
});

test("a track's end waits behind its packets", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.credit(one, 10);
  bed.room.join(two, 0, true);
  bed.send(3);
  bed.say("finished");
  assert.ok(!two.types().includes("finished"));
  bed.room.credit(two, 3);
  assert.equal(two.packets.length, 3);
  assert.ok(two.types().includes("finished"));
});

test("stop ends a track whose end still waits", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.credit(one, 10);
  bed.room.join(two, 0, true);
  bed.send(3);
  bed.say("finished");
  await bed.act(two, { action: "stop" });
  assert.equal(two.last?.status, "idle");
  assert.deepEqual(two.packets, []);
});

test("actions are done one after another, and what the daemon refuses is told to who asked", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  await bed.play(one);
  bed.room.join(two, 0, false);
  two.notices = [];
  bed.daemon.refuses.seek = "position_out_of_range";
  bed.say("paused");
  bed.daemon.calls = [];
  one.types();
  two.types();
  await bed.act(two, { action: "resumeFrom", seconds: 99 }, { action: "pause" });
  assert.deepEqual(bed.daemon.calls, ["seek 99", "pause"]);
  assert.deepEqual(two.notices, [
    { type: "error", code: "position_out_of_range", message: "seek is refused", action: "resumeFrom" },
  ]);
  assert.deepEqual(one.types(), []);
});

test("actions wait for the daemon's answer, so many and no more", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  let loose = (): void => undefined;
  bed.daemon.stuck = new Promise((resolve) => {
    loose = resolve;
  });
  bed.daemon.calls = [];
  const pauses = Array.from({ length: ACTIONS_MOST + 2 }, (): Action => ({ action: "pause" }));
  await bed.act(page, ...pauses);
  assert.deepEqual(bed.daemon.calls, ["pause"]);
  assert.deepEqual(page.types(), ["error busy"]);
  loose();
  await setImmediate();
  assert.equal(bed.daemon.calls.length, ACTIONS_MOST + 1);
});

test("a play that the daemon refuses is told to who asked", async (t) => {
  const bed = open(t);
  const [one, two] = [new FakePage(), new FakePage()];
  bed.room.join(one, 0, true);
  bed.room.join(two, 0, true);
  bed.daemon.refuses.play = "too_many_sessions";
  one.types();
  two.types();
  await bed.act(one, { action: "play", url: "demo:a" });
  assert.ok(one.types().includes("error too_many_sessions"));
  assert.ok(!two.types().includes("error too_many_sessions"));
});

test("the queue goes on by itself", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  await bed.act(page, { action: "addToQueue", url: "demo:b" }, { action: "getQueue" });
  assert.deepEqual(page.types(), ["queueUpdated", "queueUpdated"]);
  bed.daemon.calls = [];
  bed.say("finished");
  await setImmediate();
  assert.deepEqual(bed.daemon.calls, ["play demo:b"]);
  assert.deepEqual(page.types(), ["finished", "nowPlaying", "queueUpdated", "state"]);
});

test("a play of the queue that was overtaken by a stop is not made", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  await bed.act(page, { action: "addToQueue", url: "demo:b" });
  bed.daemon.calls = [];
  bed.room.act(page, { action: "pause" });
  bed.room.act(page, { action: "stop" });
  bed.say("finished");
  await setImmediate();
  assert.deepEqual(bed.daemon.calls, ["pause"]);
  assert.equal(page.last?.status, "idle");
});

test("a track that the daemon had no room to look up is asked for once more after a while", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  bed.room.join(page, 0, true);
  await bed.act(page, { action: "play", url: "demo:a" });
  bed.daemon.calls = [];
  page.types();
  bed.say("error", { code: "too_many_lookups", message: "try again", played: 0 });
  t.mock.timers.tick(PUT_OFF_MS - 1);
  await setImmediate();
  assert.deepEqual([bed.daemon.calls, page.types()], [[], []]);
  t.mock.timers.tick(1);
  await setImmediate();
  assert.deepEqual([bed.daemon.calls, page.types()], [["play demo:a"], ["nowPlaying", "queueUpdated", "state"]]);
});

test("when all have left, the session is stopped after the grace", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.leave(page);
  t.mock.timers.tick(GRACE - 1);
  await setImmediate();
  assert.equal(bed.over, 0);
  t.mock.timers.tick(1);
  await setImmediate();
  assert.ok(bed.daemon.calls.includes("stop"));
  assert.equal(bed.over, 1);
  assert.ok(!bed.daemon.subscribed);
});

test("one that comes back within the grace finds everything in its place", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.credit(page, 10);
  bed.send(4);
  bed.room.leave(page);
  bed.send(6);
  t.mock.timers.tick(GRACE - 1);
  const back = new FakePage();
  bed.room.join(back, 2, true);
  t.mock.timers.tick(GRACE);
  await setImmediate();
  assert.equal(bed.over, 0);
  assert.ok(!bed.daemon.calls.includes("stop"));
  assert.equal(back.last?.status, "playing");
  bed.room.credit(back, 6);
  assert.deepEqual(back.packets, ["2:5", "2:6", "2:7", "2:8", "2:9", "2:10"]);
});

test("one that comes back while the session is being stopped keeps the room", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.room.leave(page);
  let loose = (): void => undefined;
  bed.daemon.stuck = new Promise((resolve) => {
    loose = resolve;
  });
  t.mock.timers.tick(GRACE);
  await setImmediate();
  const back = new FakePage();
  bed.room.join(back, 0, true);
  loose();
  await setImmediate();
  bed.say("stopped", { reason: "stop" });
  assert.equal(bed.over, 0);
  assert.ok(bed.daemon.subscribed);
  assert.equal(back.last?.status, "idle");
});

test("a session in which nothing is left is given up at once", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  bed.room.join(page, 0, true);
  bed.room.leave(page);
  t.mock.timers.tick(0);
  await setImmediate();
  assert.equal(bed.over, 1);
  assert.ok(!bed.daemon.calls.includes("stop"));
});

test("a track that the daemon took and forgot before a reconnect is told as lost", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  bed.room.join(page, 0, true);
  await bed.act(page, { action: "play", url: "demo:a" });
  page.types();
  bed.room.reconnected();
  t.mock.timers.tick(PATIENCE);
  await setImmediate();
  assert.deepEqual(page.types(), ["error track_lost", "queueUpdated", "state"]);
});

test("a track of which something is heard after a reconnect, or that the daemon still knows, is not lost", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  bed.room.join(page, 0, true);
  await bed.act(page, { action: "play", url: "demo:a" });
  bed.room.reconnected();
  bed.say("ready", { url: "demo:a" });
  page.types();
  t.mock.timers.tick(PATIENCE);
  await setImmediate();
  assert.deepEqual(page.types(), []);
  bed.room.reconnected();
  bed.daemon.refuses = {};
  t.mock.timers.tick(PATIENCE);
  await setImmediate();
  assert.deepEqual(page.types(), []);
});

test("what the daemon refuses with nobody asking is logged", async (t) => {
  const bed = open(t);
  bed.daemon.refuses.status = "unreachable";
  await setImmediate();
  assert.deepEqual(bed.daemon.logged, [`${ID}: look failed: status is refused`]);
});

test("a daemon that cannot be asked after a reconnect is not taken to have forgotten anything", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  bed.room.join(page, 0, true);
  await bed.act(page, { action: "play", url: "demo:a" });
  page.types();
  bed.daemon.refuses.status = "unreachable";
  bed.room.reconnected();
  t.mock.timers.tick(PATIENCE);
  await setImmediate();
  assert.deepEqual(page.types(), []);
});

test("a room whose subscription fails says so in the log and goes on", async (t) => {
  const bed = open(t);
  bed.daemon.house.client.subscribe = () => {
    throw new AudioServiceError("too_many_names", "a client hears 4096 sessions");
  };
  const page = new FakePage();
  bed.room.join(page, 0, true);
  await bed.act(page, { action: "getQueue" });
  assert.match(bed.daemon.logged.join(), /a client hears 4096 sessions/);
  assert.equal(page.types().at(-1), "queueUpdated");
});

test("a room that is closed says and does nothing more", async (t) => {
  const bed = open(t);
  const page = new FakePage();
  await bed.play(page);
  bed.daemon.calls = [];
  bed.room.act(page, { action: "resumeFrom", seconds: 3 });
  bed.room.act(page, { action: "play", url: "demo:b" });
  bed.room.close();
  bed.room.act(page, { action: "stop" });
  await setImmediate();
  assert.deepEqual(bed.daemon.calls, ["seek 3"]);
  assert.deepEqual(page.types(), []);
});
