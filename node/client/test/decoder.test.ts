import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder, type Message } from "../dist/index.js";
import { random } from "./random.ts";
import { streams } from "./vectors.ts";

function decode(pieces: Iterable<Uint8Array>): { messages: Message[]; error: string | undefined } {
  const decoder = new Decoder();
  const messages: Message[] = [];
  for (const piece of pieces) messages.push(...decoder.feed(piece));
  return { messages, error: decoder.fault?.code };
}

function* cut(wire: Buffer, size: () => number): Generator<Buffer> {
  for (let at = 0; at < wire.length; ) {
    const end = at + size();
    // A buffer of its own for every piece, overwritten afterwards as a reused one would be.
    const piece = Buffer.from(wire.subarray(at, end));
    yield piece;
    piece.fill(0xee);
    at = end;
  }
}

for (const { name, wire, messages, error } of streams) {
  test(`shared vector, whole, byte by byte and at random splits: ${name}`, () => {
    assert.deepEqual(decode([wire]), { messages, error });
    assert.deepEqual(decode(cut(wire, () => 1)), { messages, error });
    const next = random(wire.length);
    for (let round = 0; round < 20; round++) {
      const size = () => 1 + Math.floor(next() ** 3 * Math.max(100, wire.length / 2));
      assert.deepEqual(decode(cut(wire, size)), { messages, error });
    }
  });
}

const whole = streams.find((vector) => vector.name === "a whole track");
assert.ok(whole);

test("all good vectors after each other are one stream", () => {
  const good = streams.filter((vector) => vector.error === undefined && !vector.name.startsWith("an unfinished"));
  const wire = Buffer.concat(good.map((vector) => vector.wire));
  const messages = good.flatMap((vector) => vector.messages);
  const next = random(7);
  assert.deepEqual(decode([wire]), { messages, error: undefined });
  assert.deepEqual(decode(cut(wire, () => 1 + Math.floor(next() * 3000))), { messages, error: undefined });
});

test("a payload does not hold the chunk it came in", () => {
  const chunk = Buffer.concat(new Array(100).fill(whole.wire));
  for (const message of new Decoder().feed(chunk)) {
    if (message.kind === "packet") assert.notEqual(message.payload.buffer, chunk.buffer);
  }
});

test("after a fault nothing is read, and the fault stays", () => {
  const decoder = new Decoder();
  assert.deepEqual(decoder.feed(Buffer.from("!")), []);
  const fault = decoder.fault;
  assert.equal(fault?.code, "invalid_length");
  assert.deepEqual(decoder.feed(whole.wire), []);
  assert.equal(decoder.fault, fault);
});

test("a type named after a property of objects is unknown", () => {
  const { messages, error } = decode([Buffer.from('{"type":"constructor"}\n{"type":"__proto__"}\n')]);
  assert.equal(error, undefined);
  assert.deepEqual(
    messages.map((message) => message.kind),
    ["unknown", "unknown"],
  );
});
