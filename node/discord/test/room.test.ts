import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionEvent } from "@audiosvc/client";
import { FAILURES_MOST, NEW_ROOM, type Room, type RoomEvent, step } from "../dist/room.js";
import * as texts from "../dist/texts.js";
import { letters, queueOf, track } from "./tracks.ts";

type Said = SessionEvent extends infer E
  ? E extends SessionEvent
    ? Omit<E, "session_id" | "track_id">
    : never
  : never;

/** A room and what has been done in it. Plays are answered as `ids` says, else with t1, t2 and so on. */
class Scene {
  room: Room;
  plays = 0;
  answer: (play: number) => RoomEvent = (play) => ({ on: "accepted", trackId: `t${play}` });

  constructor(queue: string, more: Partial<Room> = {}) {
    const current = queueOf(queue).current;
    this.room = { ...NEW_ROOM, queue: queueOf(queue), trackId: current && "t0", ...more };
  }

  /** What was done, one word each; what was said stands in full. */
  when(event: RoomEvent): string[] {
    const [room, effects] = step(this.room, event);
    this.room = room;
    return effects.flatMap((effect) => {
      switch (effect.do) {
        case "play": {
          this.plays += 1;
          const from = effect.track.startAt > 0 ? ` from ${effect.track.startAt}` : "";
          return [`play ${effect.track.title}${from}`, ...this.when(this.answer(this.plays))];
        }
        case "reply":
        case "tell":
          return [effect.text];
        case "admit":
        case "discard":
          return [`${effect.do} ${effect.trackId}`];
        default:
          return [effect.do];
      }
    });
  }

  /** The daemon says it of the current track. */
  hears(event: Said, reached = 0, trackId = this.room.trackId ?? ""): string[] {
    const whole = { ...event, session_id: "1", track_id: trackId } as SessionEvent;
    return this.when({ on: "daemon", event: whole, reached });
  }

  get letters(): string {
    return letters(this.room.queue);
  }
}

const finished: Said = { type: "finished", played: 100 };
const failed: Said = { type: "error", code: "not_audio", message: "", played: 0 };
const busy: Said = { type: "error", code: "too_many_lookups", message: "", played: 0 };
const lost: Said = { type: "error", code: "track_lost", message: "", played: 0 };
const stopped = (reason: "stop" | "replaced" | "idle_timeout" | "consumer_timeout" | "shutdown"): Said => ({
  type: "stopped",
  reason,
  played: 0,
});

test("the first track plays, others wait", () => {
  const scene = new Scene(" . ");
  assert.deepEqual(scene.when({ on: "play", tracks: [track("a")] }), ["play a", "Playing **a** (1:40)."]);
  assert.equal(scene.room.trackId, "t1");
  assert.deepEqual(scene.when({ on: "play", tracks: [track("b")] }), ["Queued **b** (1:40) as number 1."]);
  assert.deepEqual(scene.when({ on: "play", tracks: [track("c"), track("d")] }), ["Queued 2 tracks."]);
  assert.equal(scene.letters, " a bcd");
});

test("a list plays from its first track, and what does not fit is told", () => {
  const tracks = Array.from({ length: 501 }, (_, index) => track(`${index}`));
  const said = new Scene(" . ").when({ on: "play", tracks });
  assert.deepEqual(said, [
    "play 0",
    "Playing **0** (1:40).",
    "Queued 499 tracks.",
    "The queue is full: 1 track was left out.",
  ]);
  const full = new Scene(" a ", { queue: { ...queueOf(" a "), upcoming: tracks.slice(0, 500) } });
  assert.deepEqual(full.when({ on: "play", tracks: [track("b")] }), ["The queue is full: 1 track was left out."]);
  assert.deepEqual(new Scene(" . ").when({ on: "play", tracks: [] }), []);
});

test("when a track is finished the next one plays, and after the last one none", () => {
  const scene = new Scene(" a b");
  assert.deepEqual(scene.hears(finished), ["play b"]);
  assert.deepEqual(scene.hears(finished), []);
  assert.equal(scene.letters, "ab . ");
});

