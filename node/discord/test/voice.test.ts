import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { VoiceUDPSocket } from "@discordjs/voice";
import "../dist/voice.js";

test("a voice connection that is given up while it is being made does not end the process", async () => {
  new VoiceUDPSocket({ ip: "127.0.0.1", port: 9 }).destroy();
  await setImmediate();
});
