/** Times, texts, commands, access and settings. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal } from "../dist/access.js";
import { accessOf, DEFINITIONS, read } from "../dist/commands.js";
import { ConfigError, readConfig } from "../dist/config.js";
import * as texts from "../dist/texts.js";
import { formatTime, parseTime } from "../dist/times.js";
import { queueOf, track } from "./tracks.ts";

test("times are read as people write them", () => {
  const times: [string, number | undefined][] = [
    ["90", 90],
    [" 1:30 ", 90],
    ["1:02:03.5", 3723.5],
    ["0", 0],
    ["2592000", 2_592_000],
    ["2592001", undefined],
    ["", undefined],
    ["-1", undefined],
    ["1:", undefined],
    ["a", undefined],
    ["1e3", undefined],
  ];
  for (const [text, seconds] of times) assert.equal(parseTime(text), seconds, text);
});

test("times are shown as people read them", () => {
  assert.deepEqual([0, 59.9, 60, 3599, 3600, 36_061, -1].map(formatTime), [
    "0:00",
    "0:59",
    "1:00",
    "59:59",
    "1:00:00",
    "10:01:01",
    "0:00",
  ]);
});

test("a title has no power over the message", () => {
  const said = texts.playing(track("**@everyone** <@1> [a](https://b) `x`\n# big\u202e"));
  const shown = "\\*\\*\\@everyone\\*\\* \\<\\@1\\> \\[a\\]\\(https\\://b\\) \\`x\\` \\# big";
  assert.equal(said, `Playing **${shown}** (1:40).`);
  assert.ok(texts.playing(track("é".repeat(500))).length < 120);
});

test("the queue is shown in pages that fit a message", () => {
  const queue = { ...queueOf(" a "), upcoming: Array.from({ length: 25 }, () => track("*".repeat(200))) };
  const page = texts.queueText(queue, 3);
  assert.match(page, /^Now: \*\*a\*\* \(1:40\)\n`21.` /);
  assert.match(page, /Page 3 of 3, 25 tracks\.$/);
  assert.equal(texts.queueText(queue, 99), page);
  assert.ok(texts.queueText(queue, 1).length <= 2_000);
  assert.equal(texts.queueText(queueOf(" . "), 1), "Nothing is playing.\nThe queue is empty.");
  assert.match(texts.queueText(queueOf(" . b"), 1), /1 track\.$/);
});

test("what plays is shown with where it is", () => {
  const at = { position: 50, paused: false, volume: 0.5 };
  assert.equal(
    texts.nowPlaying(track("a"), at),
    "Playing: **a**\n`============------------` 0:50 / 1:40\nAsked for by <@1>. Volume 50 %.",
  );
  assert.match(
    texts.nowPlaying(track("radio", { duration: undefined }), { ...at, paused: true }),
    /^Paused: \*\*radio\*\*\n0:50\n/,
  );
  assert.match(
    texts.nowPlaying(track("radio", { duration: undefined, live: true }), at),
    /^Playing: \*\*radio\*\*\nLive, for 0:50 now\n/,
  );
  assert.match(texts.nowPlaying(track("radio", { live: true }), at), /^Playing: \*\*radio\*\*\nLive, for 0:50 now\n/);
  assert.equal(texts.queued(track("radio", { live: true }), 1), "Queued **radio** as number 1.");
  assert.match(texts.nowPlaying(track("a", { duration: 0 }), at), /={24}/);
});

test("failures are told in words, and codes nobody knows in the daemon's", () => {
  assert.equal(texts.sorry("not_audio", "x"), "That did not work: there is no audio in it.");
  assert.equal(texts.lacksPermissions("5", ["Speak"]), "In <#5> I lack the permission to: Speak.");
  assert.equal(texts.sorry("new_code", "it_is odd"), "That did not work: it\\_is odd.");
  const seek = "That did not work: it is live, and one can't jump around in what is live.";
  assert.equal(texts.sorry("not_seekable", "a live source cannot be sought in"), seek);
  for (const code of ["blocked_address", "extraction_failed", "source_refused", "source_unreachable"]) {
    assert.equal(texts.reason(code, "what only the daemon knows"), "what only the daemon knows");
  }
  for (const code of ["extraction_timeout", "source_ended_early", "source_timeout", "too_many_lookups"]) {
    assert.notEqual(texts.reason(code, "the daemon's"), "the daemon's");
  }
  assert.equal(
    texts.failed(track("a"), "source_timeout", "", 62),
    "**a** (1:40) broke off after 1:02: its server sent nothing.",
  );
});

test("Discord takes the commands, and they belong to servers", () => {
  assert.equal(DEFINITIONS.length, 13);
  for (const { name, description, options = [], contexts } of DEFINITIONS) {
    assert.match(name, /^[a-z]{1,32}$/);
    for (const text of [description, ...options.map((option) => option.description)]) {
      assert.ok(text.length >= 1 && text.length <= 100, text);
    }
    assert.deepEqual(contexts, [0]);
  }
  assert.ok(texts.help(DEFINITIONS).length <= 2_000);
});

test("options are read, and what cannot be meant is told", () => {
  const given = (name: string, ...options: [string, unknown][]) => read(name, new Map(options));
  assert.deepEqual(given("play", ["what", " a b "]), { name: "play", query: "a b" });
  assert.equal(given("play", ["what", " "]), texts.NOTHING_FOUND);
  assert.deepEqual(given("seek", ["to", "1:30"]), { name: "seek", position: 90 });
  assert.equal(given("seek", ["to", "soon"]), texts.BAD_TIME);
  assert.equal(given("seek"), texts.BAD_TIME);
  assert.deepEqual(given("jump", ["number", 2]), { name: "jump", number: 2 });
  assert.deepEqual(given("jump"), { name: "jump", number: 0 });
  assert.deepEqual(given("remove", ["number", 2.5]), { name: "remove", number: 0 });
  assert.deepEqual(given("queue"), { name: "queue", page: 1 });
  assert.deepEqual(given("volume"), { name: "volume", volume: undefined });
  assert.deepEqual(given("volume", ["percent", 50]), { name: "volume", volume: 0.5 });
  assert.deepEqual(given("volume", ["percent", 900]), { name: "volume", volume: 2 });
  assert.deepEqual(given("skip"), { name: "skip" });
  assert.equal(given("toString"), texts.BROKEN);
});

test("only who listens may steer", () => {
  const here = { callerChannel: "1", botChannel: "1", listeners: 1 };
  assert.equal(refusal(accessOf("help"), { ...here, callerChannel: undefined }), undefined);
  assert.equal(refusal(accessOf("queue"), { ...here, callerChannel: "2" }), undefined);
  assert.equal(refusal(accessOf("stop"), here), undefined);
  assert.equal(refusal(accessOf("stop"), { ...here, callerChannel: "2" }), texts.notWithMe("1"));
  assert.equal(refusal(accessOf("stop"), { ...here, callerChannel: undefined }), texts.notWithMe("1"));
  assert.equal(refusal(accessOf("stop"), { ...here, botChannel: undefined }), texts.NOTHING_PLAYS);
});

test("who wants music has to be in a channel, and the bot free to come", () => {
  const away = { callerChannel: "1", botChannel: undefined, listeners: 0 };
  assert.equal(refusal("caller", away), undefined);
  assert.equal(refusal("caller", { ...away, callerChannel: undefined }), texts.JOIN_FIRST);
  assert.equal(refusal("caller", { ...away, botChannel: "1", listeners: 5 }), undefined);
  assert.equal(refusal("caller", { ...away, botChannel: "2", listeners: 1 }), texts.playsElsewhere("2"));
  assert.equal(refusal("caller", { ...away, botChannel: "2", listeners: 0 }), undefined);
});

test("settings come from the environment", () => {
  const least = { DISCORD_TOKEN: " t ", XDG_RUNTIME_DIR: "/run/user/1" };
  assert.deepEqual(readConfig(least), {
    token: "t",
    applicationId: undefined,
    devGuildId: undefined,
    discordApi: undefined,
    api: "http://127.0.0.1:8180",
    socket: "/run/user/1/audiosvc/audio.sock",
    tokenFile: undefined,
    aloneMs: 60_000,
    idleMs: 300_000,
  });
  const most = readConfig({
    ...least,
    DISCORD_APPLICATION_ID: "9",
    DISCORD_GUILD_ID: "8",
    DISCORD_API: "http://127.0.0.1:1/api",
    AUDIOSVC_API: "unix:/api.sock",
    AUDIOSVC_SOCKET: "/audio.sock",
    AUDIOSVC_TOKEN_FILE: "/token",
    DISCORD_ALONE_SECONDS: "0.5",
  });
  assert.deepEqual([most.socket, most.api, most.aloneMs, most.devGuildId], ["/audio.sock", "unix:/api.sock", 500, "8"]);
});

test("settings that cannot be meant are refused by name", () => {
  const good = { DISCORD_TOKEN: "t", AUDIOSVC_SOCKET: "/s" };
  const bad: [Record<string, string>, RegExp][] = [
    [{ DISCORD_TOKEN: " " }, /DISCORD_TOKEN/],
    [{ AUDIOSVC_SOCKET: "" }, /AUDIOSVC_SOCKET/],
    [{ DISCORD_APPLICATION_ID: "me" }, /DISCORD_APPLICATION_ID/],
    [{ DISCORD_GUILD_ID: "x" }, /DISCORD_GUILD_ID/],
    [{ DISCORD_API: "discord.com" }, /DISCORD_API/],
    [{ DISCORD_IDLE_SECONDS: "soon" }, /DISCORD_IDLE_SECONDS/],
    [{ DISCORD_ALONE_SECONDS: "0" }, /DISCORD_ALONE_SECONDS/],
  ];
  for (const [settings, message] of bad) {
    assert.throws(
      () => readConfig({ ...good, ...settings }),
      (error: unknown) => {
        return error instanceof ConfigError && message.test(error.message);
      },
    );
  }
});
