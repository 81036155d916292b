/** The real bot in two guilds at once, between the real daemon and a Discord on this machine. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ControlClient, SocketClient } from "@audiosvc/client";
import { PermissionFlagsBits } from "discord-api-types/v10";
import { VoiceEncryptionMode } from "discord-api-types/voice/v8";
import { makeCertificate } from "./fake-discord/certificate.ts";
import { BOT_ID, FakeGateway } from "./fake-discord/gateway.ts";
import { FakeVoice, type Rtp } from "./fake-discord/voice.ts";
import { type Daemon, type Program, startBot, startDaemon } from "./programs.ts";

const A = { id: "111", voiceChannels: ["1111", "1112"], members: ["11", "12"], permissions: 0n };
const B = { id: "222", voiceChannels: ["2221"], members: ["21"], permissions: 0n };
const NEEDED = PermissionFlagsBits.ViewChannel | PermissionFlagsBits.Connect | PermissionFlagsBits.Speak;

// No two packets of these are alike, so what is identical is in order too.
const TONE_A = "demo:tone?hz=440.37&seconds=60";
const TONE_B = "demo:tone?hz=1000.73&seconds=60";
const FRAME = 960;

const folder = mkdtempSync(join(tmpdir(), "audiosvc-discord-"));
const references = new Map<string, string[]>();
let daemon: Daemon;
let control: ControlClient;
let voice: FakeVoice;
let discord: FakeGateway;
let bot: Program;

before(async () => {
  const certificate = makeCertificate();
  const authority = join(folder, "authority.pem");
  writeFileSync(authority, certificate.cert);
  daemon = await startDaemon(folder);
  control = new ControlClient({ url: daemon.api });
  voice = await FakeVoice.start(certificate);
  voice.modes.set(B.id, VoiceEncryptionMode.AeadXChaCha20Poly1305RtpSize);
  const guilds = [A, B].map((guild) => ({ ...guild, permissions: NEEDED }));
  discord = await FakeGateway.start(guilds, voice.endpoint);
  discord.move(A.id, "11", "1111");
  discord.move(A.id, "12", "1112");
  discord.move(B.id, "21", "2221");
  bot = await startBot({
    DISCORD_TOKEN: "token",
    DISCORD_API: discord.api,
    DISCORD_ALONE_SECONDS: "1",
    DISCORD_IDLE_SECONDS: "4",
    AUDIOSVC_API: daemon.api,
    AUDIOSVC_SOCKET: daemon.socket,
    NODE_EXTRA_CA_CERTS: authority,
  });
});

after(async () => {
  await bot?.end();
  await discord?.close();
  await voice?.close();
  control?.close();
  await daemon?.program.end();
  rmSync(folder, { recursive: true, force: true });
});

/** All packets of a piece, as the daemon makes them for nobody else. */
async function reference(url: string): Promise<string[]> {
  const known = references.get(url);
  if (known !== undefined) return known;
  const client = new SocketClient({ path: daemon.socket });
  await client.connect();
  const stream = client.session("reference", { follow: false, window: 500 });
  await control.play("reference", { url });
  const packets: string[] = [];
  for await (const packet of stream) packets.push((packet as Buffer).toString("hex"));
  await client.close();
  references.set(url, packets);
  return packets;
}

const packetsOf = (guildId: string): Rtp[] => voice.line(guildId)?.packets ?? [];

const heard = (guildId: string): string[] => voice.line(guildId)?.sounds ?? [];

/** Waits until the guild has heard so many packets more than now, or since the bot comes in again; silence apart. */
async function hears(guildId: string, more: number): Promise<void> {
  const now = voice.line(guildId);
  const start = heard(guildId).length;
  try {
    await voice.until(guildId, (line) => line.sounds.length >= more + (line === now ? start : 0));
  } catch (cause) {
    const said = [bot, daemon.program].map(({ lines }) => lines.slice(-30).join("\n")).join("\n\n");
    throw new Error(`guild ${guildId} heard ${heard(guildId).length - start} packets, not ${more}\n${said}`, { cause });
  }
}

/** All that the guild has heard since it was joined is the beginning of that piece, in order and whole. */
async function assertHeardOnly(guildId: string, url: string): Promise<void> {
  const all = heard(guildId);
  assert.deepEqual(all, (await reference(url)).slice(0, all.length));
}

function assertMarching(guildId: string): void {
  const packets = packetsOf(guildId);
  for (const [index, { sequence, timestamp }] of packets.slice(1).entries()) {
    const before = packets[index];
    assert.equal(sequence, ((before?.sequence ?? 0) + 1) % 2 ** 16);
    assert.equal(timestamp, ((before?.timestamp ?? 0) + FRAME) % 2 ** 32);
  }
}

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

