import assert from "node:assert/strict";
import { test } from "node:test";
import type { Held, SessionEvent } from "../dist/index.js";
import { Ledger } from "../dist/ledger.js";
import { random } from "./random.ts";

const of = (track_id: string) => ({ session_id: "s", track_id });
const ready = (track: string): SessionEvent => ({ type: "ready", ...of(track), url: "u", format: "opus", position: 0 });
const paused = (track: string, position = 0): SessionEvent => ({ type: "paused", ...of(track), position });
const finished = (track: string): SessionEvent => ({ type: "finished", ...of(track), played: 1 });
const detached = (track: string): SessionEvent => ({ type: "detached", ...of(track) });
const attached = (track: string, packets: number): SessionEvent => ({
  type: "attached",
  ...of(track),
  status: "streaming",
  position: packets / 50,
  packets,
});

function begun(track: string, packets: number): Ledger {
  const ledger = new Ledger("s");
  ledger.event(ready(track));
  for (let i = 0; i < packets; i++) ledger.packet();
  return ledger;
}

test("packets are numbered from 1 in every track", () => {
  const ledger = begun("t1", 0);
  assert.deepEqual([ledger.packet(), ledger.packet()], [1, 2]);
  ledger.event(finished("t1"));
  assert.equal(ledger.trackId, undefined);
  ledger.event(ready("t2"));
  assert.equal(ledger.packet(), 1);
  assert.equal(ledger.trackId, "t2");
});

test("a packet between tracks is a stray", () => {
  assert.equal(new Ledger("s").packet(), "stray");
  const ledger = begun("t1", 1);
  ledger.event(finished("t1"));
  assert.equal(ledger.packet(), "stray");
});

test("resume says what is held: nothing heard yet, a track under way, a track at its end", () => {
  assert.equal(new Ledger("s").reconnect(), 0);
  const ledger = begun("t1", 3);
  assert.deepEqual(ledger.reconnect(), { track_id: "t1", packets: 3 });
  ledger.event(finished("t1"));
  assert.deepEqual(ledger.reconnect(), { track_id: "t1", packets: 3 });
});

test("what somebody else has is not resumed, and what they got is no gap", () => {
  const ledger = begun("t1", 3);
  ledger.event(detached("t1"));
  assert.equal(ledger.reconnect(), undefined);
  assert.deepEqual(ledger.event(attached("t1", 50)), { repeated: false });
  assert.equal(ledger.packet(), 51);
});

test("packets left out are a gap, told once", () => {
  const ledger = begun("t1", 3);
  ledger.reconnect();
  assert.equal(ledger.skips("t1", 3), false);
  assert.equal(ledger.skips("t1", 10), true);
  assert.equal(ledger.skips("t2", 0), true);
  assert.deepEqual(ledger.event(attached("t1", 10)), { repeated: false, gap: 7 });
  assert.equal(ledger.packet(), 11);
});

test("packets sent again are told from new ones, and so are the events among them", () => {
  const ledger = begun("t1", 3);
  ledger.event(paused("t1"));
  ledger.reconnect();
  ledger.event(attached("t1", 1));
  assert.equal(ledger.packet(), "repeated");
  assert.equal(ledger.event(paused("t1", 0.04)).repeated, true);
  assert.equal(ledger.packet(), "repeated");
  assert.equal(ledger.event(paused("t1")).repeated, true);
  assert.equal(ledger.event(paused("t1")).repeated, false);
  assert.equal(ledger.packet(), 4);
});

test("a track that another follows without an end is lost", () => {
  const ledger = begun("t1", 50);
  ledger.reconnect();
  const { lost, repeated } = ledger.event(ready("t2"));
  assert.equal(repeated, false);
  assert.deepEqual(lost, {
    type: "error",
    ...of("t1"),
    code: "track_lost",
    message: "the daemon did not go on with the track after the connection was lost",
    played: 1,
  });
  assert.equal(ledger.packet(), 1);
});

test("a track joined in its middle counts from there", () => {
  const ledger = begun("t1", 5);
  ledger.reconnect();
  assert.equal(ledger.event(attached("t2", 40)).lost?.track_id, "t1");
  assert.equal(ledger.packet(), 41);
});

