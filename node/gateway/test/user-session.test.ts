import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { SessionEvent, Snapshot } from "@audiosvc/client";
import type { Action } from "../dist/protocol.js";
import { indexOf } from "../dist/queue.js";
import { step } from "../dist/step.js";
import { FAILURES_MOST } from "../dist/succession.js";
import { type Effect, NEW_SESSION, plays, trackOf, type UserEvent, type UserSession } from "../dist/user-session.js";

/** Runs events through the table and keeps what comes of them, in short. */
class Run {
  state: UserSession = NEW_SESSION;
  effects: Effect[] = [];

  give(event: UserEvent): string[] {
    const [state, effects] = step(this.state, event);
    this.state = state;
    this.effects = [...effects];
    return effects.map(short);
  }

  act(action: Action): string[] {
    return this.give({ on: "action", action });
  }

  /** A list of `names` is there that a page asked for, and `left` more. */
  list(names: string, left = 0): string[] {
    const tracks = [...names].map((name) => ({ url: name, title: name }));
    return this.give({ on: "list", list: { url: "list", tracks, left } });
  }

  /** The daemon accepts the play that is asked for. */
  accept(trackId: string): string[] {
    return this.give({ on: "accepted", ask: this.state.asks, trackId });
  }

  /** The daemon refuses the play that is asked for. */
  refuse(code: string, ofTrack = false): string[] {
    return this.give({ on: "refused", ask: this.state.asks, ofTrack, code, message: "no" });
  }

  hear(trackId: string, type: SessionEvent["type"], fields: Record<string, unknown> = {}): string[] {
    const event = { type, session_id: "user:a", track_id: trackId, position: 0, played: 1, ...fields };
    return this.give({ on: "daemon", event: event as unknown as SessionEvent });
  }

  /** Plays `url` as track `trackId` up to its `ready`. */
  play(url: string, trackId: string): this {
    this.act({ action: "play", url });
    this.accept(trackId);
    this.hear(trackId, "ready", { url });
    return this;
  }

  /** Adds `names` to the queue; with nothing playing, the first one plays as track `t0`. */
  queue(names: string): this {
    for (const [i, name] of [...names].entries()) {
      const idle = !plays(this.state);
      this.act({ action: "addToQueue", url: name });
      if (idle) {
        this.accept(`t${i}`);
        this.hear(`t${i}`, "ready", { url: name });
      }
    }
    return this;
  }

  get index(): number {
    return indexOf(this.state.queue);
  }
}

function short(effect: Effect): string {
  switch (effect.do) {
    case "play":
      return `play ${effect.url}${effect.startAt === 0 ? "" : ` at ${effect.startAt}`}`;
    case "seek":
    case "anchor":
      return `${effect.do} ${effect.position}`;
    case "volume":
      return `volume ${effect.volume}`;
    case "tell":
      return effect.notice.type === "error" ? `error ${effect.notice.code}` : effect.notice.type;
    case "refuse":
      return `refuse ${effect.code}`;
    default:
      return effect.do;
  }
}

const AT_REST = ["tellQueue", "tellState"];

