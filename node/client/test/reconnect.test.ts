import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { AudioServiceError, Disconnection } from "../dist/index.js";
import { events, open, settle } from "./fakes.ts";

const { ready, finished, attached, paused, resumed } = events;

test("a lost connection comes back with what is held, and nothing is lost or doubled", async (t) => {
  const { daemon, clock, client, heard } = open(t);
  client.subscribe("a");
  client.subscribe("idle");
  await client.connect();
  client.credit("a", 10);
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1", "2");
  daemon.connection.say(paused("a", "t1"));
  await settle();
  daemon.connection.drop();
  await settle();
  assert.equal(client.state, "waiting");
  await clock.advance(20);
  assert.deepEqual(daemon.connection.lines, [
    { type: "hello", resume: { a: { track_id: "t1", packets: 2 }, idle: 0 } },
    { type: "subscribe", session_id: "a" },
    { type: "credit", session_id: "a", packets: 8 },
    { type: "subscribe", session_id: "idle" },
  ]);
  daemon.connection.say(attached("a", "t1", 2), paused("a", "t1"), resumed("a", "t1"));
  daemon.connection.send("a", "3");
  await settle();
  assert.deepEqual(heard, ["a ready", "a 1 1", "a 2 2", "a paused", "a attached", "a resumed", "a 3 3"]);
  assert.equal(client.outstanding("a"), 7);
  assert.equal(client.stats.reconnects, 1);
});

test("packets that come again are dropped, and their credit is given back", async (t) => {
  const { daemon, clock, client, heard } = open(t);
  client.subscribe("a");
  await client.connect();
  client.credit("a", 10);
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1", "2", "3");
  await settle();
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  daemon.connection.say(attached("a", "t1", 1));
  daemon.connection.send("a", "2", "3", "4");
  await settle();
  assert.deepEqual(heard.at(-1), "a 4 4");
  assert.deepEqual(client.stats, { packets: 4, bytes: 4, repeated: 2, unclaimed: 0, reconnects: 1 });
  assert.equal(daemon.connection.credit("a"), 7 + 2);
  assert.equal(client.outstanding("a"), 6);
});

test("credit for packets that came again is not given back to a session that is heard no more", async (t) => {
  const { daemon, clock, client } = open(t);
  client.subscribe("a");
  await client.connect();
  client.credit("a", 10);
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1", "2");
  await settle();
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  client.on("audio", () => client.unsubscribe("a"));
  daemon.connection.say(attached("a", "t1", 1));
  daemon.connection.send("a", "2", "3");
  await settle();
  assert.equal(daemon.connection.lines.at(-1)?.type, "unsubscribe");
});

test("a daemon that left packets out is asked once more, and then it is a gap", async (t) => {
  const { daemon, clock, client, heard } = open(t);
  const gaps: unknown[] = [];
  const losses: string[] = [];
  client.on("gap", (gap) => gaps.push(gap));
  client.on("disconnect", ({ error }) => losses.push(error.code));
  client.subscribe("a");
  await client.connect();
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1");
  await settle();
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  daemon.connection.say(attached("a", "t1", 5));
  daemon.connection.send("a", "6");
  await settle();
  assert.deepEqual(losses, ["disconnected", "not_resumed"]);
  await clock.advance(40);
  assert.deepEqual(daemon.connection.lines[0], { type: "hello", resume: { a: { track_id: "t1", packets: 1 } } });
  daemon.connection.say(attached("a", "t1", 6));
  daemon.connection.send("a", "7");
  await settle();
  assert.deepEqual(gaps, [{ sessionId: "a", trackId: "t1", packets: 5 }]);
  assert.deepEqual(heard.slice(2), ["a attached", "a 7 7"]);
});

test("a track that the daemon no longer knows ends with an error", async (t) => {
  const { daemon, clock, client, heard } = open(t, { resumeTimeout: 1000 });
  for (const id of ["gone", "here", "over"]) client.subscribe(id);
  await client.connect();
  daemon.connection.say(ready("gone", "t1"), ready("here", "t2"), ready("over", "t3"), finished("over", "t3"));
  await settle();
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  daemon.connection.say(attached("here", "t2", 0));
  await settle();
  heard.length = 0;
  const failed: AudioServiceError[] = [];
  client.on("error", (reason) => failed.push(reason));
  await clock.advance(1000);
  assert.deepEqual(heard, ["gone error"]);
  assert.deepEqual([failed[0]?.code, failed[0]?.trackId], ["track_lost", "t1"]);
  assert.equal(clock.pending, 0);
});

test("delays double up to a bound, begin anew once something is heard, and are shortened at random", async (t) => {
  const { daemon, clock, client } = open(t, { reconnect: { min: 100, max: 350 } });
  const delays: (number | undefined)[] = [];
  client.on("disconnect", ({ retryIn }) => delays.push(retryIn));
  client.subscribe("a");
  await client.connect();
  daemon.refuses = 3;
  daemon.connection.drop();
  await settle();
  await clock.advance(100 + 200 + 350);
  assert.deepEqual(delays, [100, 200, 350, 350]);
  await clock.advance(350);
  assert.equal(client.state, "connected");
  daemon.connection.say(ready("a", "t1"));
  await settle();
  clock.chance = 0.5;
  daemon.connection.drop();
  await settle();
  assert.equal(delays.at(-1), 75);
  await clock.advance(75 + 350);
  daemon.connection.drop();
  await settle();
  assert.equal(delays.at(-1), 75, "a connection that has lasted is a good one");
});

test("a client gives up after so many attempts: its streams fail, and it is closed", async (t) => {
  const { daemon, clock, client } = open(t, { reconnect: { min: 10, attempts: 2 } });
  const last: Disconnection[] = [];
  client.on("disconnect", (loss) => last.push(loss));
  const closed = once(client, "close");
  await client.connect();
  const stream = client.session("a");
  const failed = once(stream, "error");
  daemon.refuses = 9;
  daemon.connection.drop();
  await settle();
  await clock.advance(1000);
  assert.deepEqual(
    last.map(({ retryIn }) => retryIn),
    [10, 20, undefined],
  );
  assert.equal((await failed)[0].code, "connect_failed");
  await closed;
  assert.equal(client.state, "closed");
  assert.equal(clock.pending, 0);
});

test("a broken stream is left and begun anew", async (t) => {
  const { daemon, clock, client, heard } = open(t);
  const losses: string[] = [];
  client.on("disconnect", ({ error }) => losses.push(error.code));
  client.subscribe("a");
  await client.connect();
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.socket.write("HTTP/1.1 400 Bad Request\r\n");
  await settle();
  assert.deepEqual(losses, ["invalid_length"]);
  assert.deepEqual(heard, ["a ready"]);
  await clock.advance(20);
  assert.equal(client.state, "connected");
});

test("events of a newer daemon that come again are told once", async (t) => {
  const { daemon, clock, client } = open(t);
  const seen: unknown[] = [];
  client.on("unknownEvent", ({ type }) => seen.push(type));
  client.subscribe("a");
  await client.connect();
  const lyrics = { type: "lyrics", session_id: "a", track_id: "t1" };
  daemon.connection.say(ready("a", "t1"), lyrics);
  await settle();
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  daemon.connection.say(ready("a", "t1"), lyrics, { ...lyrics, type: "applause" });
  await settle();
  assert.deepEqual(seen, ["lyrics", "applause"]);
});
