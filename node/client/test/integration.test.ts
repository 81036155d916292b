import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { after, before, type TestContext, test } from "node:test";
import { Daemon, Detour } from "@audiosvc/testing";
import { ControlClient, type SessionEvent, SocketClient, type SocketClientOptions } from "../dist/index.js";
import { random } from "./random.ts";

let daemon: Daemon;
let control: ControlClient;

before(async () => {
  daemon = await Daemon.start();
  control = new ControlClient({ url: daemon.api });
});

after(async () => {
  control?.close();
  await daemon?.stop();
});

async function connect(t: TestContext, options: Partial<SocketClientOptions> = {}): Promise<SocketClient> {
  const client = new SocketClient({ path: daemon.socket, clientName: "test/1", ...options });
  t.after(() => client.close());
  await client.connect();
  return client;
}

const short = (packet: Buffer) => createHash("sha1").update(packet).digest("hex").slice(0, 8);

/** Plays a whole track and reads it as fast as it comes. */
async function playAll(client: SocketClient, id: string, url: string): Promise<string[]> {
  const stream = client.session(id, { follow: false });
  await control.play(id, { url });
  const packets: string[] = [];
  for await (const packet of stream) packets.push(short(packet));
  assert.equal(stream.terminal?.type, "finished");
  return packets;
}

test("two tones play at once, each to its own stream, as each does alone", async (t) => {
  const client = await connect(t);
  const urls = { a: "demo:tone?hz=440&seconds=4", b: "demo:tone?hz=1000&seconds=4" };
  const alone = [await playAll(client, "a", urls.a), await playAll(client, "b", urls.b)];
  const together = await Promise.all([playAll(client, "a", urls.a), playAll(client, "b", urls.b)]);
  assert.deepEqual(together, alone);
  assert.equal(alone[0]?.length, 200);
  assert.notDeepEqual(alone[0], alone[1]);
});

test("a stream that is not read stands still at its window, and no other with it", async (t) => {
  const client = await connect(t);
  const still = client.session("still", { window: 30 });
  await control.play("still", { url: "demo:tone?hz=440&seconds=60" });
  const other = await playAll(client, "other", "demo:tone?hz=660&seconds=20");
  assert.equal(other.length, 1000);
  assert.equal(still.held, 30);
  assert.equal((await control.status("still")).packets_sent, 30);
  still.destroy();
  await control.stop("still");
});

test("a session without credit is paced in real time", async (t) => {
  const client = await connect(t);
  const arrivals: number[] = [];
  client.on("audio", () => arrivals.push(performance.now()));
  client.subscribe("paced");
  const over = once(client, "finished");
  await control.play("paced", { url: "demo:tone?seconds=1" });
  await over;
  assert.equal(arrivals.length, 50);
  assert.ok((arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0) > 700);
});

test("a socket cut at any byte, again and again: no packet and no event is lost or doubled", async (t) => {
  const detour = await Detour.start(daemon.socket);
  t.after(() => detour.close());
  const next = random(11);
  const urls = ["demo:tone?hz=440&seconds=12", "demo:prelude"];

  const run = async (path: string, cutting: boolean) => {
    const client = new SocketClient({ path, reconnect: { min: 1, max: 20 } });
    client.on("gap", (gap) => assert.fail(JSON.stringify(gap)));
    const heard: string[][] = [];
    await client.connect();
    const playing = urls.map(async (url, i) => {
      const id = `cut-${i}`;
      const log: string[] = [];
      heard.push(log);
      const stream = client.session(id, { follow: false, window: 40 });
      stream.on("event", ({ type }: SessionEvent) => {
        if (type !== "attached") log.push(type);
      });
      client.on("audio", ({ sessionId, number, data }) => {
        if (sessionId === id) log.push(`${number} ${short(data)}`);
      });
      await control.play(id, { url, duration: 12 });
      const read: string[] = [];
      for await (const packet of stream) read.push(short(packet));
      assert.deepEqual(
        read,
        log.filter((entry) => entry.includes(" ")).map((entry) => entry.split(" ")[1]),
      );
    });
    let over = false;
    const all = Promise.all(playing).then(() => {
      over = true;
    });
    while (cutting && !over) {
      detour.cutAfter(Math.floor(next() * 30_000));
      await Promise.race([all, once(client, "connect")]);
    }
    await all;
    await client.close();
    return { heard, reconnects: client.stats.reconnects };
  };

  const whole = await run(daemon.socket, false);
  const cut = await run(detour.path, true);
  assert.deepEqual(cut.heard, whole.heard);
  assert.equal(whole.heard[0]?.length, 600 + 2);
  assert.ok(cut.reconnects >= 5, `only ${cut.reconnects} cuts`);
  t.diagnostic(`${cut.reconnects} cuts`);
});

test("a client that is too busy to say in time what it holds loses nothing either", async (t) => {
  const detour = await Detour.start(daemon.socket);
  t.after(() => detour.close());
  const client = await connect(t, { path: detour.path, reconnect: { min: 1, max: 20 } });
  const losses: string[] = [];
  client.on("disconnect", ({ error }) => losses.push(error.code));
  client.on("gap", (gap) => assert.fail(JSON.stringify(gap)));
  const whole = await playAll(client, "busy", "demo:tone?hz=440&seconds=4");
  detour.cutAfter(20_000);
  detour.holdUp(200);
  assert.deepEqual(await playAll(client, "busy", "demo:tone?hz=440&seconds=4"), whole);
  assert.ok(losses.includes("not_resumed"), losses.join());
});

