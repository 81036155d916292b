import assert from "node:assert/strict";
import { once } from "node:events";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { AudioServiceError, type SessionOptions, SessionStream } from "../dist/index.js";
import { events, settle } from "./fakes.ts";

/** A stream with its other end: credit that came, and packets that go as the credit allows. */
function open(options: SessionOptions = {}) {
  const given: number[] = [];
  let outstanding = 0;
  let sent = 0;
  let gone = 0;
  const stream = new SessionStream(
    "s",
    {
      credit: (packets) => {
        given.push(packets);
        outstanding += packets;
      },
      outstanding: () => outstanding,
      gone: () => {
        gone += 1;
      },
    },
    options,
  );
  stream.grant();
  const send = (most: number): number => {
    let count = 0;
    for (; count < most && outstanding > 0; count++) {
      outstanding -= 1;
      stream.deliver(Buffer.from(String(++sent)));
    }
    return count;
  };
  return { stream, given, send, total: () => given.reduce((a, b) => a + b, 0), gone: () => gone };
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

async function readAll(stream: SessionStream): Promise<string[]> {
  const texts: string[] = [];
  for await (const packet of stream) texts.push(String(packet));
  return texts;
}

test("a window of credit is given at the start, and no more while nothing is read", async () => {
  const { stream, given, send } = open({ window: 20 });
  assert.deepEqual(given, [20]);
  assert.equal(send(1000), 20);
  await settle();
  assert.deepEqual(given, [20]);
  assert.equal(stream.held, 20);
});

test("reading gives credit in halves of the window", () => {
  const { stream, given, send } = open({ window: 20 });
  send(20);
  for (let i = 0; i < 9; i++) stream.read();
  assert.deepEqual(given, [20]);
  stream.read();
  assert.deepEqual(given, [20, 10]);
});

test("a reader that ticks gets every packet, whatever the window", async () => {
  for (const window of [2, 3, 50, 500]) {
    const { stream, send, total } = open({ window });
    const texts: string[] = [];
    while (texts.length < 2000) {
      send(7);
      const packet = stream.read();
      if (packet !== null) texts.push(String(packet));
      assert.ok(total() - texts.length <= window);
      if (texts.length % 100 === 0) await settle();
    }
    assert.deepEqual(texts, numbers(1, 2000));
    stream.destroy();
  }
});

test("a reader by `readable` gets every packet", async () => {
  const { stream, send } = open({ window: 4 });
  const texts: string[] = [];
  stream.on("readable", () => {
    for (let packet = stream.read(); packet !== null; packet = stream.read()) texts.push(String(packet));
  });
  for (let i = 0; i < 100; i++) {
    send(3);
    await settle();
  }
  assert.deepEqual(texts, numbers(1, texts.length));
  assert.ok(texts.length >= 290);
  stream.destroy();
});

test("a reader by `data`, a slow pipe and an async loop get every packet of a track, then its end", async () => {
  const readers: ((stream: SessionStream) => Promise<string[]>)[] = [
    readAll,
    async (stream) => {
      const texts: string[] = [];
      stream.on("data", (packet) => texts.push(String(packet)));
      await once(stream, "end");
      return texts;
    },
    async (stream) => {
      const texts: string[] = [];
      const slow = new Writable({
        objectMode: true,
        highWaterMark: 1,
        write(packet, _encoding, done) {
          texts.push(String(packet));
          setImmediate(done);
        },
      });
      await pipeline(stream, slow);
      return texts;
    },
  ];
  for (const read of readers) {
    const { stream, send } = open({ window: 10, follow: false });
    stream.notify(events.ready("s", "t1"));
    const reading = read(stream);
    for (let left = 95; left > 0; ) {
      left -= send(Math.min(left, 4));
      await settle();
    }
    stream.notify(events.finished("s", "t1"));
    assert.deepEqual(await reading, numbers(1, 95));
  }
});

test("a stream that follows goes on from track to track without losing the end of one", () => {
  const { stream, send } = open({ window: 10 });
  stream.notify(events.ready("s", "t1"));
  send(3);
  stream.notify(events.finished("s", "t1"));
  assert.equal(stream.terminal?.type, "finished");
  stream.notify(events.ready("s", "t2"));
  assert.equal(stream.trackId, "t2");
  send(2);
  assert.deepEqual(
    Array.from({ length: 6 }, () => stream.read()?.toString()),
    ["1", "2", "3", "4", "5", undefined],
  );
  assert.equal(stream.readableEnded, false);
});

test("a seek drops what is held, counts it as consumed, and what is read next is of the new position", async () => {
  for (const listens of [false, true]) {
    const { stream, send, given } = open({ window: 20 });
    if (listens) stream.on("readable", () => {});
    const flushed = once(stream, "flush");
    send(20);
    await settle();
    stream.notify(events.seeked("s", "t1"));
    assert.deepEqual(await flushed, [{ reason: "seeked", dropped: 20 }]);
    assert.equal(stream.held, 0);
    assert.deepEqual(given, [20, 20]);
    send(2);
    await settle();
    assert.equal(String(stream.read()), "21");
    assert.equal(String(stream.read()), "22");
    assert.equal(stream.read(), null);
  }
});

test("a stream of a stopped track ends at once, one of a failed track after what it holds", async () => {
  const stopped = open({ follow: false });
  stopped.stream.notify(events.ready("s", "t1"));
  stopped.send(5);
  stopped.stream.notify(events.stopped("s", "t1"));
  assert.deepEqual(await readAll(stopped.stream), []);

  const failed = open({ follow: false });
  failed.stream.notify(events.ready("s", "t1"));
  failed.send(5);
  failed.stream.notify(events.error("s", "t1"));
  assert.deepEqual(await readAll(failed.stream), numbers(1, 5));
  assert.equal(failed.stream.terminal?.type, "error");
});

test("after the end nothing more is taken and no credit is given", () => {
  const { stream, send, given } = open({ window: 4, follow: false });
  stream.notify(events.ready("s", "t1"));
  send(2);
  stream.notify(events.finished("s", "t1"));
  stream.notify(events.ready("s", "t2"));
  stream.deliver(Buffer.from("late"));
  assert.equal(stream.trackId, "t1");
  assert.equal(stream.held, 2);
  stream.read();
  stream.read();
  assert.deepEqual(given, [4]);
});

test("a destroyed stream lets go of everything, once", async () => {
  const { stream, send, gone, given } = open({ window: 4 });
  send(4);
  stream.destroy();
  await once(stream, "close");
  stream.deliver(Buffer.from("late"));
  stream.notify(events.seeked("s", "t1"));
  assert.equal(stream.held, 0);
  assert.equal(gone(), 1);
  assert.deepEqual(given, [4]);
});

test("a daemon that sends without credit ends the stream before memory does", async () => {
  const { stream } = open({ window: 4 });
  const failed = once(stream, "error");
  for (let i = 0; i < 1100; i++) stream.deliver(Buffer.from("x"));
  const [error] = await failed;
  assert.ok(error instanceof AudioServiceError);
  assert.equal(error.code, "overrun");
  assert.equal(stream.held, 0);
});

test("a window is 2 to 500 packets", () => {
  for (const window of [1, 501, 2.5, Number.NaN]) {
    assert.throws(() => open({ window }), { code: "invalid_option" });
  }
});
