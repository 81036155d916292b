import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { type AudioServiceError, type SessionEvent, SocketClient } from "../dist/index.js";
import { events, open, packetBytes, settle } from "./fakes.ts";

const { ready, finished, attached, paused, stopped, seeked, detached, error, resumed, recovered, metadata } = events;

test("a connection begins with who it is and what it wants to hear, in one piece", async (t) => {
  const { daemon, client } = open(t, { clientName: "bot/1" });
  client.subscribe("a");
  client.credit("a", 7);
  assert.equal((await client.connect()).server, "fake/1");
  await settle();
  assert.deepEqual(daemon.connection.lines, [
    { type: "hello", client: "bot/1" },
    { type: "subscribe", session_id: "a" },
    { type: "credit", session_id: "a", packets: 7 },
  ]);
  assert.equal(client.state, "connected");
});

test("a client that hears all says only who it is", async (t) => {
  const { daemon, client, heard } = open(t, { subscriptions: "all" });
  await client.connect();
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "x");
  await settle();
  assert.deepEqual(daemon.connection.lines, [{ type: "hello" }]);
  assert.deepEqual(heard, ["a ready", "a 1 x"]);
});

test("packets and events of many sessions reach their listeners in the order of the wire", async (t) => {
  const { daemon, client, heard } = open(t);
  client.subscribe("a");
  client.subscribe("b");
  await client.connect();
  const { connection } = daemon;
  connection.say(ready("a", "t1"), ready("b", "t2"));
  connection.send("a", "a1");
  connection.send("b", "b1");
  connection.say(seeked("a", "t1"));
  connection.send("a", "a2");
  connection.say(finished("b", "t2"));
  await settle();
  assert.deepEqual(heard, ["a ready", "b ready", "a 1 a1", "b 1 b1", "a seeked", "a 2 a2", "b finished"]);
  assert.deepEqual(client.progress("a"), { trackId: "t1", packets: 2 });
  assert.deepEqual(client.progress("b"), { trackId: undefined, packets: 1 });
  assert.equal(client.progress("c"), undefined);
});

test("every type of event is emitted under its own name", async (t) => {
  const { daemon, client } = open(t);
  const seen: unknown[] = [];
  const all = [
    ready("a", "t1"),
    paused("a", "t1"),
    resumed("a", "t1"),
    recovered("a", "t1"),
    metadata("a", "t1"),
    seeked("a", "t1"),
    finished("a", "t1"),
    ready("a", "t2"),
    stopped("a", "t2"),
    attached("a", "t3", 4),
    detached("a", "t3"),
  ];
  for (const type of ["ready", "paused", "resumed", "recovered", "metadata", "seeked"] as const) {
    client.on(type, (event: SessionEvent) => seen.push(event));
  }
  for (const type of ["finished", "stopped", "attached", "detached"] as const) {
    client.on(type, (event: SessionEvent) => seen.push(event));
  }
  client.on("refused", (event) => seen.push(event));
  client.on("unknownEvent", (event) => seen.push(event));
  client.subscribe("a");
  await client.connect();
  const refused = { type: "refused", code: "unknown_type", message: "m" } as const;
  daemon.connection.say(...all, refused, { type: "lyrics", session_id: "a", words: 3 });
  await settle();
  assert.deepEqual(seen, [...all, refused, { type: "lyrics", fields: { session_id: "a", words: 3 } }]);
});

test("a failed track is an error with its code, and none that anybody must listen to", async (t) => {
  const { daemon, client, heard } = open(t);
  client.subscribe("a");
  await client.connect();
  daemon.connection.say(error("a", "t1"));
  await settle();
  assert.deepEqual(heard, ["a error"]);
  const failed = once(client, "error") as unknown as Promise<[AudioServiceError]>;
  client.on("error", () => {});
  daemon.connection.say(error("a", "t2"));
  const [{ code, sessionId, trackId, played }] = await failed.catch((reason) => [reason]);
  assert.deepEqual(
    { code, sessionId, trackId, played },
    { code: "not_audio", sessionId: "a", trackId: "t2", played: 0 },
  );
});

test("the first failure to connect is final, unless retry is asked for", async (t) => {
  const first = open(t);
  first.daemon.refuses = 1;
  await assert.rejects(first.client.connect(), { code: "connect_failed" });
  assert.equal(first.client.state, "closed");
  assert.equal(first.clock.pending, 0);

  const second = open(t);
  second.daemon.refuses = 2;
  const connecting = second.client.connect({ retry: true });
  await second.clock.advance(1000);
  assert.equal((await connecting).protocol, 1);
});