const play = (guildId: string, userId: string, what: string) =>
  discord.use(guildId, userId, "play", { name: "what", type: 3, value: what });

test("it asks for no more than it needs, and tells Discord its commands", () => {
  assert.equal(discord.intents, 1 | 128);
  const names = "play stop pause resume skip previous seek queue jump remove nowplaying volume help";
  assert.deepEqual(
    discord.commands.map(({ name }) => name),
    names.split(" "),
  );
});

test("two guilds play at once, and each hears its own piece", async (t) => {
  const asked = Date.now();
  const answers = await Promise.all([play(A.id, "11", TONE_A), play(B.id, "21", TONE_B)]);
  assert.deepEqual(
    answers.map(({ content }) => content),
    ["Playing **Tone of 440.37 Hz** (1:00).", "Playing **Tone of 1000.73 Hz** (1:00)."],
  );
  await Promise.all([hears(A.id, 150), hears(B.id, 150)]);
  await assertHeardOnly(A.id, TONE_A);
  await assertHeardOnly(B.id, TONE_B);
  for (const { id } of [A, B]) {
    const times = packetsOf(id).map(({ at }) => at);
    const gaps = times
      .slice(1)
      .map((at, index) => at - (times[index] ?? at))
      .sort((a, b) => a - b);
    const first = `first sound ${(times[0] ?? 0) - asked} ms after /play`;
    const gap = `gap p50 ${gaps.at(gaps.length / 2)} p99 ${gaps.at(gaps.length * 0.99)} max ${gaps.at(-1)} ms`;
    t.diagnostic(`guild ${id}: ${times.length} packets, all its own and in order; ${first}; ${gap}`);
  }
});

test("only those who listen steer it", async () => {
  const elsewhere = await discord.use(A.id, "12", "stop");
  assert.deepEqual(elsewhere, {
    content: "Only those who listen in <#1111> can do that. Join it, then ask again.",
    ephemeral: true,
  });
  const other = await play(A.id, "12", TONE_B);
  assert.deepEqual(other, { content: "I am playing in <#1111>. Join it, then ask again.", ephemeral: true });
  const guest = await discord.use(A.id, "21", "stop");
  assert.ok(guest.ephemeral);
  assert.equal((await control.sessions()).count, 2);
});

test("a pause stands still at once, and goes on where it was", async (t) => {
  const quiet = once(voice, "quiet", { signal: AbortSignal.timeout(10_000) });
  assert.match((await discord.use(A.id, "11", "pause")).content, /^Paused/);
  assert.deepEqual(await quiet, [A.id]);
  const [still, sent] = [heard(A.id).length, (await control.status(A.id)).packets_sent];
  await hears(B.id, 50);
  assert.equal(heard(A.id).length, still);
  const now = await control.status(A.id);
  assert.equal(now.status, "paused");
  assert.ok(now.packets_sent - sent <= 50, "at most a window came after the pause");
  t.diagnostic(`paused: ${now.packets_sent - still} packets held, however long`);
  assert.equal((await discord.use(A.id, "11", "resume")).content, "On it goes.");
  await hears(A.id, 20);
  await assertHeardOnly(A.id, TONE_A);
  await assertHeardOnly(B.id, TONE_B);
});

test("a stall of the bot loses nothing", async () => {
  await bot.freeze(300);
  await Promise.all([hears(A.id, 30), hears(B.id, 30)]);
  await assertHeardOnly(A.id, TONE_A);
  await assertHeardOnly(B.id, TONE_B);
});

test("a stall of the daemon is silence, and then it goes on", async (t) => {
  const silence = () => packetsOf(A.id).length - heard(A.id).length;
  const before = silence();
  await daemon.program.freeze(1_500);
  await Promise.all([hears(A.id, 60), hears(B.id, 60)]);
  assert.ok(silence() - before > 10);
  t.diagnostic(`daemon stalled 1500 ms: ${silence() - before} frames of silence, no packet lost`);
  await assertHeardOnly(A.id, TONE_A);
  await assertHeardOnly(B.id, TONE_B);
});

test("a voice connection that is dropped is taken up again, and nothing is lost", async () => {
  const resumed = once(voice, "resumed", { signal: AbortSignal.timeout(10_000) });
  voice.drop(A.id);
  assert.deepEqual(await resumed, [A.id]);
  await hears(A.id, 30);
  await assertHeardOnly(A.id, TONE_A);
  assertMarching(A.id);
  assertMarching(B.id);
});