describe("play", () => {
  test("asks the daemon, and says what comes when it has accepted", () => {
    const run = new Run();
    assert.deepEqual(run.act({ action: "play", url: "demo:a" }), ["play demo:a"]);
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.accept("t1"), ["nowPlaying", "tellQueue", "anchor 0", "tellState"]);
    assert.equal(run.state.status, "resolving");
    assert.deepEqual(trackOf(run.state), { url: "demo:a", title: "demo:a" });
  });

  test("takes title and duration from ready", () => {
    const run = new Run();
    run.act({ action: "play", url: "demo:a" });
    run.accept("t1");
    const known = { title: "A", duration: 12, thumbnail: "http://a/a.png", uploader: "B" };
    assert.deepEqual(run.hear("t1", "ready", { url: "demo:a", position: 3, ...known }), [
      "anchor 3",
      "ready",
      "tellState",
    ]);
    assert.equal(run.state.status, "playing");
    assert.deepEqual(trackOf(run.state), { url: "demo:a", ...known });
  });

  test("takes from ready what is live, and then no duration", () => {
    const run = new Run().play("demo:a", "t1");
    assert.equal(trackOf(run.state)?.live, undefined);
    run.hear("t1", "ready", { duration: 12 });
    run.hear("t1", "ready", { live: true, uploader: "Test FM" });
    assert.deepEqual(trackOf(run.state), { url: "demo:a", title: "demo:a", uploader: "Test FM", live: true });
    run.hear("t1", "metadata", { title: "Song" });
    assert.deepEqual(trackOf(run.state), { url: "demo:a", title: "Song", uploader: "Test FM", live: true });
    run.hear("t1", "stopped", { reason: "idle_timeout" });
    run.act({ action: "resumeFrom", seconds: 0 });
    run.accept("t2");
    run.hear("t2", "ready", { duration: 3600 });
    assert.deepEqual([trackOf(run.state)?.live, trackOf(run.state)?.duration], [undefined, 3600]);
  });

  test("goes on with the volume there was", () => {
    const run = new Run();
    run.act({ action: "volume", volume: 0.5 });
    run.act({ action: "play", url: "demo:a" });
    assert.deepEqual(run.effects, [{ do: "play", ask: 1, url: "demo:a", startAt: 0, volume: 0.5 }]);
  });

  test("is told to who asked if the daemon refuses, and what played plays on", () => {
    const run = new Run().play("demo:a", "t1");
    run.act({ action: "play", url: "demo:b" });
    assert.deepEqual(run.refuse("shutting_down"), ["refuse shutting_down"]);
    assert.equal(trackOf(run.state)?.url, "demo:a");
    assert.equal(run.state.status, "playing");
  });

  test("leaves nothing playing if the daemon refuses and the old track ended meanwhile", () => {
    for (const end of ["finished", "stopped"] as const) {
      const run = new Run().play("demo:a", "t1");
      run.act({ action: "play", url: "demo:b" });
      run.hear("t1", end, { reason: "idle_timeout" });
      assert.deepEqual(run.refuse("unreachable"), ["refuse unreachable", ...AT_REST]);
      assert.equal(run.state.status, "idle");
    }
  });

  test("says nothing of the track that it replaces", () => {
    const run = new Run().play("demo:a", "t1");
    run.act({ action: "play", url: "demo:b" });
    assert.deepEqual(run.hear("t1", "stopped", { reason: "replaced" }), []);
    run.accept("t2");
    assert.equal(trackOf(run.state)?.url, "demo:b");

    const later = new Run().play("demo:a", "t1");
    later.act({ action: "play", url: "demo:b" });
    later.accept("t2");
    assert.deepEqual(later.hear("t1", "stopped", { reason: "replaced" }), []);
    assert.equal(later.state.status, "resolving");
  });

  test("whose events come before the answer is accepted by them", () => {
    const run = new Run().play("demo:a", "t1");
    run.act({ action: "play", url: "demo:b" });
    const effects = run.hear("t2", "ready", { url: "demo:b" });
    assert.deepEqual(effects.slice(0, 2), ["nowPlaying", "tellQueue"]);
    assert.ok(effects.includes("ready"));
    assert.deepEqual(run.accept("t2"), []);
    assert.deepEqual(run.refuse("timeout"), []);
    assert.equal(run.state.current?.trackId, "t2");
  });

  test("that fails before its answer comes is over", () => {
    const run = new Run();
    run.act({ action: "play", url: "demo:x" });
    run.hear("t1", "error", { code: "unknown_demo", message: "no such piece" });
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.accept("t1"), []);
    assert.equal(run.state.status, "idle");
  });
});