test("a track is heard when it is ready, under the name the daemon knows", () => {
  const scene = new Scene(" a ");
  assert.deepEqual(scene.hears({ type: "ready", url: "", format: "opus", position: 0, title: "A", duration: 7 }), [
    "admit t0",
  ]);
  assert.deepEqual([scene.room.queue.current?.title, scene.room.queue.current?.duration], ["A", 7]);
  scene.hears({ type: "ready", url: "", format: "opus", position: 0 });
  assert.equal(scene.room.queue.current?.title, "A");
  scene.hears({ type: "metadata", title: "B" });
  assert.equal(scene.room.queue.current?.title, "B");
});

test("what is ready and says so is live, and goes by the title that it tells last", () => {
  const scene = new Scene(" . ");
  scene.when({ on: "play", tracks: [track("r", { duration: undefined })] });
  assert.equal(scene.room.queue.current?.live, undefined);
  scene.hears({ type: "ready", url: "", format: "opus", position: 0 });
  assert.equal(scene.room.queue.current?.live, false);
  scene.hears({ type: "ready", url: "", format: "opus", position: 0, live: true });
  assert.equal(scene.room.queue.current?.live, true);
  assert.deepEqual(scene.hears({ type: "metadata", title: "Song" }), []);
  assert.deepEqual(scene.hears({ type: "recovered", position: 5 }), []);
  assert.deepEqual([scene.room.queue.current?.title, scene.room.queue.current?.live], ["Song", true]);
});

test("tracks that are not ours change nothing, and are not heard", () => {
  const scene = new Scene(" a b");
  assert.deepEqual(scene.hears({ type: "ready", url: "", format: "opus", position: 0 }, 0, "other"), ["discard other"]);
  assert.deepEqual(scene.hears(finished, 0, "other"), []);
  assert.deepEqual(scene.hears({ type: "resumed", position: 0 }), []);
  assert.equal(scene.letters, " a b");
});

test("a failure is told, and the next track plays", () => {
  const scene = new Scene(" a b");
  assert.deepEqual(scene.hears(failed), ["**a** (1:40) could not be played: there is no audio in it.", "play b"]);
});

test("a play that the daemon refuses is told, and the next track plays", () => {
  const scene = new Scene(" . ");
  scene.answer = (play) =>
    play === 1 ? { on: "refused", code: "unsupported_url", message: "" } : { on: "accepted", trackId: "t" };
  const said = scene.when({ on: "play", tracks: [track("a"), track("b")] });
  assert.deepEqual(said.slice(0, 3), [
    "play a",
    "**a** (1:40) could not be played: I can't play that kind of link.",
    "play b",
  ]);
  assert.equal(scene.letters, "a b ");
});

test("when too many tracks fail in a row the queue stands still, and resume goes on", () => {
  const scene = new Scene(" a bcdefg");
  for (let i = 1; i < FAILURES_MOST; i += 1) scene.hears(failed);
  assert.deepEqual(scene.hears(failed).slice(1), [
    "5 tracks in a row failed, so I stopped. `/resume` goes on with the rest of the queue.",
  ]);
  assert.equal(scene.letters, "abcde . fg");
  assert.deepEqual(scene.when({ on: "resume" }), ["play f", "Playing **f** (1:40)."]);
  assert.equal(new Scene(" a ", { failures: 4 }).hears(failed)[1], "5 tracks in a row failed, so I stopped.");
});

test("a track that ends well makes up for those that failed", () => {
  const scene = new Scene(" a bc", { failures: 4 });
  scene.hears(finished);
  assert.deepEqual(scene.hears(failed).slice(1), ["play c"]);
});

test("a daemon that is not there is not the track's fault", () => {
  const scene = new Scene(" . ");
  scene.answer = () => ({ on: "refused", code: "unreachable", message: "" });
  assert.equal(
    scene.when({ on: "play", tracks: [track("a")] })[1],
    "**a** (1:40) could not be played: the audio service is down.",
  );
  assert.equal(scene.letters, " . a");
  scene.answer = () => ({ on: "accepted", trackId: "t" });
  assert.deepEqual(scene.when({ on: "connected" }), ["play a"]);
  assert.deepEqual(scene.when({ on: "connected" }), []);
});

test("a daemon that is full is not asked again by itself", () => {
  const scene = new Scene(" . ");
  scene.answer = () => ({ on: "refused", code: "too_many_sessions", message: "" });
  scene.when({ on: "play", tracks: [track("a")] });
  assert.equal(scene.letters, " . a");
  assert.deepEqual(scene.when({ on: "connected" }), []);
});