test("pauses, seeks and a connection lost meanwhile come in their places, once", async (t) => {
  const detour = await Detour.start(daemon.socket);
  t.after(() => detour.close());
  const client = await connect(t, { path: detour.path, reconnect: { min: 1, max: 20 } });
  const types: string[] = [];
  const stream = client.session("steered", { window: 20 });
  stream.on("event", ({ type }: SessionEvent) => types.push(type));
  const said = async (type: string) => {
    while (!types.includes(type)) await once(stream, "event");
  };
  await control.play("steered", { url: "demo:tone?seconds=30" });
  await said("ready");
  await control.pause("steered");
  await said("paused");
  detour.cut();
  await once(client, "connect");
  await said("attached");
  await control.seek("steered", 20);
  await said("seeked");
  await control.resume("steered");
  await said("resumed");
  detour.cut();
  await once(client, "connect");
  await control.stop("steered");
  await said("stopped");
  assert.deepEqual(
    types.filter((type) => type !== "attached"),
    ["ready", "paused", "seeked", "resumed", "stopped"],
  );
});

test("a play in place of another ends the first stream at once and fills the next", async (t) => {
  const client = await connect(t);
  const tracks: { url: string; packets: Promise<string[]> }[] = [];
  client.on("ready", ({ session_id, url }) => {
    const stream = client.session(session_id, { follow: false });
    const read = async () => {
      const packets: string[] = [];
      for await (const packet of stream) packets.push(short(packet));
      return packets;
    };
    tracks.push({ url, packets: read() });
  });
  client.subscribe("guild");
  const first = once(client, "ready");
  await control.play("guild", { url: "demo:tone?hz=440&seconds=60" });
  await first;
  const over = once(client, "finished");
  await control.play("guild", { url: "demo:tone?hz=660&seconds=3" });
  await over;
  assert.equal(tracks.length, 2);
  await tracks[0]?.packets;
  assert.equal((await tracks[1]?.packets)?.length, 150);
  assert.equal(client.stats.unclaimed, 0);
});

test("a track that cannot be played is an error with the daemon's code", async (t) => {
  const client = await connect(t);
  client.subscribe("bad");
  const failed = new Promise<{ code: string; sessionId: string | undefined }>((resolve) => client.on("error", resolve));
  await control.play("bad", { url: "missing.mp3" });
  const { code, sessionId } = await failed;
  assert.deepEqual({ code, sessionId }, { code: "source_not_found", sessionId: "bad" });
});

test("a daemon killed and started again: the client comes back, and what it played is told lost", async (t) => {
  const own = await Daemon.start();
  t.after(() => own.stop());
  const client = await connect(t, { path: own.socket, resumeTimeout: 200, reconnect: { min: 10, max: 50 } });
  const api = new ControlClient({ url: own.api });
  t.after(() => api.close());
  const stream = client.session("a", { follow: false });
  await api.play("a", { url: "demo:tone?seconds=60" });
  while (stream.held < 50) await once(client, "audio");
  await own.kill();
  await own.start();
  const packets = await stream.toArray();
  assert.equal(packets.length, client.stats.packets);
  assert.equal(stream.terminal?.type === "error" && stream.terminal.code, "track_lost");
  assert.equal(client.state, "connected");
});

test("a daemon that keeps what plays is started again: every song goes on at the next packet, and a pause stays one", async (t) => {
  const own = await Daemon.start();
  t.after(() => own.stop());
  await own.program.end();
  own.keeps = true;
  await own.start();
  const client = await connect(t, { path: own.socket, reconnect: { min: 10, max: 50 } });
  const api = new ControlClient({ url: own.api });
  t.after(() => api.close());
  client.on("gap", (gap) => assert.fail(JSON.stringify(gap)));
  const ids = ["song", "paused"];
  const run = async (restarted: boolean) => {
    const types = new Map<string, string[]>(ids.map((id) => [id, []]));
    const listen = (event: SessionEvent) => types.get(event.session_id)?.push(event.type);
    client.on("event", listen);
    const streams = ids.map((id) => client.session(id, { follow: false }));
    // Frames of PCM, which are the same whoever makes them.
    for (const id of ids) await api.play(id, { url: "demo:tone?hz=440&seconds=4", format: "pcm" });
    if (restarted) {
      while (streams.some(({ held }) => held < 50)) await once(client, "audio");
      await api.pause("paused");
      const back = once(client, "connect");
      assert.equal(await own.program.end(), 0);
      const ended = performance.now();
      await own.start();
      await back;
      assert.equal((await api.status("paused")).status, "paused");
      t.diagnostic(`connected again ${Math.round(performance.now() - ended)} ms after its end`);
      await api.resume("paused");
    }
    const packets = await Promise.all(streams.map(async (stream) => (await stream.toArray()).map(short)));
    client.off("event", listen);
    return { packets, types: [...types.values()] };
  };
  const whole = await run(false);
  const carried = await run(true);
  assert.deepEqual(carried.packets, whole.packets);
  assert.equal(whole.packets[0]?.length, 200);
  assert.deepEqual(carried.types, [
    ["ready", "attached", "finished"],
    ["ready", "paused", "attached", "resumed", "finished"],
  ]);
});

test("the daemon's end is told as one, and the stream ends", async (t) => {
  const other = await Daemon.start();
  t.after(() => other.stop());
  const client = await connect(t, { path: other.socket, reconnect: false });
  const api = new ControlClient({ url: other.api });
  t.after(() => api.close());
  const stream = client.session("a", { follow: false });
  const began = once(client, "ready");
  await api.play("a", { url: "demo:tone?seconds=60" });
  await began;
  await Promise.all([once(client, "stopped"), once(client, "close"), other.stop()]);
  assert.equal(stream.terminal?.type === "stopped" && stream.terminal.reason, "shutdown");
});
