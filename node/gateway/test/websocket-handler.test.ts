/** The handler between sockets and a daemon that are not real: what takes long, or too many, to be tried on real ones. */

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AudioServiceError, type ControlClient, type SocketClient } from "@audiosvc/client";
import type { WebSocket } from "ws";
import { HEARTBEAT_MS, ROOMS_MOST, SEARCHES_MOST, WebSocketHandler } from "../dist/websocket-handler.js";

class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  said: Record<string, unknown>[] = [];
  pings = 0;

  send(data: string | Buffer, sent?: () => void): void {
    if (typeof data === "string") {
      this.said.push(JSON.parse(data));
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
  const client = Object.assign(new EventEmitter(), {
    state: "connected",
    subscribe: () => undefined,
    unsubscribe: () => undefined,
    credit: () => 0,
    outstanding: () => 0,
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
  return { handler, client, searches, accept };
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

test("a socket has so many searches under way and no more, and none when it is gone", async (t) => {
  const { searches, accept } = open(t);
  const page = accept();
  page.say({ action: "join", session: "anna" });
  for (let i = 0; i <= SEARCHES_MOST; i++) {
    page.say({ action: "search", session: "anna", query: `q${i}` });
  }
  assert.equal(searches.length, SEARCHES_MOST);
  assert.equal(page.said.at(-1)?.code, "busy");
  searches[0]?.resolve({ query: "q0", count: 0, results: [] });
  await setImmediate();
  assert.deepEqual(page.said.at(-1), { type: "searchResults", query: "q0", results: [], session: "anna" });
  page.say({ action: "search", session: "anna", query: "again" });
  assert.equal(searches.length, SEARCHES_MOST + 1);
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