test("an answer that comes when nothing is asked changes nothing", () => {
  const scene = new Scene(" . a");
  assert.deepEqual(scene.when({ on: "refused", code: "unreachable", message: "" }), []);
  assert.equal(scene.letters, " . a");
});

test("after the daemon's restart a track goes on where it was", () => {
  const scene = new Scene("x a b", { paused: true });
  assert.deepEqual(scene.hears(stopped("shutdown"), 42), []);
  assert.deepEqual(scene.when({ on: "connected" }), ["play a from 42"]);
  assert.equal(scene.letters, "x a b");
  assert.ok(scene.room.paused, "a pause outlives it");
});

test("what was cut off goes on at once, but not for ever", () => {
  const scene = new Scene(" a b");
  assert.deepEqual(scene.hears(lost, 42), ["play a from 42"]);
  assert.deepEqual(scene.hears(stopped("consumer_timeout"), 43), ["play a from 43"]);
  scene.hears(lost, 44);
  scene.hears(lost, 44);
  assert.match(scene.hears(lost, 44)[0] ?? "", /broke off after 0:44: the audio service lost it/);
});

test("what is live begins anew, and what is of unknown length goes on", () => {
  for (const [live, words] of [
    [true, "play r"],
    [false, "play r from 42"],
  ] as const) {
    const scene = new Scene(" . ");
    scene.when({ on: "play", tracks: [track("r", { duration: undefined, live })] });
    assert.deepEqual(scene.hears(lost, 42), [words]);
  }
});

test("a track that the daemon had no room to look up is asked for once more", () => {
  const scene = new Scene(" . ");
  scene.when({ on: "play", tracks: [track("a", { startAt: 9 }), track("b")] });
  assert.deepEqual(scene.hears(busy), ["putOff"]);
  assert.deepEqual(scene.when({ on: "due" }), ["play a from 9"]);
  assert.deepEqual(scene.when({ on: "due" }), []);
  const why = "too many people are asking for tracks, try again in a moment";
  assert.deepEqual(scene.hears(busy), [`**a** (1:40) could not be played: ${why}.`, "play b"]);
  assert.deepEqual(scene.hears(busy), ["putOff"], "another track has a chance of its own");
});

test("what is skipped or stopped meanwhile is not asked for again", () => {
  const skipped = new Scene(" a b");
  skipped.hears(busy);
  skipped.when({ on: "skip", tail: false });
  assert.deepEqual(skipped.when({ on: "due" }), []);
  const last = new Scene(" a ");
  last.hears(busy);
  last.when({ on: "skip", tail: false });
  assert.deepEqual([last.when({ on: "due" }), last.room.again], [[], undefined]);
  const stopping = new Scene(" a b");
  stopping.hears(busy);
  stopping.when({ on: "stop" });
  assert.deepEqual(stopping.when({ on: "due" }), []);
});

test("a track that breaks off for want of a look-up is not begun anew", () => {
  const scene = new Scene(" a b");
  assert.match(scene.hears({ ...busy, played: 5 } as Said)[0] ?? "", /broke off after 0:05/);
});

test("what is stopped from outside waits to be resumed", () => {
  const scene = new Scene(" a b");
  assert.deepEqual(scene.hears(stopped("idle_timeout"), 42), ["cut", texts.INTERRUPTED_LONG]);
  assert.deepEqual(scene.when({ on: "resume" }), ["play a from 42", "Playing **a** (1:40) from 0:42."]);
  assert.deepEqual(scene.hears(stopped("stop"), 43), ["cut", texts.ENDED_ELSEWHERE]);
  assert.deepEqual(scene.hears(stopped("stop"), 43, "t0"), [], "what comes late of an old track is past");
  assert.equal(scene.letters, " . ab");
});

test("pause and resume", () => {
  const scene = new Scene(" a ");
  assert.deepEqual(scene.when({ on: "resume" }), [texts.PLAYS_ALREADY]);
  assert.deepEqual(scene.when({ on: "pause", tail: false }), ["pause", texts.PAUSED]);
  assert.deepEqual(scene.when({ on: "pause", tail: false }), [texts.PAUSED_ALREADY]);
  assert.deepEqual(scene.when({ on: "resume" }), ["resume", texts.RESUMED]);
  const silent = new Scene(" . ");
  assert.deepEqual(silent.when({ on: "pause", tail: false }), [texts.NOTHING_PLAYS]);
  assert.deepEqual(silent.when({ on: "resume" }), [texts.NOTHING_TO_RESUME]);
});

