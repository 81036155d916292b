/** The handler between sockets and a daemon that are not real: what takes long, or too many, to be tried on real ones. */

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AudioServiceError, type ControlClient, type SocketClient } from "@audiosvc/client";
import type { WebSocket } from "ws";
import { LOOKUPS_MOST } from "../dist/lookups.js";
import { BUFFERED_MOST } from "../dist/page-socket.js";
import { CREDIT_MOST } from "../dist/protocol.js";
import { HEARTBEAT_MS, ROOMS_MOST, WebSocketHandler } from "../dist/websocket-handler.js";

class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  said: Record<string, unknown>[] = [];
  packets: string[] = [];
  pings = 0;

  send(data: string | Buffer, sent?: () => void): void {
    if (typeof data === "string") {
      this.said.push(JSON.parse(data));
    } else {
      this.packets.push(data.subarray(1).toString());
    }
    sent?.();
  }

  ping(): void {
    this.pings += 1;
  }

  close(code: number): void {
    this.readyState = 2;
    this.said.push({ closed: code });
  }

  terminate(): void {
    this.readyState = 3;
    this.emit("close");
  }

  say(message: Record<string, unknown>): void {
    this.emit("message", Buffer.from(JSON.stringify(message)), false);
  }
}

function open(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  /** Packets that the daemon may send, by the session's id. */
  const credit = new Map<string, number>();
  const client = Object.assign(new EventEmitter(), {
    state: "connected",
    subscribe: () => undefined,
    unsubscribe: () => undefined,
    credit: (id: string, packets: number) => credit.set(id, (credit.get(id) ?? 0) + packets),
    outstanding: (id: string) => credit.get(id) ?? 0,
  });
  const searches: { signal: AbortSignal; resolve(value: unknown): void }[] = [];
  const control = {
    status: async () => {
      throw new AudioServiceError("not_found", "no such session is playing");
    },
    search: (_: string, { signal }: { signal: AbortSignal }) =>
      new Promise((resolve) => {
        searches.push({ signal, resolve });
      }),
    playlist: async (url: string) => ({
      url,
      count: 3,
      entries: ["a", "b", "c"].map((name) => ({ url: `demo:${name}`, title: name, duration: 1, thumbnail: null })),
    }),
    play: async () => ({ track_id: "t1" }),
  };
  const handler = new WebSocketHandler({
    client: client as unknown as SocketClient,
    control: control as unknown as ControlClient,
    grace: 1000,
    patience: 1000,
    version: "1.2.3",
    log: () => undefined,
  });
  t.after(() => handler.close());
  const accept = (): FakeSocket => {
    const socket = new FakeSocket();
    handler.accept(socket as unknown as WebSocket);
    return socket;
  };
  return { handler, client, credit, searches, accept };
}

test("a socket that does not answer pings is cut off", (t) => {
  const { handler, accept } = open(t);
  const [lively, dead] = [accept(), accept()];
  t.mock.timers.tick(HEARTBEAT_MS);
  assert.deepEqual([lively.pings, dead.pings], [1, 1]);
  lively.emit("pong");
  t.mock.timers.tick(HEARTBEAT_MS);
  assert.equal(lively.pings, 2);
  assert.equal(dead.readyState, 3);
  assert.equal(handler.sockets, 1);
});

test("a socket that reads nothing for 30 s is sent no packet and has no more than its credit asked for; the other gets all", (t) => {
  const { handler, client, credit, accept } = open(t);
  const [deaf, lively] = [accept(), accept()];
  for (const [socket, session] of [
    [deaf, "deaf"],
    [lively, "lively"],
  ] as const) {
    socket.say({ action: "join", session });
    socket.say({ action: "credit", session, packets: 15 });
  }
  deaf.bufferedAmount = BUFFERED_MOST;
  let number = 0;
  let held = 0;
  for (let ms = 0; ms < 30_000; ms += 20) {
    number += 1;
    for (const [id, left] of credit) {
      if (left > 0) {
        credit.set(id, left - 1);
        client.emit("audio", { sessionId: id, trackId: "t1", number, data: Buffer.from(String(number)) });
      }
    }
    if (number % 5 === 0) {
      lively.say({ action: "credit", session: "lively", packets: 5 });
    }
    if (number % 50 === 0) {
      deaf.say({ action: "credit", session: "deaf", packets: 100 });
    }
    held = Math.max(held, handler.vitals().held);
    t.mock.timers.tick(20);
  }
  assert.deepEqual(
    lively.packets,
    Array.from({ length: 1500 }, (_, i) => String(i + 1)),
  );
  assert.deepEqual(deaf.packets, []);
  assert.ok(held <= CREDIT_MOST, `${held} packets wait`);
  assert.equal(credit.get("user:deaf"), 0);
});

