/** A guild and a user of the playground at once, at the same daemon: the real bot, the real gateway. */

import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import type { Program } from "@audiosvc/testing";
import { Listener } from "./listener.ts";
import { startGateway } from "./programs.ts";
import { gaps, Stage } from "./stage.ts";

const GUILD = { id: "111", members: { "11": "1111" } };
const USER = "anna";

const GUILD_SONG = "demo:tone?hz=440.37&seconds=60";
const USER_SONGS = ["demo:tone?hz=1000.73&seconds=60", "demo:tone?hz=700.19&seconds=60"] as const;

/** Packets that each is to hear in each test, 3 s. */
const LISTENED = 150;

let stage: Stage;
let gateway: Program;
let user: Listener;
let url: string;

before(async () => {
  stage = await Stage.start([GUILD]);
  ({ program: gateway, url } = await startGateway(stage.daemon));
  // Each alone, before anyone plays. No two packets are alike, so what is identical is in order, whole and nobody else's.
  const all = [];
  for (const song of [GUILD_SONG, ...USER_SONGS]) all.push(...(await stage.reference(song)));
  assert.equal(all.length, 3 * 3000);
  assert.equal(new Set(all).size, all.length);
  user = await Listener.join(url, USER);
});

after(async () => {
  await user?.close();
  await gateway?.end();
  await stage?.close();
});

/** Both have heard their own songs from the beginning on, whole and in order, and so far on time. */
async function assertOwn(t: TestContext, userSong: string): Promise<void> {
  await stage.assertHeardOnly(GUILD.id, GUILD_SONG);
  stage.assertMarching(GUILD.id);
  assert.deepEqual(user.packets, (await stage.reference(userSong)).slice(0, user.packets.length));
  const [heard, packets] = [stage.heard(GUILD.id), stage.packets(GUILD.id)];
  const silence = `${packets.length - heard.length} frames of silence`;
  t.diagnostic(`guild: ${heard.length} packets identical, ${silence}, ${gaps(packets.map(({ at }) => at))}`);
  t.diagnostic(`user: ${user.packets.length} packets identical, ${user.underruns} underruns, ${gaps(user.times)}`);
}

async function bothHear(): Promise<void> {
  await Promise.all([stage.hears(GUILD.id, LISTENED), user.hears(LISTENED)]);
}

test("they play at once, and each hears its own", async (t) => {
  user.say("play", { url: USER_SONGS[0] });
  const [{ content }] = await Promise.all([stage.play(GUILD.id, "11", GUILD_SONG), user.next("ready")]);
  assert.equal(content, "Playing **Tone of 440.37 Hz** (1:00).");
  await bothHear();
  const { sessions } = await stage.control.sessions();
  assert.deepEqual(sessions.map(({ session_id }) => session_id).sort(), [GUILD.id, `user:${USER}`]);
  await assertOwn(t, USER_SONGS[0]);
});

test("the user stops: the guild's music goes on without a packet missing", async (t) => {
  user.say("stop");
  assert.equal((await user.next("stopped")).reason, "stop");
  const { length } = user.packets;
  await stage.hears(GUILD.id, LISTENED);
  assert.equal(user.packets.length, length);
  await assertOwn(t, USER_SONGS[0]);
});

test("the user plays another song: it is whole, and so is the guild's", async (t) => {
  user.say("play", { url: USER_SONGS[1] });
  await user.next("ready");
  await bothHear();
  await assertOwn(t, USER_SONGS[1]);
});

test("the guild stops: the user's song goes on without a packet missing", async (t) => {
  assert.match((await stage.discord.use(GUILD.id, "11", "stop")).content, /^Stopped/);
  // What was on its way has come by then.
  await user.hears(10);
  const { length } = stage.heard(GUILD.id);
  await user.hears(LISTENED);
  assert.equal(stage.heard(GUILD.id).length, length);
  const { sessions } = await stage.control.sessions();
  assert.deepEqual(
    sessions.map(({ session_id }) => session_id),
    [`user:${USER}`],
  );
  await assertOwn(t, USER_SONGS[1]);
});