test("the last second of the last track can be paused, and is not forgotten", () => {
  const scene = new Scene(" . ");
  scene.when({ on: "pause", tail: true });
  assert.ok(scene.room.paused);
  assert.deepEqual(scene.when({ on: "play", tracks: [track("a")] }), ["resume", "play a", "Playing **a** (1:40)."]);
  assert.ok(!scene.room.paused);
  const again = new Scene(" . ", { paused: true });
  assert.deepEqual(again.when({ on: "resume" }), ["resume", texts.RESUMED]);
});

test("skip goes to the next track, and after the last one to none", () => {
  const scene = new Scene(" a b", { paused: true });
  assert.deepEqual(scene.when({ on: "skip", tail: false }), ["cut", "play b", "Skipped. Playing **b** (1:40)."]);
  assert.ok(!scene.room.paused);
  assert.deepEqual(scene.when({ on: "skip", tail: false }), ["cut", "stop", "Skipped. That was the last track."]);
  assert.deepEqual(scene.when({ on: "skip", tail: false }), [texts.NOTHING_PLAYS]);
  assert.equal(scene.letters, "ab . ");
});

test("what is heard is skipped, not the track that is ready behind it", () => {
  const scene = new Scene("a b ");
  assert.deepEqual(scene.when({ on: "skip", tail: true }), ["cut", "Skipped. Playing **b** (1:40)."]);
  assert.equal(scene.letters, "a b ");
});

test("previous and jump change the track at once", () => {
  const scene = new Scene("a b cde");
  assert.deepEqual(scene.when({ on: "previous" }), ["cut", "play a", "Playing **a** (1:40)."]);
  assert.deepEqual(scene.when({ on: "previous" }), [texts.NOTHING_BEFORE]);
  assert.deepEqual(scene.when({ on: "jump", number: 3 }), ["cut", "play d", "Playing **d** (1:40)."]);
  assert.deepEqual(scene.when({ on: "jump", number: 9 }), [texts.NO_TRACK_THERE]);
  assert.equal(scene.letters, "abc d e");
});

test("remove", () => {
  const scene = new Scene(" a bc");
  assert.deepEqual(scene.when({ on: "remove", number: 1 }), ["Removed **b** (1:40)."]);
  assert.deepEqual(scene.when({ on: "remove", number: 2 }), [texts.NO_TRACK_THERE]);
});

test("seek moves what plays, unless it is just ending", () => {
  assert.deepEqual(new Scene(" a ").when({ on: "seek", position: 65, tail: false }), ["seek", "Going to 1:05."]);
  assert.deepEqual(new Scene(" b ").when({ on: "seek", position: 65, tail: true }), [texts.TRACK_ENDS]);
  assert.deepEqual(new Scene(" . ").when({ on: "seek", position: 65, tail: false }), [texts.NOTHING_PLAYS]);
});

test("the volume is kept for the tracks to come", () => {
  const scene = new Scene(" . ");
  assert.deepEqual(scene.when({ on: "volume", volume: 0.5 }), ["The volume is 50 %."]);
  assert.deepEqual(scene.when({ on: "volume", volume: undefined }), ["The volume is 50 %."]);
  const [, effects] = step(scene.room, { on: "play", tracks: [track("a")] });
  assert.deepEqual(effects[0], { do: "play", track: track("a"), volume: 0.5 });
  assert.deepEqual(new Scene(" a ").when({ on: "volume", volume: 2 }), ["volume", "The volume is 200 %."]);
});

test("stop and leave empty the room", () => {
  const scene = new Scene("a b c", { volume: 0.5 });
  assert.deepEqual(scene.when({ on: "stop" }), ["cut", "leave", "stop", texts.STOPPED]);
  assert.equal(scene.letters, " . ");
  assert.equal(scene.room.volume, 0.5);
  assert.deepEqual(new Scene("a b c").when({ on: "leave" }), ["cut", "leave", "stop"]);
});
