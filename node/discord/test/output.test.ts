import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { afterEach, beforeEach, mock, test } from "node:test";
import { SocketClient } from "@audiosvc/client";
import { AudioPlayerStatus, type VoiceConnection } from "@discordjs/voice";
import { Output } from "../dist/output.js";

const ID = "111";
const TICK = 20;

/** A daemon's end of the socket, of one session: it sends `left` packets, numbered, as far as there is credit. */
class Wire extends Duplex {
  credit = 0;
  sent = 0;
  left = 0;

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    for (const line of chunk.toString().trim().split("\n")) {
      const said = JSON.parse(line) as { type: string; packets?: number };
      if (said.type === "hello") this.say({ type: "hello", protocol: 1, features: [], server: "test" });
      else if (said.type === "credit") this.credit += said.packets ?? 0;
    }
    this.play(0);
    done();
  }

  say(event: Record<string, unknown>): void {
    this.push(`${JSON.stringify(event)}\n`);
  }

  tells(track: string, type: string, more: Record<string, unknown> = {}): void {
    this.say({ type, session_id: ID, track_id: track, ...more });
  }

  play(more: number): void {
    this.left += more;
    for (; this.left > 0 && this.credit > 0; this.left -= 1, this.credit -= 1) {
      this.sent += 1;
      const packet = Buffer.alloc(42, " ");
      packet.writeUInt32BE(38);
      packet.write(ID, 4, "latin1");
      packet.writeUInt16BE(this.sent, 40);
      this.push(packet);
    }
  }
}

/** What a player's connection to Discord is to the player; it keeps the numbers of the packets, 0 for silence. */
class Ear {
  readonly state = { status: "ready" };
  readonly heard: number[] = [];
  prepareAudioPacket(packet: Buffer): void {
    this.heard.push(packet.length === 2 ? packet.readUInt16BE() : 0);
  }
  dispatchAudio(): void {}
  setSpeaking(): void {}
}

let wire: Wire;
let client: SocketClient;
let output: Output;
let ear: Ear;
let silences: number;

/** Lets what is on its way arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** So many times 20 ms go by. */
async function ticks(times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    mock.timers.tick(TICK);
    await settle();
  }
}

const sounds = (): number[] => ear.heard.filter((number) => number > 0);
const upTo = (last: number, first = 1): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

async function ready(track: string, position = 0): Promise<void> {
  wire.tells(track, "ready", { url: "", format: "opus", position });
  await settle();
}

beforeEach(async () => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  wire = new Wire();
  client = new SocketClient({ path: () => wire });
  silences = 0;
  output = new Output(client, ID, {
    silent: () => {
      silences += 1;
    },
    failed: assert.fail,
  });
  client.on("audio", ({ trackId }) => output.arrived(trackId));
  client.on("event", (event) => output.notify(event));
  client.subscribe(ID);
  const connected = client.connect();
  await settle();
  await connected;
  ear = new Ear();
  // What VoiceConnection.subscribe does.
  (output.player as unknown as { subscribe(to: VoiceConnection): void }).subscribe(ear as unknown as VoiceConnection);
});

afterEach(async () => {
  output.cut();
  await client.close();
  mock.timers.reset();
});

test("a track sounds when it is admitted and ten packets are there", async () => {
  await ready("a");
  wire.play(9);
  await ticks(5);
  output.admit("a");
  await ticks(5);
  assert.deepEqual(ear.heard, []);
  wire.play(91);
  await ticks(30);
  assert.deepEqual(sounds(), upTo(sounds().length));
  assert.ok(sounds().length >= 28);
  assert.equal(output.position, sounds().length * 0.02);
});

test("a track that is discarded is never heard", async () => {
  await ready("other");
  wire.play(50);
  await ticks(5);
  output.discard("other");
  await ticks(5);
  assert.deepEqual(ear.heard, []);
  assert.ok(output.idle);
});

