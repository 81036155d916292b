import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { ControlClient, SessionEvent, SocketClient } from "@audiosvc/client";
import { Guild, PUT_OFF_MS } from "../dist/guild.js";
import { track } from "./tracks.ts";

test("a track that the daemon had no room to look up is asked for once more after a while, unless one leaves", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const played: string[] = [];
  const told: string[] = [];
  const control = {
    play: async (_: string, { url }: { url: string }) => ({ track_id: `t${played.push(url)}` }),
    stop: async () => ({}),
  } as unknown as ControlClient;
  const guild = new Guild("1", {
    client: { unsubscribe: () => {} } as unknown as SocketClient,
    control,
    aloneMs: 60_000,
    idleMs: 60_000,
    listeners: () => 1,
    announce: (_, text) => told.push(text),
    log: () => {},
    gone: () => {},
  });
  const fails = async (trackId: string): Promise<void> => {
    const code = "too_many_lookups";
    const event = { type: "error", session_id: "1", track_id: trackId, code, message: "try again", played: 0 };
    guild.heard(event as SessionEvent);
    await setImmediate();
  };
  const wait = async (ms: number): Promise<void> => {
    t.mock.timers.tick(ms);
    await setImmediate();
  };

  await guild.order({ on: "play", tracks: [track("a")] });
  await fails("t1");
  await wait(PUT_OFF_MS - 1);
  assert.deepEqual([played, told], [["demo:a"], []]);
  await wait(1);
  assert.deepEqual([played, guild.room.trackId], [["demo:a", "demo:a"], "t2"]);
  await fails("t2");
  await wait(PUT_OFF_MS);
  assert.equal(played.length, 2);
  assert.match(told[0] ?? "", /could not be played/);

  await guild.order({ on: "play", tracks: [track("b")] });
  await fails("t3");
  await guild.leave();
  await wait(PUT_OFF_MS);
  assert.equal(played.length, 3);
});
