import assert from "node:assert/strict";
import { test } from "node:test";
import type { AudioPacket, TerminalEvent } from "@audiosvc/client";
import { Lane } from "../dist/lane.js";
import { CREDIT_MOST } from "../dist/protocol.js";

/** A lane between a daemon that sends numbered packets as far as it was asked to, and a socket. */
class Bed {
  open = true;
  outstanding = 0;
  delivered: number[] = [];
  ended: string[] = [];
  lane = new Lane({
    open: () => this.open,
    deliver: ({ number }) => this.delivered.push(number),
    outstanding: () => this.outstanding,
    ask: (packets) => {
      this.outstanding += packets;
    },
    end: ({ type }) => this.ended.push(type),
  });
  #sent = 0;

  /** The daemon sends `count` packets, all that it was asked for if not said. */
  send(count = this.outstanding): void {
    for (let i = 0; i < count; i++) {
      this.outstanding -= 1;
      this.#sent += 1;
      const packet: AudioPacket = { sessionId: "user:a", trackId: "t", number: this.#sent, data: Buffer.of() };
      this.lane.packet(packet);
    }
  }

  finish(type: "finished" | "error" = "finished"): void {
    this.lane.finish({ type } as TerminalEvent);
  }
}

function lane(): Bed {
  return new Bed();
}

test("credit is passed on, and what comes for it goes through", () => {
  const bed = lane();
  bed.lane.credit(5);
  assert.equal(bed.outstanding, 5);
  bed.send();
  assert.deepEqual(bed.delivered, [1, 2, 3, 4, 5]);
  assert.equal(bed.outstanding, 0);
});

test("credit is bounded", () => {
  const bed = lane();
  for (let i = 0; i < 10; i++) {
    bed.lane.credit(100);
  }
  assert.equal(bed.outstanding, CREDIT_MOST);
});

test("packets on their way when another takes over wait for that one's credit, in order and without a loss", () => {
  const bed = lane();
  bed.lane.credit(10);
  bed.send(3);
  bed.lane.turn();
  bed.send(4);
  assert.deepEqual(bed.delivered, [1, 2, 3]);
  assert.equal(bed.lane.held, 4);
  bed.lane.credit(5);
  assert.deepEqual(bed.delivered, [1, 2, 3, 4, 5, 6, 7]);
  bed.send();
  assert.deepEqual(bed.delivered, [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual(bed.lane.held, 2);
});

test("the daemon is asked only for what is not on its way yet", () => {
  const bed = lane();
  bed.lane.credit(10);
  bed.lane.turn();
  bed.lane.credit(8);
  assert.equal(bed.outstanding, 10);
  bed.send(8);
  bed.lane.credit(5);
  assert.equal(bed.outstanding, 5);
});

test("what waits is at most what was asked for", () => {
  const bed = lane();
  for (let i = 0; i < 20; i++) {
    bed.lane.credit(100);
    bed.lane.turn();
    bed.send();
  }
  assert.ok(bed.lane.held <= CREDIT_MOST, `${bed.lane.held} wait`);
});

test("a socket that takes nothing stops the daemon, and goes on where it was when it does", () => {
  const bed = lane();
  bed.lane.credit(100);
  bed.send(10);
  bed.open = false;
  bed.send();
  bed.lane.credit(100);
  assert.equal(bed.outstanding, 0);
  assert.equal(bed.lane.held, 90);
  bed.open = true;
  bed.lane.move();
  assert.equal(bed.delivered.length, 100);
  assert.equal(bed.outstanding, 60);
  assert.deepEqual(
    bed.delivered,
    [...bed.delivered].sort((a, b) => a - b),
  );
});

test("stale packets are dropped and made up for", () => {
  const bed = lane();
  bed.lane.credit(10);
  bed.lane.turn();
  bed.send();
  bed.lane.flush();
  assert.equal(bed.lane.held, 0);
  assert.equal(bed.outstanding, 0);
  bed.lane.credit(4);
  assert.equal(bed.outstanding, 4);
});

test("packets dropped for a socket that was full are asked for again", () => {
  const bed = lane();
  bed.lane.credit(10);
  bed.open = false;
  bed.send();
  bed.open = true;
  bed.lane.flush();
  assert.equal(bed.outstanding, 10);
});

test("an end is told at once when nothing waits", () => {
  const bed = lane();
  bed.finish();
  assert.deepEqual(bed.ended, ["finished"]);
});

test("an end waits behind its packets", () => {
  const bed = lane();
  bed.lane.credit(3);
  bed.lane.turn();
  bed.send();
  bed.finish();
  assert.ok(bed.lane.ending);
  bed.lane.credit(2);
  assert.deepEqual(bed.ended, []);
  bed.lane.credit(2);
  assert.deepEqual(bed.ended, ["finished"]);
  assert.ok(!bed.lane.ending);
  assert.equal(bed.outstanding, 1);
});

test("an end that waits is told when its packets become stale", () => {
  const bed = lane();
  bed.lane.credit(3);
  bed.lane.turn();
  bed.send();
  bed.finish();
  bed.lane.flush();
  assert.deepEqual(bed.ended, ["finished"]);
});

test("a second end does not push the first one out", () => {
  const bed = lane();
  bed.lane.credit(3);
  bed.lane.turn();
  bed.send();
  bed.finish("finished");
  bed.finish("error");
  assert.deepEqual(bed.ended, ["finished", "error"]);
});

test("what is missing is nothing while nobody hears", () => {
  const bed = lane();
  bed.open = false;
  bed.lane.credit(10);
  assert.equal(bed.lane.missing, 0);
  bed.open = true;
  assert.equal(bed.lane.missing, 10);
});