describe("control", () => {
  test("pause, resume and seek go to the daemon, and its events change the state", () => {
    const run = new Run().play("demo:a", "t1");
    assert.deepEqual(run.act({ action: "pause" }), ["pause"]);
    assert.equal(run.state.status, "playing");
    assert.deepEqual(run.hear("t1", "paused", { position: 4 }), ["anchor 4", "paused", "tellState"]);
    assert.equal(run.state.status, "paused");
    assert.deepEqual(run.act({ action: "seek", seconds: 20 }), ["seek 20"]);
    assert.deepEqual(run.hear("t1", "seeked", { position: 20 }), ["anchor 20", "seeked", "tellState"]);
    assert.equal(run.state.status, "paused");
    assert.deepEqual(run.act({ action: "resume" }), ["resume"]);
    assert.deepEqual(run.hear("t1", "resumed", { position: 20 }), ["anchor 20", "resumed", "tellState"]);
    assert.equal(run.state.status, "playing");
  });

  test("with nothing playing there is nothing to pause, resume or seek", () => {
    for (const action of [{ action: "pause" }, { action: "resume" }, { action: "seek", seconds: 1 }] as const) {
      assert.deepEqual(new Run().act(action), ["refuse nothing_playing"]);
    }
  });

  test("volume is kept, and told to the daemon while something plays", () => {
    const run = new Run();
    assert.deepEqual(run.act({ action: "volume", volume: 0.3 }), ["tellState"]);
    run.play("demo:a", "t1");
    assert.deepEqual(run.act({ action: "volume", volume: 0.6 }), ["volume 0.6", "tellState"]);
    assert.equal(run.state.volume, 0.6);
  });

  test("resumeFrom seeks, and goes on if paused", () => {
    const run = new Run().play("demo:a", "t1");
    assert.deepEqual(run.act({ action: "resumeFrom", seconds: 7 }), ["seek 7"]);
    run.hear("t1", "paused");
    assert.deepEqual(run.act({ action: "resumeFrom", seconds: 8 }), ["seek 8", "resume"]);
  });

  test("resumeFrom plays the last track from there when nothing plays", () => {
    const run = new Run().play("demo:a", "t1");
    run.hear("t1", "stopped", { reason: "idle_timeout" });
    assert.deepEqual(run.act({ action: "resumeFrom", seconds: 9 }), ["play demo:a at 9"]);
    assert.deepEqual(run.accept("t2"), ["nowPlaying", "tellQueue", "anchor 9", "tellState"]);
    assert.deepEqual(new Run().act({ action: "resumeFrom", seconds: 9 }), ["refuse nothing_playing"]);
  });

  test("resumeFrom takes a track of the queue up in its place", () => {
    const run = new Run().queue("abc");
    run.act({ action: "stop" });
    run.hear("t0", "stopped", { reason: "stop" });
    assert.equal(run.index, -1);
    run.act({ action: "resumeFrom", seconds: 1 });
    run.accept("t9");
    assert.equal(run.index, 0);
  });

  test("stop ends what plays, and the queue stays", () => {
    const run = new Run().queue("ab");
    assert.deepEqual(run.act({ action: "stop" }), ["stop"]);
    assert.deepEqual(run.hear("t0", "stopped", { reason: "stop" }), ["stopped", ...AT_REST]);
    assert.equal(run.state.status, "idle");
    assert.equal(run.state.queue.tracks.length, 2);
    assert.deepEqual(run.act({ action: "skip" }), ["play b"]);
  });

  test("stop with nothing playing changes nothing", () => {
    const run = new Run();
    assert.deepEqual(run.act({ action: "stop" }), ["stop"]);
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.act({ action: "play", url: "demo:a" }), ["play demo:a"]);
    assert.equal(run.state.stopping, undefined);
  });

  test("a track that finishes while it is being stopped is not followed by another", () => {
    const run = new Run().queue("ab");
    run.act({ action: "stop" });
    assert.deepEqual(run.hear("t0", "finished"), ["finished", ...AT_REST]);
  });

  test("stop between two tracks keeps the one that comes from being asked for", () => {
    const run = new Run().queue("ab");
    run.hear("t0", "finished");
    assert.deepEqual(run.act({ action: "stop" }), ["stopped", ...AT_REST]);
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.accept("t1"), []);
  });
});

