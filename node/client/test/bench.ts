/**
 * Prints the decoder's throughput, and what the way through this package adds to a packet: from the socket's read to the
 * stream's reader, with 40 sessions of 50 packets a second. Arguments: sessions, seconds.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Decoder, SocketClient } from "../dist/index.js";
import { events, packetBytes } from "./fakes.ts";

const [sessions = 40, seconds = 20] = process.argv.slice(2).map(Number);
const ids = Array.from({ length: sessions }, (_, i) => `guild-${i}`);
const payload = Buffer.alloc(320, 0xfc);

/** In a process of its own: sends every session a packet each 20 ms, whether or not there is credit. */
function send(path: string): void {
  const server = createServer((socket) => {
    const say = (event: object) => socket.write(`${JSON.stringify(event)}\n`);
    say({ type: "hello", protocol: 1, features: [], server: "bench" });
    for (const id of ids) say(events.ready(id, "t"));
    const all = Buffer.concat(ids.map((id) => packetBytes(id, payload)));
    const timer = setInterval(() => socket.write(all), 20);
    socket.on("data", () => {});
    socket.on("error", () => {});
    socket.on("close", () => clearInterval(timer));
  });
  server.listen(path, () => process.send?.("listening"));
  process.on("disconnect", () => process.exit());
}

function throughput(): void {
  const chunk = Buffer.concat(new Array(180).fill(packetBytes("175928847299117063", payload)));
  const decoder = new Decoder();
  const began = performance.now();
  let packets = 0;
  while (performance.now() - began < 2000) packets += decoder.feed(chunk).length;
  const rate = packets / ((performance.now() - began) / 1000);
  console.log(`decoder: ${(rate / 1e6).toFixed(2)} million packets/s in chunks of ${chunk.length} bytes`);
}

async function latency(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "audiosvc-"));
  const path = join(folder, "bench.sock");
  const sender = fork(new URL(import.meta.url), { env: { ...process.env, BENCH_SOCKET: path } });
  await once(sender, "message");
  let read = 0;
  const waits: number[] = [];
  const client = new SocketClient({
    path: () => {
      const socket = createConnection({ path });
      socket.on("data", () => {
        read = performance.now();
      });
      return socket;
    },
  });
  for (const id of ids) client.session(id).on("data", () => waits.push(performance.now() - read));
  await client.connect();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  await client.close();
  sender.disconnect();
  rmSync(folder, { recursive: true });
  waits.sort((a, b) => a - b);
  const at = (share: number) => (waits[Math.floor(share * (waits.length - 1))] ?? Number.NaN).toFixed(3);
  console.log(
    `${sessions} sessions, ${waits.length} packets: socket read to stream read p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`,
  );
}

const socket = process.env.BENCH_SOCKET;
if (socket !== undefined) {
  send(socket);
} else {
  throughput();
  await latency();
}
