/** The real bot in two guilds at once, between the real daemon and a Discord on this machine. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { VoiceEncryptionMode } from "discord-api-types/voice/v8";
import { BOT_ID } from "./fake-discord/gateway.ts";
import { gaps, Stage } from "./stage.ts";

const A = { id: "111", members: { "11": "1111", "12": "1112" } };
const B = { id: "222", members: { "21": "2221" }, mode: VoiceEncryptionMode.AeadXChaCha20Poly1305RtpSize };

// No two packets of these are alike, so what is identical is in order too.
const TONE_A = "demo:tone?hz=440.37&seconds=60";
const TONE_B = "demo:tone?hz=1000.73&seconds=60";

let stage: Stage;

before(async () => {
  stage = await Stage.start([A, B], { DISCORD_ALONE_SECONDS: "1", DISCORD_IDLE_SECONDS: "4" });
});

after(() => stage?.close());

/** A file of so many seconds of silence: 8 kHz, mono, 16 bits. */
function wav(seconds: number): Buffer {
  const bytes = seconds * 16_000;
  const file = Buffer.alloc(44 + bytes);
  file.write("RIFF\0\0\0\0WAVEfmt ", "latin1");
  file.writeUInt32LE(36 + bytes, 4);
  file.set([16, 0, 0, 0, 1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0], 16);
  file.write("data", 36, "latin1");
  file.writeUInt32LE(bytes, 40);
  return file;
}

test("it asks for no more than it needs, and tells Discord its commands", () => {
  assert.equal(stage.discord.intents, 1 | 128);
  const names = "play stop pause resume skip previous seek queue jump remove nowplaying volume help";
  assert.deepEqual(
    stage.discord.commands.map(({ name }) => name),
    names.split(" "),
  );
});

test("two guilds play at once, and each hears its own piece", async (t) => {
  const asked = Date.now();
  const answers = await Promise.all([stage.play(A.id, "11", TONE_A), stage.play(B.id, "21", TONE_B)]);
  assert.deepEqual(
    answers.map(({ content }) => content),
    ["Playing **Tone of 440.37 Hz** (1:00).", "Playing **Tone of 1000.73 Hz** (1:00)."],
  );
  await Promise.all([stage.hears(A.id, 150), stage.hears(B.id, 150)]);
  await stage.assertHeardOnly(A.id, TONE_A);
  await stage.assertHeardOnly(B.id, TONE_B);
  for (const { id } of [A, B]) {
    const times = stage.packets(id).map(({ at }) => at);
    const first = `first sound ${(times[0] ?? 0) - asked} ms after /play`;
    t.diagnostic(`guild ${id}: ${times.length} packets, all its own and in order; ${first}; ${gaps(times)}`);
  }
});

test("only those who listen steer it", async () => {
  const elsewhere = await stage.discord.use(A.id, "12", "stop");
  assert.deepEqual(elsewhere, {
    content: "Only those who listen in <#1111> can do that. Join it, then ask again.",
    ephemeral: true,
  });
  const other = await stage.play(A.id, "12", TONE_B);
  assert.deepEqual(other, { content: "I am playing in <#1111>. Join it, then ask again.", ephemeral: true });
  const guest = await stage.discord.use(A.id, "21", "stop");
  assert.ok(guest.ephemeral);
  assert.equal((await stage.control.sessions()).count, 2);
});

test("a pause stands still at once, and goes on where it was", async (t) => {
  const quiet = once(stage.voice, "quiet", { signal: AbortSignal.timeout(10_000) });
  assert.match((await stage.discord.use(A.id, "11", "pause")).content, /^Paused/);
  assert.deepEqual(await quiet, [A.id]);
  const [still, sent] = [stage.heard(A.id).length, (await stage.control.status(A.id)).packets_sent];
  await stage.hears(B.id, 50);
  assert.equal(stage.heard(A.id).length, still);
  const now = await stage.control.status(A.id);
  assert.equal(now.status, "paused");
  assert.ok(now.packets_sent - sent <= 50, "at most a window came after the pause");
  t.diagnostic(`paused: ${now.packets_sent - still} packets held, however long`);
  assert.equal((await stage.discord.use(A.id, "11", "resume")).content, "On it goes.");
  await stage.hears(A.id, 20);
  await stage.assertHeardOnly(A.id, TONE_A);
  await stage.assertHeardOnly(B.id, TONE_B);
});