test("a short track is heard whole, and then it is silent", async () => {
  await ready("a");
  output.admit("a");
  wire.play(4);
  wire.tells("a", "finished", { played: 0.08 });
  await ticks(3);
  assert.equal(silences, 0);
  await ticks(20);
  assert.deepEqual(sounds(), upTo(4));
  assert.equal(silences, 1);
  assert.ok(output.idle);
});

test("the next track waits for the last packet of the one before, and is there at once", async () => {
  await ready("a");
  output.admit("a");
  wire.play(40);
  await settle();
  wire.tells("a", "finished", { played: 0.8 });
  await ready("b", 5);
  wire.play(100);
  output.admit("b");
  await ticks(10);
  assert.ok(output.tail);
  await ticks(60);
  assert.ok(!output.tail);
  assert.deepEqual(sounds(), upTo(sounds().length));
  assert.ok(sounds().length > 50);
  assert.equal(output.position.toFixed(2), (5 + (sounds().length - 40) * 0.02).toFixed(2));
  assert.equal(silences, 0);
});

test("ten paused minutes hold a window of packets, and it goes on where it was", async (t) => {
  await ready("a");
  output.admit("a");
  wire.play(100_000);
  await ticks(20);
  output.pause();
  await ticks(10);
  const [heard, sent] = [sounds().length, wire.sent];
  const memory = process.memoryUsage();
  await ticks(600_000 / TICK);
  const kb = (key: "heapUsed" | "external") => Math.round((process.memoryUsage()[key] - memory[key]) / 1024);
  t.diagnostic(`held ${sent - heard} packets; heap ${kb("heapUsed")} KiB and buffers ${kb("external")} KiB more`);
  assert.equal(sounds().length, heard);
  assert.equal(wire.sent, sent);
  assert.ok(sent - heard <= 50, `${sent - heard} packets are held`);
  output.resume();
  await ticks(100);
  assert.deepEqual(sounds(), upTo(sounds().length));
  assert.ok(sounds().length >= heard + 98);
});

test("a pause holds even if nothing sounds yet", async () => {
  await ready("a");
  output.admit("a");
  output.pause();
  wire.play(100);
  await ticks(20);
  assert.equal(output.player.state.status, AudioPlayerStatus.Paused);
  assert.deepEqual(sounds(), []);
  output.resume();
  await ticks(20);
  assert.ok(sounds().length > 15);
});

test("a gap is silence, however long, and then it goes on", async () => {
  await ready("a");
  output.admit("a");
  wire.play(20);
  await ticks(3_000);
  assert.equal(output.player.state.status, AudioPlayerStatus.Playing);
  wire.play(20);
  await ticks(30);
  assert.deepEqual(sounds(), upTo(40));
});

test("after a seek the old packets are gone, and the position is the new one", async () => {
  await ready("a");
  output.admit("a");
  wire.play(40);
  await ticks(10);
  const before = sounds().length;
  wire.tells("a", "seeked", { position: 60, previous: 0.8 });
  wire.play(40);
  await ticks(10);
  assert.deepEqual(sounds(), [...upTo(before), ...upTo(sounds().length - before + 40, 41)]);
  assert.equal(output.position.toFixed(2), (60 + (sounds().length - before) * 0.02).toFixed(2));
  assert.equal(output.reached("a").toFixed(2), "60.80");
});

test("what is stopped reached what was heard of it", async () => {
  await ready("a", 10);
  output.admit("a");
  wire.play(40);
  await ticks(10);
  const heard = sounds().length;
  wire.tells("a", "stopped", { reason: "shutdown", played: 0.8 });
  await settle();
  assert.equal(output.reached("a").toFixed(2), (10 + heard * 0.02).toFixed(2));
  assert.equal(output.reached("b"), 0);
});

test("a cut is silence at once", async () => {
  await ready("a");
  output.admit("a");
  wire.play(100);
  await ticks(10);
  const heard = sounds().length;
  output.cut();
  assert.equal(silences, 1);
  await ticks(10);
  assert.equal(sounds().length, heard);
  assert.ok(output.idle);
  assert.equal(output.position, 0);
});