test("pages are told when the daemon goes, once, and when it comes back", (t) => {
  const { client, accept } = open(t);
  const page = accept();
  client.emit("disconnect");
  client.emit("disconnect");
  client.emit("connect");
  assert.deepEqual(
    page.said.map(({ type, daemon }) => `${type} ${daemon}`),
    ["hello connected", "hello disconnected", "hello connected"],
  );
});

test("what is behind a list's first track goes to its session's queue, and nowhere once the page has left", async (t) => {
  const { accept } = open(t);
  const page = accept();
  page.say({ action: "join", session: "anna" });
  page.say({ action: "addList", session: "anna", url: "https://a/list", from: 1 });
  await setImmediate();
  const answer = page.said.find(({ type }) => type === "listAdded");
  assert.deepEqual(answer, { type: "listAdded", url: "https://a/list", count: 2, left: 0, session: "anna" });
  const queued = page.said.findLast(({ type }) => type === "queueUpdated")?.queue as { url: string }[];
  assert.deepEqual(
    queued.map(({ url }) => url),
    ["demo:b", "demo:c"],
  );
  page.say({ action: "addList", session: "anna", url: "https://a/list" });
  page.say({ action: "leave", session: "anna" });
  const before = page.said.length;
  await setImmediate();
  assert.equal(page.said.length, before);
});

test("a socket has so many searches under way and no more, and none when it is gone", async (t) => {
  const { searches, accept } = open(t);
  const page = accept();
  page.say({ action: "join", session: "anna" });
  for (let i = 0; i <= LOOKUPS_MOST; i++) {
    page.say({ action: "search", session: "anna", query: `q${i}` });
  }
  assert.equal(searches.length, LOOKUPS_MOST);
  assert.equal(page.said.at(-1)?.code, "busy");
  searches[0]?.resolve({ query: "q0", count: 0, results: [] });
  await setImmediate();
  assert.deepEqual(page.said.at(-1), { type: "searchResults", query: "q0", results: [], session: "anna" });
  page.say({ action: "search", session: "anna", query: "again" });
  assert.equal(searches.length, LOOKUPS_MOST + 1);
  page.terminate();
  assert.ok(searches[1]?.signal.aborted);
});

test("a search in a session that was not joined is refused", (t) => {
  const { searches, accept } = open(t);
  const page = accept();
  page.say({ action: "search", session: "anna", query: "bach" });
  assert.equal(page.said.at(-1)?.code, "not_joined");
  assert.equal(searches.length, 0);
});

test("there are so many sessions and no more, until some are over", async (t) => {
  const { handler, accept } = open(t);
  const pages: FakeSocket[] = [];
  for (let i = 0; i < ROOMS_MOST; i++) {
    if (i % 8 === 0) {
      pages.push(accept());
    }
    pages.at(-1)?.say({ action: "join", session: `s${i}` });
  }
  assert.equal(handler.vitals().sessions, ROOMS_MOST);
  const late = accept();
  late.say({ action: "join", session: "late" });
  assert.equal(late.said.at(-1)?.code, "too_many_sessions");
  late.say({ action: "join", session: "s0" });
  assert.equal(late.said.at(-1)?.type, "queueUpdated");
  await setImmediate();
  pages[1]?.terminate();
  t.mock.timers.tick(0);
  await setImmediate();
  assert.equal(handler.vitals().sessions, ROOMS_MOST - 8);
  late.say({ action: "join", session: "late" });
  assert.equal(late.said.at(-1)?.type, "queueUpdated");
});

test("at the end every page is told, and nothing of the daemon is listened to", (t) => {
  const { handler, client, accept } = open(t);
  const [one, two] = [accept(), accept()];
  one.say({ action: "join", session: "anna" });
  handler.close();
  assert.deepEqual([one.said.at(-1), two.said.at(-1)], [{ closed: 1001 }, { closed: 1001 }]);
  assert.deepEqual(client.eventNames(), []);
  one.say({ action: "stop", session: "anna" });
  assert.deepEqual(one.said.at(-1), { closed: 1001 });
  handler.terminate();
  assert.equal(handler.sockets, 0);
});