test("a path where nobody listens is a connect_failed", async (t) => {
  const client = new SocketClient({ path: "/nonexistent/audio.sock" });
  t.after(() => client.close());
  await assert.rejects(client.connect(), { code: "connect_failed" });
});

test("a daemon that does not greet in time, or speaks another protocol, is not connected to", async (t) => {
  const silent = open(t, { connectTimeout: 700 });
  silent.daemon.greets = false;
  const connecting = silent.client.connect();
  const rejected = assert.rejects(connecting, { code: "connect_timeout" });
  await silent.clock.advance(700);
  await rejected;

  const newer = open(t);
  newer.daemon.greets = false;
  const greeted = assert.rejects(newer.client.connect(), { code: "protocol_mismatch" });
  newer.daemon.connection.greet(2);
  await greeted;
});

test("aborting a connect closes the client and its socket, before and while it runs", async (t) => {
  const { daemon, clock, client } = open(t);
  daemon.greets = false;
  const aborting = new AbortController();
  const rejected = assert.rejects(client.connect({ signal: aborting.signal }), { code: "aborted" });
  await settle();
  aborting.abort();
  await rejected;
  await settle();
  assert.equal(client.state, "closed");
  assert.equal(clock.pending, 0);
  const other = open(t);
  await assert.rejects(other.client.connect({ signal: AbortSignal.abort() }), { code: "aborted" });
  assert.equal(other.daemon.connections.length, 0);
});

test("a packet for a session nobody here knows is counted, warned about once and dropped", async (t) => {
  const { daemon, client, heard } = open(t);
  const strangers: unknown[] = [];
  client.on("unknownPacket", (stranger) => strangers.push(stranger));
  client.subscribe("a");
  await client.connect();
  daemon.connection.say(ready("x", "t1"), ready("a", "t2"));
  daemon.connection.send("x", "1", "2");
  daemon.connection.send("y", "1");
  daemon.connection.send("a", "1");
  await settle();
  assert.deepEqual(heard, ["a ready", "a 1 1"]);
  assert.deepEqual(strangers, [{ sessionId: "x" }, { sessionId: "y" }]);
  assert.equal(client.stats.unclaimed, 3);
});

test("without a listener the warning is the process's", async (t) => {
  const { daemon, client } = open(t);
  await client.connect();
  const warned = once(process, "warning");
  daemon.connection.send("x", "1");
  const [warning] = await warned;
  assert.equal(warning.code, "AUDIOSVC_UNKNOWN_PACKET");
});

test("what was asked to be heard no more is heard no more, and not asked for again", async (t) => {
  const { daemon, clock, client, heard } = open(t);
  client.subscribe("a");
  client.subscribe("a");
  await client.connect();
  daemon.connection.say(ready("a", "t1"));
  await settle();
  client.unsubscribe("a");
  client.unsubscribe("a");
  daemon.connection.send("a", "1");
  daemon.connection.say(detached("a", "t1"));
  await settle();
  assert.deepEqual(heard, ["a ready"]);
  assert.equal(client.credit("a", 5), 0);
  assert.deepEqual(daemon.connection.lines.slice(1), [
    { type: "subscribe", session_id: "a" },
    { type: "unsubscribe", session_id: "a" },
  ]);
  daemon.connection.drop();
  await settle();
  await clock.advance(20);
  assert.deepEqual(daemon.connection.lines.slice(1), [
    { type: "subscribe", session_id: "-" },
    { type: "unsubscribe", session_id: "-" },
  ]);
});

test("a stream gets its session's packets; one that stands still holds up no other", async (t) => {
  const { daemon, client } = open(t);
  await client.connect();
  const still = client.session("still", { window: 10 });
  const moves = client.session("moves", { window: 10 });
  const read: string[] = [];
  moves.on("data", (packet) => read.push(String(packet)));
  await settle();
  const { connection } = daemon;
  connection.say(ready("still", "t1"), ready("moves", "t2"));
  const sent = { still: 0, moves: 0 };
  for (let i = 0; i < 500; i++) {
    for (const id of ["still", "moves"] as const) {
      if (sent[id] < connection.credit(id)) connection.send(id, String(++sent[id]));
    }
    if (i % 5 === 0) await settle();
  }
  await settle();
  assert.equal(sent.still, 10);
  assert.equal(still.held, 10);
  assert.deepEqual(
    read,
    Array.from({ length: 500 }, (_, i) => String(i + 1)),
  );
});

