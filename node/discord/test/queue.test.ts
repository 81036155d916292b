import assert from "node:assert/strict";
import { test } from "node:test";
import * as queues from "../dist/queue.js";
import { letters, queueOf, track } from "./tracks.ts";

test("tracks are added at the end, as many as there is room for", () => {
  const [two, taken] = queues.add(queueOf(" a b"), [track("c"), track("d")]);
  assert.equal(letters(two), " a bcd");
  assert.equal(taken, 2);
  const many = Array.from({ length: queues.UPCOMING_MOST }, () => track("x"));
  const [full, fitted] = queues.add(two, many);
  assert.equal(full.upcoming.length, queues.UPCOMING_MOST);
  assert.equal(fitted, queues.UPCOMING_MOST - 3);
  assert.equal(queues.add(full, [track("y")])[1], 0);
});

test("the next track leaves the one before in the past", () => {
  assert.equal(letters(queues.next(queueOf("a b cd"))), "ab c d");
  assert.equal(letters(queues.next(queueOf(" . cd"))), " c d");
  assert.equal(letters(queues.next(queueOf("a b "))), "ab . ");
});

test("a jump leaves what it passes in the past", () => {
  assert.equal(letters(queues.jump(queueOf("a b cdef"), 3)), "abcd e f");
});

test("going back makes what was current the next", () => {
  assert.equal(letters(queues.previous(queueOf("ab c d")) ?? queues.EMPTY_QUEUE), "a b cd");
  assert.equal(letters(queues.previous(queueOf("ab . d")) ?? queues.EMPTY_QUEUE), "a b d");
  assert.equal(queues.previous(queueOf(" c d")), undefined);
});

test("the past is bounded, and begins anew when it is played again", () => {
  let queue = queues.EMPTY_QUEUE;
  for (let i = 0; i < queues.PAST_MOST + 10; i += 1) {
    queue = queues.next(queues.add(queue, [track(`${i}`, { startAt: 7 })])[0]);
  }
  assert.equal(queue.past.length, queues.PAST_MOST);
  assert.equal(queue.past.at(-1)?.title, `${queues.PAST_MOST + 8}`);
  assert.equal(queue.past.at(-1)?.startAt, 0);
});

test("an upcoming track is removed by its number", () => {
  const [queue, removed] = queues.remove(queueOf(" a bcd"), 2) ?? [queues.EMPTY_QUEUE, undefined];
  assert.equal(letters(queue), " a bd");
  assert.equal(removed?.title, "c");
  assert.equal(queues.remove(queue, 3), undefined);
  assert.equal(queues.remove(queue, 0), undefined);
});

test("what is put back is next, and goes on where it was", () => {
  const queue = queues.putBack(queueOf("a b c"), 12);
  assert.equal(letters(queue), "a . bc");
  assert.equal(queue.upcoming[0]?.startAt, 12);
  assert.equal(queue.upcoming[1]?.startAt, 0);
  assert.equal(letters(queues.putBack(queueOf("a . c"), 12)), "a . c");
});

test("only the current track is amended", () => {
  const queue = queues.amend(queueOf("a b c"), { title: "B", duration: undefined });
  assert.equal(letters(queue), "a B c");
  assert.equal(queue.current?.duration, undefined);
  assert.equal(letters(queues.amend(queueOf("a . c"), { title: "B" })), "a . c");
});