describe("the queue", () => {
  test("what is added plays at once if nothing does, and waits if something does", () => {
    const run = new Run();
    assert.deepEqual(run.act({ action: "addToQueue", url: "a", title: "A" }), ["tellQueue", "play a"]);
    run.accept("t0");
    assert.equal(run.index, 0);
    assert.deepEqual(run.act({ action: "addToQueue", url: "b" }), ["tellQueue"]);
    assert.deepEqual(
      run.state.queue.tracks.map(({ title }) => title),
      ["A", "b"],
    );
  });

  test("learns titles from ready", () => {
    const run = new Run();
    run.act({ action: "addToQueue", url: "a" });
    run.accept("t0");
    assert.deepEqual(run.hear("t0", "ready", { title: "Aria" }), ["anchor 0", "ready", "tellState", "tellQueue"]);
    assert.equal(run.state.queue.tracks[0]?.title, "Aria");
  });

  test("goes on when a track finishes, and ends behind the last", () => {
    const run = new Run().queue("ab");
    assert.deepEqual(run.hear("t0", "finished"), ["finished", "play b"]);
    assert.deepEqual(run.accept("t1"), ["nowPlaying", "tellQueue", "anchor 0", "tellState"]);
    assert.equal(run.index, 1);
    run.hear("t1", "ready");
    assert.deepEqual(run.hear("t1", "finished"), ["finished", "queueFinished", ...AT_REST]);
    assert.equal(run.state.status, "idle");
    assert.equal(run.index, -1);
  });

  test("goes on behind a track that was played past it", () => {
    const run = new Run().queue("abc");
    run.act({ action: "play", url: "x" });
    run.accept("tx");
    assert.equal(run.index, -1);
    run.hear("tx", "ready");
    assert.deepEqual(run.hear("tx", "finished"), ["finished", "play b"]);
  });

  test("is not over when a track past it finishes", () => {
    const run = new Run().play("x", "tx");
    assert.deepEqual(run.hear("tx", "finished"), ["finished", ...AT_REST]);
  });

  test("skip and previous go through it", () => {
    const run = new Run().queue("abc");
    assert.deepEqual(run.act({ action: "previous" }), ["refuse queue_start"]);
    assert.deepEqual(run.act({ action: "skip" }), ["play b"]);
    run.accept("t1");
    assert.equal(run.index, 1);
    assert.deepEqual(run.act({ action: "previous" }), ["play a"]);
    run.accept("t2");
    assert.deepEqual(run.act({ action: "playFromQueue", index: 2 }), ["play c"]);
    run.accept("t3");
    assert.equal(run.index, 2);
    assert.deepEqual(run.act({ action: "playFromQueue", index: 3 }), ["refuse no_such_index"]);
  });

  test("skipping the last track ends it", () => {
    const run = new Run().queue("a");
    assert.deepEqual(run.act({ action: "skip" }), ["stop"]);
    assert.deepEqual(run.hear("t0", "stopped", { reason: "stop" }), ["stopped", "queueFinished", ...AT_REST]);
    assert.deepEqual(run.act({ action: "skip" }), ["refuse queue_end"]);
    assert.deepEqual(run.act({ action: "previous" }), ["play a"]);
  });

  test("skipping the last track right as it finishes ends the queue once", () => {
    const run = new Run().queue("a");
    run.act({ action: "skip" });
    assert.deepEqual(run.hear("t0", "finished"), ["finished", "queueFinished", ...AT_REST]);
  });

  test("is changed without a word to the daemon", () => {
    const run = new Run().queue("abc");
    assert.deepEqual(run.act({ action: "moveInQueue", index: 2, to: 1 }), ["tellQueue"]);
    assert.deepEqual(run.act({ action: "removeFromQueue", index: 2 }), ["tellQueue"]);
    assert.deepEqual(
      run.state.queue.tracks.map(({ url }) => url),
      ["a", "c"],
    );
    assert.deepEqual(run.act({ action: "removeFromQueue", index: 2 }), ["refuse no_such_index"]);
    assert.deepEqual(run.act({ action: "moveInQueue", index: 0, to: 2 }), ["refuse no_such_index"]);
    assert.deepEqual(run.act({ action: "getQueue" }), ["answerQueue"]);
    assert.deepEqual(run.act({ action: "clearQueue" }), ["tellQueue"]);
    assert.equal(run.state.status, "playing");
    assert.equal(run.index, -1);
  });

  test("takes a list behind what it holds, and says how much of it", () => {
    const run = new Run().queue("ab");
    assert.deepEqual(run.list("cde", 2), ["answer", "tellQueue"]);
    assert.deepEqual(run.effects[0], {
      do: "answer",
      notice: { type: "listAdded", url: "list", count: 3, left: 2 },
    });
    assert.equal(run.state.queue.tracks.map(({ url }) => url).join(""), "abcde");
    assert.equal(run.index, 0);
  });

  test("plays a list from its first track if nothing plays", () => {
    const run = new Run().queue("a");
    run.hear("t0", "finished");
    assert.deepEqual(run.list("bc"), ["answer", "tellQueue", "play b"]);
    run.accept("t1");
    assert.equal(run.index, 1);
    assert.deepEqual(new Run().list(""), ["answer"]);
  });

  test("takes as much of a list as there is room for", () => {
    const run = new Run().queue("a");
    run.list("b".repeat(497));
    run.list("cdef");
    assert.deepEqual(run.effects[0], {
      do: "answer",
      notice: { type: "listAdded", url: "list", count: 2, left: 2 },
    });
    assert.equal(run.state.queue.tracks.at(-1)?.url, "d");
  });

  test("is bounded", () => {
    const run = new Run().queue("a");
    for (let i = 1; i < 500; i++) {
      run.act({ action: "addToQueue", url: "b" });
    }
    assert.deepEqual(run.act({ action: "addToQueue", url: "b" }), ["refuse queue_full"]);
    assert.deepEqual(run.list("cd"), ["refuse queue_full"]);
  });

  test("keeps its place when it changes while a play of it is asked for", () => {
    const run = new Run().queue("abc");
    run.act({ action: "playFromQueue", index: 2 });
    run.act({ action: "removeFromQueue", index: 0 });
    run.accept("t2");
    assert.equal(run.index, -1);
    assert.equal(trackOf(run.state)?.url, "c");
  });
});