test("stopping in one guild leaves the other untouched", async () => {
  assert.equal((await discord.use(B.id, "21", "stop")).content, "Stopped, and the queue is empty. Bye.");
  assert.equal(discord.botChannel(B.id), undefined);
  await assertHeardOnly(B.id, TONE_B);
  await hears(A.id, 30);
  await assertHeardOnly(A.id, TONE_A);
  assertMarching(A.id);
  const { sessions } = await control.sessions();
  assert.deepEqual(
    sessions.map(({ session_id }) => session_id),
    [A.id],
  );
});

test("the queue goes on by itself, skips, tells what fails, and the bot leaves when nothing plays", async () => {
  const [short, shorter] = ["demo:tone?hz=300.11&seconds=1", "demo:tone?hz=500.13&seconds=0.5"];
  const [long, first, second] = [await reference(TONE_B), await reference(short), await reference(shorter)];
  await play(B.id, "21", TONE_B);
  assert.equal((await play(B.id, "21", short)).content, "Queued **Tone of 300.11 Hz** (0:01) as number 1.");
  await play(B.id, "21", shorter);
  const nothing = await play(B.id, "21", "demo:nothing");
  assert.equal(nothing.content, "That did not work: there is no built-in piece of that name.");
  await hears(B.id, 10);
  assert.equal((await discord.use(B.id, "21", "skip")).content, "Skipped. Playing **Tone of 300.11 Hz** (0:01).");
  const left = once(discord, "voice", { signal: AbortSignal.timeout(15_000) });
  assert.deepEqual(await left, [B.id, null]);
  const all = heard(B.id);
  const rest = all.length - first.length - second.length;
  assert.deepEqual(all, [...long.slice(0, rest), ...first, ...second]);
  await assertHeardOnly(A.id, TONE_A);
});

test("a track that fails when its turn comes is told to those who asked", async () => {
  const file = join(folder, "gone.wav");
  writeFileSync(file, wav(1));
  await play(B.id, "21", "demo:tone?hz=300.11&seconds=3");
  assert.match((await play(B.id, "21", `file://${file}`)).content, /^Queued \*\*gone/);
  rmSync(file);
  const told = await discord.answerTo(discord.lastToken);
  assert.match(told.content, /^\*\*gone.* could not be played: it is not there\.$/);
  await discord.use(B.id, "21", "stop");
});

test("a voice session that Discord has forgotten is made anew, where it was; thrown out, the bot stays out", async () => {
  await play(B.id, "21", TONE_B);
  await hears(B.id, 30);
  const before = heard(B.id);
  voice.drop(B.id, 4006);
  await hears(B.id, 30);
  const [whole, after] = [await reference(TONE_B), heard(B.id)];
  const lost = [0, 1].find((packets) => whole[before.length + packets] === after[0]);
  assert.notEqual(lost, undefined, "at most the packet that was on its way is lost");
  const from = before.length + (lost ?? 0);
  assert.deepEqual(
    [...before, ...after],
    [...whole.slice(0, before.length), ...whole.slice(from, from + after.length)],
  );

  discord.move(B.id, BOT_ID, null);
  voice.drop(B.id, 4014);
  await bot.wrote(/guild 222: voice is disconnected/);
  await bot.wrote(/guild 222: is out, for it lost the channel/);
  await assert.rejects(control.status(B.id), { code: "not_found" });
  await assertHeardOnly(A.id, TONE_A);
});

test("when the daemon is restarted, the track goes on where it was", async (t) => {
  assert.equal(await daemon.program.end(), 0);
  const before = heard(A.id).length;
  daemon = await startDaemon(folder);
  await hears(A.id, 30);
  const { position, packets_sent, url } = await control.status(A.id);
  const [reached, again] = [before * 0.02, position - packets_sent * 0.02];
  assert.equal(url, TONE_A);
  t.diagnostic(`heard up to ${reached.toFixed(2)} s, went on at ${again.toFixed(2)} s`);
  assert.ok(Math.abs(reached - again) <= 0.1);
});

test("it leaves when it is alone", async () => {
  const left = once(discord, "voice", { signal: AbortSignal.timeout(10_000) });
  discord.move(A.id, "11", null);
  assert.deepEqual(await left, [A.id, null]);
});

test("of a stop and a play at once the later one counts, however often", async () => {
  await play(B.id, "21", TONE_A);
  for (let round = 0; round < 20; round += 1) {
    const [stopped, played] = await Promise.all([discord.use(B.id, "21", "stop"), play(B.id, "21", TONE_B)]);
    assert.match(stopped.content, /^Stopped/);
    assert.match(played.content, /^Playing/);
  }
  await hears(B.id, 10);
  await assertHeardOnly(B.id, TONE_B);
});

test("SIGTERM ends it, with every session stopped", async () => {
  assert.equal((await control.sessions()).count, 1);
  assert.equal(await bot.end(), 0);
  assert.equal((await control.sessions()).count, 0);
});