test("a stall of the bot loses nothing", async () => {
  await stage.bot.freeze(300);
  await Promise.all([stage.hears(A.id, 30), stage.hears(B.id, 30)]);
  await stage.assertHeardOnly(A.id, TONE_A);
  await stage.assertHeardOnly(B.id, TONE_B);
});

test("a stall of the daemon is silence, and then it goes on", async (t) => {
  const silence = () => stage.packets(A.id).length - stage.heard(A.id).length;
  const before = silence();
  await stage.daemon.program.freeze(1_500);
  await Promise.all([stage.hears(A.id, 60), stage.hears(B.id, 60)]);
  assert.ok(silence() - before > 10);
  t.diagnostic(`daemon stalled 1500 ms: ${silence() - before} frames of silence, no packet lost`);
  await stage.assertHeardOnly(A.id, TONE_A);
  await stage.assertHeardOnly(B.id, TONE_B);
});

test("a voice connection that is dropped is taken up again, and nothing is lost", async () => {
  const resumed = once(stage.voice, "resumed", { signal: AbortSignal.timeout(10_000) });
  stage.voice.drop(A.id);
  assert.deepEqual(await resumed, [A.id]);
  await stage.hears(A.id, 30);
  await stage.assertHeardOnly(A.id, TONE_A);
  stage.assertMarching(A.id);
  stage.assertMarching(B.id);
});

test("stopping in one guild leaves the other untouched", async () => {
  assert.equal((await stage.discord.use(B.id, "21", "stop")).content, "Stopped, and the queue is empty. Bye.");
  assert.equal(stage.discord.botChannel(B.id), undefined);
  await stage.assertHeardOnly(B.id, TONE_B);
  await stage.hears(A.id, 30);
  await stage.assertHeardOnly(A.id, TONE_A);
  stage.assertMarching(A.id);
  const { sessions } = await stage.control.sessions();
  assert.deepEqual(
    sessions.map(({ session_id }) => session_id),
    [A.id],
  );
});

test("the queue goes on by itself, skips, tells what fails, and the bot leaves when nothing plays", async () => {
  const [short, shorter] = ["demo:tone?hz=300.11&seconds=1", "demo:tone?hz=500.13&seconds=0.5"];
  const [long, first, second] = [
    await stage.reference(TONE_B),
    await stage.reference(short),
    await stage.reference(shorter),
  ];
  await stage.play(B.id, "21", TONE_B);
  assert.equal((await stage.play(B.id, "21", short)).content, "Queued **Tone of 300.11 Hz** (0:01) as number 1.");
  await stage.play(B.id, "21", shorter);
  const nothing = await stage.play(B.id, "21", "demo:nothing");
  assert.equal(nothing.content, "That did not work: there is no built-in piece of that name.");
  await stage.hears(B.id, 10);
  assert.equal((await stage.discord.use(B.id, "21", "skip")).content, "Skipped. Playing **Tone of 300.11 Hz** (0:01).");
  const left = once(stage.discord, "voice", { signal: AbortSignal.timeout(15_000) });
  assert.deepEqual(await left, [B.id, null]);
  const all = stage.heard(B.id);
  const rest = all.length - first.length - second.length;
  assert.deepEqual(all, [...long.slice(0, rest), ...first, ...second]);
  await stage.assertHeardOnly(A.id, TONE_A);
});

test("a track that fails when its turn comes is told to those who asked", async () => {
  const file = join(stage.daemon.folder, "gone.wav");
  writeFileSync(file, wav(1));
  await stage.play(B.id, "21", "demo:tone?hz=300.11&seconds=3");
  assert.match((await stage.play(B.id, "21", `file://${file}`)).content, /^Queued \*\*gone/);
  rmSync(file);
  const told = await stage.discord.answerTo(stage.discord.lastToken);
  assert.match(told.content, /^\*\*gone.* could not be played: it is not there\.$/);
  await stage.discord.use(B.id, "21", "stop");
});