describe("failures", () => {
  const broken = { code: "not_audio", message: "no audio" };

  test("a track that fails is told of by its name, and the next one plays", () => {
    const run = new Run().queue("ab");
    assert.deepEqual(run.hear("t0", "error", broken), ["error not_audio", "play b"]);
    assert.deepEqual(run.effects[0], {
      do: "tell",
      notice: { type: "error", code: "not_audio", message: "a: there is no audio in it that can be played" },
    });
  });

  test("a track that the daemon has no room to look up is asked for once more, in its place and from where it was to begin", () => {
    const busy = { code: "too_many_lookups", message: "try again", played: 0 };
    const run = new Run().queue("ab");
    run.hear("t0", "stopped", { reason: "idle_timeout" });
    run.act({ action: "resumeFrom", seconds: 9 });
    run.accept("t1");
    assert.deepEqual(run.hear("t1", "error", busy), ["putOff"]);
    assert.deepEqual([run.state.status, trackOf(run.state)?.url, run.index], ["resolving", "a", 0]);
    assert.deepEqual(run.give({ on: "due", ask: run.state.asks }), ["play a at 9"]);
    assert.deepEqual(run.accept("t2"), ["nowPlaying", "tellQueue", "anchor 9", "tellState"]);
    assert.equal(run.index, 0);
    assert.deepEqual(run.hear("t2", "error", busy), ["error too_many_lookups", "play b"]);
    run.accept("t3");
    assert.deepEqual(run.hear("t3", "error", busy), ["putOff"], "another track has a chance of its own");
  });

  test("what is asked for or stopped meanwhile keeps it from being asked for again", () => {
    const busy = { code: "too_many_lookups", message: "try again", played: 0 };
    for (const action of [{ action: "play", url: "x" }, { action: "stop" }] as const) {
      const run = new Run();
      run.act({ action: "play", url: "a" });
      run.accept("t0");
      run.hear("t0", "error", busy);
      const ask = run.state.asks;
      const done = action.action === "play" ? ["play x"] : ["stopped", ...AT_REST];
      assert.deepEqual(run.act(action), done);
      assert.deepEqual(run.give({ on: "due", ask }), []);
    }
    const stopping = new Run();
    stopping.act({ action: "play", url: "a" });
    stopping.accept("t0");
    stopping.act({ action: "stop" });
    assert.deepEqual(stopping.hear("t0", "error", busy), ["error too_many_lookups", ...AT_REST]);
  });

  test("a track that played and breaks off for want of a look-up is not begun anew", () => {
    const run = new Run().play("a", "t0");
    const busy = { code: "too_many_lookups", message: "try again" };
    assert.deepEqual(run.hear("t0", "error", busy), ["error too_many_lookups", ...AT_REST]);
  });

  test("a queue of broken tracks stands still after a few", () => {
    const run = new Run();
    for (let i = 0; i < 20; i++) {
      run.act({ action: "addToQueue", url: `broken${i}` });
    }
    let played = 0;
    let effects: string[] = [];
    while (run.state.asked !== undefined) {
      run.accept(`t${played}`);
      effects = run.hear(`t${played}`, "error", broken);
      played += 1;
    }
    assert.equal(played, FAILURES_MOST);
    assert.deepEqual(effects, ["error not_audio", "error too_many_failures", ...AT_REST]);
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.act({ action: "skip" }), [`play broken${FAILURES_MOST}`]);
    assert.equal(run.state.failures, 0);
  });

  test("a track that plays makes good for those that failed", () => {
    const run = new Run().queue("abc");
    run.hear("t0", "error", broken);
    run.accept("t1");
    run.hear("t1", "ready");
    assert.equal(run.state.failures, 0);
  });

  test("the queue stands still where the daemon takes no play at all", () => {
    const run = new Run().queue("abc");
    run.hear("t0", "finished");
    const effects = run.refuse("unreachable");
    assert.deepEqual(effects, ["error unreachable", ...AT_REST]);
    assert.equal(run.state.status, "idle");
    assert.deepEqual(run.act({ action: "skip" }), ["play b"]);
  });

  test("a track that the daemon refuses at once is passed over by the queue", () => {
    const run = new Run().queue("abcd");
    run.hear("t0", "finished");
    assert.deepEqual(run.refuse("unknown_demo", true), ["error unknown_demo", "play c"]);
    assert.equal(run.state.status, "resolving");
    run.accept("t2");
    assert.equal(run.index, 2);
    run.hear("t2", "ready");
    run.hear("t2", "finished");
    assert.deepEqual(run.refuse("unknown_demo", true), ["error unknown_demo", "queueFinished", ...AT_REST]);
    assert.deepEqual(run.act({ action: "previous" }), ["play d"]);
  });

  test("and by skip, while the track before it plays on", () => {
    const run = new Run().queue("abc");
    run.act({ action: "skip" });
    assert.deepEqual(run.refuse("unknown_demo", true), ["error unknown_demo", "play c", "tellState"]);
    assert.equal(run.state.status, "playing");
    assert.equal(run.index, 0);
    assert.deepEqual(run.refuse("unknown_demo", true), ["error unknown_demo", "stop", "tellState"]);
    assert.deepEqual(run.hear("t0", "stopped", { reason: "stop" }), ["stopped", "queueFinished", ...AT_REST]);
  });

  test("but a page that asks for that very track is refused, and nothing changes", () => {
    const run = new Run().queue("abc");
    run.act({ action: "playFromQueue", index: 2 });
    assert.deepEqual(run.refuse("unknown_demo", true), ["refuse unknown_demo"]);
    assert.equal(run.index, 0);
    const idle = new Run();
    idle.act({ action: "addToQueue", url: "x" });
    assert.deepEqual(idle.refuse("unknown_demo", true), ["refuse unknown_demo", ...AT_REST]);
    assert.equal(idle.state.queue.tracks.length, 1);
  });

  test("tracks refused at once are counted too", () => {
    const run = new Run().queue("a".repeat(20));
    run.hear("t0", "finished");
    let effects: string[] = [];
    while (run.state.asked !== undefined) {
      effects = run.refuse("unknown_demo", true);
    }
    assert.deepEqual(effects, ["error unknown_demo", "error too_many_failures", ...AT_REST]);
    assert.equal(run.state.asks, 1 + FAILURES_MOST);
    assert.equal(run.state.queue.at, FAILURES_MOST);

    const skipper = new Run().queue("a".repeat(20));
    skipper.act({ action: "skip" });
    while (skipper.state.asked !== undefined) {
      effects = skipper.refuse("unknown_demo", true);
    }
    assert.deepEqual(effects, ["error unknown_demo", "error too_many_failures", "tellState"]);
    assert.equal(skipper.state.status, "playing");
    assert.equal(skipper.index, 0);
  });

  test("a track that was taken out of the queue before it was refused is followed by what is next now", () => {
    const run = new Run().queue("abc");
    run.hear("t0", "finished");
    run.act({ action: "removeFromQueue", index: 1 });
    assert.deepEqual(run.refuse("unknown_demo", true), ["error unknown_demo", "play c"]);
    const skipper = new Run().queue("abc");
    skipper.act({ action: "skip" });
    skipper.act({ action: "removeFromQueue", index: 1 });
    assert.deepEqual(skipper.refuse("unknown_demo", true), ["error unknown_demo", "play c", "tellState"]);
  });

  test("a track that the daemon forgot is told of, and nothing follows it", () => {
    for (const event of [
      { on: "lost", trackId: "t0" } as const,
      {
        on: "daemon",
        event: { type: "error", session_id: "user:a", track_id: "t0", code: "track_lost", message: "", played: 0 },
      } as const,
    ]) {
      const run = new Run().queue("ab");
      assert.deepEqual(run.give(event), ["error track_lost", ...AT_REST]);
      assert.equal(run.state.status, "idle");
      assert.deepEqual(run.act({ action: "resumeFrom", seconds: 3 }), ["play a at 3"]);
    }
  });

  test("a track that was forgotten while another is asked for is no news", () => {
    const run = new Run().play("demo:a", "t1");
    run.act({ action: "play", url: "demo:b" });
    assert.deepEqual(run.give({ on: "lost", trackId: "t1" }), []);
    run.accept("t2");
    assert.deepEqual(run.give({ on: "lost", trackId: "t1" }), []);
    assert.equal(run.state.current?.trackId, "t2");
  });
});