test("only a track under way waits for the daemon's word after a reconnect", () => {
  const ledger = begun("t1", 5);
  assert.equal(ledger.unconfirmed, false);
  ledger.reconnect();
  assert.equal(ledger.unconfirmed, true);
  ledger.event(attached("t1", 5));
  assert.equal(ledger.unconfirmed, false);
  ledger.event(finished("t1"));
  ledger.reconnect();
  assert.equal(ledger.unconfirmed, false);
  assert.equal(ledger.lose(), undefined);
});

test("the end of a track told again is told to nobody", () => {
  const ledger = begun("t1", 5);
  ledger.event(finished("t1"));
  ledger.reconnect();
  assert.equal(ledger.event(attached("t1", 4)).repeated, true);
  assert.equal(ledger.packet(), "repeated");
  assert.equal(ledger.event(finished("t1")).repeated, true);
  assert.equal(ledger.event(ready("t2")).repeated, false);
});

test("events at one place are remembered up to a bound, and told apart beyond it", () => {
  const ledger = begun("t1", 1);
  for (let i = 0; i < 2000; i++) assert.equal(ledger.event(paused("t1", i)).repeated, false);
  ledger.reconnect();
  for (let i = 1400; i < 2000; i++) assert.equal(ledger.event(paused("t1", i)).repeated, true);
  assert.equal(ledger.event(paused("t1", 2000)).repeated, false);
});

/** One thing the daemon sends, behind the first `before` packets of its track. */
interface Entry {
  track: string;
  before: number;
  event: SessionEvent | undefined;
}

/** What the daemon does with what a client says it holds (docs/wire-protocol.rst, Resume). */
function resume(sent: Entry[], held: Held | undefined, current: string): number {
  if (held === undefined) return sent.length;
  const { track_id, packets } = typeof held === "number" ? { track_id: current, packets: held } : held;
  const from = Math.max(0, sent.length - 600);
  const keep = sent.findIndex((e, i) => i >= from && e.track === track_id && e.before >= packets);
  const entry = sent[keep];
  return entry === undefined || entry.before > packets ? sent.length : keep;
}

test("whatever is lost with a connection, whenever it is: everything is passed on once, in order", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const next = random(seed);
    const all: Entry[] = [];
    for (let track = 1; track <= 4; track++) {
      const id = `t${track}`;
      let before = 0;
      if (next() < 0.9) all.push({ track: id, before, event: ready(id) });
      const length = all.at(-1)?.track === id ? next() * 40 : 0;
      for (let i = 0; i < length; i++) {
        if (next() < 0.7) all.push({ track: id, before: before++, event: undefined });
        else all.push({ track: id, before, event: paused(id, Math.floor(next() * 2)) });
      }
      all.push({ track: id, before, event: finished(id) });
    }

    const ledger = new Ledger("s");
    const passed: (SessionEvent | string)[] = [];
    const take = (event: SessionEvent | undefined, track: string) => {
      if (event !== undefined) {
        const { repeated, lost, gap } = ledger.event(event);
        assert.deepEqual({ lost, gap }, { lost: undefined, gap: undefined }, `seed ${seed}`);
        if (!repeated && event.type !== "attached") passed.push(event);
      } else {
        const number = ledger.packet();
        if (number !== "repeated") passed.push(`${track} ${number}`);
      }
    };
    let sent = 0;
    while (sent < all.length) {
      // The daemon writes some entries, of which the first few arrive before the connection is lost.
      // Of the very first ones at least one arrives: a client that has heard nothing cannot name what it lacks.
      const written = Math.min(all.length, sent + 1 + Math.floor(next() * 30));
      const least = sent === 0 && passed.length === 0 ? 1 : sent;
      const arrived = next() < 0.2 ? written : least + Math.floor(next() * (written - least + 1));
      for (const entry of all.slice(sent, arrived)) take(entry.event, entry.track);
      const last = all[written - 1];
      const keep = resume(all.slice(0, written), ledger.reconnect(), last?.track ?? "");
      const before = all[keep - 1];
      const middle = before !== undefined && before.event?.type !== "finished";
      if (middle) take(attached(before.track, before.before + (before.event === undefined ? 1 : 0)), before.track);
      sent = keep;
      if (arrived === all.length) break;
    }
    const expected = all.map((e) => e.event ?? `${e.track} ${e.before + 1}`);
    assert.deepEqual(passed, expected, `seed ${seed}`);
  }
});