test("a folder is played from its first file, and how many others are queued is told", async () => {
  const folder = join(stage.daemon.folder, "album");
  mkdirSync(folder);
  for (const name of ["one", "two", "three"]) writeFileSync(join(folder, `${name}.wav`), wav(30));
  const { content } = await stage.play(B.id, "21", `file://${folder}`);
  assert.equal(content, "Playing **one**.\nQueued 2 tracks.");
  assert.match(
    (await stage.discord.use(B.id, "21", "queue")).content,
    /`1\.` \*\*three\*\*\n`2\.` \*\*two\*\*\n2 tracks\.$/,
  );
  await stage.discord.use(B.id, "21", "stop");
});

test("a voice session that Discord has forgotten is made anew, where it was; thrown out, the bot stays out", async () => {
  await stage.play(B.id, "21", TONE_B);
  await stage.hears(B.id, 30);
  const before = stage.heard(B.id);
  stage.voice.drop(B.id, 4006);
  await stage.hears(B.id, 30);
  const [whole, after] = [await stage.reference(TONE_B), stage.heard(B.id)];
  const lost = [0, 1].find((packets) => whole[before.length + packets] === after[0]);
  assert.notEqual(lost, undefined, "at most the packet that was on its way is lost");
  const from = before.length + (lost ?? 0);
  assert.deepEqual(
    [...before, ...after],
    [...whole.slice(0, before.length), ...whole.slice(from, from + after.length)],
  );

  stage.discord.move(B.id, BOT_ID, null);
  stage.voice.drop(B.id, 4014);
  await stage.bot.wrote(/guild 222: voice is disconnected/);
  await stage.bot.wrote(/guild 222: is out, for it lost the channel/);
  await assert.rejects(stage.control.status(B.id), { code: "not_found" });
  await stage.assertHeardOnly(A.id, TONE_A);
});

test("when the daemon is restarted, the track goes on where it was", async (t) => {
  assert.equal(await stage.daemon.program.end(), 0);
  const before = stage.heard(A.id).length;
  stage.daemon.keeps = true;
  await stage.daemon.start();
  await stage.hears(A.id, 30);
  const { position, packets_sent, url } = await stage.control.status(A.id);
  const [reached, again] = [before * 0.02, position - packets_sent * 0.02];
  assert.equal(url, TONE_A);
  t.diagnostic(`heard up to ${reached.toFixed(2)} s, went on at ${again.toFixed(2)} s`);
  assert.ok(Math.abs(reached - again) <= 0.1);
});

test("when it is restarted once more, having been told to keep what plays, the very same track goes on", async (t) => {
  const { track_id } = await stage.control.status(A.id);
  assert.equal(await stage.daemon.program.end(), 0);
  const before = stage.heard(A.id).length;
  await stage.daemon.start();
  await stage.hears(A.id, 100);
  const after = await stage.control.status(A.id);
  assert.equal(after.track_id, track_id);
  t.diagnostic(`${before} packets heard before; at ${after.position} s with ${after.packets_sent} sent`);
});

test("it leaves when it is alone", async () => {
  const left = once(stage.discord, "voice", { signal: AbortSignal.timeout(10_000) });
  stage.discord.move(A.id, "11", null);
  assert.deepEqual(await left, [A.id, null]);
});

test("of a stop and a play at once the later one counts, however often", async () => {
  await stage.play(B.id, "21", TONE_A);
  for (let round = 0; round < 20; round += 1) {
    // Now and then the first acknowledgement arrives after the second.
    if (round % 5 === 0) stage.discord.slow = "stop";
    const [stopped, played] = await Promise.all([
      stage.discord.use(B.id, "21", "stop"),
      stage.play(B.id, "21", TONE_B),
    ]);
    assert.match(stopped.content, /^Stopped/);
    assert.match(played.content, /^Playing/);
  }
  await stage.hears(B.id, 10);
  await stage.assertHeardOnly(B.id, TONE_B);
});

test("SIGTERM ends it, with every session stopped", async () => {
  assert.equal((await stage.control.sessions()).count, 1);
  assert.equal(await stage.bot.end(), 0);
  assert.equal((await stage.control.sessions()).count, 0);
});