describe("what others do", () => {
  const snapshot = {
    track_id: "t7",
    status: "streaming",
    url: "demo:a",
    title: "A",
    duration: 10,
    thumbnail: null,
    uploader: null,
    live: false,
    position: 4,
    volume: 0.5,
  } as Snapshot;

  test("a track that an earlier gateway left playing is found", () => {
    const run = new Run();
    assert.deepEqual(run.give({ on: "found", snapshot }), ["anchor 4", "tellState"]);
    assert.equal(run.state.status, "playing");
    assert.equal(run.state.volume, 0.5);
    assert.deepEqual(trackOf(run.state), { url: "demo:a", title: "A", duration: 10 });
    assert.deepEqual(run.give({ on: "found", snapshot }), []);
    assert.deepEqual(run.hear("t7", "attached", { status: "paused", position: 5 }), ["anchor 5", "tellState"]);
    assert.equal(run.state.status, "paused");
  });

  test("found as live", () => {
    const run = new Run();
    run.give({ on: "found", snapshot: { ...snapshot, duration: null, live: true } });
    assert.deepEqual(trackOf(run.state), { url: "demo:a", title: "A", live: true });
  });

  test("found in any state", () => {
    for (const [status, shown] of [
      ["paused", "paused"],
      ["extracting", "resolving"],
      ["stopped", "playing"],
    ] as const) {
      const run = new Run();
      run.give({ on: "found", snapshot: { ...snapshot, status } });
      assert.equal(run.state.status, shown);
    }
  });

  test("what is found does not stand in the way of what was asked for", () => {
    const run = new Run();
    run.act({ action: "play", url: "demo:b" });
    assert.deepEqual(run.give({ on: "found", snapshot }), []);
    assert.deepEqual(run.hear("t7", "attached", { status: "streaming" }), ["look"]);
  });

  test("an unknown track that one is attached to is looked up", () => {
    assert.deepEqual(new Run().hear("t7", "attached", { status: "streaming", position: 5 }), ["look"]);
  });

  test("a track that another program plays is shown", () => {
    const run = new Run().queue("ab");
    assert.deepEqual(run.hear("t0", "stopped", { reason: "replaced" }), ["stopped", ...AT_REST]);
    const effects = run.hear("t9", "ready", { url: "demo:x", title: "X" });
    assert.deepEqual(effects, ["nowPlaying", "anchor 0", "ready", "tellState", "tellQueue"]);
    assert.equal(trackOf(run.state)?.title, "X");
    assert.equal(run.index, -1);
  });

  test("events of tracks that are over or unknown change nothing", () => {
    const run = new Run().play("demo:a", "t1").play("demo:b", "t2");
    for (const type of ["ready", "finished", "stopped", "paused"] as const) {
      assert.deepEqual(run.hear("t1", type), []);
    }
    assert.deepEqual(run.hear("t5", "paused"), []);
    assert.equal(run.state.current?.trackId, "t2");
  });

  test("a title that changes, a source opened again and a session taken away are told", () => {
    const run = new Run().play("demo:a", "t1");
    assert.deepEqual(run.hear("t1", "metadata", { title: "Next song" }), ["metadata", "tellState"]);
    assert.deepEqual(run.effects[0], {
      do: "tell",
      notice: { type: "metadata", track: { url: "demo:a", title: "Next song" } },
    });
    assert.equal(trackOf(run.state)?.title, "Next song");
    assert.deepEqual(run.hear("t1", "recovered", { position: 5 }), ["anchor 5", "recovered", "tellState"]);
    assert.equal(run.state.status, "playing");
    assert.deepEqual(run.hear("t1", "detached"), ["error detached", "tellState"]);
  });

  test("only so many tracks that are over are remembered", () => {
    const run = new Run();
    for (let i = 0; i < 100; i++) {
      run.play("demo:a", `t${i}`);
    }
    assert.ok(run.state.past.length <= 16);
    assert.ok(run.state.past.includes("t98"));
  });
});
