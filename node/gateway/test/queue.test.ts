import assert from "node:assert/strict";
import { test } from "node:test";
import type { Track } from "../dist/index.js";
import {
  add,
  amend,
  EMPTY_QUEUE,
  goTo,
  indexOf,
  move,
  nextIndex,
  previousIndex,
  QUEUE_MOST,
  type Queue,
  remove,
  rest,
} from "../dist/queue.js";

function track(name: string): Track {
  return { url: `demo:${name}`, title: name };
}

function queueOf(names: string, at = -1, plays = false): Queue {
  return { tracks: [...names].map(track), at, plays };
}

/** `aBc` is a queue of three whose second plays; `ab|c` one that stands behind its second, and plays none of them. */
function shown(queue: Queue | undefined): string {
  if (queue === undefined) {
    return "none";
  }
  const titles = queue.tracks.map(({ title }, i) => (queue.plays && i === queue.at ? title.toUpperCase() : title));
  return queue.plays ? titles.join("") : titles.toSpliced(queue.at + 1, 0, "|").join("");
}

test("tracks are added at the end, up to the bound", () => {
  let queue: Queue = EMPTY_QUEUE;
  for (let i = 0; i < QUEUE_MOST; i++) {
    queue = add(queue, [track(String(i))])[0];
  }
  assert.equal(queue.tracks.length, QUEUE_MOST);
  assert.equal(queue.tracks.at(-1)?.title, String(QUEUE_MOST - 1));
  assert.deepEqual(add(queue, [track("one more")]), [queue, 0]);
  assert.equal(EMPTY_QUEUE.tracks.length, 0);
  const [full, taken] = add({ ...queue, tracks: queue.tracks.slice(2) }, [track("x"), track("y"), track("z")]);
  assert.deepEqual([full.tracks.length, taken, full.tracks.at(-1)?.title], [QUEUE_MOST, 2, "y"]);
});

test("the next track is behind what was played last, whether it still plays or not", () => {
  assert.equal(nextIndex(queueOf("abc")), 0);
  assert.equal(nextIndex(queueOf("abc", 1, true)), 2);
  assert.equal(nextIndex(rest(queueOf("abc", 1, true))), 2);
  assert.equal(nextIndex(queueOf("abc", 2, true)), undefined);
  assert.equal(nextIndex(EMPTY_QUEUE), undefined);
});

test("the previous track is before what plays, or else the one played last", () => {
  assert.equal(previousIndex(queueOf("abc", 1, true)), 0);
  assert.equal(previousIndex(queueOf("abc", 1)), 1);
  assert.equal(previousIndex(queueOf("abc", 0, true)), undefined);
  assert.equal(previousIndex(queueOf("abc")), undefined);
});

test("removing keeps the place", () => {
  assert.equal(shown(remove(queueOf("abcd", 2, true), 0)), "bCd");
  assert.equal(shown(remove(queueOf("abcd", 1, true), 3)), "aBc");
  assert.equal(shown(remove(queueOf("abcd", 1), 1)), "a|cd");
});

test("what plays and is removed plays on past the queue, which goes on behind it", () => {
  const queue = remove(queueOf("abc", 1, true), 1);
  assert.equal(shown(queue), "a|c");
  assert.equal(queue && indexOf(queue), -1);
  assert.equal(queue && nextIndex(queue), 1);
});

test("moving takes what plays along", () => {
  assert.equal(shown(move(queueOf("abcd", 1, true), 1, 3)), "acdB");
  assert.equal(shown(move(queueOf("abcd", 1, true), 3, 0)), "daBc");
  assert.equal(shown(move(queueOf("abcd", 2, true), 0, 2)), "bCad");
  assert.equal(shown(move(queueOf("abcd", 2, true), 0, 3)), "bCda");
  assert.equal(shown(move(queueOf("abcd", 1, true), 3, 2)), "aBdc");
  assert.equal(shown(move(queueOf("abcd", 1, true), 2, 1)), "acBd");
  assert.equal(shown(move(queueOf("abcd", 1, true), 1, 1)), "aBcd");
});

test("every move leaves the same track playing and the others in their order", () => {
  for (let index = 0; index < 5; index++) {
    for (let to = 0; to < 5; to++) {
      for (let at = 0; at < 5; at++) {
        const before = queueOf("abcde", at, true);
        const after = move(before, index, to);
        assert.ok(after);
        assert.equal(after.tracks[after.at], before.tracks[at]);
        assert.equal(after.tracks[to], before.tracks[index]);
        assert.deepEqual(after.tracks.toSpliced(to, 1), before.tracks.toSpliced(index, 1));
      }
    }
  }
});

test("places that are not there are refused", () => {
  assert.equal(remove(queueOf("ab"), 2), undefined);
  assert.equal(move(queueOf("ab"), 2, 0), undefined);
  assert.equal(move(queueOf("ab"), 0, 2), undefined);
});

test("going to a track makes it the one that plays", () => {
  assert.equal(shown(goTo(queueOf("abc"), 1)), "aBc");
  assert.equal(indexOf(goTo(queueOf("abc"), 1)), 1);
  assert.equal(shown(rest(queueOf("abc", 1, true))), "ab|c");
});

test("what is learnt of a track is kept only for the one that plays", () => {
  const better = { url: "demo:b", title: "B flat" };
  assert.equal(amend(queueOf("abc", 1, true), better).tracks[1]?.title, "B flat");
  assert.deepEqual(amend(queueOf("abc", 1), better), queueOf("abc", 1));
});