test("a stream for one track ends with it; the next is opened in the event that begins it", async (t) => {
  const { daemon, client } = open(t);
  await client.connect();
  const tracks: Promise<string[]>[] = [];
  client.on("ready", ({ session_id }) => {
    const stream = client.session(session_id, { follow: false });
    tracks.push(stream.map(String).toArray());
  });
  client.subscribe("a");
  await settle();
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1", "2");
  daemon.connection.say(finished("a", "t1"), ready("a", "t2"));
  daemon.connection.send("a", "3");
  daemon.connection.say(finished("a", "t2"));
  await settle();
  assert.deepEqual(await Promise.all(tracks), [["1", "2"], ["3"]]);
  assert.equal(client.stats.unclaimed, 0);
});

test("a session has one stream at a time", async (t) => {
  const { client } = open(t);
  await client.connect();
  const stream = client.session("a");
  assert.throws(() => client.session("a"), { code: "already_open" });
  stream.destroy();
  await once(stream, "close");
  client.session("a");
});

test("closing ends streams after what they hold, rejects what waits, and can be done twice", async (t) => {
  const { daemon, clock, client } = open(t);
  await client.connect();
  const stream = client.session("a");
  daemon.connection.say(ready("a", "t1"));
  daemon.connection.send("a", "1", "2");
  await settle();
  await Promise.all([client.close(), client.close()]);
  assert.deepEqual(await stream.map(String).toArray(), ["1", "2"]);
  assert.equal(client.state, "closed");
  assert.equal(clock.pending, 0);
  assert.throws(() => client.session("b"), { code: "closed" });
  await assert.rejects(client.connect(), { code: "already_open" });

  const other = open(t);
  other.daemon.greets = false;
  const rejected = assert.rejects(other.client.connect(), { code: "closed" });
  await other.client[Symbol.asyncDispose]();
  await rejected;
});

test("a listener that throws is the process's problem, not the other listeners'", async (t) => {
  const { daemon, client, heard } = open(t);
  client.subscribe("a");
  await client.connect();
  client.once("ready", () => {
    throw new Error("a defect");
  });
  client.session("b").once("data", () => {
    throw new Error("another");
  });
  await settle();
  // The test runner's own listener would count it as a failure.
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  t.after(() => {
    for (const listener of listeners) process.on("uncaughtException", listener);
  });
  const thrown: string[] = [];
  const catching = ({ message }: Error) => thrown.push(message);
  process.on("uncaughtException", catching);
  t.after(() => process.off("uncaughtException", catching));
  daemon.connection.say(ready("a", "t1"), ready("b", "t2"));
  daemon.connection.socket.write(
    Buffer.concat([packetBytes("b", Buffer.from("1")), packetBytes("a", Buffer.from("1"))]),
  );
  await settle();
  assert.deepEqual(thrown, ["a defect", "another"]);
  assert.deepEqual(heard, ["a ready", "b ready", "b 1 1", "a 1 1"]);
});

test("no more sessions are kept than a connection may name, those of past tracks making room", async (t) => {
  const { daemon, client, heard } = open(t, { subscriptions: "all" });
  await client.connect();
  for (let i = 0; i < 5000; i++) daemon.connection.say(ready(`s${i}`, "t"), finished(`s${i}`, "t"));
  await settle();
  assert.equal(heard.length, 10_000);
  assert.equal(client.progress("s0"), undefined);
  const named = open(t);
  for (let i = 0; i < 4096; i++) named.client.subscribe(`s${i}`);
  assert.throws(() => named.client.subscribe("more"), { code: "too_many_names" });
});

test("what cannot be said is refused before it is said", (t) => {
  const { client } = open(t);
  assert.throws(() => client.subscribe("a b"), { code: "invalid_session_id" });
  assert.throws(() => client.credit("a", 501), { code: "invalid_line" });
  assert.throws(() => open(t, { clientName: "x".repeat(201) }), { code: "invalid_line" });
});

test("credit adds up to what the daemon keeps", async (t) => {
  const { client } = open(t);
  client.subscribe("a");
  assert.equal(client.outstanding("a"), undefined);
  assert.equal(client.credit("a", 0), 0);
  assert.equal(client.credit("a", 400), 400);
  assert.equal(client.credit("a", 400), 500);
  assert.equal(client.outstanding("a"), 500);
});
